/*-------------------------------------------------------------------------
 *
 * statement_text.c
 *	  The text and the parameters of a statement.
 *
 * The text follows from the relation, the kind of statement, which filters
 * there are, and whether each has one value or several.  All this is in the
 * key under which the plan is saved; values are parameters.
 *
 * The statements, with one user_id and several ids:
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
 * parentheses, and followed by: IS TRUE AND j.ctid OPERATOR(pg_catalog.=) ANY
 * ($5).  This keeps the planner from using indexes for them.  For jobs that
 * are held, STATEMENT_CANCEL ends in: AND j.xmax OPERATOR(pg_catalog.=) $6.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "statement_text.h"

/*
 * A statement with an array longer than this is planned for its values: only
 * then does the planner know the length, and hash the array.  It takes
 * microseconds and some 200 bytes for each element to guess how many rows
 * match, so a LONG_LIST is in a CASE, which it does not look into.
 */
#define LONG_ARRAY		100

/* Adds a parameter and returns its number */
static int
add_param(Statement *statement, Oid type, Datum value)
{
	if (statement->param_count >= MAX_PARAMS)
		elog(ERROR, "too many parameters");
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

/*
 * statement_fill_key: sets the key to what the text of a statement depends on
 */
void
statement_fill_key(PlanKey *key, StatementKind kind, const Request *request)
{
	memset(key, 0, sizeof(*key));	/* it is hashed with its padding */
	key->relid = request->relation->relid;
	key->kind = kind;
	key->dates_by_creation = request->filters.dates_by_creation;
	key->none_match = request->filters.none_match;
	key->row_locks = kind == STATEMENT_LOCK ? request->relation->row_locks : 0;
	key->shows_xmax = request->relation->shows_xmax && !request->read_only;
	key->held = kind == STATEMENT_CANCEL && TransactionIdIsValid(request->held_by);
	key->has_running_status = kind == STATEMENT_CANCEL && request->has_running_status;
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
	const char *condition = (filters->dates_by_creation && def->creation_condition ?
							 def->creation_condition : def->condition);
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
 * Appends the conditions of the filters that are there, with or without the
 * filter id, each with AND before it
 */
static void
append_conditions(Statement *statement, bool with_id)
{
	for (int f = 0; f < FILTER_COUNT; f++)
	{
		if (!filter_present(&statement->request->filters, f) || (f == FILTER_ID && !with_id))
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
	/* the name takes two look-ups */
	if (statement->sql)
		appendStringInfo(statement->sql, "%s%s AS j", before,
						 jobs_relation_name(statement->request->relation));
}

/* statement_answers_for_named: does it say of each job of the filter id whether it matches? */
bool
statement_answers_for_named(StatementKind kind, const Request *request)
{
	return request_lists_jobs(request) &&
		(kind == STATEMENT_LOOK || kind == STATEMENT_WORK_LIST);
}

/* SELECT, FROM and WHERE of a statement that reads */
static void
build_reading(Statement *statement, int batch)
{
	const Request *request = statement->request;
	StatementKind kind = statement->kind;
	bool		named = statement_answers_for_named(kind, request);

	append_sql(statement, "SELECT j.id, j.status, ");
	append_sql(statement, statement->key->shows_xmax ? "j.xmax" : "NULL::pg_catalog.xid");
	if (kind != STATEMENT_MATCH)
	{
		append_sql(statement, request->filters.none_match ? ", (false" : ", (true");
		if (named)
			append_conditions(statement, false);
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
		append_conditions(statement, true);
}

/*
 * SET of STATEMENT_CANCEL, which keeps times in order, whatever a worker wrote
 */
static void
append_assignments(Statement *statement)
{
	const Request *request = statement->request;
	int			timestamp = add_param(statement, TIMESTAMPTZOID,
									  TimestampTzGetDatum(GetCurrentTransactionStartTimestamp()));

	if (request->has_running_status)
		append_param(statement, " SET status = CASE WHEN j.status OPERATOR(pg_catalog.=) 'RUNNING'"
					 " THEN $%d ELSE 'CANCELED' END",
					 add_param(statement,
							   label_column_param_type(&request->relation->shape.labels[LABELS_OF_STATUS]),
							   request->running_status));
	else
		append_sql(statement, " SET status = 'CANCELED'");

	append_param(statement, ", updated_at = CASE WHEN j.updated_at OPERATOR(pg_catalog.>) $%d", timestamp);
	append_param(statement, " THEN j.updated_at ELSE $%d END, end_timestamp = CASE", timestamp);
	if (request->has_running_status)
		append_sql(statement, " WHEN j.status OPERATOR(pg_catalog.=) 'RUNNING' THEN j.end_timestamp");
	append_param(statement, " WHEN j.start_timestamp OPERATOR(pg_catalog.>) $%d", timestamp);
	append_param(statement, " THEN j.start_timestamp ELSE $%d END", timestamp);
}

/*
 * The condition that a job can be canceled.  A literal without a type takes
 * the type of its column.
 */
static void
append_cancelable(Statement *statement)
{
	const char *before = "(";

	for (int status = 0; status < JOB_STATUS_OTHER; status++)
	{
		if (!job_is_cancelable(status))
			continue;
		append_sql(statement, before);
		append_sql(statement, "j.status OPERATOR(pg_catalog.=) '");
		append_sql(statement, label_sets[LABELS_OF_STATUS].label[status]);
		append_sql(statement, "'");
		before = " OR ";
	}
	append_sql(statement, ")");
}

/* WHERE of the statements that lock or cancel jobs */
static void
append_where(Statement *statement, int batch)
{
	const Request *request = statement->request;
	const FilterValues *tids = &request->tids;

	append_sql(statement, tids->count > 0 ? " WHERE (" : " WHERE ");
	append_param(statement, "j.batch_id OPERATOR(pg_catalog.=) $%d", batch);
	append_sql(statement, " AND ");
	append_cancelable(statement);
	append_conditions(statement, true);
	if (tids->count > 0)
		append_param(statement, ") IS TRUE AND j.ctid OPERATOR(pg_catalog.=) ANY ($%d)",
					 add_param(statement, get_array_type(TIDOID), array_of_values(tids, TIDOID)));
	if (statement->kind == STATEMENT_CANCEL && TransactionIdIsValid(request->held_by))
		append_param(statement, " AND j.xmax OPERATOR(pg_catalog.=) $%d",
					 add_param(statement, XIDOID, TransactionIdGetDatum(request->held_by)));
}

/*
 * statement_build
 *
 * Builds a statement (see the top of this file) in the current context, with
 * its text if statement->sql is there: a saved plan needs none.
 */
void
statement_build(Statement *statement)
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
