/*-------------------------------------------------------------------------
 *
 * batch_lock.h
 *	  The lock that keeps cancels of one batch from deadlocking.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PASQAL_JOBS_BATCH_LOCK_H
#define PASQAL_JOBS_BATCH_LOCK_H

#include "jobs_relation.h"

extern bool batch_lock(const JobsRelation *relation, Datum batch, bool wait);

#endif							/* PASQAL_JOBS_BATCH_LOCK_H */
