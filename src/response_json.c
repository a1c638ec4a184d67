/*-------------------------------------------------------------------------
 *
 * response_json.c
 *	  A response as json, which is text.
 *
 * The text is written once and never turned into jsonb.  Jobs that come in
 * order are written where they belong, and that memory is the answer.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "columns.h"
#include "encoder.h"

/* Leaves room for the protocol's message around the text */
#define JSON_LIMIT		(MaxAllocSize - 8192)

static const char before_jobs[] = "{\"data\":{\"jobs\":[";
static const char before_errors[] = "],\"errors\":{";
static const char after_errors[] = "}}}";

/* "name": of a field, with what separates it from the one before */
typedef struct FieldHead
{
	size_t		len;			/* 0: not yet made */
	char		text[32];		/* copied as a whole, which is faster */
} FieldHead;

static FieldHead field_heads[FIELD_COUNT];

/* Bytes that all names and values of a fixed size take at most */
#define JOB_ROOM		(FIELD_COUNT * (sizeof(field_heads[0].text) + FORMATTED_TIMESTAMP + 2))

static void
make_field_heads(void)
{
	for (int f = 0; f < FIELD_COUNT; f++)
	{
		FieldHead  *head = &field_heads[f];

		head->len = snprintf(head->text, sizeof(head->text), "%s\"%s\":", f > 0 ? "," : "{",
							 job_columns[f].name);
		Assert(head->len < sizeof(head->text));
	}
}

static void
begin(Encoding *encoding, size_t expected_jobs)
{
	/* the length of the varlena is not known yet */
	output_append(encoding->out, "\0\0\0\0", VARHDRSZ);
	output_append_string(encoding->out, before_jobs);
}

static void
append_text(Output *out, Datum value)
{
	struct varlena *text = encoder_detoast(value, JSON_LIMIT);

	output_append_json_string(out, VARDATA_ANY(text), VARSIZE_ANY_EXHDR(text));
}

/* A numeric of jsonb, which has len bytes */
static void
append_numeric(Output *out, const char *value, size_t len)
{
	int			formatted = format_numeric(output_reserve(out, FORMATTED_NUMERIC), value, len);
	char	   *aligned;

	if (formatted >= 0)
	{
		out->len += formatted;
		return;
	}
	aligned = palloc(len);
	memcpy(aligned, value, len);
	output_append_string(out, DatumGetCString(DirectFunctionCall1(numeric_out,
																  PointerGetDatum(aligned))));
}

/*
 * The functions below read jsonb in place, in a packed row, so nothing of it
 * need be aligned.
 */
static inline uint32
read_word(const char *at)
{
	uint32		word;

	memcpy(&word, at, sizeof(word));
	return word;
}

static void append_container(Output *out, const char *container);

/* Appends the element of a container at *offset, and advances that */
static void
append_element(Output *out, JEntry entry, const char *base, uint32 *offset)
{
	const char *value = base + *offset;
	const char *aligned = base + INTALIGN(*offset);

	JBE_ADVANCE_OFFSET(*offset, entry);
	if (JBE_ISNULL(entry))
		output_append_literal(out, "null");
	else if (JBE_ISSTRING(entry))
		output_append_json_string(out, value, base + *offset - value);
	else if (JBE_ISNUMERIC(entry))
		append_numeric(out, aligned, base + *offset - aligned);
	else if (JBE_ISBOOL_TRUE(entry))
		output_append_literal(out, "true");
	else if (JBE_ISBOOL_FALSE(entry))
		output_append_literal(out, "false");
	else
		append_container(out, aligned);
}

/* An object or array of jsonb, or the scalar in its array */
static void
append_container(Output *out, const char *container)
{
	uint32		header = read_word(container);
	uint32		count = header & JB_CMASK;
	bool		object = (header & JB_FOBJECT) != 0;
	bool		scalar = (header & JB_FSCALAR) != 0;
	const char *keys = container + sizeof(header);
	const char *values = object ? keys + count * sizeof(JEntry) : keys;
	const char *base = values + count * sizeof(JEntry);
	uint32		key_offset = 0;
	uint32		value_offset = 0;

	check_stack_depth();
	/* values of an object lie behind all keys */
	for (uint32 i = 0; object && i < count; i++)
		JBE_ADVANCE_OFFSET(value_offset, read_word(keys + i * sizeof(JEntry)));

	if (!scalar)
		output_append(out, object ? "{" : "[", 1);
	for (uint32 i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (i > 0)
			output_append_literal(out, ",");
		if (object)
		{
			append_element(out, read_word(keys + i * sizeof(JEntry)), base, &key_offset);
			output_append_literal(out, ":");
		}
		append_element(out, read_word(values + i * sizeof(JEntry)), base, &value_offset);
	}
	if (!scalar)
		output_append(out, object ? "}" : "]", 1);
}

