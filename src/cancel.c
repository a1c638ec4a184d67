/*-------------------------------------------------------------------------
 *
 * cancel.c
 *	  Cancelling jobs with exact accounting.
 *
 * Every job that matches as the call begins gets exactly one answer with its
 * true final status, whatever other sessions do meanwhile:
 *
 * 1. The lock of the batch is taken, unless a single job is named.
 * 2. The jobs that match are read, with a snapshot taken now.  Jobs that have
 *	  ended are answered for by that; the cancelable ones are open.  A call
 *	  that has to wait for the lock reads before it waits, since it answers for
 *	  the jobs that match as it begins, and looks at all of them again.
 * 3. One UPDATE cancels.  Its conditions are about the row itself, so that it
 *	  tests them again on the version that it locks.  Each row that it returns
 *	  as CANCELED is answered.
 * 4. Jobs that are still open (they ended or were edited in between, or a
 *	  trigger or a policy kept them) are looked at again, with a new snapshot.
 *	  That is rare, and even rarer is a job that has come back by then and is
 *	  canceled after all.
 *
 * Jobs that are named by id get an answer in any case, so for them the second
 * step is left out; but of a long list it is read, once the lock is held,
 * which ids are in the batch.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

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
 */
#define MAX_REPEATS		3

/* A list of ids that is longer than this is compared with the batch first */
#define LONG_LIST		50000

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
	bool		repeat;			/* jobs that came back stay open */
	bool		came_back;		/* ... and there are some */
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

/* A row of STATEMENT_MATCH: (id, status) */
static void
enter_match(TupleTableSlot *row, void *arg)
{
	Cancel	   *call = arg;
	Datum		status = row->tts_values[RESULT_STATUS];
	bool		status_null = row->tts_isnull[RESULT_STATUS];

	if (row->tts_isnull[RESULT_ID])
		return;					/* an answer needs an id */
	ledger_enter(call->ledger, DatumGetUUIDP(row->tts_values[RESULT_ID]),
				 call->look_at_all ||
				 job_is_cancelable(job_status(call->relation, status, status_null)) ? NULL :
				 why_status(call, status, status_null));
}

/* Which ids of a list are in the batch */
typedef struct Presence
{
	const FilterValues *ids;	/* sorted */
	bool	   *present;
} Presence;

/* A row of STATEMENT_MATCH */
static void
note_presence(TupleTableSlot *row, void *arg)
{
	const Presence *p = arg;
	Datum	   *found;

	if (row->tts_isnull[RESULT_ID])
		return;
	found = bsearch(&row->tts_values[RESULT_ID], p->ids->values, p->ids->count,
					sizeof(Datum), filter_compare_ids);
	if (found)
		p->present[found - p->ids->values] = true;
}

/*
 * Enters the jobs of the filter id as open.  The planner takes microseconds
 * for each element of a list.  So of a long one only the ids that are in the
 * batch stay in the request (and its array), maybe none; the others have their
 * answer.
 */
static void
enter_listed(Cancel *call, Request *request)
{
	FilterValues *ids = &request->filters.of[FILTER_ID];
	Presence	p = {ids, NULL};
	int			kept = 0;

	if (ids->count > LONG_LIST)
	{
		Request		batch = *request;

		for (int i = 1; i < ids->count; i++)
			Assert(filter_compare_ids(&ids->values[i - 1], &ids->values[i]) <= 0);
		memset(batch.filters.of, 0, sizeof(batch.filters.of));
		p.present = MemoryContextAllocZero(call->context, ids->count);
		statement_execute(STATEMENT_MATCH, &batch, note_presence, &p);
	}

	for (int i = 0; i < ids->count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (p.present && !p.present[i])
		{
			if (call->named)
				ledger_enter(call->ledger, DatumGetUUIDP(ids->values[i]), WHY_NOT_FOUND);
			continue;
		}
		ledger_enter(call->ledger, DatumGetUUIDP(ids->values[i]), NULL);
		ids->values[kept++] = ids->values[i];
	}
	ids->count = kept;
}

