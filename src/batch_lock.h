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

/* How the attempt to lock a batch ended */
typedef enum BatchLock
{
	BATCH_LOCK_TAKEN,
	BATCH_LOCK_WAITED,			/* taken, after a wait */
	BATCH_LOCK_BUSY				/* another transaction has it */
} BatchLock;

extern BatchLock batch_lock(const JobsRelation *relation, Datum batch, bool wait);

#endif							/* PASQAL_JOBS_BATCH_LOCK_H */
