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
#include "encoder.h"

/* Bytes of a container before its elements: a header and JEntries */
#define CONTAINER_HEAD(jentries) \
	(sizeof(uint32) + (jentries) * sizeof(JEntry))

/*
 * The bytes of a job before its values: the container's header, its JEntries
 * (those of the values still to be filled in) and the keys.
 */
typedef struct JobLayout
{
	JobColumn	field[FIELD_COUNT]; /* in the order of jsonb's keys */
	size_t		head_len;
	char		head[CONTAINER_HEAD(2 * FIELD_COUNT) + FIELD_COUNT * NAMEDATALEN];
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
 * Stores the JEntry of a container's element; every JB_OFFSET_STRIDE-th has
 * the end of the element, counted from the container's head, in place of a
 * length.  That fits, since the output has the limit of a JEntry.
 */
static inline void
put_jentry(char *container, uint32 index, JEntry meta, size_t end)
{
	Assert(end <= JENTRY_OFFLENMASK);
	if (index % JB_OFFSET_STRIDE == 0)
		meta = (meta & JENTRY_TYPEMASK) | (JEntry) end | JENTRY_HAS_OFF;
	memcpy(container + CONTAINER_HEAD(index), &meta, sizeof(JEntry));
}

/* The head and the keys of an object, without the JEntries of its values */
static size_t
put_head(char *at, int count, const char *const *keys)
{
	uint32		header = count | JB_FOBJECT;
	size_t		offset = CONTAINER_HEAD(2 * count);

	memcpy(at, &header, sizeof(header));
	for (int i = 0; i < count; i++)
	{
		size_t		len = strlen(keys[i]);

		memcpy(at + offset, keys[i], len);
		offset += len;
		put_jentry(at, i, len, offset - CONTAINER_HEAD(2 * count));
	}
	return offset;
}

static void
make_job_layout(void)
{
	const char *keys[FIELD_COUNT];

	for (int i = 0; i < FIELD_COUNT; i++)
		job_layout.field[i] = i;
	qsort(job_layout.field, FIELD_COUNT, sizeof(JobColumn), compare_fields);
	for (int i = 0; i < FIELD_COUNT; i++)
		keys[i] = job_columns[job_layout.field[i]].name;
	job_layout.head_len = put_head(job_layout.head, FIELD_COUNT, keys);
	Assert(job_layout.head_len <= sizeof(job_layout.head));
}

/*
 * The functions from here to append_value append one value each and return its
 * JEntry with its length.  Each finds, and leaves, room for all values of a
 * fixed size.
 */
#define JOB_ROOM	(FIELD_COUNT * FORMATTED_TIMESTAMP)

/* Pads to where a container or a numeric may start */
static inline void
pad(Output *out)
{
	memset(out->data + out->len, 0, ALIGNOF_INT);
	out->len = INTALIGN(out->len);
}

/*
 * An integer as numeric: a header of two bytes (short form, no decimals), then
 * digits to base 10000, those at the end left out if zero.
 */
static pg_noinline JEntry
append_integer(Output *out, int64 value)
{
	size_t		start = out->len;
	uint64		rest = value < 0 ? -(uint64) value : (uint64) value;
	int			last = 0;		/* the place of the last digit */
	uint16		header;
	uint16		digit;
	char	   *numeric;
	char	   *digits;

	pad(out);
	numeric = out->data + out->len;
	digits = numeric + VARHDRSZ + sizeof(header);

	for (uint64 more = rest; more >= 10000; more /= 10000)
		last++;
	header = 0x8000 | (value < 0 ? 0x2000 : 0) | last;
	memcpy(numeric + VARHDRSZ, &header, sizeof(header));
	for (int i = last; i >= 0; i--, rest /= 10000)
	{
		digit = rest % 10000;
		memcpy(digits + i * sizeof(digit), &digit, sizeof(digit));
		if (digit == 0 && i == last)
			last--;
	}
	SET_VARSIZE(numeric, VARHDRSZ + sizeof(header) + (last + 1) * sizeof(digit));
	out->len += VARSIZE(numeric);
	return JENTRY_ISNUMERIC | (JEntry) (out->len - start);
}

/* The same, faster below 10000 */
static inline JEntry
append_small_integer(Output *out, int32 value)
{
	size_t		start = out->len;
	uint16		numeric[] = {0x8000, value};
	uint32		len = VARHDRSZ + (value == 0 ? 1 : 2) * sizeof(uint16);
	char	   *at;

	if ((uint32) value >= 10000)
		return append_integer(out, value);
	pad(out);
	at = out->data + out->len;
	SET_VARSIZE(at, len);
	memcpy(at + VARHDRSZ, numeric, sizeof(numeric));
	out->len += len;
	return JENTRY_ISNUMERIC | (JEntry) (out->len - start);
}

/* Bytes of any number */
static JEntry
append_string(Output *out, const char *text, size_t len)
{
	memcpy(output_reserve(out, len + JOB_ROOM), text, len);
	out->len += len;
	return (JEntry) len;
}

static JEntry
append_text(Output *out, Datum value)
{
	struct varlena *text = encoder_detoast(value, JENTRY_OFFLENMASK);

	return append_string(out, VARDATA_ANY(text), VARSIZE_ANY_EXHDR(text));
}

/* A jsonb is a container; a scalar is in an array of one */
static JEntry
append_jsonb(Output *out, Datum value)
{
	struct varlena *jsonb = encoder_detoast(value, JENTRY_OFFLENMASK);
	const char *container = VARDATA_ANY(jsonb);
	size_t		len = VARSIZE_ANY_EXHDR(jsonb);
	size_t		start = out->len;
	uint32		header;
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
		pad(out);
	append_string(out, container, len);
	return type | (JEntry) (out->len - start);
}

/* Appends a dimension of a text array, counted from 0, and those below it */
static JEntry
append_dimension(Output *out, TextArray *array, int dim)
{
	size_t		start = out->len;
	size_t		container;
	uint32		count = dim < array->ndim ? array->dims[dim] : 0;
	uint32		header = count | JB_FARRAY;

	pad(out);
	container = out->len;
	memcpy(output_reserve(out, CONTAINER_HEAD(count) + JOB_ROOM), &header, sizeof(header));
	out->len += CONTAINER_HEAD(count);

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
		put_jentry(out->data + container, i, meta, out->len - container - CONTAINER_HEAD(count));
	}
	return JENTRY_ISCONTAINER | (JEntry) (out->len - start);
}

