/*-------------------------------------------------------------------------
 *
 * cancel.c
 *	  Cancelling jobs with exact accounting.
 *
 * Every job that matches as the call begins gets exactly one answer with its
 * true final status, whatever other sessions do meanwhile:
 *
 * 1. The lock of the batch is taken, unless a single job is named or none can
 *	  match.
 * 2. The jobs that match are read, with a snapshot taken now.  Jobs that have
 *	  ended are answered for by that; the cancelable ones are open.  A call that
 *	  has to wait for the lock reads before it waits, since it answers for the
 *	  jobs that match as it begins, and looks at all of them again.
 * 3. If one of the jobs looks locked by another transaction, or the call had to
 *	  wait for the lock of the batch, all jobs that are not locked are locked.
 *	  So workers that keep the locks of their jobs find no next ones while the
 *	  UPDATE waits for those that they have.
 * 4. One UPDATE cancels.  Its conditions are about the row itself, so that it
 *	  tests them again on the version that it locks.  Each row that it returns
 *	  as CANCELED is answered.
 * 5. Jobs that are still open (they ended or were edited in between, or a
 *	  trigger or a policy kept them) are looked at again, with a new snapshot.
 *	  That is rare, and even rarer is a job that has come back by then and is
 *	  canceled after all.
 *
 * A call that skips locked jobs always does step 3, and its UPDATE is for the
 * jobs that it has locked.  At the second look a job that was not locked, could
 * be canceled and matches is locked by another transaction, if it cannot be
 * locked then, either.
 *
 * Jobs that are named by id get an answer in any case, so for them the second
 * step only says whether any looks locked; and of a long list it is read, once
 * the lock is held, which ids are in the batch.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "batch_lock.h"
#include "cancel.h"
#include "compat.h"
#include "ledger.h"
#include "statement.h"

/*
 * How often the UPDATE is repeated for jobs that it did not cancel although
 * they can be canceled at the second look.  Where no trigger or policy can keep
 * a job from the UPDATE, such a job had ended, or did not match, when the
 * UPDATE began, and came back.  After the last repeat it is reported as kept.
 * A call that skips locked jobs tries as often to lock one that looks free.
 */
#define MAX_REPEATS		3

/* One call */
typedef struct Cancel
{
	const JobsRelation *relation;
	const Request *request;
	const CancelObserver *observer;
	bool		named;			/* the jobs are named by id, and each gets an
								 * answer */
	uint64		canceled;		/* jobs so far */
	bool		look_at_all;	/* also at jobs that had ended when they were
								 * read */
	bool		lock_ahead;		/* lock what is free before the UPDATE waits */
	uint64		held;			/* rows locked so far */
	uint64		strangers;		/* of them, jobs that were not entered */
	bool		repeat;			/* jobs that can still be canceled stay open */
	bool		came_back;		/* ... and there are some */
	LockView	locks;
	Ledger	   *ledger;
	MemoryContext context;		/* for what lasts as long as the call */
	const char *why_status[JOB_STATUS_OTHER];	/* made when first needed */
} Cancel;

static void
init_cancel(Cancel *call, const Request *request, bool named)
{
	memset(call, 0, sizeof(*call));
	call->relation = request->relation;
	call->request = request;
	call->named = named;
	call->context = CurrentMemoryContext;
	call->ledger = ledger_create(CurrentMemoryContext);
}

/*
 * cancel_check_limit
 *
 * Raises 54000 if so many jobs are more than the request allows.
 */
void
cancel_check_limit(const Request *request, uint64 jobs)
{
	if (request->max_jobs == 0 || jobs <= request->max_jobs)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("number of jobs to cancel exceeds pasqal_jobs.max_jobs (" UINT64_FORMAT ")",
					request->max_jobs),
			 errdetail("Nothing was canceled."),
			 errhint("Narrow the filters, or raise the limit with SET pasqal_jobs.max_jobs.")));
}

