/*-------------------------------------------------------------------------
 *
 * problems.c
 *	  What is wrong with a request, for the API (HTTP 422) and for a person
 *	  (an error).
 *
 * The body has the messages and types of FastAPI with pydantic 1, which the
 * documented API is built on, so that a client of that API understands it.
 * The error's message and hint are for a person at psql.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/json.h"

#include "problems.h"

/*
 * How many bytes of an unknown key the message and the DETAIL of an error
 * repeat: both go to the server's log
 */
#define KEY_IN_MESSAGE	64
#define KEY_IN_DETAIL	256

/*
 * The first entry about a filter lists all permitted labels.  Later ones do
 * until all these lists have this many bytes: an enum may have a thousand
 * labels, and a request a thousand bad values.
 */
#define LABELS_IN_BODY		(1024 * 1024)
#define LABELS_IN_DETAIL	(32 * 1024)

/* A hint lists about this many bytes of labels */
#define LABELS_IN_HINT		1000

typedef struct ProblemDef
{
	const char *msg;			/* of the API; the labels that are permitted
								 * follow, if there are such */
	const char *type;			/* of the API */
	const char *ctx;			/* JSON, or NULL */
	const char *message;		/* about a filter %s */
	const char *hint;
} ProblemDef;

static const ProblemDef problem_table[] = {
	[PROBLEM_UUID] = {
		"value is not a valid uuid", "type_error.uuid", NULL,
		"value of filter \"%s\" must be a uuid",
		"Write a uuid as 32 hexadecimal digits, with or without hyphens."
	},
	[PROBLEM_INTEGER] = {
		"value is not a valid integer", "type_error.integer", NULL,
		"value of filter \"%s\" must be an integer",
		"Write an integer as digits with an optional sign, without fraction or exponent."
	},
	[PROBLEM_BOOLEAN] = {
		"value could not be parsed to a boolean", "type_error.bool", NULL,
		"value of filter \"%s\" must be a boolean",
		"Write true or false."
	},
	[PROBLEM_DATETIME] = {
		"invalid datetime format", "value_error.datetime", NULL,
		"value of filter \"%s\" must be a date and time",
		"Write 2023-03-23T10:41:36+00:00 (without an offset it is UTC), or Unix seconds."
	},
	[PROBLEM_TEXT] = {
		"str type expected", "type_error.str", NULL,
		"value of filter \"%s\" must be a text",
		"Write the value as a JSON string."
	},
	[PROBLEM_EMPTY_TEXT] = {
		"ensure this value has at least 1 characters", "value_error.any_str.min_length",
		"{\"limit_value\": 1}",
		"value of filter \"%s\" must not be empty",
		"An empty prefix would match every job of the batch.  Leave the filter out if that is meant."
	},
	[PROBLEM_LABEL] = {
		"value is not a valid enumeration member; permitted: ", "type_error.enum", NULL,
		"value of filter \"%s\" must be one of the permitted labels",
		NULL
	},
	[PROBLEM_NULL] = {
		"none is not an allowed value", "type_error.none.not_allowed", NULL,
		"value of filter \"%s\" must not be null",
		"A filter that is null would not narrow the cancel.  Leave it out, or give it a value."
	},
	[PROBLEM_EMPTY_LIST] = {
		"ensure this value has at least 1 items", "value_error.list.min_items",
		"{\"limit_value\": 1}",
		"list of filter \"%s\" must not be empty",
		"An empty list would match every job of the batch.  Leave the filter out if that is meant."
	},
	[PROBLEM_NO_OBJECT] = {
		"value is not a valid dict", "type_error.dict", NULL, NULL,
		"Write the filters as a JSON object, for example {\"status\": \"PENDING\"}; {} means every job of the batch."
	},
	[PROBLEM_UNKNOWN_KEY] = {
		"extra fields not permitted", "value_error.extra", NULL,
		"unrecognized filter \"%s\"",
		NULL
	},
};

/* Raises 54000 */
static void
too_many_problems(size_t limit)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("report of bad filters exceeds the limit of %zu bytes", limit)));
}

/*
 * problems_init
 *
 * No problem yet; the body will show the first "limit" of those to come.
 * problems_add allocates in the current context.
 */
void
problems_init(Problems *problems, uint64 limit)
{
	memset(problems, 0, sizeof(*problems));
	problems->limit = limit;
}

/* Appends a label as Python's repr() writes it */
static void
append_repr(StringInfo list, const char *label)
{
	char		quote = strchr(label, '\'') && !strchr(label, '"') ? '"' : '\'';

	appendStringInfoChar(list, quote);
	for (const char *c = label; *c; c++)
	{
		if (*c == quote || *c == '\\')
			appendStringInfo(list, "\\%c", *c);
		else if (*c == '\t' || *c == '\n' || *c == '\r')
			appendStringInfoString(list, *c == '\t' ? "\\t" : *c == '\n' ? "\\n" : "\\r");
		else if ((unsigned char) *c < ' ' || *c == 0x7F)
			appendStringInfo(list, "\\x%02x", (unsigned char) *c);
		else
			appendStringInfoChar(list, *c);
	}
	appendStringInfoChar(list, quote);
}

/*
 * Makes the texts that list the labels of a column: in the API's message, in
 * its ctx, and in the hint if this is the first problem.
 */
