/*-------------------------------------------------------------------------
 *
 * statement.c
 *	  Building, keeping and running the SQL statements of a cancel.
 *
 * The text of a statement follows from the relation, the kind of statement
 * and which filters are there with one value or several; values are always
 * parameters.  So that is the key under which a plan is kept.
 *
 * A plan kept is used as long as the relation is what it was and the plan
 * cache calls it valid; otherwise its text is built anew, since a name in it
 * may have changed.  As in ri_triggers.c that happens under a lock on the
 * relation, and never in an invalidation callback.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/params.h"
#include "optimizer/cost.h"
#include "tcop/dest.h"
#include "utils/array.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "columns.h"
#include "statement.h"

/*
 * In how many forms a filter occurs in a text.  Labels are few and compared
 * one by one (a comparison with an array of a foreign enum would not be
 * pushed down to a foreign server), so for them the form is their number.
 */
#define FORM_ABSENT		0
#define FORM_ONE		1
#define FORM_ARRAY		254		/* = ANY (array) */
#define FORM_LONG_ARRAY	255		/* the same, planned for its values */

/*
 * An array longer than this is worth planning for: only with its values at
 * hand can the planner see its length, and hash it.
 */
#define LONG_ARRAY		100

/* A session that has made so many plans forgets them and starts anew */
#define MAX_KEPT_PLANS	256

/* Two values for the prefix, labels one by one, the batch, the timestamp */
#define MAX_PARAMS		(2 + FILTER_COUNT + 1 + 2 * MAX_LABELS)

typedef struct StatementKey
{
	Oid			relid;
	uint8		kind;			/* StatementKind */
	uint8		dates_by_creation;
	uint8		form[FILTER_COUNT];
} StatementKey;

typedef struct KeptPlan
{
	StatementKey key;
	SPIPlanPtr	plan;			/* NULL: not made yet */
	uint64		version;		/* of the JobsRelation it was made for */
	int			users;			/* executions under way */
} KeptPlan;

static HTAB *kept_plans = NULL;

/* The parameters of a statement; types from the first pass, values too */
typedef struct StatementParams
{
	int			count;
	Oid			types[MAX_PARAMS];
	Datum		values[MAX_PARAMS];
} StatementParams;

static int
add_param(StatementParams *params, Oid type, Datum value)
{
	Assert(params->count < MAX_PARAMS);
	params->types[params->count] = type;
	params->values[params->count] = value;
	return ++params->count;
}

static bool
takes_labels(FilterKind kind)
{
	return kind == TAKES_STATUS || kind == TAKES_ORIGIN;
}

static uint8
filter_form(Filter filter, const FilterValues *values)
{
	if (values->count <= 1 || takes_labels(filter_table[filter].kind))
		return values->count;
	return values->count > LONG_ARRAY ? FORM_LONG_ARRAY : FORM_ARRAY;
}

static void
fill_key(StatementKey *key, StatementKind kind, const StatementArgs *args)
{
	memset(key, 0, sizeof(*key));	/* it is hashed with its padding */
	key->relid = args->relation->relid;
	key->kind = kind;
	key->dates_by_creation = args->filters->dates_by_creation;
	for (int f = 0; f < FILTER_COUNT; f++)
		key->form[f] = filter_form(f, &args->filters->of[f]);
}

/* The type of a filter's values in SQL */
static Oid
filter_type(FilterKind kind, const JobsRelation *relation, bool array)
{
	switch (kind)
	{
		case TAKES_UUID:
			return array ? UUIDARRAYOID : UUIDOID;
		case TAKES_TEXT:
			return array ? TEXTARRAYOID : TEXTOID;
		case TAKES_UUID_PREFIX:
			return UUIDOID;
		case TAKES_STATUS:
			return relation->status.type == VARCHAROID ? TEXTOID : relation->status.type;
		case TAKES_ORIGIN:
			return relation->origin.type == VARCHAROID ? TEXTOID : relation->origin.type;
		case TAKES_INTEGER:
			return INT8OID;
		case TAKES_BOOLEAN:
			return BOOLOID;
		case TAKES_DATETIME:
			return TIMESTAMPTZOID;
	}
	elog(ERROR, "unexpected kind of filter: %d", (int) kind);
}

/* A value of a filter as a value of the column it is compared with */
static Datum
filter_value(FilterKind kind, const JobsRelation *relation, Datum value)
{
	if (kind == TAKES_STATUS)
		return label_datum(&relation->status, &job_status_labels, DatumGetInt32(value));
	if (kind == TAKES_ORIGIN)
		return label_datum(&relation->origin, &origin_labels, DatumGetInt32(value));
	return value;
}

