/*-------------------------------------------------------------------------
 *
 * chunks.c
 *	  The procedure cancel_jobs_in_chunks: a cancel that is committed chunk by
 *	  chunk.
 *
 * The jobs to be canceled are fixed as the procedure starts, and each job of
 * this work list gets one answer, so that the procedure ends, whatever
 * triggers, policies and new jobs do.  Pending jobs come first, so that few of
 * them start meanwhile.
 *
 * A job that is locked when its chunk comes is put off to the end of the list,
 * and waited for there; if locked jobs are to be skipped, it fails.
 *
 * Locks and snapshots end with each chunk.  The work list, the filters and the
 * progress stay.  The labels among the filters are Oids, so the relation is
 * opened anew, and must be the same one with columns of the same types.  The
 * tids of the jobs are only where to look first: see cancel_in_place.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/qunique.h"
#include "miscadmin.h"
#include "optimizer/cost.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"
#include "utils/wait_event.h"

#include "arrays.h"
#include "call.h"
#include "cancel.h"
#include "compat.h"
#include "progress.h"
#include "settings.h"
#include "statement.h"

/* One job that is to be canceled */
typedef struct WorkItem
{
	JobOrder	order;
	ItemPointerData tid;		/* where it was; invalid: not known */
	bool		running;
} WorkItem;

/*
 * What no commit may change: as whom and where jobs are canceled, and who
 * hears of it
 */
typedef struct SessionState
{
	Oid			role;
	char	   *jobs_table;
	char	   *search_path;
	char	   *notify_channel;
} SessionState;

/* What is to be done, and what has been done */
typedef struct Work
{
	Call	   *call;
	SessionState session;		/* as the procedure began */
	Oid			relid;			/* likewise */
	JobsShape	shape;
	WorkItem   *items;
	size_t		count;
	size_t		capacity;
	size_t		found;			/* jobs read, also those not to be canceled */
	size_t		done;			/* items done, or put off behind the others */
	int			pause;			/* between chunks, in milliseconds; as the
								 * procedure began */
	Progress	progress;
} Work;

/* Adds an item, which is still to be set, to the end of the work list */
static WorkItem *
add_item(Work *work)
{
	if (work->count == work->capacity)
		work->items = grow_array(work->call->context, work->items,
								 &work->capacity, sizeof(WorkItem));
	return &work->items[work->count++];
}

/* A row of STATEMENT_WORK_LIST: an item, or a job that has failed already */
static void
add_match(TupleTableSlot *row, void *arg)
{
	Work	   *work = arg;
	Datum		value = row->tts_values[RESULT_STATUS];
	bool		isnull = row->tts_isnull[RESULT_STATUS];
	const JobsRelation *relation = &work->call->relation;
	JobStatus	status = job_status(relation, value, isnull);
	WorkItem   *item;

	if (row->tts_isnull[RESULT_ID])
		return;
	work->found++;
	if (!job_is_cancelable(status))
	{
		char	   *why = psprintf(WHY_STATUS, job_status_text(relation, value, isnull));

		progress_failed(&work->progress, why);
		pfree(why);
		return;
	}
	if (!DatumGetBool(row->tts_values[RESULT_MATCHES]))
	{
		progress_failed(&work->progress, WHY_NO_MATCH);
		return;
	}

	item = add_item(work);
	job_order_set(&item->order, row, RESULT_ID, RESULT_CREATION_ORDER);
	item->running = status == JOB_RUNNING;
	if (row->tts_isnull[RESULT_TID])
		ItemPointerSetInvalid(&item->tid);
	else
		item->tid = *(ItemPointer) DatumGetPointer(row->tts_values[RESULT_TID]);
}

static int
compare_items(const void *a, const void *b)
{
	const WorkItem *wa = a;
	const WorkItem *wb = b;

	CHECK_FOR_INTERRUPTS();
	if (wa->running != wb->running)
		return wa->running ? 1 : -1;
	return job_order_compare(&wa->order, &wb->order);
}

/*
 * May jobs be found by their tids, which is faster than by an index on their
 * ids?  Rows must show their xmax and ctid, and no trigger may keep a job,
 * since it would run twice for that.  Beside tids the condition on the batch
 * does not lead to a shard: so not with Citus, nor where generic plans are
 * forced.
 */
