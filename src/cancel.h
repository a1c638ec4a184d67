/*-------------------------------------------------------------------------
 *
 * cancel.h
 *	  Cancelling jobs with exact accounting.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PASQAL_JOBS_CANCEL_H
#define PASQAL_JOBS_CANCEL_H

#include "executor/tuptable.h"
#include "utils/uuid.h"

#include "filters.h"
#include "jobs_relation.h"

/* Whoever wants to know what a cancel does */
typedef struct CancelObserver
{
	/* A job was canceled; the row, its fields, is gone after the call */
	void		(*canceled) (TupleTableSlot *row, void *arg);

	/*
	 * A job was not, and why; called after the last canceled one, in the order
	 * of ids.  Both stay as long as the memory context of the cancel.
	 */
	void		(*not_canceled) (const pg_uuid_t *id, const char *why, void *arg);

	void	   *arg;
} CancelObserver;

extern void cancel(const JobsRelation *relation, Datum batch,
				   const Filters *filters, const CancelObserver *observer);

#endif							/* PASQAL_JOBS_CANCEL_H */
