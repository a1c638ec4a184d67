/*-------------------------------------------------------------------------
 *
 * chunks.c
 *	  The procedure cancel_jobs_in_chunks: a cancel that is committed chunk by
 *	  chunk.
 *
 * What is to be canceled is fixed as the procedure starts, and each job of
 * that work list is tried once, so that it ends whatever triggers, policies
 * and new jobs do.  Jobs that wait come before those that run: nothing new
 * starts meanwhile.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/memutils.h"

#include "cancel.h"
#include "pasqal_jobs.h"
#include "statement.h"

/* One job that is to be canceled */
typedef struct WorkItem
{
	int64		creation_order;
	pg_uuid_t	id;
	bool		no_creation_order;	/* null, which comes last */
	bool		running;
} WorkItem;

/* What is to be done, and what has been done */
typedef struct Work
{
	const JobsRelation *relation;
	bool		named;			/* the jobs were named by id */
	MemoryContext context;		/* of the items */
	WorkItem   *items;
	size_t		count;
	size_t		capacity;
	uint64		canceled;
	uint64		failed;
} Work;

/* Of the caller's state what decides which jobs are canceled, and who hears */
typedef struct CallerState
{
	Oid			user;
	char	   *jobs_table;
	char	   *notify_channel;
} CallerState;

static WorkItem *
add_item(Work *work)
{
	if (work->count == work->capacity)
	{
		work->capacity = Max(64, work->capacity * 2);
		work->items = work->items == NULL ?
			MemoryContextAlloc(work->context, work->capacity * sizeof(WorkItem)) :
			repalloc_huge(work->items, work->capacity * sizeof(WorkItem));
	}
	return memset(&work->items[work->count++], 0, sizeof(WorkItem));
}

/* A row of STATEMENT_WORK_LIST: (id, status, creation_order) */
static void
add_match(TupleTableSlot *row, void *arg)
{
	Work	   *work = arg;
	JobStatus	status = job_status(work->relation, row->tts_values[1], row->tts_isnull[1]);
	WorkItem   *item;

	if (row->tts_isnull[0])
		return;
	if (!job_is_cancelable(status))
	{
		/* of those that were named, each is answered for below */
		if (!work->named)
			work->failed++;
		return;
	}

	item = add_item(work);
	item->id = *DatumGetUUIDP(row->tts_values[0]);
	item->running = status == JOB_RUNNING;
	item->no_creation_order = row->tts_isnull[2];
	if (!item->no_creation_order)
		item->creation_order = DatumGetInt64(row->tts_values[2]);
}

static int
compare_items(const void *a, const void *b)
{
	const WorkItem *wa = a;
	const WorkItem *wb = b;

	CHECK_FOR_INTERRUPTS();
	if (wa->running != wb->running)
		return wa->running ? 1 : -1;
	if (wa->no_creation_order != wb->no_creation_order)
		return wa->no_creation_order ? 1 : -1;
	if (wa->creation_order != wb->creation_order)
		return wa->creation_order < wb->creation_order ? -1 : 1;
	return memcmp(&wa->id, &wb->id, UUID_LEN);
}

static void
ignore_canceled(TupleTableSlot *row, void *arg)
{
}

static void
count_failed(const pg_uuid_t *id, const char *why, void *arg)
{
	((Work *) arg)->failed++;
}

/* Cancels the jobs of some items of the work list, and commits */
static void
cancel_chunk(Work *work, WorkItem *items, size_t count, Oid relid, Datum batch,
			 const Filters *filters)
{
	MemoryContext before = CurrentMemoryContext;
	MemoryContext chunk = create_call_context(CurrentMemoryContext);
	CancelObserver observer = {NULL, ignore_canceled, count_failed, work};
	Filters		chunk_filters = *filters;
	FilterValues *ids = &chunk_filters.of[FILTER_ID];
	JobsRelation relation;
	uint64		canceled;

	MemoryContextSwitchTo(chunk);
	ids->count = count;
	ids->values = palloc(count * sizeof(Datum));
	CHECK_FOR_INTERRUPTS();
	for (size_t i = 0; i < count; i++)
		ids->values[i] = UUIDPGetDatum(&items[i].id);

	/* locks end with each transaction, so another may have come in its place */
	relation = jobs_relation_open(RowExclusiveLock);
	if (relation.relid != relid)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("jobs relation \"%s\" was replaced while it was worked on", pasqal_jobs_table),
				 errdetail("Chunks that were committed stay."),
				 errhint("Call the procedure again.")));
	canceled = cancel(&relation, batch, &chunk_filters,
					  work->named ? CANCEL_CALL : CANCEL_WORK_LIST, &observer);
	notify_canceled(batch, canceled);
	work->canceled += canceled;

	MemoryContextSwitchTo(before);
	MemoryContextDelete(chunk);
	SPI_commit();
}

