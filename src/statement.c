/*-------------------------------------------------------------------------
 *
 * statement.c
 *	  Building, saving and running the SQL statements of a cancel.
 *
 * The text of a statement follows from the relation, the kind of statement,
 * which filters are there, and whether each has one value or several; values
 * are always parameters.  These make up the key under which its plan is saved
 * (saved_plans.c).  An outdated plan is made anew from a new text, since a name
 * in it may have changed.
 *
 * A statement runs code of others: triggers, policies, functions of views, and
 * STABLE functions even while it is planned.  That code may alter the relation
 * or swap its name with another one's.  So the relation is verified before and
 * after each statement, and before the first row is read the plan must be
 * about that relation and yield the attributes that its reader expects.
 *
 * The statements, with a filter user_id of one value and id of several:
 *
 * STATEMENT_MATCH
 *	SELECT j.id, j.status, j.xmax FROM public.jobs AS j
 *	WHERE j.batch_id OPERATOR(pg_catalog.=) $1
 *	AND (j.id OPERATOR(pg_catalog.=) ANY ($2))
 *	AND (j.user_id OPERATOR(pg_catalog.=) $3)
 *
 * STATEMENT_LOCK
 *	SELECT j.id FROM public.jobs AS j
 *	WHERE j.batch_id OPERATOR(pg_catalog.=) $1
 *	AND (j.status OPERATOR(pg_catalog.=) 'PENDING'
 *		 OR j.status OPERATOR(pg_catalog.=) 'RUNNING')
 *	AND (j.id OPERATOR(pg_catalog.=) ANY ($2))
 *	AND (j.user_id OPERATOR(pg_catalog.=) $3)
 *	FOR NO KEY UPDATE SKIP LOCKED
 *
 * STATEMENT_CANCEL
 *	UPDATE public.jobs AS j
 *	SET status = 'CANCELED',
 *		updated_at = CASE WHEN j.updated_at OPERATOR(pg_catalog.>) $2
 *					 THEN j.updated_at ELSE $2 END,
 *		end_timestamp = CASE WHEN j.start_timestamp OPERATOR(pg_catalog.>) $2
 *						THEN j.start_timestamp ELSE $2 END
 *	WHERE j.batch_id OPERATOR(pg_catalog.=) $1
 *	AND (j.status OPERATOR(pg_catalog.=) 'PENDING'
 *		 OR j.status OPERATOR(pg_catalog.=) 'RUNNING')
 *	AND (j.id OPERATOR(pg_catalog.=) ANY ($3))
 *	AND (j.user_id OPERATOR(pg_catalog.=) $4)
 *	RETURNING j.id, j.parent_id, j.status, ..., j.slurm_job_id
 *
 * the same with a running_status
 *	SET status = CASE WHEN j.status OPERATOR(pg_catalog.=) 'RUNNING'
 *				 THEN $3 ELSE 'CANCELED' END,
 *		updated_at = as above,
 *		end_timestamp = CASE WHEN j.status OPERATOR(pg_catalog.=) 'RUNNING'
 *						THEN j.end_timestamp WHEN ... as above
 *
 * STATEMENT_LOOK
 *	SELECT j.id, j.status, j.xmax,
 *		(true AND (j.user_id OPERATOR(pg_catalog.=) $2)) IS TRUE
 *	FROM public.jobs AS j
 *	WHERE j.batch_id OPERATOR(pg_catalog.=) $1
 *	AND (j.id OPERATOR(pg_catalog.=) ANY ($3))
 *
 * STATEMENT_WORK_LIST
 *	the same with j.creation_order and j.ctid or a null; without a filter id, all
 *	other filters are conditions of WHERE as in STATEMENT_MATCH
 *
 * With tids, the conditions of STATEMENT_LOCK and STATEMENT_CANCEL are in
 * parentheses, and followed by: IS TRUE AND j.ctid OPERATOR(pg_catalog.=) ANY ($5).
 * This keeps the planner from indexes of what the conditions are about.  For jobs
 * that are held, STATEMENT_CANCEL ends in: AND j.xmax OPERATOR(pg_catalog.=) $6.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "jit/jit.h"
#include "miscadmin.h"
#include "nodes/params.h"
#include "nodes/plannodes.h"
#include "tcop/dest.h"
#include "utils/array.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "saved_plans.h"
#include "statement.h"

/*
 * The form of a filter in a statement: absent, the number of its values, or an
 * array.  Labels are compared one by one up to FORM_MAX_ORS of them: a
 * comparison with an array of an enum would not be pushed down to a foreign
 * server.
 */