/*
 * A row of STATEMENT_MATCH: notes whether a job that could be canceled looks
 * locked by another transaction
 */
static void
note_lock(TupleTableSlot *row, void *arg)
{
	Cancel	   *call = arg;

	if (!call->lock_ahead && !row->tts_isnull[RESULT_XMAX] &&
		job_is_cancelable(job_status(call->relation, row->tts_values[RESULT_STATUS],
									 row->tts_isnull[RESULT_STATUS])))
		call->lock_ahead = row_looks_locked(&call->locks,
											DatumGetTransactionId(row->tts_values[RESULT_XMAX]));
}

/* Why a job of a status that is not cancelable was not canceled */
static const char *
why_status(Cancel *call, Datum value, bool isnull)
{
	JobStatus	status = job_status(call->relation, value, isnull);
	MemoryContext old;
	const char *why;

	if (status != JOB_STATUS_OTHER && call->why_status[status])
		return call->why_status[status];

	old = MemoryContextSwitchTo(call->context);
	why = psprintf(WHY_STATUS, job_status_text(call->relation, value, isnull));
	MemoryContextSwitchTo(old);

	if (status != JOB_STATUS_OTHER)
		call->why_status[status] = why;
	return why;
}

/* A row of STATEMENT_MATCH */
static void
enter_match(TupleTableSlot *row, void *arg)
{
	Cancel	   *call = arg;
	Datum		status = row->tts_values[RESULT_STATUS];
	bool		status_null = row->tts_isnull[RESULT_STATUS];

	if (row->tts_isnull[RESULT_ID])
		return;					/* an answer needs an id */
	note_lock(row, call);
	ledger_enter(call->ledger, DatumGetUUIDP(row->tts_values[RESULT_ID]),
				 call->look_at_all ||
				 job_is_cancelable(job_status(call->relation, status, status_null)) ? NULL :
				 why_status(call, status, status_null));
}

/* Only the jobs that are still open stay in the filter id, maybe none */
static void
list_open(const Cancel *call, Request *request)
{
	request->filters.of[FILTER_ID] = ledger_ids(call->ledger, false);
}

/* A long list of ids, and which of them are in the batch */
typedef struct LongList
{
	Cancel	   *call;
	FilterValues ids;			/* sorted */
	bool	   *present;
} LongList;

/* A row of STATEMENT_MATCH: enters the job if it is one of the list */
static void
enter_if_listed(TupleTableSlot *row, void *arg)
{
	const LongList *list = arg;
	Datum	   *found;

	if (row->tts_isnull[RESULT_ID])
		return;
	found = bsearch(&row->tts_values[RESULT_ID], list->ids.values, list->ids.count,
					sizeof(Datum), filter_compare_ids);
	if (found == NULL || list->present[found - list->ids.values])
		return;
	list->present[found - list->ids.values] = true;
	enter_match(row, list->call);
}

/*
 * Enters the jobs of a long list as the batch has them, in the order in which
 * the UPDATE will return them.  Only those that it is to cancel stay in the
 * request.
 */
static void
enter_long_list(Cancel *call, Request *request)
{
	LongList	list = {call, request->filters.of[FILTER_ID]};
	Request		batch = *request;

	list.present = MemoryContextAllocZero(call->context, list.ids.count);
	memset(&batch.filters, 0, sizeof(batch.filters));
	statement_execute(STATEMENT_MATCH, &batch, enter_if_listed, &list);
	for (int i = 0; i < list.ids.count && call->named; i++)
	{
		CHECK_FOR_INTERRUPTS();
		Assert(i == 0 || filter_compare_ids(&list.ids.values[i - 1], &list.ids.values[i]) < 0);
		if (!list.present[i])
			ledger_enter(call->ledger, DatumGetUUIDP(list.ids.values[i]), WHY_NOT_FOUND);
	}
	pfree(list.present);
	list_open(call, request);
}