static bool
may_use_tids(const JobsRelation *relation)
{
	return !relation->update_may_skip && relation->shows_xmax && enable_tidscan &&
		plan_cache_mode != PLAN_CACHE_MODE_FORCE_GENERIC_PLAN &&
		GetConfigOption("citus.shard_count", true, false) == NULL;
}

/*
 * Reads the work list.  Raises 54000, before anything is canceled, if it is
 * longer than the request allows.
 */
static void
build_work_list(Work *work)
{
	Request    *request = &work->call->request;

	request->wants_tids = may_use_tids(&work->call->relation);
	statement_execute(STATEMENT_WORK_LIST, request, add_match, work);
	request->wants_tids = false;
	qsort(work->items, work->count, sizeof(WorkItem), compare_items);
	if (request_lists_jobs(request))
		for (size_t i = work->found; i < (size_t) request->filters.of[FILTER_ID].count; i++)
			progress_failed(&work->progress, WHY_NOT_FOUND);
	cancel_check_limit(request, work->count);
}

/* Copies what the session has now */
static SessionState
session_state(void)
{
	SessionState state;

	state.role = GetUserId();
	state.jobs_table = pstrdup(pasqal_jobs_table);
	state.search_path = pstrdup(namespace_search_path);
	state.notify_channel = pstrdup(pasqal_jobs_notify_channel);
	return state;
}

/*
 * Does the setting jobs_table still name that relation under this search_path?
 * A name without a schema is looked up as jobs_table_lock does it, temporary
 * tables left out.
 */
static bool
search_path_suits(Oid relid)
{
	List	   *names;
	char	   *schema;

	/* the name is the one that was valid as the call began */
	(void) SplitIdentifierString(pstrdup(pasqal_jobs_table), '.', &names);
	return list_length(names) > 1 ||
		jobs_table_in_search_path(linitial(names), &schema) == relid;
}

/*
 * Raises 55000 if one of these settings has changed: as SET LOCAL ended with
 * the first commit, or by a trigger of a chunk.
 */
static void
check_session_state(const Work *work)
{
	const SessionState *before = &work->session;
	const char *changed = NULL;
	bool		path_changed = false;

	if (GetUserId() != before->role)
		changed = "role";
	else if (strcmp(pasqal_jobs_table, before->jobs_table) != 0)
		changed = "pasqal_jobs.jobs_table";
	else if (strcmp(namespace_search_path, before->search_path) != 0 &&
			 !search_path_suits(work->relid))
	{
		changed = "search_path";
		path_changed = true;
	}
	else if (strcmp(pasqal_jobs_notify_channel, before->notify_channel) != 0)
		changed = "pasqal_jobs.notify_channel";
	if (changed == NULL)
		return;

	if (work->done == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cancel_jobs_in_chunks cannot run with a \"%s\" of SET LOCAL", changed),
				 path_changed ?
				 errdetail("It ends with the first commit, and the name \"%s\" then means another relation, or none.  Nothing was canceled.",
						   pasqal_jobs_table) :
				 errdetail("It ends with the first commit.  Nothing was canceled."),
				 path_changed ?
				 errhint("Use SET, and RESET afterwards; or name the schema in pasqal_jobs.jobs_table, too.") :
				 errhint("Use SET, and RESET afterwards.")));
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("setting \"%s\" was changed between two chunks", changed),
			 errdetail("Chunks that were committed stay."),
			 errhint("Set it right and call the procedure again.")));
}

/*
 * Opens the relation again in the transaction of a chunk.  Raises 55000 if the
 * setting names another one now, or if its shape has changed: the labels in
 * the filters are those of its old types.
 */
static void
reopen_relation(Work *work)
{
	JobsRelation *relation = &work->call->relation;

	jobs_relation_open(relation, work->call->lockmode);
	if (relation->relid != work->relid ||
		!jobs_shape_equal(&relation->shape, &work->shape) ||
		!request_labels_kept(&work->call->request))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("jobs relation \"%s\" was replaced or altered between two chunks", pasqal_jobs_table),
				 errdetail("Chunks that were committed stay."),
				 errhint("Call the procedure again.")));
}

