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
	/*
	 * Called once, before all else, with the number of jobs that will be
	 * canceled if nothing happens meanwhile; may be NULL
	 */
	void		(*expect) (size_t jobs, void *arg);

	/* A job was canceled; the row, its fields, is gone after the call */
	void		(*canceled) (TupleTableSlot *row, void *arg);

	/*
	 * A job was not, and why; called after the last canceled one, in the order
	 * of ids.  Both stay as long as the memory context of the cancel.
	 */
	void		(*not_canceled) (const pg_uuid_t *id, const char *why, void *arg);

	void	   *arg;
} CancelObserver;

/* To whom a cancel owes an answer */
typedef enum CancelScope
{
	/* Every job that matches as the call begins; or that was named by id */
	CANCEL_CALL,

	/*
	 * The filter id is a list of jobs that matched some time ago: those that
	 * are gone since or no longer match are owed nothing
	 */
	CANCEL_WORK_LIST
} CancelScope;

extern uint64 cancel(const JobsRelation *relation, Datum batch,
					 const Filters *filters, CancelScope scope,
					 const CancelObserver *observer);
extern void preview(const JobsRelation *relation, Datum batch, const Filters *filters,
					void (*tell) (const pg_uuid_t *id, JobStatus status,
								  const char *why, void *arg),
					void *arg);

#endif							/* PASQAL_JOBS_CANCEL_H */