#define FORM_ABSENT		0
#define FORM_ONE		1
#define FORM_MAX_ORS	100
#define FORM_ARRAY		253		/* = ANY (array) */
#define FORM_LONG_ARRAY	254		/* the same, planned for its values */
#define FORM_HIDDEN_ARRAY	255 /* the same, which the planner does not look at */

/*
 * A statement with an array longer than this is planned for its values: only
 * then does the planner know the length, and hash the array.  It takes
 * microseconds and some 200 bytes for each element to guess how many rows
 * match, so of a LONG_LIST the guess is that of a CASE.
 */
#define LONG_ARRAY		100

/*
 * The batch, the timestamp, the status of RUNNING jobs, tids, the holder, two
 * values for the prefix, labels one by one
 */
#define MAX_PARAMS		(5 + 2 + FILTER_COUNT + LABEL_SET_COUNT * FORM_MAX_ORS)

/* A statement that is built: its text, if that is wanted, and its parameters */
typedef struct Statement
{
	const Request *request;
	const PlanKey *key;			/* what the relation was like as it was made */
	StatementKind kind;
	StringInfo	sql;			/* NULL: parameters only */
	int			param_count;
	Oid			param_types[MAX_PARAMS];
	Datum		param_values[MAX_PARAMS];
} Statement;

/* Adds a parameter and returns its number */
static int
add_param(Statement *statement, Oid type, Datum value)
{
	Assert(statement->param_count < MAX_PARAMS);
	statement->param_types[statement->param_count] = type;
	statement->param_values[statement->param_count] = value;
	return ++statement->param_count;
}

static void
append_sql(Statement *statement, const char *text)
{
	if (statement->sql)
		appendStringInfoString(statement->sql, text);
}

static void
append_param(Statement *statement, const char *format, int number)
{
	if (statement->sql)
		appendStringInfo(statement->sql, format, number);
}

static uint8
filter_form(Filter filter, const FilterValues *values)
{
	if (values->count <= 1 ||
		(filter_table[filter].kind == TAKES_LABEL && values->count <= FORM_MAX_ORS))
		return values->count;
	if (values->count > LONG_LIST)
		return FORM_HIDDEN_ARRAY;
	return values->count > LONG_ARRAY ? FORM_LONG_ARRAY : FORM_ARRAY;
}

static void
fill_key(PlanKey *key, StatementKind kind, const Request *request)
{
	memset(key, 0, sizeof(*key));	/* it is hashed with its padding */
	key->relid = request->relation->relid;
	key->kind = kind;
	key->dates_by_creation = request->filters.dates_by_creation;
	key->none_match = request->filters.none_match;
	key->row_locks = kind == STATEMENT_LOCK ? request->relation->row_locks : 0;
	key->shows_xmax = request->relation->shows_xmax && !request->read_only;
	key->held = kind == STATEMENT_CANCEL && TransactionIdIsValid(request->held_by);
	key->cooperative = kind == STATEMENT_CANCEL && request->cooperative;
	key->has_tids = request->wants_tids || request->tids.count > 0;
	for (int f = 0; f < FILTER_COUNT; f++)
		key->form[f] = filter_form(f, &request->filters.of[f]);
}

/* The values of a filter as an array */
static Datum
array_of_values(const FilterValues *values, Oid element_type)
{
	int16		length;
	bool		by_value;
	char		align;

	get_typlenbyvalalign(element_type, &length, &by_value, &align);
	return PointerGetDatum(construct_array(values->values, values->count, element_type,
										   length, by_value, align));
}

/*
 * Appends a filter's condition to the text and its values to the parameters.
 * Text and parameters come from this one walk, so that they cannot disagree.
 */
