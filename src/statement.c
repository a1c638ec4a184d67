/*-------------------------------------------------------------------------
 *
 * statement.c
 *	  Planning and running the SQL statements of a cancel.
 *
 * statement_text.c says what they are, saved_plans.c keeps their plans.  An
 * outdated plan is made anew from a new text, since a name in it may have
 * changed.
 *
 * A statement runs user code: triggers, policies, functions of views, and
 * STABLE functions even while it is planned.  That code may alter the relation
 * or swap its name with another one's.  So the relation is verified before and
 * after each statement, and before the first row is read the plan must be
 * about that relation and yield the attributes that its reader expects.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "jit/jit.h"
#include "miscadmin.h"
#include "nodes/params.h"
#include "nodes/plannodes.h"
#include "tcop/dest.h"
#include "utils/catcache.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "statement_text.h"

/*
 * Raises 55000 if the relation, or a label that the request names, is no longer
 * what it was.  Other sessions may have done what no lock stops, such as ALTER
 * TYPE, also while the plan was made: after that the statement takes its
 * snapshot, which sees the rows that such a session has changed with the type.
 */
static void
verify(const Request *request)
{
	AcceptInvalidationMessages();
	if (jobs_relation_verify(request->relation) && !request_labels_kept(request))
		jobs_relation_changed(request->relation);
}

/* Builds a statement with its text, and has it parsed */
static SPIPlanPtr
prepare(Statement *statement, int options)
{
	SPIPlanPtr	plan;

	statement->sql = makeStringInfo();
	statement_build(statement);
	plan = SPI_prepare_cursor(statement->sql->data, statement->param_count,
							  statement->param_types, options);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare_cursor returned %s for %s",
			 SPI_result_code_string(SPI_result), statement->sql->data);
	return plan;
}

/* Are the jobs read by an index that begins with batch_id? */
static bool
reads_index_of_batches(const Plan *plan)
{
	const char *name;
	HeapTuple	tuple;
	Form_pg_index index;
	Oid			indexid;

	if (IsA(plan, ModifyTable) || IsA(plan, LockRows))
		plan = outerPlan(plan);
	if (IsA(plan, BitmapHeapScan))
		plan = outerPlan(plan);
	if (IsA(plan, IndexScan))
		indexid = ((const IndexScan *) plan)->indexid;
	else if (IsA(plan, IndexOnlyScan))
		indexid = ((const IndexOnlyScan *) plan)->indexid;
	else if (IsA(plan, BitmapIndexScan))
		indexid = ((const BitmapIndexScan *) plan)->indexid;
	else
		return false;

	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(indexid));
	if (!HeapTupleIsValid(tuple))
		return false;			/* dropped since */
	index = (Form_pg_index) GETSTRUCT(tuple);
	name = get_attname(index->indrelid, index->indkey.values[0], true);
	ReleaseSysCache(tuple);
	return name && strcmp(name, job_columns[COLUMN_BATCH_ID].name) == 0;
}

/*
 * Does a generic plan suit the statement?  Not if PostgreSQL would compile it
 * (jit), which takes longer than to cancel a few jobs; and not for a whole
 * batch unless it uses an index on batch_id: with old statistics it might read
 * the whole table for each small batch.  This makes the plan, which the first
 * execution then uses; if user code has made it invalid meanwhile, names in
 * its text may mean other relations.
 */
static bool
generic_plan_suits(SPIPlanPtr plan, bool whole_batch)
{
	CachedPlan *generic = SPI_plan_get_cached_plan(plan);
	bool		suits = false;

	if (generic == NULL)
		return false;
	if (list_length(generic->stmt_list) == 1)
	{
		const PlannedStmt *stmt = linitial_node(PlannedStmt, generic->stmt_list);

		suits = (stmt->jitFlags & PGJIT_PERFORM) == 0 &&
			(!whole_batch || reads_index_of_batches(stmt->planTree));
	}
	ReleaseCachedPlan(generic, CurrentResourceOwner);
	return suits && SPI_plan_is_valid(plan);
}