/*
 * Appends a filter's condition to the text (unless that is NULL) and its
 * values to the parameters.  Text and parameters come from this one walk, so
 * that they cannot disagree.
 */
static void
append_condition(StringInfo sql, StatementParams *params, Filter filter,
				 const StatementArgs *args)
{
	const FilterDef *def = &filter_table[filter];
	const FilterValues *values = &args->filters->of[filter];
	const char *condition = def->condition;
	uint8		form = filter_form(filter, values);
	int			repeat = takes_labels(def->kind) ? values->count : 1;
	bool		array = form >= FORM_ARRAY;
	int			next = 0;

	if (args->filters->dates_by_creation && def->creation_condition)
		condition = def->creation_condition;

	if (sql)
		appendStringInfoChar(sql, '(');
	for (int i = 0; i < repeat; i++)
	{
		if (sql && i > 0)
			appendStringInfoString(sql, " OR ");
		for (const char *c = condition; *c; c++)
		{
			Oid			type;
			Datum		value;
			int			number;

			if (*c != '$')
			{
				if (sql)
					appendStringInfoChar(sql, *c);
				continue;
			}

			type = filter_type(def->kind, args->relation, array);
			if (array)
				value = PointerGetDatum(construct_array(values->values, values->count,
														get_element_type(type),
														def->kind == TAKES_UUID ? UUID_LEN : -1,
														false,
														def->kind == TAKES_UUID ? TYPALIGN_CHAR : TYPALIGN_INT));
			else
				value = filter_value(def->kind, args->relation, values->values[next++]);
			number = add_param(params, type, value);
			if (sql)
				appendStringInfo(sql, array ? "ANY ($%d)" : "$%d", number);
		}
	}
	if (sql)
		appendStringInfoChar(sql, ')');
}

/* The conditions of all filters that are there, but for one, joined by AND */
static void
append_conditions(StringInfo sql, StatementParams *params, const StatementArgs *args,
				  int but, const char *before_each, const char *if_none)
{
	bool		any = false;

	for (int f = 0; f < FILTER_COUNT; f++)
	{
		if (!filter_present(args->filters, f) || f == but)
			continue;
		if (sql)
			appendStringInfoString(sql, any || before_each == NULL ? " AND " : before_each);
		append_condition(sql, params, f, args);
		any = true;
	}
	if (!any && sql && if_none)
		appendStringInfoString(sql, if_none);
}

/* The fields of a response, as a list of columns */
static void
append_fields(StringInfo sql)
{
	for (int c = 0; c < FIELD_COUNT; c++)
		appendStringInfo(sql, "%sj.%s", c > 0 ? ", " : "", job_columns[c].name);
}

/*
 * Builds the text of a statement (unless sql is NULL) and its parameters.
 *
 * A literal without a type takes the type of the column it stands with, so
 * that no type need be named.
 */
static void
build_statement(StringInfo sql, StatementParams *params, StatementKind kind,
				const StatementArgs *args)
{
	char	   *name = sql ? jobs_relation_name(args->relation) : NULL;
	int			batch;

	params->count = 0;
	batch = add_param(params, UUIDOID, args->batch);

	switch (kind)
	{
		case STATEMENT_MATCH:
		case STATEMENT_WORK_LIST:
			if (sql)
				appendStringInfo(sql, "SELECT j.id, j.status%s FROM %s AS j"
								 " WHERE j.batch_id OPERATOR(pg_catalog.=) $%d",
								 kind == STATEMENT_WORK_LIST ? ", j.creation_order" : "",
								 name, batch);
			append_conditions(sql, params, args, FILTER_COUNT, NULL, NULL);
			break;

		case STATEMENT_CANCEL:
			{
				int			timestamp = add_param(params, TIMESTAMPTZOID,
												  TimestampTzGetDatum(args->timestamp));

				if (sql)
					appendStringInfo(sql, "UPDATE %s AS j SET status = 'CANCELED',"
									 " updated_at = $%d, end_timestamp = $%d"
									 " WHERE j.batch_id OPERATOR(pg_catalog.=) $%d"
									 " AND (j.status OPERATOR(pg_catalog.=) 'PENDING'"
									 " OR j.status OPERATOR(pg_catalog.=) 'RUNNING')",
									 name, timestamp, timestamp, batch);
				append_conditions(sql, params, args, FILTER_COUNT, NULL, NULL);
				if (sql)
				{
					appendStringInfoString(sql, " RETURNING ");
					append_fields(sql);
				}
				break;
			}

		case STATEMENT_LOOK:
			if (sql)
				appendStringInfoString(sql, "SELECT j.id, j.status, (");
			append_conditions(sql, params, args, FILTER_ID, "", "true");
			if (sql)
				appendStringInfo(sql, ") IS TRUE FROM %s AS j"
								 " WHERE j.batch_id OPERATOR(pg_catalog.=) $%d AND ",
								 name, batch);
			append_condition(sql, params, FILTER_ID, args);
			break;
	}
}

