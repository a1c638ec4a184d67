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
 *	  ended get their answer from this; the cancelable ones are open.  A call
 *	  that has to wait for the lock reads before it waits, since it answers for
 *	  the jobs that match as it begins, and looks at all of them again.
 * 3. If one of the jobs looks locked by another transaction, or the call had
 *	  to wait for the lock of the batch, all jobs that are not locked are
 *	  locked.  So workers that keep their jobs locked find no next ones while
 *	  the UPDATE waits for those.
 * 4. One UPDATE cancels.  Its conditions are about the row itself, so that it
 *	  tests them again on the version that it locks.  Each row that it returns
 *	  as CANCELED is answered.
 * 5. Jobs that are still open (they ended or were edited in between, or a
 *	  trigger or a policy kept them) are looked at again, with a new snapshot.
 *	  That is rare; rarer still, a job can be canceled again by then, and is.
 *
 * A call that skips locked jobs always does step 3, and its UPDATE is for the
 * jobs that it has locked.  A job that it could not lock, and that can be
 * canceled and matches at the second look, is locked by another transaction,
 * unless it can be locked then.
 *
 * Jobs that are named by id get an answer in any case.  So for them the second
 * step comes after the lock, and only says whether one looks locked and, for a
 * long list, which are in the batch and which of these have ended.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "batch_lock.h"
#include "cancel.h"
#include "compat.h"
#include "ledger.h"
#include "statement.h"

/*
 * How often the UPDATE is tried again for jobs that it did not cancel although
 * they can be canceled at the second look.  Where no trigger or policy can
 * keep a job from the UPDATE, such a job had ended, or did not match, when the
 * UPDATE began, and came back.  After the last retry it is reported as kept.
 * A call that skips locked jobs stops sooner if it can lock no more of them.
 */
#define MAX_RETRIES		3

/* One call */
typedef struct CancelState
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
	uint64		unlisted;		/* of them, jobs that were not entered */
	bool		retry;			/* jobs that can be canceled after all are to
								 * be tried again */
	bool		retry_needed;	/* ... and there are some */
	LockView	locks;
	HTAB	   *looks;			/* of LastLook; NULL: none yet */
	Ledger	   *ledger;
	MemoryContext context;		/* for what lasts as long as the call */
	const char *why_status[JOB_STATUS_OTHER];	/* made when first needed */
} CancelState;

