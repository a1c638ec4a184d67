/*-------------------------------------------------------------------------
 *
 * rows.c
 *	  The functions that return a row for each job: cancel_jobs_rows and
 *	  cancel_jobs_preview.
 *
 * Rows go to a tuplestore, which writes to disk what work_mem does not hold.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/tuplestore.h"

#include "call.h"
#include "cancel.h"
#include "encoder.h"

/* Where the rows of a call go */
typedef struct Rows
{
	ReturnSetInfo *result;
	MemoryContext row_context;	/* for one row; reset with each */
	Output		job;			/* the jsonb of one row, reused */
	Encoding	encoding;		/* ... that is written to it */

	/* Of a preview */
	const JobsRelation *relation;
	CatCList   *labels;			/* of our own JobStatus, as it began */
} Rows;

static void
init_rows(Rows *rows, FunctionCallInfo fcinfo)
{
	memset(rows, 0, sizeof(*rows));
	InitMaterializedSRF(fcinfo, 0);
	rows->result = (ReturnSetInfo *) fcinfo->resultinfo;
	rows->row_context = AllocSetContextCreate(CurrentMemoryContext, "pasqal_jobs row",
											  ALLOCSET_DEFAULT_SIZES);
}

/* Stores a row that was made in row_context, and switches back to old */
static void
put_row(Rows *rows, Datum *values, bool *nulls, MemoryContext old)
{
	tuplestore_putvalues(rows->result->setResult, rows->result->setDesc, values, nulls);
	MemoryContextSwitchTo(old);
	MemoryContextReset(rows->row_context);
}

/* Stores (id, NULL, job): canceled */
static void
put_canceled(TupleTableSlot *row, void *arg)
{
	Rows	   *rows = arg;
	Datum		values[3] = {row->tts_values[COLUMN_ID], (Datum) 0, (Datum) 0};
	bool		nulls[3] = {row->tts_isnull[COLUMN_ID], true, false};
	MemoryContext old = MemoryContextSwitchTo(rows->row_context);

	/* one job is an object, and as a value of its own it is the root */
	rows->job.len = VARHDRSZ;
	jsonb_encoder.encode_job(&rows->encoding, row);
	SET_VARSIZE(rows->job.data, rows->job.len);
	values[2] = PointerGetDatum(rows->job.data);
	put_row(rows, values, nulls, old);
}

/* Stores (id, error, NULL): not canceled */
static void
put_not_canceled(const pg_uuid_t *id, const char *why, void *arg)
{
	Rows	   *rows = arg;
	MemoryContext old = MemoryContextSwitchTo(rows->row_context);
	Datum		values[3] = {UUIDPGetDatum(id), CStringGetTextDatum(why), (Datum) 0};
	bool		nulls[3] = {false, false, true};

	put_row(rows, values, nulls, old);
}

PG_FUNCTION_INFO_V1(cancel_jobs_rows);

/*
 * cancel_jobs_rows(batch uuid, filters jsonb)
 *		returns table (id uuid, error text, job jsonb)
 *
 * Cancels as cancel_jobs does, and returns a row for each job: the canceled
 * jobs as the UPDATE returns them, then the others by id.  Rows beyond
 * work_mem go to disk; the ids stay in memory.
 */
Datum
cancel_jobs_rows(PG_FUNCTION_ARGS)
{
	Call		call;
	Rows		rows;
	CancelObserver observer = {NULL, put_canceled, put_not_canceled, &rows};

	call_begin(&call, "cancel_jobs_rows()", false);
	call_read_arguments(&call, fcinfo);
	call_open(&call);

	init_rows(&rows, fcinfo);
	output_init(&rows.job, call.context, jsonb_encoder.limit, response_too_large);
	encoding_init(&rows.encoding, &rows.job, &call.relation);
	call_notify(&call, cancel(&call.request, CANCEL_CALL, &observer));

	call_end(&call);
	return (Datum) 0;
}

/*
 * Stores (id, status, error) of a preview.  The status column may have another
 * type than ours: its label is shown as ours of the same name, or as null.
 */
static void
put_preview(const pg_uuid_t *id, NullableDatum status, const char *why, void *arg)
{
	Rows	   *rows = arg;
	MemoryContext old = MemoryContextSwitchTo(rows->row_context);
	Datum		values[3] = {UUIDPGetDatum(id), (Datum) 0, (Datum) 0};
	bool		nulls[3] = {false, true, why == NULL};

	if (!status.isnull)
	{
		Oid			label = enum_find_label(rows->labels, job_status_text(rows->relation, status.value, false));

		values[1] = ObjectIdGetDatum(label);
		nulls[1] = !OidIsValid(label);
	}
	if (why)
		values[2] = CStringGetTextDatum(why);
	put_row(rows, values, nulls, old);
}

/*
 * Releases the labels of our own JobStatus.  Raises 55000 if one of them was
 * renamed or dropped meanwhile: rows would show the new name, or none.
 */
static void
release_labels(Rows *rows, Oid type)
{
	CatCList   *now = enum_labels(type);
	bool		kept = enum_labels_kept(rows->labels, now);

	ReleaseSysCacheList(now);
	ReleaseSysCacheList(rows->labels);
	if (!kept)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a label of type %s was renamed or dropped during the call",
						format_type_extended(type, -1, FORMAT_TYPE_ALLOW_INVALID)),
				 errhint("Call again when the change is complete.")));
}

PG_FUNCTION_INFO_V1(cancel_jobs_preview);

/*
 * cancel_jobs_preview(batch uuid, filters jsonb)
 *		returns table (id uuid, status JobStatus, error text)
 *
 * What a cancel would do now.  The status is null if the job is not found, or
 * if our JobStatus has no such label.
 */
Datum
cancel_jobs_preview(PG_FUNCTION_ARGS)
{
	Call		call;
	Rows		rows;
	Oid			type;

	call_begin(&call, "cancel_jobs_preview()", true);
	call_read_arguments(&call, fcinfo);
	call_open(&call);

	init_rows(&rows, fcinfo);
	type = TupleDescAttr(rows.result->setDesc, 1)->atttypid;
	rows.labels = enum_labels(type);
	rows.relation = &call.relation;
	preview(&call.request, put_preview, &rows);
	release_labels(&rows, type);

	call_end(&call);
	return (Datum) 0;
}
