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

#include "executor/spi.h"
#include "fmgr.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "cancel.h"
#include "filters.h"
#include "jobs_relation.h"
#include "pasqal_jobs.h"
#include "problems.h"
#include "response.h"

PG_MODULE_MAGIC;

char	   *pasqal_jobs_table;
int			pasqal_jobs_date_filter;

static const struct config_enum_entry date_filters[] = {
	{"execution", DATE_FILTER_EXECUTION, false},
	{"creation", DATE_FILTER_CREATION, false},
	{NULL, 0, false}
};

void		_PG_init(void);

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
	MarkGUCPrefixReserved("pasqal_jobs");
}

/*
 * Reads the arguments (batch uuid, filters jsonb) that most functions have.
 * Raises 22023 with all that is wrong with them.
 */
static void
read_arguments(FunctionCallInfo fcinfo, Datum *batch, Filters *filters)
{
	Problems	problems;

	problems_init(&problems, PROBLEMS_IN_DETAIL);
	if (PG_ARGISNULL(0))
		problems_add(&problems, PROBLEM_NULL,
					 (ProblemLocation) {"path", "batch__id", strlen("batch__id"), -1},
					 "Pass the uuid of the batch whose jobs are to be canceled.");
	filters_from_jsonb(filters, PG_ARGISNULL(1) ? NULL : PG_GETARG_JSONB_P(1), &problems);
	if (problems.count > 0)
		problems_raise(&problems);
	*batch = PG_GETARG_DATUM(0);
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
	MemoryContext result_context = CurrentMemoryContext;
	MemoryContext call_context = AllocSetContextCreate(CurrentMemoryContext,
													   "pasqal_jobs call",
													   ALLOCSET_DEFAULT_SIZES);
	Datum		batch;
	Filters		filters;
	JobsRelation relation;
	Response	response;
	CancelObserver observer;
	struct varlena *result;

	MemoryContextSwitchTo(call_context);
	read_arguments(fcinfo, &batch, &filters);
	relation = jobs_relation_open(RowExclusiveLock);

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	MemoryContextSwitchTo(call_context);
	response_init(&response, &response_as_jsonb, &relation);
	observer = response_observer(&response);
	cancel(&relation, batch, &filters, &observer);
	result = response_finish(&response, result_context);
	SPI_finish();

	MemoryContextSwitchTo(result_context);
	MemoryContextDelete(call_context);
	PG_RETURN_POINTER(result);
}