/* Forgets a saved generic plan unless it suits the statement */
static pg_noinline bool
keep_if_suitable(SavedPlan *saved, bool whole_batch)
{
	volatile bool suits = false;

	PG_TRY();
	{
		suits = generic_plan_suits(saved_plan_hold(saved), whole_batch);
	}
	PG_CATCH();
	{
		saved_plan_release(saved);
		saved_plan_forget(saved);
		PG_RE_THROW();
	}
	PG_END_TRY();

	saved_plan_release(saved);
	if (!suits)
		saved_plan_forget(saved);
	return suits;
}

/*
 * Makes the plan of a statement, and saves it.  Returns NULL if it cannot be
 * saved (see saved_plan_enter); then *plan is in memory of SPI.
 *
 * For a partitioned table a generic plan locks every partition, a custom plan
 * may lock one.  For a long list see FORM_LONG_ARRAY.
 *
 * A generic plan is wanted for a single id, for tids, and for a batch without
 * other filters: with batches of different sizes the plan cache would have
 * each call planned anew, which takes longer than to cancel a few jobs.  The
 * last case is for tables only: below a view there may be partitions.
 */
static SavedPlan *
make_plan(const PlanKey *key, Statement *statement, SPIPlanPtr *plan)
{
	static const uint8 no_filter[FILTER_COUNT];
	JobsRelation *relation = statement->request->relation;
	bool		in_place = statement->request->tids.count > 0;
	bool		whole_batch = (relation->shape.relkind == RELKIND_RELATION && !in_place &&
							   memcmp(key->form, no_filter, sizeof(no_filter)) == 0);
	int			options = (relation->shape.relkind == RELKIND_PARTITIONED_TABLE ?
						   CURSOR_OPT_CUSTOM_PLAN : 0);
	SavedPlan  *saved;

	for (int f = 0; f < FILTER_COUNT; f++)
		if (key->form[f] >= FORM_LONG_ARRAY)
			options = CURSOR_OPT_CUSTOM_PLAN;

	if (options == 0 && (whole_batch || key->form[FILTER_ID] == FORM_ONE || in_place))
	{
		*plan = prepare(statement, CURSOR_OPT_GENERIC_PLAN);
		saved = saved_plan_enter(key, relation->version, *plan);
		if (saved == NULL || keep_if_suitable(saved, whole_batch))
			return saved;
		verify(statement->request);
	}
	*plan = prepare(statement, options);
	return saved_plan_enter(key, relation->version, *plan);
}

/* A DestReceiver that hands each row to a RowCallback */
typedef struct RowReceiver
{
	DestReceiver pub;
	RowCallback callback;
	void	   *callback_arg;
	StatementKind kind;
	const Request *request;
	SPIPlanPtr	plan;
} RowReceiver;

static bool
receive_row(TupleTableSlot *slot, DestReceiver *self)
{
	RowReceiver *receiver = (RowReceiver *) self;

	CHECK_FOR_INTERRUPTS();
	slot_getallattrs(slot);
	receiver->callback(slot, receiver->callback_arg);
	return true;
}

/*
 * Is the plan about the relation that its text was built for?  That is the
 * first one that the text names; another view that has its name by now may read
 * it, too.
 */
static bool
plan_is_about(SPIPlanPtr plan, Oid relid)
{
	CachedPlanSource *source = linitial(SPI_plan_get_plan_sources(plan));

	return linitial_oid(source->relationOids) == relid;
}

/*
 * Was this row of a catalog written since the snapshot was taken, by another
 * transaction?
 */
static bool
written_since(HeapTuple tuple, Snapshot snapshot)
{
	TransactionId xmin = HeapTupleHeaderGetXmin(tuple->t_data);

	return TransactionIdIsNormal(xmin) && !TransactionIdIsCurrentTransactionId(xmin) &&
		XidInMVCCSnapshot(xmin, snapshot);
}

/*
 * Has a relation got another file since the snapshot was taken, or is it newer
 * itself?  Then the snapshot may not see its rows.
 */
