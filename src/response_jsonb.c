/*-------------------------------------------------------------------------
 *
 * response_jsonb.c
 *	  A response as jsonb.
 *
 * The bytes are written as PostgreSQL's own JsonbValueToJsonb() would write
 * them (see utils/jsonb.h for how a container lies in memory), but without
 * the tree of values that it starts from.  Every job has the same keys, so
 * those are laid out once and copied.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "columns.h"
#include "format_value.h"
#include "response.h"

/*
 * The bytes of a job before its values: the container's header, its JEntries
 * (those of the values still to be filled in) and the keys.
 */
typedef struct JobLayout
{
	JobColumn	field[FIELD_COUNT]; /* in the order of jsonb's keys */
	size_t		head_len;
	size_t		keys_len;
	char		head[sizeof(uint32) + FIELD_COUNT * (2 * sizeof(JEntry) + NAMEDATALEN)];
} JobLayout;

static JobLayout job_layout;	/* head_len 0: not yet made */

/* The order of keys in jsonb: by length, then by bytes */
static int
compare_fields(const void *a, const void *b)
{
	const char *ka = job_columns[*(const JobColumn *) a].name;
	const char *kb = job_columns[*(const JobColumn *) b].name;
	size_t		la = strlen(ka);
	size_t		lb = strlen(kb);

	if (la != lb)
		return la < lb ? -1 : 1;
	return memcmp(ka, kb, la);
}

/*
 * Puts the JEntry of a container's element where it belongs; every so often
 * it holds an offset in place of a length.  *total adds up the lengths.
 * Raises 54000 where jsonb's limit is passed.
 */
static inline void
put_jentry(char *container, size_t index, JEntry meta, size_t *total)
{
	*total += JBE_OFFLENFLD(meta);
	if (*total > JENTRY_OFFLENMASK)
		response_too_large(JENTRY_OFFLENMASK);
	if (index % JB_OFFSET_STRIDE == 0)
		meta = (meta & JENTRY_TYPEMASK) | (JEntry) *total | JENTRY_HAS_OFF;
	memcpy(container + sizeof(uint32) + index * sizeof(JEntry), &meta, sizeof(JEntry));
}

static void
make_job_layout(void)
{
	uint32		header = FIELD_COUNT | JB_FOBJECT;
	size_t		at = sizeof(uint32) + 2 * FIELD_COUNT * sizeof(JEntry);
	size_t		total = 0;

	for (int i = 0; i < FIELD_COUNT; i++)
		job_layout.field[i] = i;
	qsort(job_layout.field, FIELD_COUNT, sizeof(JobColumn), compare_fields);

	memcpy(job_layout.head, &header, sizeof(header));
	for (int i = 0; i < FIELD_COUNT; i++)
	{
		const char *key = job_columns[job_layout.field[i]].name;
		size_t		len = strlen(key);

		Assert(len < NAMEDATALEN);
		put_jentry(job_layout.head, i, len, &total);
		memcpy(job_layout.head + at, key, len);
		at += len;
	}
	job_layout.keys_len = total;
	job_layout.head_len = at;
}

/* Pads to where a container or a numeric may start; returns the padding */
static inline size_t
pad(Output *out)
{
	size_t		padding = INTALIGN(out->len) - out->len;

	memset(output_reserve(out, padding), 0, padding);
	out->len += padding;
	return padding;
}

/*
 * The functions from here to append_value append one value each and return
 * its JEntry with its length.
 */
static JEntry
append_string(Output *out, const char *text, size_t len)
{
	if (len > JENTRY_OFFLENMASK)
		response_too_large(JENTRY_OFFLENMASK);
	output_append(out, text, len);
	return (JEntry) len;
}

/*
 * An integer as numeric: a header of two bytes (short form, no decimals),
 * then digits to base 10000, those at the end left out if zero.
 */
