/*-------------------------------------------------------------------------
 *
 * pasqal_jobs.c
 *	  The module: its settings and the functions that SQL calls.
 *
 * The way of a call is the way through the files: filters (filters.c with
 * parse_value.c and problems.c), the relation (jobs_relation.c), the cancel
 * (cancel.c with ledger.c) and its statements (statement.c), the response
 * (response.c and its encoder).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/async.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

#include "cancel.h"
#include "filters.h"
#include "jobs_relation.h"
#include "pasqal_jobs.h"
#include "problems.h"
#include "response.h"

PG_MODULE_MAGIC;

char	   *pasqal_jobs_table;
int			pasqal_jobs_date_filter;
char	   *pasqal_jobs_notify_channel;

static const struct config_enum_entry date_filters[] = {
	{"execution", DATE_FILTER_EXECUTION, false},
	{"creation", DATE_FILTER_CREATION, false},
	{NULL, 0, false}
};

void		_PG_init(void);

/* Check hook: a channel's name is limited as an identifier is */
static bool
check_notify_channel(char **newval, void **extra, GucSource source)
{
	if (*newval == NULL || strlen(*newval) < NAMEDATALEN)
		return true;
	GUC_check_errdetail("The name of a channel has at most %d bytes.", NAMEDATALEN - 1);
	return false;
}

/* _PG_init: defines the settings, once, as the library is loaded */
void
_PG_init(void)
{
	DefineCustomStringVariable("pasqal_jobs.jobs_table",
							   "Names the relation that holds the jobs.",
							   "A name as in SQL. Without a schema it is looked up in search_path, "
							   "but never among temporary tables. It is checked when it is used.",
							   &pasqal_jobs_table,
							   "jobs",
							   PGC_USERSET, 0,
							   NULL, NULL, NULL);
	DefineCustomEnumVariable("pasqal_jobs.date_filter",
							 "Chooses what the filters start_date and end_date compare with.",
							 "execution: start_timestamp and end_timestamp, as the API documents it. "
							 "creation: created_at for both, as the public Python client documents it.",
							 &pasqal_jobs_date_filter,
							 DATE_FILTER_EXECUTION,
							 date_filters,
							 PGC_USERSET, 0,
							 NULL, NULL, NULL);
	DefineCustomStringVariable("pasqal_jobs.notify_channel",
							   "Names the channel that is notified of each call that canceled a job.",
							   "The payload is {\"batch_id\": ..., \"canceled\": n}. Empty: no notification.",
							   &pasqal_jobs_notify_channel,
							   "",
							   PGC_USERSET, 0,
							   check_notify_channel, NULL, NULL);
	MarkGUCPrefixReserved("pasqal_jobs");
}

/*
 * read_arguments
 *
 * Reads the arguments (batch uuid, filters jsonb) that most functions have.
 * Values go to the current memory context.  Raises 22023 with all that is
 * wrong with them.
 */
void
read_arguments(FunctionCallInfo fcinfo, Datum *batch, Filters *filters)
{
	Problems	problems;

	problems_init(&problems, PROBLEMS_IN_DETAIL);
	if (PG_ARGISNULL(0))
		problems_add(&problems, PROBLEM_NULL, LOCATION_OF_BATCH,
					 "Pass the uuid of the batch whose jobs are to be canceled.");
	filters_from_jsonb(filters, PG_ARGISNULL(1) ? NULL : PG_GETARG_JSONB_P(1), &problems);
	if (problems.count > 0)
		problems_raise(&problems);
	*batch = datumCopy(PG_GETARG_DATUM(0), false, UUID_LEN);
}

/*
 * notify_canceled
 *
 * Wakes up those who listen to pasqal_jobs.notify_channel, at the end of the
 * transaction, if anything was canceled.
 */
void
notify_canceled(Datum batch, uint64 canceled)
{
	char	   *payload;

	if (canceled == 0 || pasqal_jobs_notify_channel == NULL || pasqal_jobs_notify_channel[0] == '\0')
		return;
	payload = psprintf("{\"batch_id\": \"%s\", \"canceled\": " UINT64_FORMAT "}",
					   DatumGetCString(DirectFunctionCall1(uuid_out, batch)), canceled);
	Async_Notify(pasqal_jobs_notify_channel, payload);
	pfree(payload);
}