static bool
rewritten_since(Oid relid, Snapshot snapshot)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	bool		written;
	Oid			file;
	Relation	classes;
	ScanKeyData key;
	SysScanDesc scan;
	bool		result;

	if (!HeapTupleIsValid(tuple))
		return false;			/* dropped this moment */
	written = written_since(tuple, snapshot);
	file = ((Form_pg_class) GETSTRUCT(tuple))->relfilenode;
	ReleaseSysCache(tuple);
	if (!written)
		return false;

	ScanKeyInit(&key, Anum_pg_class_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	classes = table_open(RelationRelationId, AccessShareLock);
	scan = systable_beginscan(classes, ClassOidIndexId, true, snapshot, 1, &key);
	tuple = systable_getnext(scan);
	result = !HeapTupleIsValid(tuple) || ((Form_pg_class) GETSTRUCT(tuple))->relfilenode != file;
	systable_endscan(scan);
	table_close(classes, AccessShareLock);
	return result;
}

/* Was a label of this column renamed, or added, since the snapshot was taken? */
static bool
relabeled_since(const LabelColumn *column, Snapshot snapshot)
{
	CatCList   *labels;
	bool		result = false;

	if (!column->is_enum)
		return false;
	labels = enum_labels(column->type);
	for (int i = 0; i < labels->n_members; i++)
		result = result || written_since(&labels->members[i]->tuple, snapshot);
	ReleaseSysCacheList(labels);
	return result;
}

/*
 * Raises 40001 if a relation that the plan reads, or a partition or child of
 * it, was rewritten since the snapshot of the statement was taken, or if a
 * label was renamed: both are not MVCC-safe, so that jobs would seem not to be
 * there, or to have other labels.  Most statements take their snapshot when
 * they have all locks.
 */
static void
check_snapshot(SPIPlanPtr plan, const Request *request)
{
	const JobsRelation *relation = request->relation;
	CachedPlanSource *source = linitial(SPI_plan_get_plan_sources(plan));
	Snapshot	snapshot = GetActiveSnapshot();
	bool		changed = false;
	ListCell   *cell;
	ListCell   *below;

	if (!request->read_only && !IsolationUsesXactSnapshot())
		return;
	for (int i = 0; i < LABEL_SET_COUNT; i++)
		changed = changed || relabeled_since(&relation->shape.labels[i], snapshot);
	foreach(cell, source->relationOids)
		foreach(below, find_all_inheritors(lfirst_oid(cell), NoLock, NULL))
		changed = changed || rewritten_since(lfirst_oid(below), snapshot);
	if (changed)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access to jobs relation \"%s\"",
						jobs_relation_display_name(relation->rel)),
				 errdetail("Another session rewrote or replaced a table, or changed the labels of an enum, after the snapshot was taken."),
				 errhint("Call again, under REPEATABLE READ or SERIALIZABLE in a new transaction.")));
}

/* Has an attribute of a result the type of this column? */
static bool
attribute_fits(const JobsRelation *relation, JobColumn column, Oid type)
{
	ColumnKind	kind = job_columns[column].kind;
	Oid			wanted = (kind == KIND_LABEL ?
						  relation->shape.labels[job_columns[column].labels].type : column_types[kind]);

	return type == wanted || getBaseType(type) == wanted;
}

/*
 * Called after planning and before execution: raises 55000 if the plan is not
 * about the relation, or if its rows have other types than expected; 40001 if
 * they cannot be seen.
 */
static void
receiver_startup(DestReceiver *self, int operation, TupleDesc desc)
{
	static const JobColumn columns[] = {
		[RESULT_ID] = COLUMN_ID,
		[RESULT_STATUS] = COLUMN_STATUS,
		[RESULT_CREATION_ORDER] = COLUMN_CREATION_ORDER,
	};
	static const Oid types[] = {
		[RESULT_XMAX] = XIDOID,
		[RESULT_MATCHES] = BOOLOID,
		[RESULT_TID] = TIDOID,
	};
	static const int natts[] = {
		[STATEMENT_MATCH] = RESULT_XMAX + 1,
		[STATEMENT_WORK_LIST] = RESULT_TID + 1,
		[STATEMENT_LOCK] = RESULT_ID + 1,
		[STATEMENT_CANCEL] = FIELD_COUNT,
		[STATEMENT_LOOK] = RESULT_MATCHES + 1,
	};
	RowReceiver *receiver = (RowReceiver *) self;
	StatementKind kind = receiver->kind;
	bool		fits = (desc->natts == natts[kind] &&
						plan_is_about(receiver->plan, receiver->request->relation->relid));

	for (int i = 0; i < natts[kind] && fits; i++)
	{
		Oid			type = TupleDescAttr(desc, i)->atttypid;

		if (kind == STATEMENT_CANCEL)
			fits = attribute_fits(receiver->request->relation, (JobColumn) i, type);
		else if (OidIsValid(types[i]))
			fits = type == types[i];
		else
			fits = attribute_fits(receiver->request->relation, columns[i], type);
	}
	if (!fits)
		jobs_relation_changed(receiver->request->relation);
	check_snapshot(receiver->plan, receiver->request);
}