static JEntry
append_integer(Output *out, int64 value)
{
	size_t		padding = pad(out);
	uint64		rest = value < 0 ? -(uint64) value : (uint64) value;
	int16		digits[5];
	int			count = 0;
	int			first = 0;
	uint16		header;
	int			len;
	char	   *at;

	while (rest > 0)
	{
		digits[count++] = rest % 10000;
		rest /= 10000;
	}
	header = 0x8000 | (value < 0 ? 0x2000 : 0) | (count > 0 ? count - 1 : 0);
	while (first < count && digits[first] == 0)
		first++;

	len = VARHDRSZ + sizeof(header) + (count - first) * sizeof(int16);
	at = output_reserve(out, len);
	SET_VARSIZE(at, len);
	memcpy(at + VARHDRSZ, &header, sizeof(header));
	at += VARHDRSZ + sizeof(header);
	for (int i = count - 1; i >= first; i--)
	{
		memcpy(at, &digits[i], sizeof(int16));
		at += sizeof(int16);
	}
	out->len += len;
	return JENTRY_ISNUMERIC | (JEntry) (padding + len);
}

static JEntry
append_text(Output *out, Datum value)
{
	struct varlena *text = response_detoast(value, JENTRY_OFFLENMASK);

	return append_string(out, VARDATA_ANY(text), VARSIZE_ANY_EXHDR(text));
}

/* jsonb is a container, or an array with a scalar in it */
static JEntry
append_jsonb(Output *out, Datum value)
{
	struct varlena *jsonb = response_detoast(value, JENTRY_OFFLENMASK);
	const char *container = VARDATA_ANY(jsonb);
	size_t		len = VARSIZE_ANY_EXHDR(jsonb);
	uint32		header;
	size_t		padding = 0;
	JEntry		type = JENTRY_ISCONTAINER;

	memcpy(&header, container, sizeof(header));
	if (header & JB_FSCALAR)
	{
		JEntry		scalar;

		memcpy(&scalar, container + sizeof(header), sizeof(scalar));
		type = scalar & JENTRY_TYPEMASK;
		container += sizeof(header) + sizeof(scalar);
		len -= sizeof(header) + sizeof(scalar);
	}

	if (type == JENTRY_ISCONTAINER || type == JENTRY_ISNUMERIC)
		padding = pad(out);
	output_append(out, container, len);
	if (padding + len > JENTRY_OFFLENMASK)
		response_too_large(JENTRY_OFFLENMASK);
	return type | (JEntry) (padding + len);
}

/* A dimension of a text array, counted from 0, and those below it */
static JEntry
append_dimension(Output *out, TextArray *array, int dim)
{
	size_t		start = out->len;
	size_t		container;
	uint32		count = dim < array->ndim ? array->dims[dim] : 0;
	uint32		header = count | JB_FARRAY;
	size_t		total = 0;
	size_t		head_len = sizeof(header) + count * sizeof(JEntry);

	pad(out);
	container = out->len;
	memcpy(output_reserve(out, head_len), &header, sizeof(header));
	out->len += head_len;

	for (uint32 i = 0; i < count; i++)
	{
		JEntry		meta;

		CHECK_FOR_INTERRUPTS();
		if (dim + 1 < array->ndim)
			meta = append_dimension(out, array, dim + 1);
		else
		{
			meta = *array->nulls++ ? JENTRY_ISNULL : append_text(out, *array->values);
			array->values++;
		}
		put_jentry(out->data + container, i, meta, &total);
	}
	if (out->len - start > JENTRY_OFFLENMASK)
		response_too_large(JENTRY_OFFLENMASK);
	return JENTRY_ISCONTAINER | (JEntry) (out->len - start);
}

static JEntry
append_text_array(Output *out, Datum value)
{
	TextArray	array;

	response_text_array(&array, value, JENTRY_OFFLENMASK);
	return append_dimension(out, &array, 0);
}

