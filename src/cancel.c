/*-------------------------------------------------------------------------
 *
 * cancel.c
 *	  Cancelling jobs with exact accounting.
 *
 * Every job that matches as the call begins gets exactly one answer with its
 * true final status, whatever other sessions do meanwhile:
 *
 * 1. What matches is read, with a snapshot taken now.  Jobs that have ended
 *	  are answered by that; the cancelable ones are owed an answer.
 * 2. One UPDATE cancels.  Its conditions stand on the row itself, so that it
 *	  tests them again on the version that it locks.  Each row that it returns
 *	  as CANCELED is answered.
 * 3. What is still owed an answer (a job that ended or was edited in between,
 *	  one that a trigger or a policy kept) is looked at again, with a new
 *	  snapshot.  That is rare, and rarer still is a job that has come back by
 *	  then and is canceled after all.
 *
 * Jobs that were named by id are owed an answer in any case, so for them the
 * first step is left out.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "cancel.h"
#include "columns.h"
#include "ledger.h"
#include "statement.h"

/* Why a job was not canceled */
#define WHY_STATUS		"Job cannot be canceled: its status is %s"
#define WHY_KEPT		"Job was not canceled: a trigger or a row-level security policy kept it"
#define WHY_NOT_FOUND	"Job was not found in this batch"
#define WHY_NO_MATCH	"Job does not match the other filters"

/*
 * A job that ended, or did not match, when the UPDATE began, and yet can be
 * canceled when it is looked at again, has come back in between, unless
 * something kept it.  Where nothing can, the UPDATE is repeated for such jobs,
 * but not for ever: a job that comes and goes so often is told as kept.
 */
#define MAX_REPEATS		3

/* One call */
typedef struct Cancel
{
	const JobsRelation *relation;
	const CancelObserver *observer;
	bool		listed;			/* the jobs are those of the filter id */
	bool		named;			/* ... and each is owed an answer */
	uint64		canceled;		/* jobs so far */
	bool		repeat;			/* jobs that came back are to stay open */
	bool		came_back;		/* ... and there are some */
	Ledger	   *ledger;
	MemoryContext context;		/* for what lasts as long as the call */
	const char *why_status[JOB_STATUS_OTHER];	/* made when first needed */
} Cancel;

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
	Datum		status = row->tts_values[1];
	bool		status_null = row->tts_isnull[1];

	if (row->tts_isnull[0])
		return;					/* a view may show such a job; nobody could
								 * be told of it */
	ledger_enter(call->ledger, DatumGetUUIDP(row->tts_values[0]),
				 job_is_cancelable(job_status(call->relation, status, status_null)) ? NULL :
				 why_status(call, status, status_null));
}

/* The jobs of the filter id, all open */
static void
enter_listed(Cancel *call, const Filters *filters)
{
	const FilterValues *ids = &filters->of[FILTER_ID];

	for (int i = 0; i < ids->count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		ledger_enter(call->ledger, DatumGetUUIDP(ids->values[i]), NULL);
	}
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
	call->observer->canceled(row, call->observer->arg);
}

/* A row of STATEMENT_LOOK: (id, status, matches) */
static void
settle(TupleTableSlot *row, void *arg)
{
	Cancel	   *call = arg;
	Datum		status = row->tts_values[1];
	bool		status_null = row->tts_isnull[1];
	const char *why;

	if (row->tts_isnull[0])
		return;
	if (!job_is_cancelable(job_status(call->relation, status, status_null)))
		why = why_status(call, status, status_null);
	else if (DatumGetBool(row->tts_values[2]))
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
		return;					/* edited meanwhile: it is not meant any more */
	ledger_settle(call->ledger, DatumGetUUIDP(row->tts_values[0]), why);
}

/*
 * Looks again at the jobs that are still owed an answer, and cancels those
 * that came back
 */
static void
look_at_open(Cancel *call, const StatementArgs *args)
{
	Filters		filters = *args->filters;
	FilterValues *ids = &filters.of[FILTER_ID];
	StatementArgs again = *args;
	size_t		open;

	again.filters = &filters;
	ids->values = NULL;
	for (int repeats = 0; (open = ledger_count_open(call->ledger)) > 0; repeats++)
	{
		if (open > PG_INT32_MAX / 2)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("too many jobs for one call"),
					 errhint("Narrow the filters, or use cancel_jobs_in_chunks.")));

		if (ids->values == NULL)
			ids->values = MemoryContextAllocHuge(call->context, open * sizeof(Datum));
		ids->count = 0;
		for (size_t i = 0; i < call->ledger->count; i++)
		{
			CHECK_FOR_INTERRUPTS();
			if (call->ledger->entries[i].outcome == NULL)
				ids->values[ids->count++] = UUIDPGetDatum(&call->ledger->entries[i].id);
		}

		call->repeat = repeats < MAX_REPEATS && !call->relation->may_keep;
		call->came_back = false;
		statement_execute(STATEMENT_LOOK, &again, settle, call);
		if (!call->came_back)
			return;
		statement_execute(STATEMENT_CANCEL, &again, strike_off, call);
	}
}