/* Enters the jobs of the filter id, and reads whether one looks locked */
static void
enter_listed(Cancel *call, Request *request)
{
	const FilterValues *ids = &request->filters.of[FILTER_ID];

	if (ids->count > LONG_LIST)
	{
		enter_long_list(call, request);
		return;
	}
	if (ids->count > 1 && !call->lock_ahead && call->relation->shows_xmax && !request->read_only)
		statement_execute(STATEMENT_MATCH, request, note_lock, call);
	for (int i = 0; i < ids->count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		ledger_enter(call->ledger, DatumGetUUIDP(ids->values[i]), NULL);
	}
}

/* Is this status what a cancel makes of a job? */
static bool
is_canceled(const Request *request, Datum status, bool isnull)
{
	return job_status(request->relation, status, isnull) == JOB_CANCELED ||
		(request->cooperative && !isnull &&
		 label_column_equal(&request->relation->shape.labels[LABELS_OF_STATUS],
							status, request->running_status));
}

/* A row of STATEMENT_CANCEL: the fields of a response */
static void
strike_off(TupleTableSlot *row, void *arg)
{
	Cancel	   *call = arg;

	/* a trigger may have given the job another status; look at it later */
	if (!is_canceled(call->request, row->tts_values[COLUMN_STATUS],
					 row->tts_isnull[COLUMN_STATUS]))
		return;

	if (!row->tts_isnull[COLUMN_ID])
		ledger_strike_off(call->ledger, DatumGetUUIDP(row->tts_values[COLUMN_ID]));
	call->canceled++;
	cancel_check_limit(call->request, call->canceled);
	call->observer->canceled(row, call->observer->arg);
}

/* A row of STATEMENT_LOCK */
static void
note_held(TupleTableSlot *row, void *arg)
{
	Cancel	   *call = arg;

	call->held++;
	if (row->tts_isnull[RESULT_ID] ||
		!ledger_hold(call->ledger, DatumGetUUIDP(row->tts_values[RESULT_ID])))
		call->strangers++;
}

/* Locks the jobs of the request that no other transaction has locked */
static void
lock_free(Cancel *call, const Request *request)
{
	ledger_rewind(call->ledger);
	statement_execute(STATEMENT_LOCK, request, note_held, call);
	ledger_rewind(call->ledger);
	SEAM("after-lock-rows");
}

/*
 * Cancels the jobs of the request that are held.  Nearly all show that by their
 * xmax, which is our transaction's number.  Where others refer to a job, its xmax
 * is a MultiXact, and a lock that was taken before a savepoint has the number of
 * that; so what is left is named by id.  All jobs are if a trigger, which is to run
 * once for each, can keep one; if our number could be that of a MultiXact of
 * others, for whose jobs the UPDATE would wait; or if xmax cannot be seen.
 */
static void
cancel_held(Cancel *call, const Request *request)
{
	Request		held = *request;

	memset(&call->locks, 0, sizeof(call->locks));
	held.held_by = GetCurrentTransactionId();
	if (call->relation->shows_xmax && !call->relation->may_keep &&
		!may_be_multixact(&call->locks, held.held_by))
		statement_execute(STATEMENT_CANCEL, &held, strike_off, call);

	held.held_by = InvalidTransactionId;
	held.tids.count = 0;
	held.filters.of[FILTER_ID] = ledger_ids(call->ledger, true);
	if (request_lists_jobs(&held))
		statement_execute(STATEMENT_CANCEL, &held, strike_off, call);
}

/* Cancels the jobs of the request, in the way that its locked_jobs wants */
static void
cancel_requested(Cancel *call, const Request *request)
{
	uint64		held_before = call->held;

	if (call->lock_ahead)
		lock_free(call, request);
	if (!request->skip_locked)
		statement_execute(STATEMENT_CANCEL, request, strike_off, call);
	else if (call->held > held_before)
		cancel_held(call, request);
}

/*
 * Cancels the jobs of the filter id that still are where they were, and are not
 * locked.  What was updated meanwhile is elsewhere; it stays open, and in the
 * request.  The rows that are held are those of the tids, so the ids, which the
 * planner takes long for, need not be conditions; unless another job is at the
 * place of one.
 */