/* Appends a dimension of a text array, counted from 0, and those below it */
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

	encoder_text_array(&array, value, JSON_LIMIT);
	append_dimension(out, &array, 0);
}

static void
append_label(Encoding *encoding, JobColumn column, Datum value)
{
	const LastText *last = encoding_label(encoding, column, value);
	const char *label;

	if (last)
	{
		char	   *at = output_reserve(encoding->out, sizeof(last->text) + 2);

		*at++ = '"';
		memcpy(at, last->text, sizeof(last->text));
		at[last->len] = '"';
		encoding->out->len += last->len + 2;
		return;
	}
	label = label_column_text(&encoding->relation->shape.labels[job_columns[column].labels], value);
	output_append_json_string(encoding->out, label, strlen(label));
}

/*
 * Writes a value to the end of the output and returns where it ends, with room
 * for the values of a fixed size that are still to come.
 */
static inline char *
put_value(Encoding *encoding, char *at, JobColumn column, Datum value)
{
	Output	   *out = encoding->out;
	const JobColumnDef *def = &job_columns[column];
	LastText   *last = &encoding->last[column];

	switch (def->kind)
	{
		case KIND_UUID:
			*at++ = '"';
			at = put_uuid(at, last, DatumGetUUIDP(value));
			*at++ = '"';
			return at;
		case KIND_TIMESTAMPTZ:
			*at++ = '"';
			at = put_timestamp(at, last, DatumGetTimestampTz(value));
			*at++ = '"';
			return at;
		case KIND_INTEGER:
			return put_integer(at, DatumGetInt32(value));
		case KIND_BIGINT:
			return put_integer(at, DatumGetInt64(value));
		case KIND_LABEL:
			out->len = at - out->data;
			append_label(encoding, column, value);
			break;
		case KIND_TEXT:
			out->len = at - out->data;
			append_text(out, value);
			break;
		case KIND_JSONB:
			out->len = at - out->data;
			append_container(out, VARDATA_ANY(encoder_detoast(value, JSON_LIMIT)));
			break;
		case KIND_TEXT_ARRAY:
			out->len = at - out->data;
			append_text_array(out, value);
			break;
	}
	return output_reserve(out, JOB_ROOM);
}

/* One job as an object, and a comma */
static size_t
encode_job(Encoding *encoding, const TupleTableSlot *row)
{
	Output	   *out = encoding->out;
	size_t		start = out->len;
	char	   *at = output_reserve(out, JOB_ROOM);

	if (unlikely(field_heads[FIELD_COUNT - 1].len == 0))
		make_field_heads();
	for (int f = 0; f < FIELD_COUNT; f++)
	{
		const FieldHead *head = &field_heads[f];

		memcpy(at, head->text, sizeof(head->text));
		at += head->len;
		if (row->tts_isnull[f])
		{
			memcpy(at, "null", 4);
			at += 4;
		}
		else
			at = put_value(encoding, at, f, row->tts_values[f]);
	}
	memcpy(at, "},", 2);
	out->len = at + 2 - out->data;
	return start;
}

/* Copies the jobs into their order */
static void
reorder(Encoding *encoding, const ResponseContent *content)
{
	Output	   *out = encoding->out;
	Output		ordered;

	output_init(&ordered, GetMemoryChunkContext(out->data), out->limit, out->too_large);
	output_reserve(&ordered, out->len);
	output_append(&ordered, out->data, encoding->start + VARHDRSZ + strlen(before_jobs));
	for (size_t i = 0; i < content->job_count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		output_append(&ordered, out->data + content->jobs[i].offset, content->jobs[i].len);
	}
	pfree(out->data);
	*out = ordered;
}

static void
finish(Encoding *encoding, const ResponseContent *content)
{
	Output	   *out = encoding->out;

	if (!content->in_order)
		reorder(encoding, content);

	if (content->job_count > 0)
		out->len--;				/* no comma behind the last one */
	output_append_string(out, before_errors);
	for (size_t i = 0; i < content->error_count; i++)
	{
		const char *why = content->errors[i].why;
		char	   *at = output_reserve(out, FORMATTED_UUID + 3);

		CHECK_FOR_INTERRUPTS();
		*at++ = '"';
		format_uuid(at, content->errors[i].id);
		memcpy(at + FORMATTED_UUID, "\":", 2);
		out->len += FORMATTED_UUID + 3;
		output_append_json_string(out, why, strlen(why));
		output_append_literal(out, ",");
	}
	if (content->error_count > 0)
		out->len--;
	output_append_string(out, after_errors);

	SET_VARSIZE(out->data + encoding->start, out->len - encoding->start);
}

const Encoder json_encoder = {
	.limit = JSON_LIMIT,
	.begin = begin,
	.encode_job = encode_job,
	.finish = finish,
};