static void
init_cancel(CancelState *state, const Request *request, bool named)
{
	memset(state, 0, sizeof(*state));
	state->relation = request->relation;
	state->request = request;
	state->named = named;
	state->context = CurrentMemoryContext;
	state->ledger = ledger_create(CurrentMemoryContext);
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
 * A row of STATEMENT_MATCH: notes whether a job that can be canceled looks
 * locked by another transaction
 */
static void
note_lock(TupleTableSlot *row, void *arg)
{
	CancelState *state = arg;

	if (!state->lock_ahead && !row->tts_isnull[RESULT_XMAX] &&
		job_is_cancelable(job_status(state->relation, row->tts_values[RESULT_STATUS],
									 row->tts_isnull[RESULT_STATUS])))
		state->lock_ahead = row_looks_locked(&state->locks,
											 DatumGetTransactionId(row->tts_values[RESULT_XMAX]));
}

/* Why a job of a status that is not cancelable was not canceled */
static const char *
why_status(CancelState *state, Datum value, bool isnull)
{
	JobStatus	status = job_status(state->relation, value, isnull);
	MemoryContext old;
	const char *text;
	const char *why;

	if (status != JOB_STATUS_OTHER && state->why_status[status])
		return state->why_status[status];

	text = job_status_text(state->relation, value, isnull);
	old = MemoryContextSwitchTo(state->context);
	why = psprintf(WHY_STATUS, text);
	MemoryContextSwitchTo(old);

	if (status != JOB_STATUS_OTHER)
		state->why_status[status] = why;
	return why;
}

/* A row of STATEMENT_MATCH */
static void
enter_match(TupleTableSlot *row, void *arg)
{
	CancelState *state = arg;
	Datum		status = row->tts_values[RESULT_STATUS];
	bool		status_null = row->tts_isnull[RESULT_STATUS];

	if (row->tts_isnull[RESULT_ID])
		return;					/* an answer needs an id */
	note_lock(row, state);
	ledger_enter(state->ledger, DatumGetUUIDP(row->tts_values[RESULT_ID]),
				 state->look_at_all ||
				 job_is_cancelable(job_status(state->relation, status, status_null)) ? NULL :
				 why_status(state, status, status_null));
}

/* Narrows the filter id to the jobs that are still open, maybe none */
static void
list_open(const CancelState *state, Request *request)
{
	request->filters.of[FILTER_ID] = ledger_ids(state->ledger, false);
}

/* A long list of ids, and which of them are in the batch */
typedef struct LongList
{
	CancelState *state;
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
	enter_match(row, list->state);
}

/*
 * Enters the jobs of a long list as the batch has them, in the order in which
 * the UPDATE mostly returns them.  Only those that it is to cancel stay in the
 * request.
 */
static void
enter_long_list(CancelState *state, Request *request)
{
	LongList	list = {state, request->filters.of[FILTER_ID], NULL};
	Request		batch = *request;

	list.present = MemoryContextAllocZero(state->context, list.ids.count);
	memset(&batch.filters, 0, sizeof(batch.filters));
	statement_execute(STATEMENT_MATCH, &batch, enter_if_listed, &list);
	for (int i = 0; i < list.ids.count && state->named; i++)
	{
		CHECK_FOR_INTERRUPTS();
		Assert(i == 0 || filter_compare_ids(&list.ids.values[i - 1], &list.ids.values[i]) < 0);
		if (!list.present[i])
			ledger_enter(state->ledger, DatumGetUUIDP(list.ids.values[i]), WHY_NOT_FOUND);
	}
	pfree(list.present);
	list_open(state, request);
}

/* Enters the jobs of the filter id, and reads whether one looks locked */
static void
enter_listed(CancelState *state, Request *request)
{
	const FilterValues *ids = &request->filters.of[FILTER_ID];

	if (ids->count > LONG_LIST)
	{
		enter_long_list(state, request);
		return;
	}
	if (ids->count > 1 && !state->lock_ahead && state->relation->shows_xmax && !request->read_only)
		statement_execute(STATEMENT_MATCH, request, note_lock, state);
	for (int i = 0; i < ids->count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		ledger_enter(state->ledger, DatumGetUUIDP(ids->values[i]), NULL);
	}
}

/* Is this status what a cancel makes of a job? */
static bool
is_canceled(const Request *request, Datum status, bool isnull)
{
	return job_status(request->relation, status, isnull) == JOB_CANCELED ||
		(request->has_running_status && !isnull &&
		 label_column_equal(&request->relation->shape.labels[LABELS_OF_STATUS],
							status, request->running_status));
}

/* A row of STATEMENT_CANCEL: the fields of a response */
static void
note_canceled(TupleTableSlot *row, void *arg)
{
	CancelState *state = arg;

	/* a trigger may have given the job another status; look at it later */
	if (!is_canceled(state->request, row->tts_values[COLUMN_STATUS],
					 row->tts_isnull[COLUMN_STATUS]))
		return;

	if (!row->tts_isnull[COLUMN_ID])
		ledger_answer(state->ledger, DatumGetUUIDP(row->tts_values[COLUMN_ID]));
	state->canceled++;
	cancel_check_limit(state->request, state->canceled);
	if (state->observer->canceled)
		state->observer->canceled(row, state->observer->arg);
}

/* A row of STATEMENT_LOCK */
static void
note_held(TupleTableSlot *row, void *arg)
{
	CancelState *state = arg;

	state->held++;
	if (row->tts_isnull[RESULT_ID] ||
		!ledger_hold(state->ledger, DatumGetUUIDP(row->tts_values[RESULT_ID])))
		state->unlisted++;
}

/* Locks the jobs of the request that no other transaction has locked */
static void
lock_free_jobs(CancelState *state, const Request *request)
{
	ledger_rewind(state->ledger);
	statement_execute(STATEMENT_LOCK, request, note_held, state);
	ledger_rewind(state->ledger);
	SEAM("after-lock-rows");
}

/*
 * Cancels the jobs of the request that are held.  Nearly all have our
 * transaction id as their xmax.  The rest are named by id: those whose xmax is
 * a MultiXact, since others refer to them, or the id of a transaction above
 * this subtransaction.  All jobs are named if a trigger, which is to run once
 * for each, can keep one; if our id could also be that of a MultiXact of
 * others, for whose jobs the UPDATE would wait; or if xmax cannot be seen.
 */
static void
cancel_held(CancelState *state, const Request *request)
{
	Request		held = *request;

	memset(&state->locks, 0, sizeof(state->locks));
	held.held_by = GetCurrentTransactionId();
	if (state->relation->shows_xmax && !state->relation->update_may_skip &&
		!may_be_multixact(&state->locks, held.held_by))
		statement_execute(STATEMENT_CANCEL, &held, note_canceled, state);

	held.held_by = InvalidTransactionId;
	held.tids.count = 0;
	held.filters.of[FILTER_ID] = ledger_ids(state->ledger, true);
	if (request_lists_jobs(&held))
		statement_execute(STATEMENT_CANCEL, &held, note_canceled, state);
}

/* Cancels the jobs of the request as its skip_locked says */
static void
cancel_requested(CancelState *state, const Request *request)
{
	uint64		held_before = state->held;

	if (state->lock_ahead)
		lock_free_jobs(state, request);
	if (!request->skip_locked)
		statement_execute(STATEMENT_CANCEL, request, note_canceled, state);
	else if (state->held > held_before)
		cancel_held(state, request);
}

/*
 * Cancels the jobs of the filter id that still are where they were, and are
 * not locked.  Jobs that were updated meanwhile are elsewhere; they stay open,
 * and in the request.  The tids stand for the ids, which take long to plan,
 * unless one of them is that of another job now.
 */
static void
cancel_in_place(CancelState *state, Request *request)
{
	Request		places = *request;

	Assert(request->skip_locked);
	places.filters.of[FILTER_ID].count = 0;
	lock_free_jobs(state, &places);
	if (state->held > 0 && state->unlisted == 0)
		cancel_held(state, &places);
	request->tids.count = 0;
	list_open(state, request);
}

/* How the row of a job was at the last look */
typedef struct LastLook
{
	pg_uuid_t	id;				/* hash key */
	TransactionId xmax;
	bool		looked_locked;
} LastLook;

/*
 * Has a policy kept a job that we have tried to lock since the last look?  Any
 * other transaction that had locked it meanwhile would have left another xmax.
 */
static bool
kept_by_policy(CancelState *state, const pg_uuid_t *id, TransactionId xmax)
{
	HASHCTL		ctl = {.keysize = UUID_LEN, .entrysize = sizeof(LastLook), .hcxt = state->context};
	LastLook   *last;
	bool		found;
	bool		kept;

	if (state->looks == NULL)
		state->looks = hash_create("pasqal_jobs looks", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	last = hash_search(state->looks, id, HASH_ENTER, &found);
	kept = found && !last->looked_locked && last->xmax == xmax;
	last->xmax = xmax;
	last->looked_locked = row_looks_locked(&state->locks, xmax);
	return kept;
}

/*
 * Why a job that can be canceled and matches was not canceled, or NULL if it is
 * to be tried again.  A job that we have locked was kept by a trigger; another
 * one is locked by another transaction, unless a policy hides it from locking.
 */
static const char *
why_not_canceled(CancelState *state, const pg_uuid_t *id, NullableDatum xmax)
{
	if (ledger_is_held(state->ledger, id))
		return WHY_KEPT;
	if (state->request->skip_locked && state->relation->has_policies && !xmax.isnull &&
		kept_by_policy(state, id, DatumGetTransactionId(xmax.value)))
		return WHY_KEPT;
	if (state->retry)
		return NULL;
	return state->request->skip_locked ? WHY_LOCKED : WHY_KEPT;
}

/* A row of STATEMENT_LOOK */
static void
settle(TupleTableSlot *row, void *arg)
{
	CancelState *state = arg;
	Datum		status = row->tts_values[RESULT_STATUS];
	bool		status_null = row->tts_isnull[RESULT_STATUS];
	const pg_uuid_t *id;
	const char *why;

	if (row->tts_isnull[RESULT_ID])
		return;
	id = DatumGetUUIDP(row->tts_values[RESULT_ID]);
	if (!job_is_cancelable(job_status(state->relation, status, status_null)))
		why = why_status(state, status, status_null);
	else if (DatumGetBool(row->tts_values[RESULT_MATCHES]))
	{
		NullableDatum xmax = {row->tts_values[RESULT_XMAX], row->tts_isnull[RESULT_XMAX]};

		why = why_not_canceled(state, id, xmax);
		if (why == NULL)
		{
			state->retry_needed = true;
			return;
		}
	}
	else if (state->named)
		why = WHY_NO_MATCH;
	else
		return;					/* edited meanwhile; it no longer matches */
	ledger_settle(state->ledger, id, why);
}

/*
 * Looks again at the jobs that are still open, and cancels those that came
 * back, or that can be locked by now.
 */
static void
look_at_open(CancelState *state, const Request *request)
{
	Request		again = *request;
	bool		retry = request->skip_locked || !state->relation->update_may_skip;

	for (int retries = 0; ledger_count(state->ledger, false) > 0; retries++)
	{
		uint64		held_before = state->held;

		list_open(state, &again);
		state->retry = retry && retries < MAX_RETRIES;
		state->retry_needed = false;
		memset(&state->locks, 0, sizeof(state->locks));
		SEAM("before-look");
		statement_execute(STATEMENT_LOOK, &again, settle, state);
		if (!state->retry_needed)
			return;
		SEAM("before-repeat");
		list_open(state, &again);	/* not those that a trigger has kept */
		cancel_requested(state, &again);
		retry = !request->skip_locked || state->held > held_before;
	}
}

/*
 * Enters the jobs that the call answers for, and takes the lock of the batch.
 * Where nothing can keep a job from the UPDATE, their number already tells
 * whether they are too many.
 */
static void
enter_jobs(CancelState *state, Request *request, bool listed)
{
	bool		no_batch_lock = (request->filters.none_match ||
								 (listed && request->filters.of[FILTER_ID].count == 1));
	BatchLock	lock = (no_batch_lock ? BATCH_LOCK_TAKEN :
						batch_lock(request->relation, request->batch, listed));

	state->look_at_all = lock == BATCH_LOCK_BUSY;
	state->lock_ahead = request->skip_locked ||
		(lock == BATCH_LOCK_WAITED && request->relation->shows_xmax);
	SEAM("after-lock");
	if (listed)
		enter_listed(state, request);
	else
		statement_execute(STATEMENT_MATCH, request, enter_match, state);
	SEAM("after-match");
	if (lock == BATCH_LOCK_BUSY)
	{
		(void) batch_lock(request->relation, request->batch, true);
		state->lock_ahead = state->lock_ahead || request->relation->shows_xmax;
	}
	else if (!listed && !request->skip_locked && !request->relation->update_may_skip)
		cancel_check_limit(request, ledger_count(state->ledger, false));
}

/*
 * cancel
 *
 * Cancels the cancelable jobs of the batch that match the filters, calls the
 * observer for each job that the scope answers for, and returns how many were
 * canceled.  SPI must be connected.  All memory, including that of the reasons
 * given, is taken from the current context, which the caller resets or
 * deletes.  Whatever a statement raises (40001, 40P01, 42501, 55000, 57014,
 * ...) passes through; the end of the caller's transaction or subtransaction
 * undoes all.
 */
uint64
cancel(const Request *request, CancelScope scope, const CancelObserver *observer)
{
	Request		narrowed = *request;
	bool		listed = request_lists_jobs(request);
	CancelState state;

	init_cancel(&state, request, listed && scope == CANCEL_CALL);
	state.observer = observer;
	enter_jobs(&state, &narrowed, listed);

	if (observer->expect)
		observer->expect(ledger_count(state.ledger, false), observer->arg);
	SEAM("before-update");

	if (narrowed.tids.count > 0 && request_lists_jobs(&narrowed))
	{
		cancel_in_place(&state, &narrowed);
		SEAM("between-updates");
	}

	/* without its ids a request would be for the whole batch */
	if (!listed || request_lists_jobs(&narrowed))
		cancel_requested(&state, &narrowed);
	SEAM("after-update");

	look_at_open(&state, &narrowed);

	ledger_report(state.ledger, state.named ? WHY_NOT_FOUND : NULL,
				  observer->not_canceled, observer->arg);
	return state.canceled;
}

/* A preview under way */
typedef struct Preview
{
	CancelState state;			/* for what it shares with a cancel */
	PreviewCallback callback;
	void	   *arg;
} Preview;

/* A row of STATEMENT_MATCH, or of STATEMENT_LOOK if jobs were named */
static void
preview_row(TupleTableSlot *row, void *arg)
{
	Preview    *p = arg;
	NullableDatum status = {row->tts_values[RESULT_STATUS], row->tts_isnull[RESULT_STATUS]};
	const char *why = NULL;

	if (row->tts_isnull[RESULT_ID])
		return;
	if (!job_is_cancelable(job_status(p->state.relation, status.value, status.isnull)))
		why = why_status(&p->state, status.value, status.isnull);
	else if (p->state.named && !DatumGetBool(row->tts_values[RESULT_MATCHES]))
		why = WHY_NO_MATCH;
	ledger_answer(p->state.ledger, DatumGetUUIDP(row->tts_values[RESULT_ID]));
	p->callback(DatumGetUUIDP(row->tts_values[RESULT_ID]), status, why, p->arg);
}

/* A job that was named and is not there */
static void
preview_missing(const pg_uuid_t *id, const char *why, void *arg)
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

	init_cancel(&p.state, request, named);
	p.state.look_at_all = true;
	if (named)
		enter_listed(&p.state, &narrowed);
	if (!named)
		statement_execute(STATEMENT_MATCH, request, preview_row, &p);
	else if (request_lists_jobs(&narrowed))
		statement_execute(STATEMENT_LOOK, &narrowed, preview_row, &p);
	ledger_report(p.state.ledger, WHY_NOT_FOUND, preview_missing, &p);
}
