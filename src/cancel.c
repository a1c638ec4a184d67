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
 *	  snapshot.
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

/* One call */
typedef struct Cancel
{
	const JobsRelation *relation;
	const CancelObserver *observer;
	bool		named;			/* the jobs were named by id */
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
		why = WHY_KEPT;
	else if (call->named)
		why = WHY_NO_MATCH;
	else
		return;					/* edited meanwhile: it is not meant any more */
	ledger_settle(call->ledger, DatumGetUUIDP(row->tts_values[0]), why);
}

/* Looks again at the jobs that are still owed an answer */
static void
look_at_open(Cancel *call, const StatementArgs *args)
{
	size_t		open = ledger_count_open(call->ledger);
	Filters		filters = *args->filters;
	StatementArgs look = *args;
	FilterValues *ids = &filters.of[FILTER_ID];

	if (open == 0)
		return;
	if (open > PG_INT32_MAX / 2)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("too many jobs for one call"),
				 errhint("Narrow the filters, or use cancel_jobs_in_chunks.")));

	ids->values = MemoryContextAllocHuge(call->context, open * sizeof(Datum));
	ids->count = 0;
	for (size_t i = 0; i < call->ledger->count; i++)
		if (call->ledger->entries[i].outcome == NULL)
			ids->values[ids->count++] = UUIDPGetDatum(&call->ledger->entries[i].id);

	look.filters = &filters;
	statement_execute(STATEMENT_LOOK, &look, settle, call);
}

/*
 * cancel
 *
 * Cancels the cancelable jobs of the batch that match the filters, and tells
 * the observer of each job.  SPI must be connected.  All memory, that of the
 * reasons given included, is taken from the current context, which the caller
 * resets or deletes.  Whatever a statement raises (40001, 40P01, 42501, 57014 …) passes through; nothing is done then
 * once the caller's transaction or subtransaction has ended.
 */
void
cancel(const JobsRelation *relation, Datum batch, const Filters *filters,
	   const CancelObserver *observer)
{
	MemoryContext context = CurrentMemoryContext;
	StatementArgs args = {
		.relation = relation,
		.batch = batch,
		.timestamp = GetCurrentTransactionStartTimestamp(),
		.filters = filters,
	};
	Cancel		call = {
		.relation = relation,
		.observer = observer,
		.named = filter_present(filters, FILTER_ID),
		.ledger = ledger_create(context),
		.context = context,
	};
	Ledger	   *ledger = call.ledger;

	if (call.named)
	{
		const FilterValues *ids = &filters->of[FILTER_ID];

		for (int i = 0; i < ids->count; i++)
			ledger_enter(ledger, DatumGetUUIDP(ids->values[i]), NULL);
	}
	else
		statement_execute(STATEMENT_MATCH, &args, enter_match, &call);

	statement_execute(STATEMENT_CANCEL, &args, strike_off, &call);

	look_at_open(&call, &args);
	if (call.named)
	{
		for (size_t i = 0; i < ledger->count; i++)
			if (ledger->entries[i].outcome == NULL)
				ledger->entries[i].outcome = WHY_NOT_FOUND;
	}

	ledger_sort(ledger);
	for (size_t i = 0; i < ledger->count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		observer->not_canceled(&ledger->entries[i].id, ledger->entries[i].outcome,
							   observer->arg);
	}
}
