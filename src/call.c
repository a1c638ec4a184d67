/*-------------------------------------------------------------------------
 *
 * call.c
 *	  The frame of a call: its memory, its request, its relation, SPI.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/async.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "call.h"
#include "settings.h"

/*
 * call_begin
 *
 * Begins a call with a memory context of its own, which becomes the current
 * one.  Settings that are used at its end are read here, since a trigger may
 * change them.  function is the one that was called, for messages; read_only
 * says that it only reads.  Raises 22023 for an invalid setting.
 */
void
call_begin(Call *call, const char *function, bool read_only)
{
	settings_check();
	memset(call, 0, sizeof(*call));
	call->oldcontext = CurrentMemoryContext;
	call->context = AllocSetContextCreate(CurrentMemoryContext, "pasqal_jobs call",
										  ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(call->context);
	call->function = function;
	call->lockmode = read_only ? AccessShareLock : RowExclusiveLock;
	call->request.read_only = read_only;
	call->request.relation = &call->relation;
	call->request.max_jobs = pasqal_jobs_max_jobs;
	call->request.skip_locked = pasqal_jobs_locked_jobs == LOCKED_JOBS_SKIP && !read_only;
	call->running_status = pstrdup(pasqal_jobs_running_status);
	if (pasqal_jobs_notify_channel[0] != '\0')
		call->notify_channel = pstrdup(pasqal_jobs_notify_channel);
}

/*
 * Opens the jobs relation if it is not open yet.  Before that raises 25006 if
 * nothing can be written: during recovery it might wait for a lock.
 */
static void
open_relation(Call *call)
{
	if (call->relation.rel)
		return;
	if (!call->request.read_only)
	{
		PreventCommandDuringRecovery(call->function);
		PreventCommandIfReadOnly(call->function);
	}
	jobs_relation_open(&call->relation, call->lockmode);
}

/* Remembers a label that the call names: its Oid, and what is meant by it */
static void
name_label(Call *call, LabelSet set, Datum value)
{
	const LabelColumn *column = &call->relation.shape.labels[set];
	NamedLabel *named;

	if (!column->is_enum)
		return;
	named = palloc(sizeof(NamedLabel));
	named->oid = DatumGetObjectId(value);
	strlcpy(named->label, label_column_text(column, value), NAMEDATALEN);
	call->request.named_labels = lappend(call->request.named_labels, named);
}

/*
 * call_read_filters
 *
 * Reads the filters that were given, and adds what is wrong with them to
 * *problems.  Opens the relation if one of them takes labels, which are those
 * of its enums.
 */
void
call_read_filters(Call *call, const GivenFilters *given, Problems *problems)
{
	if (given_has_labels(given))
		open_relation(call);
	filters_read(&call->request.filters, given, &call->relation, problems);
	for (int f = 0; f < FILTER_COUNT; f++)
	{
		const FilterValues *values = &call->request.filters.of[f];

		for (int i = 0; filter_table[f].kind == TAKES_LABEL && i < values->count; i++)
			name_label(call, filter_table[f].labels, values->values[i]);
	}
}

/*
 * call_read_arguments
 *
 * Reads the arguments (batch uuid, filters jsonb) that most functions have.
 * Raises 22023 with all that is wrong with them.
 */
void
call_read_arguments(Call *call, FunctionCallInfo fcinfo)
{
	Problems	problems;
	GivenFilters given;
	Problem		no_batch = {
		.type = PROBLEM_NULL,
		.location = LOCATION_OF_BATCH,
		.hint = "Pass the uuid of the batch whose jobs are to be canceled."
	};

	problems_init(&problems, PROBLEMS_IN_DETAIL);
	if (PG_ARGISNULL(0))
		problems_add(&problems, &no_batch);
	else
		call->request.batch = datumCopy(PG_GETARG_DATUM(0), false, UUID_LEN);
	given_from_jsonb(&given, PG_ARGISNULL(1) ? NULL : PG_GETARG_JSONB_P(1), &problems);
	call_read_filters(call, &given, &problems);
	if (problems.count > 0)
		problems_raise(&problems);
}

/*
 * The filter batch_id needs no SQL: either the batch is one of its values, or
 * no job matches.
 */
static void
decide_batch_filter(Request *request)
{
	FilterValues *batches = &request->filters.of[FILTER_BATCH_ID];

	request->filters.none_match = batches->count > 0 &&
		bsearch(&request->batch, batches->values, batches->count, sizeof(Datum),
				filter_compare_ids) == NULL;
	batches->count = 0;
}

/* Raises 22023 for the setting running_status */
static void
invalid_running_status(const Call *call, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for parameter \"%s\": \"%s\"",
					"pasqal_jobs.running_status", call->running_status),
			 errdetail("%s", detail),
			 errhint("Name a label of the column \"status\" that says that a job is to be canceled, such as CANCELING; the default is CANCELED.")));
}