/*
 * How a statement is to be planned.  Of a partitioned table a plan for all
 * values would lock every partition, one for these values locks one.  For a
 * long list see LONG_ARRAY.  A single id needs no second thought, unless
 * batch_id stands there twice: then Citus needs the values to find the shard.
 */
static int
cursor_options(const StatementKey *key, const JobsRelation *relation)
{
	if (relation->relkind == RELKIND_PARTITIONED_TABLE)
		return CURSOR_OPT_CUSTOM_PLAN;
	for (int f = 0; f < FILTER_COUNT; f++)
		if (key->form[f] == FORM_LONG_ARRAY)
			return CURSOR_OPT_CUSTOM_PLAN;
	if (key->form[FILTER_ID] == FORM_ONE && key->form[FILTER_BATCH_ID] == FORM_ABSENT)
		return CURSOR_OPT_GENERIC_PLAN;
	return 0;
}

static SPIPlanPtr
prepare_plan(const StatementKey *key, const StatementArgs *args)
{
	StringInfoData sql;
	StatementParams params;
	SPIPlanPtr	plan;

	initStringInfo(&sql);
	build_statement(&sql, &params, key->kind, args);
	plan = SPI_prepare_cursor(sql.data, params.count, params.types,
							  cursor_options(key, args->relation));
	if (plan == NULL)
		elog(ERROR, "SPI_prepare_cursor returned %s for %s",
			 SPI_result_code_string(SPI_result), sql.data);
	pfree(sql.data);
	return plan;
}

static void
create_kept_plans(void)
{
	HASHCTL		ctl = {
		.keysize = sizeof(StatementKey),
		.entrysize = sizeof(KeptPlan),
	};

	kept_plans = hash_create("pasqal_jobs plans", MAX_KEPT_PLANS, &ctl,
							 HASH_ELEM | HASH_BLOBS);
}

/* Forgets every plan that no execution is using */
static void
forget_plans(void)
{
	HASH_SEQ_STATUS status;
	KeptPlan   *kept;

	hash_seq_init(&status, kept_plans);
	while ((kept = hash_seq_search(&status)) != NULL)
	{
		if (kept->users > 0)
			continue;
		if (kept->plan)
			SPI_freeplan(kept->plan);
		hash_search(kept_plans, &kept->key, HASH_REMOVE, NULL);
	}
}

/*
 * Finds the plan of a statement, or makes it.  Returns NULL if the kept one
 * is outdated but in use (by a cancel whose trigger called us): then the
 * caller makes one for itself.
 */
static KeptPlan *
fetch_plan(const StatementKey *key, const StatementArgs *args)
{
	KeptPlan   *kept;
	bool		found;

	if (kept_plans == NULL)
		create_kept_plans();

	kept = hash_search(kept_plans, key, HASH_FIND, NULL);
	if (kept && kept->plan && kept->version == args->relation->version &&
		SPI_plan_is_valid(kept->plan))
		return kept;

	if (kept && kept->users > 0)
		return NULL;

	if (kept == NULL)
	{
		if (hash_get_num_entries(kept_plans) >= MAX_KEPT_PLANS)
			forget_plans();
		kept = hash_search(kept_plans, key, HASH_ENTER, &found);
		kept->plan = NULL;
		kept->users = 0;
	}
	else if (kept->plan)
	{
		SPI_freeplan(kept->plan);
		kept->plan = NULL;
	}

	/* the entry stands without a plan should this fail */
	{
		SPIPlanPtr	plan = prepare_plan(key, args);

		SPI_keepplan(plan);
		kept->plan = plan;
		kept->version = args->relation->version;
	}
	return kept;
}