/* Nothing is to be shut down or destroyed */
static void
receiver_end(DestReceiver *self)
{
}

/* The parameters of a statement as the executor wants them */
static ParamListInfo
param_list(const Statement *statement)
{
	ParamListInfo params = makeParamList(statement->param_count);

	for (int i = 0; i < statement->param_count; i++)
	{
		params->params[i].value = statement->param_values[i];
		params->params[i].isnull = false;
		params->params[i].pflags = PARAM_FLAG_CONST;
		params->params[i].ptype = statement->param_types[i];
	}
	return params;
}

/*
 * Runs a saved plan, held meanwhile; or, if saved is NULL, receiver->plan,
 * which SPI_finish frees.
 */
static pg_noinline void
run_plan(SavedPlan *saved, RowReceiver *receiver, const SPIExecuteOptions *options)
{
	volatile int result = 0;

	if (saved)
		receiver->plan = saved_plan_hold(saved);
	PG_TRY();
	{
		result = SPI_execute_plan_extended(receiver->plan, options);
	}
	PG_FINALLY();
	{
		if (saved)
			saved_plan_release(saved);
	}
	PG_END_TRY();

	if (result < 0)
		elog(ERROR, "SPI_execute_plan_extended returned %s",
			 SPI_result_code_string(result));
}

/*
 * statement_execute
 *
 * Runs a statement and calls the callback with each row that it returns, while
 * it runs.  It sees a snapshot of its own, taken now; or, if the request is
 * read-only, that of the statement that called us, which works during
 * recovery, too.  Must be called with SPI connected; memory is taken from the
 * current context.  Raises whatever the statement raises, and 55000 if the
 * relation was changed.  If no job can match, only jobs that are named are
 * looked at.
 */
void
statement_execute(StatementKind kind, const Request *request,
				  RowCallback callback, void *callback_arg)
{
	MemoryContext context = CurrentMemoryContext;
	PlanKey		key;
	SavedPlan  *saved;
	Statement	statement = {.request = request, .key = &key, .kind = kind};
	RowReceiver receiver = {
		.pub = {
			.receiveSlot = receive_row,
			.rStartup = receiver_startup,
			.rShutdown = receiver_end,
			.rDestroy = receiver_end,
			.mydest = DestNone,
		},
		.callback = callback,
		.callback_arg = callback_arg,
		.kind = kind,
		.request = request,
	};
	SPIExecuteOptions options = {
		.read_only = request->read_only,
		.dest = &receiver.pub,
	};

	Assert(kind != STATEMENT_CANCEL || !request->read_only);
	if (request->filters.none_match && !statement_answers_for_named(kind, request))
		return;
	verify(request);
	if (kind == STATEMENT_LOCK && request->relation->row_locks == ROW_LOCKS_NONE)
		jobs_relation_changed(request->relation);	/* a partition was
													 * attached that cannot be
													 * locked so */
	statement_fill_key(&key, kind, request);
	statement_build(&statement);
	options.params = param_list(&statement);
	saved = saved_plan_find(&key, request->relation->version);
	if (saved == NULL)
		saved = make_plan(&key, &statement, &receiver.plan);
	run_plan(saved, &receiver, &options);
	MemoryContextSwitchTo(context); /* SPI leaves its own as the current one */
	verify(request);
}