static JEntry
append_value(Output *out, const JobsRelation *relation, JobColumn column, Datum value)
{
	switch (job_columns[column].kind)
	{
		case KIND_UUID:
			format_uuid(output_reserve(out, FORMATTED_UUID), DatumGetUUIDP(value));
			out->len += FORMATTED_UUID;
			return FORMATTED_UUID;
		case KIND_TIMESTAMPTZ:
			{
				int			len = format_timestamp(output_reserve(out, FORMATTED_TIMESTAMP),
												   DatumGetTimestampTz(value));

				out->len += len;
				return len;
			}
		case KIND_LABEL:
			{
				const char *label = label_column_text(&relation->shape.labels[job_columns[column].labels],
													  value);

				return append_string(out, label, strlen(label));
			}
		case KIND_INTEGER:
			return append_integer(out, DatumGetInt32(value));
		case KIND_BIGINT:
			return append_integer(out, DatumGetInt64(value));
		case KIND_TEXT:
			return append_text(out, value);
		case KIND_JSONB:
			return append_jsonb(out, value);
		case KIND_TEXT_ARRAY:
			return append_text_array(out, value);
	}
	pg_unreachable();
}

static const char *const root_keys[] = {"data"};
static const char *const data_keys[] = {"jobs", "errors"};

/* Bytes from the start of a response of so many jobs to its first job */
static size_t
response_head_len(size_t job_count)
{
	return VARHDRSZ +
		sizeof(uint32) + 2 * sizeof(JEntry) + strlen("data") +
		INTALIGN(sizeof(uint32) + 4 * sizeof(JEntry) + strlen("jobs") + strlen("errors")) +
		sizeof(uint32) + job_count * sizeof(JEntry);
}

static void
begin(Output *out, size_t expected_jobs)
{
	size_t		head_len = response_head_len(expected_jobs);

	/* written by finish */
	output_reserve(out, head_len);
	out->len = head_len;
}

/* One job as an object */
static size_t
encode_job(Output *out, const JobsRelation *relation, TupleTableSlot *row)
{
	size_t		start;
	size_t		total;

	if (unlikely(job_layout.head_len == 0))
		make_job_layout();
	total = job_layout.keys_len;
	pad(out);
	start = out->len;
	output_append(out, job_layout.head, job_layout.head_len);
	for (int i = 0; i < FIELD_COUNT; i++)
	{
		JobColumn	field = job_layout.field[i];
		JEntry		meta = JENTRY_ISNULL;

		if (!row->tts_isnull[field])
			meta = append_value(out, relation, field, row->tts_values[field]);
		put_jentry(out->data + start, FIELD_COUNT + i, meta, &total);
	}
	return start;
}

/* The head of an object of few keys, without the JEntries of its values */
static size_t
put_head(char *at, int count, const char *const *keys)
{
	uint32		header = count | JB_FOBJECT;
	size_t		offset = sizeof(header) + 2 * count * sizeof(JEntry);
	size_t		total = 0;

	memcpy(at, &header, sizeof(header));
	for (int i = 0; i < count; i++)
	{
		put_jentry(at, i, strlen(keys[i]), &total);
		memcpy(at + offset, keys[i], strlen(keys[i]));
		offset += strlen(keys[i]);
	}
	return offset;
}

/*
 * The array of jobs, aligned; returns its length.  In place, the jobs already
 * stand where they belong, with the padding before each.
 */
static size_t
put_jobs(char *at, const Response *response, bool in_place)
{
	uint32		header = response->job_count | JB_FARRAY;
	size_t		offset = sizeof(header) + response->job_count * sizeof(JEntry);
	size_t		total = 0;

	memcpy(at, &header, sizeof(header));
	for (size_t i = 0; i < response->job_count; i++)
	{
		const ResponseJob *job = &response->jobs[i];
		size_t		padding = INTALIGN(offset) - offset;

		CHECK_FOR_INTERRUPTS();
		if (!in_place)
		{
			memset(at + offset, 0, padding);
			memcpy(at + offset + padding, response->encoded.data + job->offset, job->len);
		}
		offset += padding + job->len;
		put_jentry(at, i, JENTRY_ISCONTAINER | (JEntry) (padding + job->len), &total);
	}
	return offset;
}

