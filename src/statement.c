/*-------------------------------------------------------------------------
 *
 * statement.c
 *	  Building, saving and running the SQL statements of a cancel.
 *
 * The text of a statement follows from the relation, the kind of statement,
 * which filters are there, and whether each has one value or several; values
 * are always parameters.  These make up the key under which its plan is saved.
 *
 * A saved plan is used as long as the relation has the version it was made for
 * and the plan cache calls it valid; otherwise its text is built anew, since a
 * name in it may have changed.  As in ri_triggers.c this happens under a lock
 * on the relation, and never in an invalidation callback.
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
 *	SELECT j.id, j.status FROM public.jobs AS j
 *	WHERE j.batch_id OPERATOR(pg_catalog.=) $1
 *	AND (j.id OPERATOR(pg_catalog.=) ANY ($2))
 *	AND (j.user_id OPERATOR(pg_catalog.=) $3)
 *
 * STATEMENT_CANCEL
 *	UPDATE public.jobs AS j
 *	SET status = 'CANCELED', updated_at = $2, end_timestamp = $2
 *	WHERE j.batch_id OPERATOR(pg_catalog.=) $1
 *	AND (j.status OPERATOR(pg_catalog.=) 'PENDING'
 *		 OR j.status OPERATOR(pg_catalog.=) 'RUNNING')
 *	AND (j.id OPERATOR(pg_catalog.=) ANY ($3))
 *	AND (j.user_id OPERATOR(pg_catalog.=) $4)
 *	RETURNING j.id, j.parent_id, j.status, ..., j.slurm_job_id
 *
 * STATEMENT_LOOK
 *	SELECT j.id, j.status,
 *		(true AND (j.user_id OPERATOR(pg_catalog.=) $2)) IS TRUE
 *	FROM public.jobs AS j
 *	WHERE j.batch_id OPERATOR(pg_catalog.=) $1
 *	AND (j.id OPERATOR(pg_catalog.=) ANY ($3))
 *
 * STATEMENT_WORK_LIST
 *	the same with j.creation_order fourth, and fifth j.ctid or a null; without
 *	a filter id, all other filters are conditions of WHERE as in STATEMENT_MATCH
 *
 * With tids, the conditions of STATEMENT_CANCEL are in parentheses, and followed
 * by: IS TRUE AND j.ctid OPERATOR(pg_catalog.=) ANY ($5).  This keeps the planner
 * from indexes of what the conditions are about.
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
#include "miscadmin.h"
#include "nodes/params.h"
#include "nodes/plannodes.h"
#include "tcop/dest.h"
#include "utils/array.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

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
#define FORM_ARRAY		254		/* = ANY (array) */
#define FORM_LONG_ARRAY	255		/* the same, planned for its values */

/*
 * A statement with an array longer than this is planned for its values: only
 * then does the planner know the length, and hash the array.
 */
#define LONG_ARRAY		100

/* When so many plans are saved, those not in use are freed */
#define MAX_SAVED_PLANS	256

/* The batch, the timestamp, tids, two values for the prefix, labels one by one */
#define MAX_PARAMS		(1 + 1 + 1 + 2 + FILTER_COUNT + LABEL_SET_COUNT * FORM_MAX_ORS)

typedef struct StatementKey
{
	Oid			relid;
	uint8		kind;			/* StatementKind */
	uint8		dates_by_creation;
	uint8		has_tids;		/* ... or wants them */
	uint8		form[FILTER_COUNT];
} StatementKey;

typedef struct SavedPlan
{
	StatementKey key;
	SPIPlanPtr	plan;			/* NULL: not made yet */
	uint64		version;		/* of the JobsRelation it was made for */
	int			users;			/* executions under way */
} SavedPlan;

static HTAB *saved_plans = NULL;

/* A statement that is built: its text, if that is wanted, and its parameters */
typedef struct Statement
{
	const Request *request;
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
	return values->count > LONG_ARRAY ? FORM_LONG_ARRAY : FORM_ARRAY;
}

