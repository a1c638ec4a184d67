/*-------------------------------------------------------------------------
 *
 * rows.c
 *	  The functions that answer with one row a job: cancel_jobs_rows and
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

/* Puts a row, made in row_context; the current context becomes old again */
static void
put_row(Rows *rows, Datum *values, bool *nulls, MemoryContext old)
{
	tuplestore_putvalues(rows->result->setResult, rows->result->setDesc, values, nulls);
	MemoryContextSwitchTo(old);
	MemoryContextReset(rows->row_context);
}

/* A row (id, NULL, job) for a job that was canceled */
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

/* A row (id, error, NULL) for one that was not */
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
 * The cancel of cancel_jobs, one row a job: the canceled jobs as the UPDATE
 * returns them, then the others by id.  The rows may fill the disk; in memory
 * there are only the ids.
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
 * A row (id, status, error) of a preview.  The status column may be of another
 * type than ours, which has the label of the same text or none.
 */
static void
put_foreseen(const pg_uuid_t *id, NullableDatum status, const char *why, void *arg)
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
 * Releases the labels of our own JobStatus.  Raises 55000 if one of them has
 * another name by now, under which a row would show it.
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
				 errmsg("a label of type %s was renamed during the call", format_type_be(type)),
				 errhint("Call again when the change is complete.")));
}

PG_FUNCTION_INFO_V1(cancel_jobs_preview);

/*
 * cancel_jobs_preview(batch uuid, filters jsonb)
 *		returns table (id uuid, status JobStatus, error text)
 *
 * What a cancel would do now.  The status of a job that is not found, or whose
 * status our own JobStatus has no label for, is null.
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
	preview(&call.request, put_foreseen, &rows);
	release_labels(&rows, type);

	call_end(&call);
	return (Datum) 0;
}