static void
cancel_in_place(Cancel *call, Request *request)
{
	Request		places = *request;

	Assert(request->skip_locked);
	places.filters.of[FILTER_ID].count = 0;
	lock_free(call, &places);
	if (call->held > 0 && call->strangers == 0)
		cancel_held(call, &places);
	request->tids.count = 0;
	list_open(call, request);
}

/*
 * Why a job was not canceled that can be canceled and matches.  It is locked if
 * it could not be locked; but a policy may have hidden it from that.
 */
static const char *
why_left(Cancel *call, const pg_uuid_t *id, Datum xmax, bool xmax_null)
{
	if (!call->request->skip_locked || ledger_is_held(call->ledger, id) ||
		(call->relation->has_policies && !xmax_null &&
		 !row_looks_locked(&call->locks, DatumGetTransactionId(xmax))))
		return WHY_KEPT;
	return WHY_LOCKED;
}

/* A row of STATEMENT_LOOK */
static void
settle(TupleTableSlot *row, void *arg)
{
	Cancel	   *call = arg;
	Datum		status = row->tts_values[RESULT_STATUS];
	bool		status_null = row->tts_isnull[RESULT_STATUS];
	const pg_uuid_t *id;
	const char *why;

	if (row->tts_isnull[RESULT_ID])
		return;
	id = DatumGetUUIDP(row->tts_values[RESULT_ID]);
	if (!job_is_cancelable(job_status(call->relation, status, status_null)))
		why = why_status(call, status, status_null);
	else if (DatumGetBool(row->tts_values[RESULT_MATCHES]))
	{
		if (call->repeat && !ledger_is_held(call->ledger, id))
		{
			call->came_back = true;
			return;
		}
		why = why_left(call, id, row->tts_values[RESULT_XMAX], row->tts_isnull[RESULT_XMAX]);
	}
	else if (call->named)
		why = WHY_NO_MATCH;
	else
		return;					/* edited meanwhile; it no longer matches */
	ledger_settle(call->ledger, id, why);
}

/*
 * Looks again at the jobs that are still open, and cancels those that came
 * back, or could not be locked and look free.
 */
static void
look_at_open(Cancel *call, const Request *request)
{
	Request		again = *request;
	bool		repeat = request->skip_locked || !call->relation->may_keep;

	for (int repeats = 0; ledger_count(call->ledger, false) > 0; repeats++)
	{
		uint64		held_before = call->held;

		list_open(call, &again);
		call->repeat = repeat && repeats < MAX_REPEATS;
		call->came_back = false;
		memset(&call->locks, 0, sizeof(call->locks));
		SEAM("before-look");
		statement_execute(STATEMENT_LOOK, &again, settle, call);
		if (!call->came_back)
			return;
		SEAM("before-repeat");
		list_open(call, &again);	/* not those that a trigger has kept */
		cancel_requested(call, &again);
		repeat = !request->skip_locked || call->held > held_before;
	}
}

/* Enters the jobs that the call answers for, and takes the lock of the batch */
static void
enter_jobs(Cancel *call, Request *request, bool listed)
{
	bool		lockless = request->filters.none_match ||
	(listed && request->filters.of[FILTER_ID].count == 1);
	BatchLock	lock = lockless ? BATCH_LOCK_TAKEN :
	batch_lock(request->relation, request->batch, listed);

	call->look_at_all = lock == BATCH_LOCK_BUSY;
	call->lock_ahead = request->skip_locked ||
		(lock == BATCH_LOCK_WAITED && request->relation->shows_xmax);
	SEAM("after-lock");
	if (listed)
		enter_listed(call, request);
	else
		statement_execute(STATEMENT_MATCH, request, enter_match, call);
	SEAM("after-match");
	if (lock == BATCH_LOCK_BUSY)
	{
		(void) batch_lock(request->relation, request->batch, true);
		call->lock_ahead = call->lock_ahead || request->relation->shows_xmax;
	}
	else if (!listed && !request->skip_locked)
		cancel_check_limit(request, ledger_count(call->ledger, false));
}