/* A DestReceiver that hands each row to a RowCallback */
typedef struct RowReceiver
{
	DestReceiver pub;
	RowCallback callback;
	void	   *callback_arg;
	int			planning_nest;	/* of the settings for planning; 0: none */
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

/* Called once the plan is there and before any of it runs */
static void
receiver_startup(DestReceiver *self, int operation, TupleDesc typeinfo)
{
	RowReceiver *receiver = (RowReceiver *) self;

	if (receiver->planning_nest)
		AtEOXact_GUC(true, receiver->planning_nest);
	receiver->planning_nest = 0;
}

static void
receiver_shutdown(DestReceiver *self)
{
}

static void
receiver_destroy(DestReceiver *self)
{
}

static void
turn_off(const char *setting)
{
	(void) set_config_option(setting, "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

/*
 * Two UPDATEs that meet the same jobs in different orders deadlock.  So
 * whatever can lock several jobs meets them in the order of the table, if it
 * can: that is the order of a bitmap, and of an index of batch_id alone (which
 * is faster), but not of one with id in it; nor of a sequential scan, which goes
 * by where the last version of a job lies and not by where its HOT chain begins.
 * Where only a sequential scan serves, it must not join another one midway.
 *
 * The settings for planning end with it (see receiver_startup), so that no
 * trigger's statement is planned by them; jit is among them because a scan that
 * is disabled and taken nonetheless seems dear enough for it.  Returns the nest
 * level that ends the others.
 */
static int
order_locks(const StatementKey *key, const JobsRelation *relation, RowReceiver *receiver)
{
	int			nest = NewGUCNestLevel();

	turn_off("synchronize_seqscans");
	if (enable_bitmapscan && relation->has_bitmap_scans)
	{
		receiver->planning_nest = NewGUCNestLevel();
		turn_off("enable_seqscan");
		turn_off("jit");
		if (key->form[FILTER_ID] != FORM_ABSENT || key->form[FILTER_ID_STARTS_WITH] != FORM_ABSENT ||
			relation->relkind == RELKIND_PARTITIONED_TABLE)
			turn_off("enable_indexscan");
	}
	return nest;
}

/*
 * Runs a plan, and notes as long as it runs that it may not be freed.  kept is
 * NULL for a plan that is not kept.
 */
static pg_noinline void
run_plan(KeptPlan *kept, SPIPlanPtr plan, const SPIExecuteOptions *options)
{
	volatile int result = 0;

	if (kept)
		kept->users++;
	PG_TRY();
	{
		result = SPI_execute_plan_extended(plan, options);
	}
	PG_CATCH();
	{
		if (kept)
			kept->users--;
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (kept)
		kept->users--;

	if (result < 0)
		elog(ERROR, "SPI_execute_plan_extended returned %s",
			 SPI_result_code_string(result));
}

static void
execute(StatementKind kind, const StatementArgs *args, bool read_only,
		RowCallback callback, void *callback_arg)
{
	MemoryContext old = CurrentMemoryContext;
	StatementKey key;
	KeptPlan   *kept;
	SPIPlanPtr	plan;
	StatementParams params;
	ParamListInfo paramLI;
	RowReceiver receiver = {
		.pub = {
			.receiveSlot = receive_row,
			.rStartup = receiver_startup,
			.rShutdown = receiver_shutdown,
			.rDestroy = receiver_destroy,
			.mydest = DestNone,
		},
		.callback = callback,
		.callback_arg = callback_arg,
	};
	SPIExecuteOptions options;
	int			nest = 0;

	fill_key(&key, kind, args);
	kept = fetch_plan(&key, args);
	plan = kept ? kept->plan : prepare_plan(&key, args);

	/* SPI leaves its own context as the current one, here and below */
	MemoryContextSwitchTo(old);

	build_statement(NULL, &params, kind, args);
	paramLI = makeParamList(params.count);
	for (int i = 0; i < params.count; i++)
	{
		paramLI->params[i].value = params.values[i];
		paramLI->params[i].isnull = false;
		paramLI->params[i].pflags = PARAM_FLAG_CONST;
		paramLI->params[i].ptype = params.types[i];
	}

	memset(&options, 0, sizeof(options));
	options.params = paramLI;
	options.read_only = read_only;
	options.dest = &receiver.pub;

	if (kind == STATEMENT_CANCEL && key.form[FILTER_ID] != FORM_ONE)
		nest = order_locks(&key, args->relation, &receiver);
	run_plan(kept, plan, &options);
	if (nest)
		AtEOXact_GUC(true, nest);
	MemoryContextSwitchTo(old);
}

/*
 * statement_execute
 *
 * Runs a statement with a snapshot of its own, taken now, and calls the
 * callback with each row that it returns, while it runs.  Must be called
 * with SPI connected; memory is taken from the current context.  Raises
 * whatever the statement raises.
 */
void
statement_execute(StatementKind kind, const StatementArgs *args,
				  RowCallback callback, void *callback_arg)
{
	execute(kind, args, false, callback, callback_arg);
}

/*
 * statement_execute_read_only
 *
 * The same for a statement that changes nothing, with the snapshot of the
 * statement that called us; works during recovery.
 */
void
statement_execute_read_only(StatementKind kind, const StatementArgs *args,
							RowCallback callback, void *callback_arg)
{
	Assert(kind != STATEMENT_CANCEL);
	execute(kind, args, true, callback, callback_arg);
}
