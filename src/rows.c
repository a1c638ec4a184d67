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

#include "catalog/pg_enum.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/tuplestore.h"

#include "cancel.h"
#include "columns.h"
#include "pasqal_jobs.h"
#include "response.h"

/* Where the rows of a call go */
typedef struct Rows
{
	ReturnSetInfo *result;
	const JobsRelation *relation;
	MemoryContext row_context;	/* for one row; reset with each */
	Output		job;			/* the jsonb of one row, reused */
	Oid			labels[MAX_LABELS]; /* of our own JobStatus */
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

static void
put_row(Rows *rows, Datum *values, bool *nulls)
{
	tuplestore_putvalues(rows->result->setResult, rows->result->setDesc, values, nulls);
}

/* A row (id, NULL, job) for a job that was canceled */
static void
put_canceled(TupleTableSlot *row, void *arg)
{
	Rows	   *rows = arg;
	Datum		values[3] = {row->tts_values[COLUMN_ID], (Datum) 0, (Datum) 0};
	bool		nulls[3] = {row->tts_isnull[COLUMN_ID], true, false};
	MemoryContext old = MemoryContextSwitchTo(rows->row_context);

	/* a job is an object, which as a value of its own is its own root */
	rows->job.len = VARHDRSZ;
	response_as_jsonb.encode_job(&rows->job, rows->relation, row);
	SET_VARSIZE(rows->job.data, rows->job.len);
	values[2] = PointerGetDatum(rows->job.data);
	put_row(rows, values, nulls);

	MemoryContextSwitchTo(old);
	MemoryContextReset(rows->row_context);
}

/* A row (id, error, NULL) for one that was not */
static void
put_not_canceled(const pg_uuid_t *id, const char *why, void *arg)
{
	Rows	   *rows = arg;
	MemoryContext old = MemoryContextSwitchTo(rows->row_context);
	Datum		values[3] = {UUIDPGetDatum(id), CStringGetTextDatum(why), (Datum) 0};
	bool		nulls[3] = {false, false, true};

	put_row(rows, values, nulls);

	MemoryContextSwitchTo(old);
	MemoryContextReset(rows->row_context);
}

PG_FUNCTION_INFO_V1(cancel_jobs_rows);

/*
 * cancel_jobs_rows(batch uuid, filters jsonb)
 *		returns table (id uuid, error text, job jsonb)
 *
 * The cancel of cancel_jobs, one row a job, of no size but the disk's.
 */
Datum
cancel_jobs_rows(PG_FUNCTION_ARGS)
{
	MemoryContext before = CurrentMemoryContext;
	MemoryContext call = create_call_context(CurrentMemoryContext);
	Datum		batch;
	Filters		filters;
	JobsRelation relation;
	Rows		rows;
	CancelObserver observer = {NULL, put_canceled, put_not_canceled, &rows};

	MemoryContextSwitchTo(call);
	read_arguments(fcinfo, &batch, &filters);
	relation = jobs_relation_open(RowExclusiveLock);

	init_rows(&rows, fcinfo);
	rows.relation = &relation;
	output_init(&rows.job, call, response_as_jsonb.limit);
	response_as_jsonb.begin(&rows.job, 0);

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	MemoryContextSwitchTo(call);
	notify_canceled(batch, cancel(&relation, batch, &filters, CANCEL_CALL, &observer));
	SPI_finish();

	MemoryContextSwitchTo(before);
	MemoryContextDelete(call);
	return (Datum) 0;
}

/* A row (id, status, error) of a preview */
static void
put_foreseen(const pg_uuid_t *id, JobStatus status, const char *why, void *arg)
{
	Rows	   *rows = arg;
	MemoryContext old = MemoryContextSwitchTo(rows->row_context);
	Datum		values[3] = {UUIDPGetDatum(id), (Datum) 0, (Datum) 0};
	bool		nulls[3] = {false, status == JOB_STATUS_OTHER, why == NULL};

	if (status != JOB_STATUS_OTHER)
		values[1] = ObjectIdGetDatum(rows->labels[status]);
	if (why)
		values[2] = CStringGetTextDatum(why);
	put_row(rows, values, nulls);

	MemoryContextSwitchTo(old);
	MemoryContextReset(rows->row_context);
}

PG_FUNCTION_INFO_V1(cancel_jobs_preview);

/*
 * cancel_jobs_preview(batch uuid, filters jsonb)
 *		returns table (id uuid, status JobStatus, error text)
 *
 * What a cancel would do now.  The status of a job that is not found, or that
 * is none of ours, is null.
 */
Datum
cancel_jobs_preview(PG_FUNCTION_ARGS)
{
	MemoryContext before = CurrentMemoryContext;
	MemoryContext call = create_call_context(CurrentMemoryContext);
	Datum		batch;
	Filters		filters;
	JobsRelation relation;
	Rows		rows;
	Oid			type;

	MemoryContextSwitchTo(call);
	read_arguments(fcinfo, &batch, &filters);
	relation = jobs_relation_open(AccessShareLock);

	init_rows(&rows, fcinfo);
	type = TupleDescAttr(rows.result->setDesc, 1)->atttypid;
	for (int i = 0; i < job_status_labels.count; i++)
	{
		rows.labels[i] = GetSysCacheOid2(ENUMTYPOIDNAME, Anum_pg_enum_oid,
										 ObjectIdGetDatum(type),
										 CStringGetDatum(job_status_labels.label[i]));
		if (!OidIsValid(rows.labels[i]))
			elog(ERROR, "enum %u has no label \"%s\"", type, job_status_labels.label[i]);
	}

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	MemoryContextSwitchTo(call);
	preview(&relation, batch, &filters, put_foreseen, &rows);
	SPI_finish();

	MemoryContextSwitchTo(before);
	MemoryContextDelete(call);
	return (Datum) 0;
}