/*
 * cancel
 *
 * Cancels the cancelable jobs of the batch that match the filters, calls the
 * observer for each job that the scope answers for, and returns how many were
 * canceled.  SPI must be connected.  All memory, including that of the reasons
 * given, is taken from the current context, which the caller resets or
 * deletes.  Whatever a statement raises (40001, 40P01, 42501, 55000, 57014,
 * ...) passes through; then nothing is done once the caller's transaction or
 * subtransaction has ended.
 */
uint64
cancel(const Request *request, CancelScope scope, const CancelObserver *observer)
{
	Request		narrowed = *request;
	bool		listed = request_lists_jobs(request);
	Cancel		call;

	init_cancel(&call, request, listed && scope == CANCEL_CALL);
	call.observer = observer;
	enter_jobs(&call, &narrowed, listed);

	if (observer->expect)
		observer->expect(ledger_count(call.ledger, false), observer->arg);
	SEAM("before-update");

	if (narrowed.tids.count > 0 && request_lists_jobs(&narrowed))
	{
		cancel_in_place(&call, &narrowed);
		SEAM("between-updates");
	}

	/* without its ids a request would be for the whole batch */
	if (!listed || request_lists_jobs(&narrowed))
		cancel_requested(&call, &narrowed);
	SEAM("after-update");

	look_at_open(&call, &narrowed);

	ledger_report(call.ledger, call.named ? WHY_NOT_FOUND : NULL,
				  observer->not_canceled, observer->arg);
	return call.canceled;
}

/* A preview under way */
typedef struct Preview
{
	Cancel		call;			/* for what it shares with a cancel */
	PreviewCallback callback;
	void	   *arg;
} Preview;

/* A row of STATEMENT_MATCH, or of STATEMENT_LOOK if jobs were named */
static void
foresee(TupleTableSlot *row, void *arg)
{
	Preview    *p = arg;
	NullableDatum status = {row->tts_values[RESULT_STATUS], row->tts_isnull[RESULT_STATUS]};
	const char *why = NULL;

	if (row->tts_isnull[RESULT_ID])
		return;
	if (!job_is_cancelable(job_status(p->call.relation, status.value, status.isnull)))
		why = why_status(&p->call, status.value, status.isnull);
	else if (p->call.named && !DatumGetBool(row->tts_values[RESULT_MATCHES]))
		why = WHY_NO_MATCH;
	ledger_strike_off(p->call.ledger, DatumGetUUIDP(row->tts_values[RESULT_ID]));
	p->callback(DatumGetUUIDP(row->tts_values[RESULT_ID]), status, why, p->arg);
}

/* A job that was named and is not there */
static void
foresee_missing(const pg_uuid_t *id, const char *why, void *arg)
{
	Preview    *p = arg;
	NullableDatum no_status = {(Datum) 0, true};

	p->callback(id, no_status, why, p->arg);
}

/*
 * preview
 *
 * Calls the callback for each job that a cancel would answer for, as the
 * snapshot of the calling statement sees it.  Nothing is changed and no row is
 * locked.  SPI must be connected; memory as in cancel.
 */
void
preview(const Request *request, PreviewCallback callback, void *arg)
{
	Preview		p = {.callback = callback, .arg = arg};
	Request		narrowed = *request;
	bool		named = request_lists_jobs(request);

	init_cancel(&p.call, request, named);
	p.call.look_at_all = true;
	if (named)
		enter_listed(&p.call, &narrowed);
	if (!named)
		statement_execute(STATEMENT_MATCH, request, foresee, &p);
	else if (request_lists_jobs(&narrowed))
		statement_execute(STATEMENT_LOOK, &narrowed, foresee, &p);
	ledger_report(p.call.ledger, WHY_NOT_FOUND, foresee_missing, &p);
}
