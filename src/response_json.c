/*-------------------------------------------------------------------------
 *
 * response_json.c
 *	  A response as the text of json.
 *
 * The text is written once and never turned into jsonb.  Jobs that come in
 * order stand where they belong at once, and the answer is the very memory
 * that they were written to.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "columns.h"
#include "format_value.h"
#include "response.h"

/* Of a text that is sent, a little must be left for the message around it */
#define JSON_LIMIT		(MaxAllocSize - 8192)

static const char before_jobs[] = "{\"data\":{\"jobs\":[";
static const char before_errors[] = "],\"errors\":{";
static const char after_errors[] = "}}}";

/* "name": of each field, with what separates it from the one before */
static char *field_heads[FIELD_COUNT];
static int	field_head_lens[FIELD_COUNT];

static void
make_field_heads(void)
{
	for (int f = 0; f < FIELD_COUNT; f++)
	{
		char	   *head = psprintf("%s\"%s\":", f > 0 ? "," : "{", job_columns[f].name);

		field_head_lens[f] = strlen(head);
		field_heads[f] = MemoryContextStrdup(TopMemoryContext, head);
	}
}

static void
begin(Output *out, size_t expected_jobs)
{
	/* the length of the varlena is not known yet */
	output_append(out, "\0\0\0\0", VARHDRSZ);
	output_append_string(out, before_jobs);
}

static void
append_text(Output *out, Datum value)
{
	struct varlena *text = response_detoast(value, JSON_LIMIT);

	output_append_json_string(out, VARDATA_ANY(text), VARSIZE_ANY_EXHDR(text));
}

/*
 * A numeric of jsonb.  The header of an integer below 10000 shows that it is a
 * single digit to that base (see append_integer in response_jsonb.c).
 */
static void
append_numeric(Output *out, const char *value)
{
	uint16		header;
	int16		digit = 0;
	char	   *text;

	memcpy(&header, value + VARHDRSZ, sizeof(header));
	if ((header & ~0x2000) == 0x8000 && VARSIZE(value) <= VARHDRSZ + 2 * sizeof(uint16))
	{
		if (VARSIZE(value) == VARHDRSZ + 2 * sizeof(uint16))
			memcpy(&digit, value + VARHDRSZ + sizeof(header), sizeof(digit));
		out->len += pg_ltoa(header & 0x2000 ? -digit : digit, output_reserve(out, MAXINT8LEN + 1));
		return;
	}
	text = DatumGetCString(DirectFunctionCall1(numeric_out, PointerGetDatum(value)));
	output_append_string(out, text);
	pfree(text);
}

static void append_container(Output *out, JsonbContainer *container);

/* A value of a container, which lies from *offset on; advances that */
static void
append_element(Output *out, JEntry entry, char *base, uint32 *offset)
{
	char	   *value = base + *offset;
	char	   *aligned = base + INTALIGN(*offset);

	JBE_ADVANCE_OFFSET(*offset, entry);
	if (JBE_ISNULL(entry))
		output_append_literal(out, "null");
	else if (JBE_ISSTRING(entry))
		output_append_json_string(out, value, base + *offset - value);
	else if (JBE_ISNUMERIC(entry))
		append_numeric(out, aligned);
	else if (JBE_ISBOOL_TRUE(entry))
		output_append_literal(out, "true");
	else if (JBE_ISBOOL_FALSE(entry))
		output_append_literal(out, "false");
	else
		append_container(out, (JsonbContainer *) aligned);
}

/* An object or array of jsonb, or the scalar in its array */
static void
append_container(Output *out, JsonbContainer *container)
{
	uint32		count = JsonContainerSize(container);
	bool		object = JsonContainerIsObject(container);
	bool		scalar = JsonContainerIsScalar(container);
	char	   *base = (char *) &container->children[object ? count * 2 : count];
	uint32		key_offset = 0;
	uint32		value_offset = 0;

	check_stack_depth();
	/* values of an object lie behind all keys */
	for (uint32 i = 0; object && i < count; i++)
		JBE_ADVANCE_OFFSET(value_offset, container->children[i]);

	if (!scalar)
		output_append(out, object ? "{" : "[", 1);
	for (uint32 i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (i > 0)
			output_append_literal(out, ",");
		if (object)
		{
			append_element(out, container->children[i], base, &key_offset);
			output_append_literal(out, ":");
		}
		append_element(out, container->children[object ? count + i : i], base, &value_offset);
	}
	if (!scalar)
		output_append(out, object ? "}" : "]", 1);
}

static void
append_jsonb(Output *out, Datum value)
{
	response_check_size(value, JSON_LIMIT);
	append_container(out, &DatumGetJsonbP(value)->root);
}