static void
append_condition(Statement *statement, Filter filter)
{
	const Filters *filters = &statement->request->filters;
	const FilterDef *def = &filter_table[filter];
	const FilterValues *values = &filters->of[filter];
	Oid			type = filter_param_type(filter, statement->request->relation);
	uint8		form = filter_form(filter, values);
	bool		array = form >= FORM_ARRAY;
	int			repeat = !array && def->kind == TAKES_LABEL ? values->count : 1;
	const char *condition = filters->dates_by_creation && def->creation_condition ?
	def->creation_condition : def->condition;
	int			next = 0;

	append_sql(statement, form == FORM_HIDDEN_ARRAY ? "(CASE WHEN " : "(");
	for (int i = 0; i < repeat; i++)
	{
		const char *rest = condition;
		const char *dollar;

		if (i > 0)
			append_sql(statement, " OR ");
		while ((dollar = strchr(rest, '$')) != NULL)
		{
			if (statement->sql)
				appendBinaryStringInfo(statement->sql, rest, dollar - rest);
			rest = dollar + 1;
			if (array)
				append_param(statement, "ANY ($%d)",
							 add_param(statement, get_array_type(type),
									   array_of_values(values, type)));
			else
				append_param(statement, "$%d",
							 add_param(statement, type, values->values[next++]));
		}
		append_sql(statement, rest);
	}
	append_sql(statement, form == FORM_HIDDEN_ARRAY ? " THEN true END)" : ")");
}

/*
 * Appends the conditions of all filters that are there, but for one, each with
 * AND before it
 */
static void
append_conditions(Statement *statement, int but)
{
	for (int f = 0; f < FILTER_COUNT; f++)
	{
		if (!filter_present(&statement->request->filters, f) || f == but)
			continue;
		append_sql(statement, " AND ");
		append_condition(statement, f);
	}
}

/* The fields of a response, as a list of columns */
static void
append_fields(Statement *statement)
{
	for (int c = 0; c < FIELD_COUNT; c++)
	{
		append_sql(statement, c > 0 ? ", j." : "j.");
		append_sql(statement, job_columns[c].name);
	}
}

static void
append_from(Statement *statement, const char *before)
{
	append_sql(statement, before);
	append_sql(statement, jobs_relation_name(statement->request->relation));
	append_sql(statement, " AS j");
}

/* Does the statement say of each job of the filter id whether it matches? */
static bool
answers_for_named(StatementKind kind, const Request *request)
{
	return request_lists_jobs(request) &&
		(kind == STATEMENT_LOOK || kind == STATEMENT_WORK_LIST);
}

/*
 * SELECT and FROM of a statement that reads, and the conditions on the jobs.  A
 * literal without a type takes the type of its column, so that no type need be
 * named.
 */
static void
build_reading(Statement *statement, int batch)
{
	const Request *request = statement->request;
	StatementKind kind = statement->kind;
	bool		named = answers_for_named(kind, request);

	append_sql(statement, "SELECT j.id, j.status, ");
	append_sql(statement, statement->key->shows_xmax ? "j.xmax" : "NULL::pg_catalog.xid");
	if (kind != STATEMENT_MATCH)
	{
		append_sql(statement, request->filters.none_match ? ", (false" : ", (true");
		if (named)
			append_conditions(statement, FILTER_ID);
		append_sql(statement, ") IS TRUE");
	}
	if (kind == STATEMENT_WORK_LIST)
		append_sql(statement, request->wants_tids ? ", j.creation_order, j.ctid" :
				   ", j.creation_order, NULL::pg_catalog.tid");
	append_from(statement, " FROM ");
	append_param(statement, " WHERE j.batch_id OPERATOR(pg_catalog.=) $%d", batch);
	if (named)
	{
		append_sql(statement, " AND ");
		append_condition(statement, FILTER_ID);
	}
	else
		append_conditions(statement, FILTER_COUNT);
}