/*
 * A CancelObserver's function: puts a locked job off, and counts others as
 * failed
 */
static void
put_off_or_count(const pg_uuid_t *id, const char *why, void *arg)
{
	Work	   *work = arg;
	WorkItem   *item;

	if (work->call->request.skip_locked || strcmp(why, WHY_LOCKED) != 0)
	{
		progress_failed(&work->progress, why);
		return;
	}
	item = add_item(work);
	memset(item, 0, sizeof(*item));
	item->order.id = *id;
	ItemPointerSetInvalid(&item->tid);
}

/*
 * Sets the filter id, and the tids if they are known, to the next jobs of the
 * work list
 */
static void
list_chunk(Work *work, Request *request, size_t count)
{
	FilterValues *ids = &request->filters.of[FILTER_ID];

	ids->values = MemoryContextAllocHuge(CurrentMemoryContext, count * sizeof(Datum));
	if (request->skip_locked && may_use_tids(request->relation))
		request->tids.values = MemoryContextAllocHuge(CurrentMemoryContext, count * sizeof(Datum));
	for (size_t i = 0; i < count; i++)
	{
		WorkItem   *item = &work->items[work->done + i];

		/*
		 * the items stay where they are until jobs are put off, at the very
		 * end
		 */
		ids->values[i] = UUIDPGetDatum(&item->order.id);
		if (request->tids.values && ItemPointerIsValid(&item->tid))
			request->tids.values[request->tids.count++] = PointerGetDatum(&item->tid);
	}
	/* an id that several jobs have is looked for once */
	qsort(ids->values, count, sizeof(Datum), filter_compare_ids);
	ids->count = (int) qunique(ids->values, count, sizeof(Datum), filter_compare_ids);
}

/*
 * Cancels the next jobs of the work list, and commits.  Locked jobs are waited
 * for, or put off.  SPI must be connected.  After an error work->done and
 * work->progress, but for its failed jobs, are as of the last commit.
 */
static void
cancel_chunk(Work *work, size_t count, bool wait)
{
	Call	   *call = work->call;
	MemoryContext chunk = AllocSetContextCreate(call->context, "pasqal_jobs chunk",
												ALLOCSET_DEFAULT_SIZES);
	CancelScope scope = request_lists_jobs(&call->request) ? CANCEL_CALL : CANCEL_WORK_LIST;
	CancelObserver observer = {NULL, NULL, put_off_or_count, work};
	Request		request = call->request;
	uint64		canceled;

	MemoryContextSwitchTo(chunk);
	reopen_relation(work);
	call_check_locked_jobs(call);
	request.skip_locked = request.skip_locked ||
		(!wait && jobs_relation_tells_locked(&call->relation));
	list_chunk(work, &request, count);

	canceled = cancel(&request, scope, &observer);
	call_notify(call, canceled);
	jobs_relation_close(&call->relation);

	MemoryContextSwitchTo(call->context);
	MemoryContextDelete(chunk);
	SEAM("before-commit");
	SPI_commit();
	work->done += count;
	work->progress.canceled += canceled;
	work->progress.tried = work->progress.total - (work->count - work->done);
}

/*
 * Sleeps between two chunks, in a transaction that has no snapshot and no
 * lock, and begins another one, whose time is that of the next chunk.
 */
static void
pause_between_chunks(int pause)
{
	static uint32 wait_event = 0;
	TimestampTz end = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), pause);

	if (pause == 0)
		return;
	if (wait_event == 0)
		wait_event = WaitEventExtensionNew("PasqalJobsChunkPause");
	for (;;)
	{
		long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), end);

		if (left <= 0)
			break;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, left, wait_event);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	SPI_commit();
}

/* Moves the jobs that were put off to the front, and returns their number */
static size_t
gather_put_off(Work *work)
{
	work->count -= work->done;
	memmove(work->items, work->items + work->done, work->count * sizeof(WorkItem));
	work->done = 0;
	return work->count;
}

/*
 * Cancels the jobs of the work list chunk by chunk.  Jobs that were put off
 * are tried again as long as one of them turns out to be free; then the first
 * one is waited for, alone.  So a lock that is held for long holds up no free
 * job.
 */
