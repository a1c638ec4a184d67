/*-------------------------------------------------------------------------
 *
 * problems.c
 *	  What is wrong with a request, said as the API says it (HTTP 422).
 *
 * Messages and types are those of FastAPI with pydantic 1, which the
 * documented API is built on.  A client that understands that API's 422
 * understands ours.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"

#include "problems.h"

/*
 * How much of a key of the user's own making a message and the DETAIL of an
 * error repeat, in bytes: both go to the server's log
 */
#define KEY_IN_MESSAGE	64
#define KEY_IN_DETAIL	256

typedef struct ProblemDef
{
	const char *msg;
	const char *type;
	const char *ctx;			/* JSON, or NULL */
	const Labels *labels;		/* of the enumeration, or NULL */
	const char *hint;
} ProblemDef;

static const ProblemDef problem_table[] = {
	[PROBLEM_UUID] = {
		"value is not a valid uuid", "type_error.uuid", NULL, NULL,
		"Write a uuid as 32 hexadecimal digits, with or without hyphens."
	},
	[PROBLEM_INTEGER] = {
		"value is not a valid integer", "type_error.integer", NULL, NULL,
		"Write an integer as digits with an optional sign, without fraction or exponent."
	},
	[PROBLEM_BOOLEAN] = {
		"value could not be parsed to a boolean", "type_error.bool", NULL, NULL,
		"Write true or false."
	},
	[PROBLEM_DATETIME] = {
		"invalid datetime format", "value_error.datetime", NULL, NULL,
		"Write a date-time as 2023-03-23T10:41:36+00:00 (without an offset it is UTC), or as Unix seconds."
	},
	[PROBLEM_TEXT] = {
		"str type expected", "type_error.str", NULL, NULL,
		"Write the value as a JSON string."
	},
	[PROBLEM_EMPTY_TEXT] = {
		"ensure this value has at least 1 characters", "value_error.any_str.min_length",
		"{\"limit_value\": 1}", NULL,
		"An empty prefix would match every job of the batch. Leave the filter out if that is meant."
	},
	[PROBLEM_STATUS] = {
		"value is not a valid enumeration member; permitted: ", "type_error.enum",
		NULL, &job_status_labels,
		"Write the member exactly as it is listed, in upper case."
	},
	[PROBLEM_ORIGIN] = {
		"value is not a valid enumeration member; permitted: ", "type_error.enum",
		NULL, &origin_labels,
		"Write the member exactly as it is listed, in upper case."
	},
	[PROBLEM_NULL] = {
		"none is not an allowed value", "type_error.none.not_allowed", NULL, NULL,
		"A filter that is null would not narrow the cancel. Leave it out, or give it a value."
	},
	[PROBLEM_EMPTY_LIST] = {
		"ensure this value has at least 1 items", "value_error.list.min_items",
		"{\"limit_value\": 1}", NULL,
		"An empty list would match every job of the batch. Leave the filter out if that is meant."
	},
	[PROBLEM_NO_OBJECT] = {
		"value is not a valid dict", "type_error.dict", NULL, NULL,
		"Write the filters as a JSON object, for example {\"status\": \"PENDING\"}; {} means every job of the batch."
	},
	[PROBLEM_UNKNOWN_KEY] = {
		"extra fields not permitted", "value_error.extra", NULL, NULL, NULL
	},
};

/*
 * problems_init
 *
 * No problem yet; the body will show the first "limit" of those to come.
 * All memory is taken from the context that is current here and in
 * problems_add.
 */
void
problems_init(Problems *problems, uint64 limit)
{
	problems->count = 0;
	problems->limit = limit;
	problems->message = NULL;
	problems->hint = NULL;
}

/* msg in full: for an enumeration with its members, as pydantic words it */
static char *
msg_of(const ProblemDef *def)
{
	StringInfoData msg;

	initStringInfo(&msg);
	appendStringInfoString(&msg, def->msg);
	for (int i = 0; def->labels && i < def->labels->count; i++)
		appendStringInfo(&msg, "%s'%s'", i > 0 ? ", " : "", def->labels->label[i]);
	return msg.data;
}