static JEntry
append_text_array(Output *out, Datum value)
{
	TextArray	array;

	encoder_text_array(&array, value, JENTRY_OFFLENMASK);
	return append_dimension(out, &array, 0);
}

static JEntry
append_label(Encoding *encoding, JobColumn column, Datum value)
{
	const LastText *last = encoding_label(encoding, column, value);
	const char *label;

	if (last)
		return append_string(encoding->out, last->text, last->len);
	label = label_column_text(&encoding->relation->shape.labels[job_columns[column].labels], value);
	return append_string(encoding->out, label, strlen(label));
}

static inline JEntry
append_value(Encoding *encoding, JobColumn column, Datum value)
{
	Output	   *out = encoding->out;
	LastText   *last = &encoding->last[column];

	switch (job_columns[column].kind)
	{
		case KIND_UUID:
			put_uuid(out->data + out->len, last, DatumGetUUIDP(value));
			out->len += FORMATTED_UUID;
			return FORMATTED_UUID;
		case KIND_TIMESTAMPTZ:
			put_timestamp(out->data + out->len, last, DatumGetTimestampTz(value));
			out->len += last->len;
			return last->len;
		case KIND_INTEGER:
			return append_small_integer(out, DatumGetInt32(value));
		case KIND_BIGINT:
			return append_integer(out, DatumGetInt64(value));
		case KIND_LABEL:
			return append_label(encoding, column, value);
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
		CONTAINER_HEAD(2) + strlen("data") +
		INTALIGN(CONTAINER_HEAD(4) + strlen("jobs") + strlen("errors")) +
		CONTAINER_HEAD(job_count);
}

static void
begin(Encoding *encoding, size_t expected_jobs)
{
	size_t		head_len = response_head_len(expected_jobs);

	/* written by finish */
	Assert(encoding->start == INTALIGN(encoding->start));
	output_reserve(encoding->out, head_len);
	encoding->out->len += head_len;
}

/* One job as an object */
static size_t
encode_job(Encoding *encoding, const TupleTableSlot *row)
{
	Output	   *out = encoding->out;
	const Datum *values = row->tts_values;
	const bool *nulls = row->tts_isnull;
	size_t		start;

	if (unlikely(job_layout.head_len == 0))
		make_job_layout();
	output_reserve(out, ALIGNOF_INT + job_layout.head_len + JOB_ROOM);
	pad(out);
	start = out->len;
	memcpy(out->data + start, job_layout.head, job_layout.head_len);
	out->len += job_layout.head_len;
	for (int i = 0; i < FIELD_COUNT; i++)
	{
		JobColumn	field = job_layout.field[i];
		JEntry		meta = (nulls[field] ? JENTRY_ISNULL :
							append_value(encoding, field, values[field]));

		put_jentry(out->data + start, FIELD_COUNT + i, meta,
				   out->len - start - CONTAINER_HEAD(2 * FIELD_COUNT));
	}
	return start;
}

/*
 * The array of jobs, aligned; returns its length.  If "encoded" is NULL, the
 * jobs already stand where they belong, with the padding before each.
 */
static size_t
put_jobs(char *at, const ResponseContent *content, const char *encoded)
{
	size_t		count = content->job_count;
	uint32		header = count | JB_FARRAY;
	size_t		offset = CONTAINER_HEAD(count);

	memcpy(at, &header, sizeof(header));
	for (size_t i = 0; i < count; i++)
	{
		const ResponseJob *job = &content->jobs[i];
		size_t		padding = INTALIGN(offset) - offset;

		CHECK_FOR_INTERRUPTS();
		if (encoded)
		{
			memset(at + offset, 0, padding);
			memcpy(at + offset + padding, encoded + job->offset, job->len);
		}
		offset += padding + job->len;
		put_jentry(at, i, JENTRY_ISCONTAINER | (JEntry) (padding + job->len),
				   offset - CONTAINER_HEAD(count));
	}
	return offset;
}

/* The object of errors, aligned; returns its length */
static size_t
put_errors(char *at, const ResponseContent *content)
{
	size_t		count = content->error_count;
	uint32		header = count | JB_FOBJECT;
	size_t		offset = CONTAINER_HEAD(2 * count);

	memcpy(at, &header, sizeof(header));
	for (size_t i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		format_uuid(at + offset, content->errors[i].id);
		offset += FORMATTED_UUID;
		put_jentry(at, i, FORMATTED_UUID, offset - CONTAINER_HEAD(2 * count));
	}
	for (size_t i = 0; i < count; i++)
	{
		size_t		len = strlen(content->errors[i].why);

		CHECK_FOR_INTERRUPTS();
		memcpy(at + offset, content->errors[i].why, len);
		offset += len;
		put_jentry(at, count + i, len, offset - CONTAINER_HEAD(2 * count));
	}
	return offset;
}

/*
 * {"data": {"jobs": [ … ], "errors": { … }}}, as a varlena; returns where it
 * ends.  For "encoded" see put_jobs.
 */
static char *
put_response(char *result, const ResponseContent *content, const char *encoded)
{
	char	   *root = result + VARHDRSZ;
	char	   *data = root + put_head(root, lengthof(root_keys), root_keys);
	char	   *keys_end = data + put_head(data, lengthof(data_keys), data_keys);
	char	   *jobs = (char *) INTALIGN(keys_end);
	char	   *jobs_end = jobs + put_jobs(jobs, content, encoded);
	char	   *errors = (char *) INTALIGN(jobs_end);
	char	   *end = errors + put_errors(errors, content);

	Assert(jobs + CONTAINER_HEAD(content->job_count) ==
		   result + response_head_len(content->job_count));
	memset(keys_end, 0, jobs - keys_end);
	memset(jobs_end, 0, errors - jobs_end);
	put_jentry(data, 2, JENTRY_ISCONTAINER | (JEntry) (jobs_end - keys_end),
			   jobs_end - data - CONTAINER_HEAD(4));
	put_jentry(data, 3, JENTRY_ISCONTAINER | (JEntry) (end - jobs_end),
			   end - data - CONTAINER_HEAD(4));
	put_jentry(root, 1, JENTRY_ISCONTAINER | (JEntry) (end - data),
			   end - root - CONTAINER_HEAD(2));
	SET_VARSIZE(result, end - result);
	return end;
}

/*
 * Mostly the jobs stand where they belong, since they came in order and were
 * as many as expected.  Else they are copied one by one.
 */
static void
finish(Encoding *encoding, const ResponseContent *content)
{
	Output	   *out = encoding->out;
	Output		ordered;
	size_t		head_len = response_head_len(content->job_count);
	bool		in_place = (content->in_order &&
							(content->job_count == 0 || content->jobs[0].offset == encoding->start + head_len));
	size_t		errors_len = 2 * sizeof(uint32);
	size_t		size;

	for (size_t i = 0; i < content->error_count; i++)
		errors_len += 2 * sizeof(JEntry) + FORMATTED_UUID + strlen(content->errors[i].why);
	if (in_place)
	{
		output_reserve(out, errors_len);
		out->len = put_response(out->data + encoding->start, content, NULL) - out->data;
		return;
	}

	/* padding before jobs out of order may be up to a word each */
	size = head_len + out->len + errors_len + content->job_count * sizeof(uint32);
	output_init(&ordered, GetMemoryChunkContext(out->data), out->limit, out->too_large);
	output_append(&ordered, out->data, encoding->start);
	output_reserve(&ordered, size);
	ordered.len = put_response(ordered.data + encoding->start, content, out->data) - ordered.data;
	pfree(out->data);
	*out = ordered;
}

const Encoder jsonb_encoder = {
	.limit = JENTRY_OFFLENMASK,
	.begin = begin,
	.encode_job = encode_job,
	.finish = finish,
};