static pg_noinline void
cancel_chunks(Work *work, size_t chunk_size)
{
	Progress   *progress = &work->progress;
	size_t		end = work->count;
	size_t		before = SIZE_MAX;	/* jobs put off as they were last tried */

	progress_start(progress, work->count);
	check_session_state(work);
	while (work->done < work->count)
	{
		bool		wait = false;

		if (work->done == end)
		{
			end = gather_put_off(work);
			wait = end == before;
			before = end;
		}
		progress_show(progress);
		CHECK_FOR_INTERRUPTS();
		cancel_chunk(work, wait ? 1 : Min(chunk_size, end - work->done), wait);
		check_session_state(work);
		progress_notice(progress);
		if (work->done < work->count)
		{
			progress_show(progress);
			pause_between_chunks(work->pause);
			SEAM("between-chunks");
		}
	}
}

/*
 * The same with error context; at its end pg_stat_activity shows the CALL
 * again
 */
static void
cancel_work_list(Work *work, size_t chunk_size)
{
	ErrorContextCallback context = {error_context_stack, progress_context, &work->progress};

	error_context_stack = &context;
	PG_TRY();
	{
		cancel_chunks(work, chunk_size);
	}
	PG_CATCH();
	{
		progress_show_call(&work->progress);
		PG_RE_THROW();
	}
	PG_END_TRY();
	progress_show_call(&work->progress);
	error_context_stack = context.previous;
}

PG_FUNCTION_INFO_V1(cancel_jobs_in_chunks);

/*
 * cancel_jobs_in_chunks(batch uuid, filters jsonb, chunk_size int,
 *						 INOUT canceled bigint, INOUT failed bigint)
 *
 * The results count this call alone, whatever was passed in.  Raises 25001
 * where it cannot commit, 55000 where a commit would change as whom or where
 * jobs are canceled.
 */
Datum
cancel_jobs_in_chunks(PG_FUNCTION_ARGS)
{
	int			chunk_size = PG_ARGISNULL(2) ? 0 : PG_GETARG_INT32(2);
	Call		call;
	TupleDesc	result_desc;
	Work		work = {.call = &call};
	Datum		values[2];
	bool		nulls[2] = {false, false};
	HeapTuple	tuple;

	if (fcinfo->context == NULL || !IsA(fcinfo->context, CallContext) ||
		castNode(CallContext, fcinfo->context)->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("cancel_jobs_in_chunks cannot run inside a transaction block"),
				 errdetail("It commits after each chunk."),
				 errhint("Call it at top level, as the only statement of its message: not after BEGIN, not as in psql -c 'SET ...; CALL ...', not from a function, not behind SECURITY DEFINER or SET clauses.  cancel_jobs runs anywhere.")));

	/* the portal's memory, or a PL's: the commits leave it, an error ends it */
	call_begin(&call, "cancel_jobs_in_chunks", false);
	if (get_call_result_type(fcinfo, NULL, &result_desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	result_desc = BlessTupleDesc(CreateTupleDescCopy(result_desc));
	call_read_arguments(&call, fcinfo);
	if (chunk_size <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("chunk_size must be greater than zero"),
				 errhint("1000 jobs a chunk is the default.")));

	progress_begin(&work.progress, call.request.batch);
	work.session = session_state();
	work.pause = pasqal_jobs_chunk_pause;

	/* the work list, in a transaction of its own */
	call.spi_options = SPI_OPT_NONATOMIC;
	call_open(&call);
	work.relid = call.relation.relid;
	work.shape = call.relation.shape;
	build_work_list(&work);
	jobs_relation_close(&call.relation);
	SPI_commit();

	cancel_work_list(&work, chunk_size);
	progress_end(&work.progress);

	values[0] = Int64GetDatum((int64) work.progress.canceled);
	values[1] = Int64GetDatum((int64) work.progress.failed);
	MemoryContextSwitchTo(call.oldcontext);
	tuple = heap_form_tuple(result_desc, values, nulls);
	call_end(&call);
	PG_RETURN_DATUM(HeapTupleGetDatum(tuple));
}