static void
fill_key(StatementKey *key, StatementKind kind, const Request *request)
{
	memset(key, 0, sizeof(*key));	/* it is hashed with its padding */
	key->relid = request->relation->relid;
	key->kind = kind;
	key->dates_by_creation = request->filters.dates_by_creation;
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

	append_sql(statement, "(");
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
	append_sql(statement, ")");
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

/*
 * Builds a statement (see the top of this file) in the current context, with
 * its text if statement->sql is there: a saved plan needs none.  A literal
 * without a type takes the type of its column, so that no type need be named.
 */
static void
build_statement(Statement *statement)
{
	const Request *request = statement->request;
	int			batch;
	int			timestamp;
	bool		listed;

	statement->param_count = 0;
	batch = add_param(statement, UUIDOID, request->batch);

	switch (statement->kind)
	{
		case STATEMENT_MATCH:
			append_from(statement, "SELECT j.id, j.status FROM ");
			append_param(statement, " WHERE j.batch_id OPERATOR(pg_catalog.=) $%d", batch);
			append_conditions(statement, FILTER_COUNT);
			break;

		case STATEMENT_CANCEL:
			timestamp = add_param(statement, TIMESTAMPTZOID,
								  TimestampTzGetDatum(GetCurrentTransactionStartTimestamp()));
			append_from(statement, "UPDATE ");
			append_param(statement, " SET status = 'CANCELED', updated_at = $%d", timestamp);
			append_param(statement, ", end_timestamp = $%d", timestamp);
			append_sql(statement, request->tids.count > 0 ? " WHERE (" : " WHERE ");
			append_param(statement, "j.batch_id OPERATOR(pg_catalog.=) $%d", batch);
			append_sql(statement, " AND (j.status OPERATOR(pg_catalog.=) 'PENDING'"
					   " OR j.status OPERATOR(pg_catalog.=) 'RUNNING')");
			append_conditions(statement, FILTER_COUNT);
			if (request->tids.count > 0)
				append_param(statement, ") IS TRUE AND j.ctid OPERATOR(pg_catalog.=) ANY ($%d)",
							 add_param(statement, get_array_type(TIDOID),
									   array_of_values(&request->tids, TIDOID)));
			append_sql(statement, " RETURNING ");
			append_fields(statement);
			break;

		case STATEMENT_LOOK:
		case STATEMENT_WORK_LIST:
			listed = request_lists_jobs(request);
			append_sql(statement, "SELECT j.id, j.status, (true");
			if (listed)
				append_conditions(statement, FILTER_ID);
			append_sql(statement, ") IS TRUE");
			if (statement->kind == STATEMENT_WORK_LIST)
				append_sql(statement, request->wants_tids ? ", j.creation_order, j.ctid" :
						   ", j.creation_order, NULL::pg_catalog.tid");
			append_from(statement, " FROM ");
			append_param(statement, " WHERE j.batch_id OPERATOR(pg_catalog.=) $%d", batch);
			if (listed)
			{
				append_sql(statement, " AND ");
				append_condition(statement, FILTER_ID);
			}
			else
				append_conditions(statement, FILTER_COUNT);
			break;
	}
}

/*
 * How a statement is to be planned.  For a partitioned table a plan for all
 * values would lock every partition, a plan for these values locks one.  For a
 * long list see LONG_ARRAY.  The plan for a single id is the same for all
 * values, unless there is a filter batch_id, too: then Citus needs the values
 * to find the shard.
 */
static int
cursor_options(const StatementKey *key, const JobsRelation *relation)
{
	if (relation->shape.relkind == RELKIND_PARTITIONED_TABLE)
		return CURSOR_OPT_CUSTOM_PLAN;
	for (int f = 0; f < FILTER_COUNT; f++)
		if (key->form[f] == FORM_LONG_ARRAY)
			return CURSOR_OPT_CUSTOM_PLAN;
	if (key->form[FILTER_ID] == FORM_ONE && key->form[FILTER_BATCH_ID] == FORM_ABSENT)
		return CURSOR_OPT_GENERIC_PLAN;
	return 0;
}

static SPIPlanPtr
prepare(Statement *statement, int options)
{
	SPIPlanPtr	plan = SPI_prepare_cursor(statement->sql->data, statement->param_count,
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

	if (IsA(plan, ModifyTable))
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
 * Does a plan for all values read the jobs of a batch by the index for that?
 * An invalidation of the plan, as by ANALYZE, makes the answer void.
 */
static bool
generic_plan_suits(SPIPlanPtr plan)
{
	CachedPlan *generic = SPI_plan_get_cached_plan(plan);
	bool		suits;

	if (generic == NULL)
		return false;
	suits = list_length(generic->stmt_list) == 1 &&
		reads_index_of_batches(linitial_node(PlannedStmt, generic->stmt_list)->planTree);
	ReleaseCachedPlan(generic, NULL);
	return suits;
}

/*
 * With batches of different sizes the plan cache would have each call planned
 * anew, which takes longer than to cancel a few jobs.  Where the batch is the
 * only filter and a plan for all values reads its index, such a plan is used
 * from then on: SPI_keepplan drops the one looked at here, and the first
 * execution makes it again.  A table only: below a view there may be partitions,
 * of which a plan for all values locks every one.
 */
static SPIPlanPtr
prepare_plan(const StatementKey *key, Statement *statement)
{
	static const uint8 no_filter[FILTER_COUNT];
	int			options = cursor_options(key, statement->request->relation);
	SPIPlanPtr	plan;

	statement->sql = makeStringInfo();
	build_statement(statement);
	if (options == 0 && statement->request->relation->shape.relkind == RELKIND_RELATION &&
		memcmp(key->form, no_filter, sizeof(no_filter)) == 0)
	{
		plan = prepare(statement, CURSOR_OPT_GENERIC_PLAN);
		if (generic_plan_suits(plan))
			return plan;
		SPI_freeplan(plan);
	}
	return prepare(statement, options);
}

/* Forgets every plan that no execution is using */
static void
forget_plans(void)
{
	HASH_SEQ_STATUS status;
	SavedPlan  *saved;

	hash_seq_init(&status, saved_plans);
	while ((saved = hash_seq_search(&status)) != NULL)
	{
		if (saved->users > 0)
			continue;
		if (saved->plan)
			SPI_freeplan(saved->plan);
		hash_search(saved_plans, &saved->key, HASH_REMOVE, NULL);
	}
}

/*
 * Finds the plan of a statement, or makes it.  Returns NULL if the saved one
 * is outdated but in use, by a cancel whose trigger made this call: then the
 * caller makes a plan for itself.
 */
static SavedPlan *
fetch_plan(const StatementKey *key, Statement *statement)
{
	uint64		version = statement->request->relation->version;
	HASHCTL		ctl = {.keysize = sizeof(StatementKey), .entrysize = sizeof(SavedPlan)};
	SavedPlan  *saved;
	SPIPlanPtr	plan;

	if (saved_plans == NULL)
		saved_plans = hash_create("pasqal_jobs plans", MAX_SAVED_PLANS, &ctl,
								  HASH_ELEM | HASH_BLOBS);

	saved = hash_search(saved_plans, key, HASH_FIND, NULL);
	if (saved && saved->plan && saved->version == version && SPI_plan_is_valid(saved->plan))
		return saved;

	if (saved && saved->users > 0)
		return NULL;

	if (saved == NULL)
	{
		if (hash_get_num_entries(saved_plans) >= MAX_SAVED_PLANS)
			forget_plans();
		saved = hash_search(saved_plans, key, HASH_ENTER, NULL);
		saved->plan = NULL;
		saved->users = 0;
	}
	else if (saved->plan)
	{
		SPI_freeplan(saved->plan);
		saved->plan = NULL;
	}

	/* if this fails, the entry stays without a plan */
	plan = prepare_plan(key, statement);
	SPI_keepplan(plan);
	saved->plan = plan;
	saved->version = version;
	return saved;
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
	static const int natts[] = {
		[STATEMENT_MATCH] = RESULT_STATUS + 1,
		[STATEMENT_WORK_LIST] = RESULT_TID + 1,
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

		if (kind != STATEMENT_CANCEL && i == RESULT_MATCHES)
			fits = type == BOOLOID;
		else if (kind != STATEMENT_CANCEL && i == RESULT_TID)
			fits = type == TIDOID;
		else
			fits = attribute_fits(receiver->relation,
								  kind == STATEMENT_CANCEL ? (JobColumn) i : columns[i], type);
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
 * Runs a plan, and notes as long as it runs that it may not be freed.  saved
 * is NULL for a plan that is not saved.
 */
static pg_noinline void
run_plan(SavedPlan *saved, SPIPlanPtr plan, const SPIExecuteOptions *options)
{
	volatile int result = 0;

	if (saved)
		saved->users++;
	PG_TRY();
	{
		result = SPI_execute_plan_extended(plan, options);
	}
	PG_CATCH();
	{
		if (saved)
			saved->users--;
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (saved)
		saved->users--;

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
 * was changed.
 */
void
statement_execute(StatementKind kind, const Request *request,
				  RowCallback callback, void *callback_arg)
{
	MemoryContext context = CurrentMemoryContext;
	StatementKey key;
	SavedPlan  *saved;
	Statement	statement = {.request = request, .kind = kind};
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
	/* other sessions may have done what no lock stops, such as ALTER TYPE */
	AcceptInvalidationMessages();
	jobs_relation_verify(request->relation);
	fill_key(&key, kind, request);
	build_statement(&statement);
	options.params = param_list(&statement);
	saved = fetch_plan(&key, &statement);
	receiver.plan = saved ? saved->plan : prepare_plan(&key, &statement);
	run_plan(saved, receiver.plan, &options);
	MemoryContextSwitchTo(context); /* SPI leaves its own as the current one */
	jobs_relation_verify(request->relation);
}