/* The object of errors, aligned; returns its length */
static size_t
put_errors(char *at, const Response *response)
{
	size_t		count = response->error_count;
	uint32		header = count | JB_FOBJECT;
	size_t		offset = sizeof(header) + 2 * count * sizeof(JEntry);
	size_t		total = 0;

	memcpy(at, &header, sizeof(header));
	for (size_t i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		format_uuid(at + offset, response->errors[i].id);
		offset += FORMATTED_UUID;
		put_jentry(at, i, FORMATTED_UUID, &total);
	}
	for (size_t i = 0; i < count; i++)
	{
		size_t		len = strlen(response->errors[i].why);

		CHECK_FOR_INTERRUPTS();
		memcpy(at + offset, response->errors[i].why, len);
		offset += len;
		put_jentry(at, count + i, len, &total);
	}
	return offset;
}

/*
 * {"data": {"jobs": [ … ], "errors": { … }}}
 *
 * Mostly the jobs stand where they belong, since they came in order and were
 * as many as expected.  Else they are copied one by one.
 */
static struct varlena *
finish(Response *response)
{
	Output	   *out = &response->encoded;
	size_t		head_len = response_head_len(response->job_count);
	bool		in_place = response->in_order &&
	(response->job_count == 0 || response->jobs[0].offset == head_len);
	size_t		errors_len = 0;
	size_t		size;
	char	   *result;
	char	   *root;
	char	   *data;
	char	   *jobs;
	char	   *errors;
	char	   *at;
	size_t		root_total = strlen("data");
	size_t		data_total = strlen("jobs") + strlen("errors");

	for (size_t i = 0; i < response->error_count; i++)
		errors_len += 2 * sizeof(JEntry) + FORMATTED_UUID + strlen(response->errors[i].why);
	errors_len += 2 * sizeof(uint32);

	/* padding before jobs out of order may be up to a word each */
	size = head_len + out->len + errors_len + response->job_count * sizeof(uint32);
	if (in_place)
		size = Max(out->len, head_len) + errors_len;
	if (size > JENTRY_OFFLENMASK)
		response_too_large(JENTRY_OFFLENMASK);

	if (in_place)
	{
		if (size > out->len)
			output_reserve(out, size - out->len);
		result = out->data;
	}
	else
		result = palloc(size);

	root = result + VARHDRSZ;
	data = root + put_head(root, lengthof(root_keys), root_keys);
	at = data + put_head(data, lengthof(data_keys), data_keys);
	jobs = (char *) INTALIGN(at);
	memset(at, 0, jobs - at);
	Assert(jobs + sizeof(uint32) + response->job_count * sizeof(JEntry) == result + head_len);
	at = jobs + put_jobs(jobs, response, in_place);
	put_jentry(data, 2, JENTRY_ISCONTAINER | (JEntry) (at - data - (sizeof(uint32) + 4 * sizeof(JEntry)) - data_total),
			   &data_total);
	errors = (char *) INTALIGN(at);
	memset(at, 0, errors - at);
	errors_len = errors - at + put_errors(errors, response);
	put_jentry(data, 3, JENTRY_ISCONTAINER | (JEntry) errors_len, &data_total);
	at += errors_len;
	put_jentry(root, 1, JENTRY_ISCONTAINER | (JEntry) (at - data), &root_total);

	SET_VARSIZE(result, at - result);
	return (struct varlena *) result;
}

const ResponseEncoder response_as_jsonb = {
	.limit = JENTRY_OFFLENMASK,
	.begin = begin,
	.encode_job = encode_job,
	.finish = finish,
};