/* A dimension of a text array, counted from 0, and those below it */
static void
append_dimension(Output *out, TextArray *array, int dim)
{
	output_append_literal(out, "[");
	for (int i = 0; dim < array->ndim && i < array->dims[dim]; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (i > 0)
			output_append_literal(out, ",");
		if (dim + 1 < array->ndim)
		{
			append_dimension(out, array, dim + 1);
			continue;
		}
		if (*array->nulls++)
			output_append_literal(out, "null");
		else
			append_text(out, *array->values);
		array->values++;
	}
	output_append_literal(out, "]");
}

static void
append_text_array(Output *out, Datum value)
{
	TextArray	array;

	response_text_array(&array, value, JSON_LIMIT);
	append_dimension(out, &array, 0);
}

static void
append_uuid(Output *out, const pg_uuid_t *uuid)
{
	char	   *at = output_reserve(out, FORMATTED_UUID + 2);

	at[0] = '"';
	format_uuid(at + 1, uuid);
	at[FORMATTED_UUID + 1] = '"';
	out->len += FORMATTED_UUID + 2;
}

static void
append_value(Output *out, const JobsRelation *relation, JobColumn column, Datum value)
{
	switch (job_columns[column].kind)
	{
		case KIND_UUID:
			append_uuid(out, DatumGetUUIDP(value));
			return;
		case KIND_TIMESTAMPTZ:
			{
				char	   *at = output_reserve(out, FORMATTED_TIMESTAMP + 2);
				int			len = format_timestamp(at + 1, DatumGetTimestampTz(value));

				at[0] = '"';
				at[len + 1] = '"';
				out->len += len + 2;
				return;
			}
		case KIND_LABEL:
			{
				const char *label = label_column_text(&relation->shape.labels[job_columns[column].labels],
													  value);

				output_append_json_string(out, label, strlen(label));
				return;
			}
		case KIND_INTEGER:
			out->len += pg_lltoa(DatumGetInt32(value), output_reserve(out, MAXINT8LEN + 1));
			return;
		case KIND_BIGINT:
			out->len += pg_lltoa(DatumGetInt64(value), output_reserve(out, MAXINT8LEN + 1));
			return;
		case KIND_TEXT:
			append_text(out, value);
			return;
		case KIND_JSONB:
			append_jsonb(out, value);
			return;
		case KIND_TEXT_ARRAY:
			append_text_array(out, value);
			return;
	}
}

/* One job as an object, after a comma if it is not the first */
static size_t
encode_job(Output *out, const JobsRelation *relation, TupleTableSlot *row)
{
	size_t		start;

	if (unlikely(field_heads[FIELD_COUNT - 1] == NULL))
		make_field_heads();
	if (out->len > VARHDRSZ + strlen(before_jobs))
		output_append_literal(out, ",");
	start = out->len;
	for (int f = 0; f < FIELD_COUNT; f++)
	{
		output_append(out, field_heads[f], field_head_lens[f]);
		if (row->tts_isnull[f])
			output_append_literal(out, "null");
		else
			append_value(out, relation, f, row->tts_values[f]);
	}
	output_append_literal(out, "}");
	return start;
}

/* Copies the jobs, which are not in order, to where they are */
static void
reorder(Response *response, Output *out)
{
	output_init(out, response->result_context, JSON_LIMIT, response_too_large);
	output_reserve(out, response->encoded.len);
	output_append(out, response->encoded.data, VARHDRSZ + strlen(before_jobs));
	for (size_t i = 0; i < response->job_count; i++)
	{
		const ResponseJob *job = &response->jobs[i];

		CHECK_FOR_INTERRUPTS();
		if (i > 0)
			output_append_literal(out, ",");
		output_append(out, response->encoded.data + job->offset, job->len);
	}
}

static struct varlena *
finish(Response *response)
{
	Output		reordered;
	Output	   *out = &response->encoded;

	if (!response->in_order)
	{
		reorder(response, &reordered);
		out = &reordered;
	}

	output_append_string(out, before_errors);
	for (size_t i = 0; i < response->error_count; i++)
	{
		const char *why = response->errors[i].why;

		CHECK_FOR_INTERRUPTS();
		if (i > 0)
			output_append_literal(out, ",");
		append_uuid(out, response->errors[i].id);
		output_append_literal(out, ":");
		output_append_json_string(out, why, strlen(why));
	}
	output_append_string(out, after_errors);

	SET_VARSIZE(out->data, out->len);
	return (struct varlena *) out->data;
}

const ResponseEncoder response_as_json = {
	.limit = JSON_LIMIT,
	.begin = begin,
	.encode_job = encode_job,
	.finish = finish,
};