/* SET of STATEMENT_CANCEL: times stay in order, whatever a worker did meanwhile */
static void
append_assignments(Statement *statement)
{
	const Request *request = statement->request;
	int			timestamp = add_param(statement, TIMESTAMPTZOID,
									  TimestampTzGetDatum(GetCurrentTransactionStartTimestamp()));

	if (request->cooperative)
		append_param(statement, " SET status = CASE WHEN j.status OPERATOR(pg_catalog.=) 'RUNNING'"
					 " THEN $%d ELSE 'CANCELED' END",
					 add_param(statement,
							   label_column_param_type(&request->relation->shape.labels[LABELS_OF_STATUS]),
							   request->running_status));
	else
		append_sql(statement, " SET status = 'CANCELED'");

	append_param(statement, ", updated_at = CASE WHEN j.updated_at OPERATOR(pg_catalog.>) $%d", timestamp);
	append_param(statement, " THEN j.updated_at ELSE $%d END, end_timestamp = CASE", timestamp);
	if (request->cooperative)
		append_sql(statement, " WHEN j.status OPERATOR(pg_catalog.=) 'RUNNING' THEN j.end_timestamp");
	append_param(statement, " WHEN j.start_timestamp OPERATOR(pg_catalog.>) $%d", timestamp);
	append_param(statement, " THEN j.start_timestamp ELSE $%d END", timestamp);
}

/* WHERE of the statements that lock or cancel jobs */
static void
append_where(Statement *statement, int batch)
{
	const Request *request = statement->request;
	const FilterValues *tids = &request->tids;

	append_sql(statement, tids->count > 0 ? " WHERE (" : " WHERE ");
	append_param(statement, "j.batch_id OPERATOR(pg_catalog.=) $%d", batch);
	append_sql(statement, " AND (j.status OPERATOR(pg_catalog.=) 'PENDING'"
			   " OR j.status OPERATOR(pg_catalog.=) 'RUNNING')");
	append_conditions(statement, FILTER_COUNT);
	if (tids->count > 0)
		append_param(statement, ") IS TRUE AND j.ctid OPERATOR(pg_catalog.=) ANY ($%d)",
					 add_param(statement, get_array_type(TIDOID), array_of_values(tids, TIDOID)));
	if (statement->kind == STATEMENT_CANCEL && TransactionIdIsValid(request->held_by))
		append_param(statement, " AND j.xmax OPERATOR(pg_catalog.=) $%d",
					 add_param(statement, XIDOID, TransactionIdGetDatum(request->held_by)));
}

/*
 * Builds a statement (see the top of this file) in the current context, with
 * its text if statement->sql is there: a saved plan needs none.
 */
static void
build_statement(Statement *statement)
{
	const Request *request = statement->request;
	int			batch;

	statement->param_count = 0;
	batch = add_param(statement, UUIDOID, request->batch);

	switch (statement->kind)
	{
		case STATEMENT_MATCH:
		case STATEMENT_LOOK:
		case STATEMENT_WORK_LIST:
			build_reading(statement, batch);
			break;

		case STATEMENT_LOCK:
			append_from(statement, "SELECT j.id FROM ");
			append_where(statement, batch);
			append_sql(statement, statement->key->row_locks == ROW_LOCKS_UPDATE ?
					   " FOR UPDATE SKIP LOCKED" : " FOR NO KEY UPDATE SKIP LOCKED");
			break;

		case STATEMENT_CANCEL:
			append_from(statement, "UPDATE ");
			append_assignments(statement);
			append_where(statement, batch);
			append_sql(statement, " RETURNING ");
			append_fields(statement);
			break;
	}
}