/* Tells how far the work has come, if a second has passed since last time */
static void
report_progress(const Work *work, size_t done, instr_time start, instr_time *last)
{
	instr_time	now;
	instr_time	since;
	instr_time	total;

	INSTR_TIME_SET_CURRENT(now);
	since = now;
	INSTR_TIME_SUBTRACT(since, *last);
	if (INSTR_TIME_GET_DOUBLE(since) < 1.0 || done == work->count)
		return;
	*last = now;

	total = now;
	INSTR_TIME_SUBTRACT(total, start);
	ereport(NOTICE,
			(errmsg("canceled " UINT64_FORMAT " of %zu jobs (%d %%), about %.0f s left",
					work->canceled, work->count, (int) (done * 100.0 / work->count),
					ceil(INSTR_TIME_GET_DOUBLE(total) / done * (work->count - done)))));
}

/* In memory of the current context */
static CallerState
caller_state(void)
{
	return (CallerState) {
		GetUserId(), pstrdup(pasqal_jobs_table), pstrdup(pasqal_jobs_notify_channel)
	};
}

/*
 * What was set with SET LOCAL ends with the first COMMIT.  Refuses to go on
 * then (55000): under another role more jobs might be canceled.
 */
static void
check_caller_state(const CallerState *before)
{
	const char *changed = NULL;

	if (GetUserId() != before->user)
		changed = "role";
	else if (strcmp(pasqal_jobs_table, before->jobs_table) != 0)
		changed = "pasqal_jobs.jobs_table";
	else if (strcmp(pasqal_jobs_notify_channel, before->notify_channel) != 0)
		changed = "pasqal_jobs.notify_channel";
	if (changed)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cancel_jobs_in_chunks cannot run with a \"%s\" of SET LOCAL", changed),
				 errdetail("It ends with the first commit. Nothing was canceled."),
				 errhint("Use SET, and RESET afterwards.")));
}

PG_FUNCTION_INFO_V1(cancel_jobs_in_chunks);

/*
 * cancel_jobs_in_chunks(batch uuid, filters jsonb, chunk_size int,
 *						 INOUT canceled bigint, INOUT failed bigint)
 *
 * Both results are of this call alone, whatever was passed in.  Raises 25001
 * where the caller's transaction cannot be ended, 55000 where its end would
 * change on whose behalf and where jobs are canceled.
 */
Datum
cancel_jobs_in_chunks(PG_FUNCTION_ARGS)
{
	/* of the portal, or of a PL's SPI: it outlives the COMMITs, but no error */
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext call = create_call_context(caller);
	int			chunk_size = PG_ARGISNULL(2) ? 0 : PG_GETARG_INT32(2);
	TupleDesc	result_desc;
	Datum		batch;
	Filters		filters;
	JobsRelation relation;
	CallerState before;
	Work		work = {0};
	instr_time	start;
	instr_time	last;
	Datum		values[2];
	bool		nulls[2] = {false, false};
	HeapTuple	tuple;

	if (fcinfo->context == NULL || !IsA(fcinfo->context, CallContext) ||
		castNode(CallContext, fcinfo->context)->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("cancel_jobs_in_chunks cannot run inside a transaction block"),
				 errdetail("It commits after each chunk."),
				 errhint("Call it at top level without BEGIN, not from a function and not behind SECURITY DEFINER or SET clauses; cancel_jobs runs anywhere.")));

	MemoryContextSwitchTo(call);
	if (get_call_result_type(fcinfo, NULL, &result_desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	result_desc = BlessTupleDesc(CreateTupleDescCopy(result_desc));
	read_arguments(fcinfo, &batch, &filters);
	if (chunk_size <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("chunk_size must be greater than zero"),
				 errhint("1000 jobs a chunk is the default.")));

	INSTR_TIME_SET_CURRENT(start);
	last = start;

	if (SPI_connect_ext(SPI_OPT_NONATOMIC) != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	MemoryContextSwitchTo(call);

	/* the work list, in a transaction of its own */
	relation = jobs_relation_open(RowExclusiveLock);
	work.relation = &relation;
	work.context = call;
	work.named = filter_present(&filters, FILTER_ID);
	statement_execute(STATEMENT_WORK_LIST,
					  &(StatementArgs) {
						  .relation = &relation,
						  .batch = batch,
						  .filters = &filters
					  },
					  add_match, &work);
	qsort(work.items, work.count, sizeof(WorkItem), compare_items);
	if (work.named)
		work.failed = Max(filters.of[FILTER_ID].count - (int64) work.count, 0);
	before = caller_state();
	SPI_commit();
	check_caller_state(&before);

	for (size_t done = 0; done < work.count;)
	{
		size_t		count = Min((size_t) chunk_size, work.count - done);

		CHECK_FOR_INTERRUPTS();
		cancel_chunk(&work, &work.items[done], count, relation.relid, batch, &filters);
		done += count;
		report_progress(&work, done, start, &last);
	}
	SPI_finish();

	values[0] = Int64GetDatum((int64) work.canceled);
	values[1] = Int64GetDatum((int64) work.failed);
	MemoryContextSwitchTo(caller);
	tuple = heap_form_tuple(result_desc, values, nulls);
	MemoryContextDelete(call);
	PG_RETURN_DATUM(HeapTupleGetDatum(tuple));
}