/* A row of STATEMENT_CANCEL: the fields of a response */
static void
strike_off(TupleTableSlot *row, void *arg)
{
	Cancel	   *call = arg;

	/* a trigger may have given the job another status; look at it later */
	if (job_status(call->relation, row->tts_values[COLUMN_STATUS],
				   row->tts_isnull[COLUMN_STATUS]) != JOB_CANCELED)
		return;

	if (!row->tts_isnull[COLUMN_ID])
		ledger_strike_off(call->ledger, DatumGetUUIDP(row->tts_values[COLUMN_ID]));
	call->canceled++;
	cancel_check_limit(call->request, call->canceled);
	call->observer->canceled(row, call->observer->arg);
}

/* Only the jobs that are still open stay in the filter id, maybe none */
static void
list_open(const Cancel *call, Request *request)
{
	FilterValues *ids = &request->filters.of[FILTER_ID];
	size_t		open = ledger_count_open(call->ledger);

	ids->values = ledger_open_ids(call->ledger, open);
	ids->count = (int) open;
}

/*
 * Cancels the jobs of the filter id that still are where they were.  What was
 * updated meanwhile is elsewhere; it stays open, and in the request.
 */
static void
cancel_in_place(Cancel *call, Request *request)
{
	if (request_lists_jobs(request))
		statement_execute(STATEMENT_CANCEL, request, strike_off, call);
	request->tids.count = 0;
	list_open(call, request);
}

/* A row of STATEMENT_LOOK: (id, status, matches) */
static void
settle(TupleTableSlot *row, void *arg)
{
	Cancel	   *call = arg;
	Datum		status = row->tts_values[RESULT_STATUS];
	bool		status_null = row->tts_isnull[RESULT_STATUS];
	const char *why;

	if (row->tts_isnull[RESULT_ID])
		return;
	if (!job_is_cancelable(job_status(call->relation, status, status_null)))
		why = why_status(call, status, status_null);
	else if (DatumGetBool(row->tts_values[RESULT_MATCHES]))
	{
		if (call->repeat)
		{
			call->came_back = true;
			return;
		}
		why = WHY_KEPT;
	}
	else if (call->named)
		why = WHY_NO_MATCH;
	else
		return;					/* edited meanwhile; it no longer matches */
	ledger_settle(call->ledger, DatumGetUUIDP(row->tts_values[RESULT_ID]), why);
}

/*
 * Looks again at the jobs that are still open, and cancels those that came
 * back.
 */
static void
look_at_open(Cancel *call, const Request *request)
{
	Request		again = *request;

	for (int repeats = 0; ledger_count_open(call->ledger) > 0; repeats++)
	{
		list_open(call, &again);
		call->repeat = repeats < MAX_REPEATS && !call->relation->may_keep;
		call->came_back = false;
		SEAM("before-look");
		statement_execute(STATEMENT_LOOK, &again, settle, call);
		if (!call->came_back)
			return;
		SEAM("before-repeat");
		statement_execute(STATEMENT_CANCEL, &again, strike_off, call);
	}
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
	bool		single = listed && request->filters.of[FILTER_ID].count == 1;
	bool		locked;
	Cancel		call;

	init_cancel(&call, request, listed && scope == CANCEL_CALL);
	call.observer = observer;

	locked = single || batch_lock(request->relation, request->batch, listed);
	call.look_at_all = !locked;
	SEAM("after-lock");
	if (listed)
		enter_listed(&call, &narrowed);
	else
		statement_execute(STATEMENT_MATCH, request, enter_match, &call);
	SEAM("after-match");
	if (!locked)
		batch_lock(request->relation, request->batch, true);
	else if (!listed)
		cancel_check_limit(request, ledger_count_open(call.ledger));

	if (observer->expect)
		observer->expect(ledger_count_open(call.ledger), observer->arg);

	SEAM("before-update");

	if (narrowed.tids.count > 0)
	{
		cancel_in_place(&call, &narrowed);
		SEAM("between-updates");
	}

	/* without its ids a request would be for the whole batch */
	if (!listed || request_lists_jobs(&narrowed))
		statement_execute(STATEMENT_CANCEL, &narrowed, strike_off, &call);
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
	if (named)
		enter_listed(&p.call, &narrowed);
	if (!named)
		statement_execute(STATEMENT_MATCH, request, foresee, &p);
	else if (request_lists_jobs(&narrowed))
		statement_execute(STATEMENT_LOOK, &narrowed, foresee, &p);
	ledger_report(p.call.ledger, WHY_NOT_FOUND, foresee_missing, &p);
}