/* create_call_context: a context for all that lasts as long as one call */
MemoryContext
create_call_context(MemoryContext parent)
{
	return AllocSetContextCreate(parent, "pasqal_jobs call", ALLOCSET_DEFAULT_SIZES);
}

/*
 * The cancel of a call whose arguments were found good, and its response in
 * memory of result_context.
 */
static struct varlena *
cancel_and_respond(Datum batch, const Filters *filters, const ResponseEncoder *encoder,
				   MemoryContext result_context)
{
	MemoryContext context = CurrentMemoryContext;
	JobsRelation relation = jobs_relation_open(RowExclusiveLock);
	Response	response;
	CancelObserver observer;
	struct varlena *result;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	MemoryContextSwitchTo(context);
	response_init(&response, encoder, &relation, result_context);
	observer = response_observer(&response);
	notify_canceled(batch, cancel(&relation, batch, filters, CANCEL_CALL, &observer));
	result = response_finish(&response);
	SPI_finish();
	MemoryContextSwitchTo(context);
	return result;
}

PG_FUNCTION_INFO_V1(cancel_jobs);

/*
 * cancel_jobs(batch uuid, filters jsonb) returns jsonb
 *
 * Cancels the jobs of the batch that match, and answers in the API's shape.
 */
Datum
cancel_jobs(PG_FUNCTION_ARGS)
{
	MemoryContext before = CurrentMemoryContext;
	MemoryContext call = create_call_context(CurrentMemoryContext);
	Datum		batch;
	Filters		filters;
	struct varlena *result;

	MemoryContextSwitchTo(call);
	read_arguments(fcinfo, &batch, &filters);
	result = cancel_and_respond(batch, &filters, &response_as_jsonb, before);

	MemoryContextSwitchTo(before);
	MemoryContextDelete(call);
	PG_RETURN_POINTER(result);
}

PG_FUNCTION_INFO_V1(cancel_jobs_http);

/*
 * cancel_jobs_http(batch__id text, query_string text,
 *					OUT status_code int, OUT body json)
 *
 * The API's endpoint: the cancel's response with 200, or with 422 what is
 * wrong with the path and the query string.
 *
 * It returns a set of one row, since only then the row can go to a tuplestore
 * of our own: the one that the executor makes for a single row spills it to
 * disk beyond work_mem.
 */
Datum
cancel_jobs_http(PG_FUNCTION_ARGS)
{
	MemoryContext before = CurrentMemoryContext;
	MemoryContext call = create_call_context(CurrentMemoryContext);
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		batch = (Datum) 0;
	Filters		filters;
	Problems	problems;
	Datum		values[2];
	bool		nulls[2] = {false, false};
	struct varlena *body;

	/* also checks that the caller takes a tuplestore */
	InitMaterializedSRF(fcinfo, 0);
	MemoryContextSwitchTo(result->econtext->ecxt_per_query_memory);
	tuplestore_end(result->setResult);
	result->setResult = tuplestore_begin_heap((result->allowedModes & SFRM_Materialize_Random) != 0,
											  false, MAX_KILOBYTES);

	MemoryContextSwitchTo(call);
	problems_init(&problems, PROBLEMS_NO_LIMIT);
	batch_from_path(&batch, PG_ARGISNULL(0) ? NULL : PG_GETARG_TEXT_PP(0), &problems);
	filters_from_query_string(&filters, PG_ARGISNULL(1) ? NULL : PG_GETARG_TEXT_PP(1),
							  &problems);

	if (problems.count > 0)
	{
		Output		out;

		output_init(&out, CurrentMemoryContext, MaxAllocSize);
		output_append(&out, "\0\0\0\0", VARHDRSZ);
		problems_append_body(&out, &problems);
		SET_VARSIZE(out.data, out.len);
		body = (struct varlena *) out.data;
		values[0] = Int32GetDatum(422);
	}
	else
	{
		body = cancel_and_respond(batch, &filters, &response_as_json, CurrentMemoryContext);
		values[0] = Int32GetDatum(200);
	}
	values[1] = PointerGetDatum(body);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);

	MemoryContextSwitchTo(before);
	MemoryContextDelete(call);
	return (Datum) 0;
}