/* One entry of the 422 body's "detail" */
static void
append_entry(Output *out, const ProblemDef *def, const char *msg, ProblemLocation location)
{
	output_append_literal(out, "{\"loc\": [\"");
	output_append_string(out, location.part);
	output_append_literal(out, "\"");
	if (location.name)
	{
		output_append_literal(out, ", ");
		output_append_json_string(out, location.name, location.name_len);
	}
	if (location.index >= 0)
		output_append_string(out, psprintf(", %d", location.index));
	output_append_literal(out, "], \"msg\": ");
	output_append_json_string(out, msg, strlen(msg));
	output_append_literal(out, ", \"type\": \"");
	output_append_string(out, def->type);
	output_append_literal(out, "\"");
	if (def->ctx)
	{
		output_append_literal(out, ", \"ctx\": ");
		output_append_string(out, def->ctx);
	}
	if (def->labels)
	{
		output_append_literal(out, ", \"ctx\": {\"enum_values\": [");
		for (int i = 0; i < def->labels->count; i++)
		{
			if (i > 0)
				output_append_literal(out, ", ");
			output_append_json_string(out, def->labels->label[i], strlen(def->labels->label[i]));
		}
		output_append_literal(out, "]}");
	}
	output_append_literal(out, "}");
}

/* The message of the error, if this problem is the first one */
static char *
problem_in_words(const char *msg, ProblemLocation location)
{
	char	   *name;

	if (strcmp(location.part, "path") == 0)
		return psprintf("invalid batch: %s", msg);
	if (location.name == NULL)
		return psprintf("invalid filters: %s", msg);

	name = pnstrdup(location.name, pg_mbcliplen(location.name, location.name_len, KEY_IN_MESSAGE));
	if (location.index > 0)
		return psprintf("invalid filter \"%s\": value %d of the list: %s",
						name, location.index + 1, msg);
	return psprintf("invalid filter \"%s\": %s", name, msg);
}

/*
 * problems_add
 *
 * Adds one problem; problems are added in the order in which they are to be
 * reported.  hint takes the place of the type's own unless it is NULL; it is
 * copied.
 */
void
problems_add(Problems *problems, ProblemType type, ProblemLocation location,
			 const char *hint)
{
	const ProblemDef *def = &problem_table[type];
	char	   *msg;

	problems->count++;
	if (problems->count > problems->limit)
		return;

	if (problems->limit != PROBLEMS_NO_LIMIT && location.name)
		location.name_len = pg_mbcliplen(location.name, location.name_len, KEY_IN_DETAIL);

	msg = msg_of(def);
	if (problems->count == 1)
	{
		output_init(&problems->entries, CurrentMemoryContext, MaxAllocSize / 2);
		problems->message = problem_in_words(msg, location);
		if (hint == NULL)
			hint = def->hint;
		problems->hint = hint ? pstrdup(hint) : NULL;
	}
	else
		output_append_literal(&problems->entries, ", ");
	append_entry(&problems->entries, def, msg, location);
	pfree(msg);
}

/* problems_append_body: the documented 422 body, as JSON */
void
problems_append_body(Output *body, const Problems *problems)
{
	output_append_literal(body, "{\"detail\": [");
	if (problems->count > 0)
		output_append(body, problems->entries.data, problems->entries.len);
	output_append_literal(body, "]}");
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
	Output		body;
	uint64		more = problems->count - 1;

	Assert(problems->count > 0);

	output_init(&body, CurrentMemoryContext, MaxAllocSize);
	problems_append_body(&body, problems);
	output_append(&body, "", 1);

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 more == 0 ? errmsg("%s", problems->message) :
			 errmsg_plural("%s (and %llu more problem)",
						   "%s (and %llu more problems)",
						   (unsigned long) more,
						   problems->message, (unsigned long long) more),
			 errdetail_internal("%s", body.data),
			 problems->hint ? errhint("%s", problems->hint) : 0));
}