/* Builds a statement with its text, and has it parsed */
static SPIPlanPtr
prepare(Statement *statement, int options)
{
	SPIPlanPtr	plan;

	statement->sql = makeStringInfo();
	build_statement(statement);
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
 * Does a plan for all values suit the statement?  Not if PostgreSQL would
 * compile it (jit), which takes longer than to cancel a few jobs; and if the
 * statement is for whole batches, only if it reads them by the index for that.
 * This makes the plan, which the first execution then uses; if code of others
 * has made it invalid meanwhile, names in its text may be those of others.
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

/* Forgets a saved plan for all values unless it suits the statement */
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
 * For a partitioned table a plan for all values would lock every partition, a
 * plan for these values locks one.  For a long list see LONG_ARRAY.
 *
 * A plan for all values is wanted for a single id, for tids, and for a batch
 * without other filters: with batches of different sizes the plan cache would have
 * each call planned anew, which takes longer than to cancel a few jobs.  The
 * last is for tables only: below a view there may be partitions.
 */
static SavedPlan *
make_plan(const PlanKey *key, Statement *statement, SPIPlanPtr *plan)
{
	static const uint8 no_filter[FILTER_COUNT];
	JobsRelation *relation = statement->request->relation;
	bool		in_place = statement->request->tids.count > 0;
	bool		whole_batch = relation->shape.relkind == RELKIND_RELATION && !in_place &&
	memcmp(key->form, no_filter, sizeof(no_filter)) == 0;
	int			options = relation->shape.relkind == RELKIND_PARTITIONED_TABLE ?
	CURSOR_OPT_CUSTOM_PLAN : 0;
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
		jobs_relation_verify(relation);
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
	const JobsRelation *relation;
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

/* Does the plan read the relation that its text was built for? */
static bool
plan_is_about(SPIPlanPtr plan, Oid relid)
{
	CachedPlanSource *source = linitial(SPI_plan_get_plan_sources(plan));

	return list_member_oid(source->relationOids, relid);
}

/* Is an attribute of a result what the reader takes for this column? */
static bool
attribute_fits(const JobsRelation *relation, JobColumn column, Oid type)
{
	ColumnKind	kind = job_columns[column].kind;
	Oid			wanted = kind == KIND_LABEL ?
	relation->shape.labels[job_columns[column].labels].type : column_types[kind];

	return type == wanted || getBaseType(type) == wanted;
}

/*
 * Called when the plan is made and before any of it runs: raises 55000 if it
 * is not about the relation, or if its rows are not what they are taken for.
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
	bool		fits = desc->natts == natts[kind] &&
	plan_is_about(receiver->plan, receiver->relation->relid);

	for (int i = 0; i < natts[kind] && fits; i++)
	{
		Oid			type = TupleDescAttr(desc, i)->atttypid;

		if (kind == STATEMENT_CANCEL)
			fits = attribute_fits(receiver->relation, (JobColumn) i, type);
		else if (OidIsValid(types[i]))
			fits = type == types[i];
		else
			fits = attribute_fits(receiver->relation, columns[i], type);
	}
	if (!fits)
		jobs_relation_changed(receiver->relation);
}

/* The end of the rows, and of the receiver */
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
 * Runs the plan of a receiver, which is not freed meanwhile.  saved is NULL for
 * a plan that is not saved.
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
 * read-only, that of the statement that called us, which works during recovery,
 * too.  Must be called with SPI connected; memory is taken from the current
 * context.  Raises whatever the statement raises, and 55000 if the relation
 * was changed.  Where no job can match, only jobs that are named are looked at.
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
		.relation = request->relation,
	};
	SPIExecuteOptions options = {
		.read_only = request->read_only,
		.dest = &receiver.pub,
	};

	Assert(kind != STATEMENT_CANCEL || !request->read_only);
	if (request->filters.none_match && !answers_for_named(kind, request))
		return;
	/* other sessions may have done what no lock stops, such as ALTER TYPE */
	AcceptInvalidationMessages();
	jobs_relation_verify(request->relation);
	if (kind == STATEMENT_LOCK && request->relation->row_locks == ROW_LOCKS_NONE)
		jobs_relation_changed(request->relation);	/* what SKIP LOCKED waits
													 * for was attached */
	fill_key(&key, kind, request);
	build_statement(&statement);
	options.params = param_list(&statement);
	saved = saved_plan_find(&key, request->relation->version);
	if (saved == NULL)
		saved = make_plan(&key, &statement, &receiver.plan);
	run_plan(saved, &receiver, &options);
	MemoryContextSwitchTo(context); /* SPI leaves its own as the current one */
	jobs_relation_verify(request->relation);
}