/*
 * cancel
 *
 * Cancels the cancelable jobs of the batch that match the filters, tells the
 * observer of each job that the scope owes an answer, and returns how many
 * were canceled.  SPI must be connected.  All memory, that of the reasons
 * given included, is taken from the current context, which the caller resets
 * or deletes.  Whatever a statement raises (40001, 40P01, 42501, 57014 …)
 * passes through; nothing is done then once the caller's transaction or
 * subtransaction has ended.
 */
uint64
cancel(const JobsRelation *relation, Datum batch, const Filters *filters,
	   CancelScope scope, const CancelObserver *observer)
{
	StatementArgs args = {
		.relation = relation,
		.batch = batch,
		.timestamp = GetCurrentTransactionStartTimestamp(),
		.filters = filters,
	};
	Cancel		call = {
		.relation = relation,
		.observer = observer,
		.listed = filter_present(filters, FILTER_ID),
		.named = filter_present(filters, FILTER_ID) && scope == CANCEL_CALL,
		.ledger = ledger_create(CurrentMemoryContext),
		.context = CurrentMemoryContext,
	};
	Ledger	   *ledger = call.ledger;

	if (call.listed)
		enter_listed(&call, filters);
	else
		statement_execute(STATEMENT_MATCH, &args, enter_match, &call);

	if (observer->expect)
		observer->expect(ledger_count_open(ledger), observer->arg);
	statement_execute(STATEMENT_CANCEL, &args, strike_off, &call);

	look_at_open(&call, &args);

	ledger_sort(ledger, call.named ? WHY_NOT_FOUND : NULL);
	for (size_t i = 0; i < ledger->count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		observer->not_canceled(&ledger->entries[i].id, ledger->entries[i].outcome,
							   observer->arg);
	}
	return call.canceled;
}

/* A preview under way */
typedef struct Preview
{
	Cancel		call;			/* for what it shares with a cancel */
	void		(*tell) (const pg_uuid_t *id, JobStatus status, const char *why, void *arg);
	void	   *arg;
} Preview;

/* A row of STATEMENT_MATCH, or of STATEMENT_LOOK if jobs were named */
static void
foresee(TupleTableSlot *row, void *arg)
{
	Preview    *p = arg;
	Datum		value = row->tts_values[1];
	bool		isnull = row->tts_isnull[1];
	JobStatus	status = job_status(p->call.relation, value, isnull);
	const char *why = NULL;

	if (row->tts_isnull[0])
		return;
	if (!job_is_cancelable(status))
		why = why_status(&p->call, value, isnull);
	else if (p->call.named && !DatumGetBool(row->tts_values[2]))
		why = WHY_NO_MATCH;
	if (p->call.named)
		ledger_settle(p->call.ledger, DatumGetUUIDP(row->tts_values[0]), LEDGER_CANCELED);
	p->tell(DatumGetUUIDP(row->tts_values[0]), status, why, p->arg);
}

/*
 * preview
 *
 * Tells for each job that a cancel would answer for what the answer would be
 * (NULL: canceled), as the snapshot of the calling statement sees it.  Nothing
 * is changed and no row is locked.  SPI must be connected; memory as in
 * cancel.
 */
void
preview(const JobsRelation *relation, Datum batch, const Filters *filters,
		void (*tell) (const pg_uuid_t *id, JobStatus status, const char *why, void *arg),
		void *arg)
{
	StatementArgs args = {
		.relation = relation,
		.batch = batch,
		.filters = filters,
	};
	Preview		p = {
		.call = {
			.relation = relation,
			.named = filter_present(filters, FILTER_ID),
			.ledger = ledger_create(CurrentMemoryContext),
			.context = CurrentMemoryContext,
		},
		.tell = tell,
		.arg = arg,
	};
	Ledger	   *ledger = p.call.ledger;

	if (!p.call.named)
	{
		statement_execute_read_only(STATEMENT_MATCH, &args, foresee, &p);
		return;
	}

	enter_listed(&p.call, filters);
	statement_execute_read_only(STATEMENT_LOOK, &args, foresee, &p);
	for (size_t i = 0; i < ledger->count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (ledger->entries[i].outcome == NULL)
			tell(&ledger->entries[i].id, JOB_STATUS_OTHER, WHY_NOT_FOUND, arg);
	}
}