/* Reads what RUNNING jobs become, as a value of the relation's status column */
static void
read_running_status(Call *call)
{
	const LabelColumn *column = &call->relation.shape.labels[LABELS_OF_STATUS];
	const char *text = call->running_status;

	if (strcmp(text, "CANCELED") == 0)
		return;
	if (strcmp(text, "PENDING") == 0 || strcmp(text, "RUNNING") == 0 || strcmp(text, "DONE") == 0)
		invalid_running_status(call, "A job with this status was not canceled.");
	if (column->is_enum)
	{
		if (!label_column_read(column, text, strlen(text), &call->request.running_status))
			invalid_running_status(call, psprintf("The type %s of the column \"status\" has no such label.",
												  format_type_be(column->type)));
		/* raises 55P04 for a label that this transaction has added */
		call->request.running_status = DirectFunctionCall2(enum_in, CStringGetDatum(text),
														   ObjectIdGetDatum(column->type));
		name_label(call, LABELS_OF_STATUS, call->request.running_status);
	}
	else if (text[0] == '\0')
		invalid_running_status(call, "A status must not be empty.");
	else
		call->request.running_status = CStringGetTextDatum(text);
	call->request.has_running_status = true;
}

/*
 * call_check_locked_jobs
 *
 * Raises 0A000 if locked jobs of the relation cannot be skipped, and 42501 if
 * the user may not see which they are.
 */
void
call_check_locked_jobs(const Call *call)
{
	if (!call->request.skip_locked || jobs_relation_tells_locked(&call->relation))
		return;
	if (call->relation.row_locks == ROW_LOCKS_NONE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot skip locked jobs of relation \"%s\"",
						RelationGetRelationName(call->relation.rel)),
				 errdetail("Jobs can be locked ahead in tables of this server only: not in views, foreign tables, tables of Citus or of another access method."),
				 errhint("SET pasqal_jobs.locked_jobs = 'wait', or let pasqal_jobs.jobs_table name the table itself.")));
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied to skip locked jobs of table %s",
					RelationGetRelationName(call->relation.rel)),
			 errdetail("Under row-level security only a system column tells jobs that are locked from those that a policy keeps."),
			 errhint("The call needs: GRANT SELECT ON %s TO %s;",
					 jobs_relation_name(&call->relation),
					 quote_identifier(GetUserNameFromId(GetUserId(), false)))));
}

/*
 * call_open
 *
 * Opens the relation, unless it is open, and connects to SPI.  Raises 22023,
 * 55P04, 0A000 and 42501 for settings that the relation does not allow.
 */
void
call_open(Call *call)
{
	open_relation(call);
	decide_batch_filter(&call->request);
	if (!call->request.read_only)
		read_running_status(call);
	call_check_locked_jobs(call);

	if (SPI_connect_ext(call->spi_options) != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect_ext failed");
	call->connected = true;
	MemoryContextSwitchTo(call->context);
}

/*
 * call_notify
 *
 * Notifies the call's channel, at commit, if anything was canceled.
 */
void
call_notify(const Call *call, uint64 canceled)
{
	if (canceled > 0 && call->notify_channel)
		Async_Notify(call->notify_channel,
					 psprintf("{\"batch_id\": \"%s\", \"canceled\": " UINT64_FORMAT "}",
							  DatumGetCString(DirectFunctionCall1(uuid_out, call->request.batch)),
							  canceled));
}

/*
 * call_end
 *
 * Ends a call: disconnects from SPI, closes the relation, and deletes the
 * call's memory.
 */
void
call_end(Call *call)
{
	if (call->relation.rel)
		jobs_relation_close(&call->relation);
	if (call->connected)
		SPI_finish();
	MemoryContextSwitchTo(call->oldcontext);
	MemoryContextDelete(call->context);
}