static void
list_labels(Problems *problems, const LabelColumn *column)
{
	List	   *permitted = label_column_permitted(column);
	StringInfoData labels;
	StringInfoData ctx;
	StringInfoData hint;
	const ListCell *cell;

	initStringInfo(&labels);
	initStringInfo(&ctx);
	initStringInfo(&hint);
	appendStringInfoString(&ctx, "{\"enum_values\": [");
	foreach(cell, permitted)
	{
		const char *comma = cell == list_head(permitted) ? "" : ", ";
		const char *label = lfirst(cell);

		appendStringInfoString(&labels, comma);
		append_repr(&labels, label);
		appendStringInfoString(&ctx, comma);
		escape_json(&ctx, label);
		if (hint.len < LABELS_IN_HINT)
			appendStringInfo(&hint, "%s%s", comma, label);
	}
	appendStringInfoString(&ctx, "]}");
	problems->column = column;
	problems->labels = labels.data;
	problems->ctx = ctx.data;
	if (problems->count == 1 && permitted != NIL)
		problems->hint = psprintf("Permitted labels: %s%s", hint.data,
								  hint.len < LABELS_IN_HINT ? "." : ", ...");
}

/* One entry of the 422 body's "detail"; labels are part of its message */
static void
append_entry(Output *out, const Problem *problem, const char *labels, const char *ctx)
{
	const ProblemDef *def = &problem_table[problem->type];
	const ProblemLocation *location = &problem->location;
	char	   *msg = psprintf("%s%s", def->msg, labels);

	output_append_literal(out, "{\"loc\": [\"");
	output_append_string(out, location->part);
	output_append_literal(out, "\"");
	if (location->name)
	{
		output_append_literal(out, ", ");
		output_append_json_string(out, location->name, location->name_len);
	}
	if (location->index >= 0)
	{
		char		index[16];

		snprintf(index, sizeof(index), ", %d", location->index);
		output_append_string(out, index);
	}
	output_append_literal(out, "], \"msg\": ");
	output_append_json_string(out, msg, strlen(msg));
	output_append_literal(out, ", \"type\": \"");
	output_append_string(out, def->type);
	output_append_literal(out, "\"");
	if (ctx)
	{
		output_append_literal(out, ", \"ctx\": ");
		output_append_string(out, ctx);
	}
	output_append_literal(out, "}");
	pfree(msg);
}

/* The same for a label that is not permitted */
static void
append_label_entry(Problems *problems, const Problem *problem)
{
	size_t		limit = problems->limit == PROBLEMS_NO_LIMIT ? LABELS_IN_BODY : LABELS_IN_DETAIL;
	bool		first = problems->column != problem->permitted;

	if (first)
		list_labels(problems, problem->permitted);
	if (first || problems->label_bytes < limit)
	{
		append_entry(&problems->entries, problem, problems->labels, problems->ctx);
		problems->label_bytes += strlen(problems->labels) + strlen(problems->ctx);
	}
	else
		append_entry(&problems->entries, problem, "...", NULL);
}

/* The problem in words, as the message of an error */
static char *
problem_message(const Problem *problem)
{
	const ProblemLocation *location = &problem->location;
	char	   *name;
	char	   *message;

	if (strcmp(location->part, "path") == 0)
		return pstrdup("batch must not be null");
	if (location->name == NULL)
		return pstrdup(problem->type == PROBLEM_NULL ? "filters must not be null" :
					   "filters must be a JSON object");

	name = pnstrdup(location->name,
					pg_mbcliplen(location->name, location->name_len, KEY_IN_MESSAGE));
	message = psprintf(problem_table[problem->type].message, name);
	return location->index > 0 ?
		psprintf("%s (value %d of the list)", message, location->index + 1) : message;
}

/*
 * problems_add
 *
 * Adds one problem; problems are added in the order in which they are to be
 * reported.  Nothing that *problem points to is read afterwards.
 */
void
problems_add(Problems *problems, const Problem *problem)
{
	Problem		shown = *problem;
	const ProblemDef *def = &problem_table[problem->type];
	const char *hint = problem->hint ? problem->hint : def->hint;

	problems->count++;
	if (problems->count > problems->limit)
		return;

	if (problems->limit != PROBLEMS_NO_LIMIT && shown.location.name)
		shown.location.name_len = pg_mbcliplen(shown.location.name, shown.location.name_len,
											   KEY_IN_DETAIL);
	if (problems->count == 1)
	{
		output_init(&problems->entries, CurrentMemoryContext, MaxAllocSize / 2, too_many_problems);
		problems->message = problem_message(&shown);
		problems->hint = hint ? pstrdup(hint) : NULL;
	}
	else
		output_append_literal(&problems->entries, ", ");

	if (problem->type == PROBLEM_LABEL)
		append_label_entry(problems, &shown);
	else
		append_entry(&problems->entries, &shown, "", def->ctx);
}

/*
 * problems_body
 *
 * The documented 422 body, as JSON: a varlena in the current memory context,
 * and a NUL behind it.
 */
struct varlena *
problems_body(const Problems *problems)
{
	Output		body;

	output_init(&body, CurrentMemoryContext, MaxAllocSize, too_many_problems);
	output_append(&body, "\0\0\0\0", VARHDRSZ);
	output_append_literal(&body, "{\"detail\": [");
	output_append(&body, problems->entries.data, problems->entries.len);
	output_append_literal(&body, "]}");
	SET_VARSIZE(body.data, body.len);
	output_append(&body, "", 1);
	return (struct varlena *) body.data;
}

/*
 * problems_raise
 *
 * Raises the problems (there must be one at least) as one error of SQLSTATE
 * 22023: the first in words as message, the 422 body as DETAIL.
 */
void
problems_raise(const Problems *problems)
{
	uint64		more = problems->count - 1;

	Assert(problems->count > 0);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 more == 0 ? errmsg_internal("%s", problems->message) :
			 errmsg_plural("%s (and %llu more problem)",
						   "%s (and %llu more problems)",
						   (unsigned long) more,
						   problems->message, (unsigned long long) more),
			 errdetail_internal("%s", VARDATA(problems_body(problems))),
			 problems->hint ? errhint("%s", problems->hint) : 0));
}
