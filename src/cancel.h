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

#include "request.h"

/* Why a job was not canceled */
#define WHY_STATUS		"Job cannot be canceled: its status is %s"
#define WHY_KEPT		"Job was not canceled: a trigger or a row-level security policy kept it"
#define WHY_LOCKED		"Job is locked by another transaction"
#define WHY_NOT_FOUND	"Job was not found in this batch"
#define WHY_NO_MATCH	"Job does not match the other filters"

/* Functions that a cancel calls as it learns what becomes of the jobs */
typedef struct CancelObserver
{
	/*
	 * Called once, before all else, with the number of jobs that will be
	 * canceled if nothing happens meanwhile; may be NULL
	 */
	void		(*expect) (size_t jobs, void *arg);

	/*
	 * A job was canceled; the row has its fields, and is valid during the
	 * call
	 */
	void		(*canceled) (TupleTableSlot *row, void *arg);

	/*
	 * A job was not canceled, and why; called after the last canceled one, in
	 * the order of ids.  Both pointers are valid as long as the cancel's
	 * memory context.
	 */
	void		(*not_canceled) (const pg_uuid_t *id, const char *why, void *arg);

	void	   *arg;
} CancelObserver;

/* Which jobs a cancel answers for */
typedef enum CancelScope
{
	/* Every job that matches as the call begins, or that is named by id */
	CANCEL_CALL,

	/*
	 * The filter id is a list of jobs that matched some time ago: those that
	 * are gone or no longer match are left out
	 */
	CANCEL_WORK_LIST
} CancelScope;

/*
 * Called with each job of a preview: its status as the relation has it, null if
 * there is no such job; why is NULL for a job to be canceled
 */
typedef void (*PreviewCallback) (const pg_uuid_t *id, NullableDatum status,
								 const char *why, void *arg);

extern void cancel_check_limit(const Request *request, uint64 jobs);
extern uint64 cancel(const Request *request, CancelScope scope,
					 const CancelObserver *observer);
extern void preview(const Request *request, PreviewCallback callback, void *arg);

#endif							/* PASQAL_JOBS_CANCEL_H */
