/*-------------------------------------------------------------------------
 *
 * filters.c
 *	  The table of filters, and reading their values.
 *
 * A new filter is one row of filter_table.  Everything about it follows from
 * there: which values it takes, what is said of bad ones, the SQL that it
 * becomes, the name that a misspelt key is compared with.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "datatype/timestamp.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#include "filters.h"
#include "labels.h"
#include "parse_value.h"
#include "pasqal_jobs.h"
#include "query_string.h"

/*
 * All conditions stand on the job itself (alias j), so that an UPDATE tests
 * them again on the row as it is once locked.  No name and no operator is
 * left to the caller's search_path.
 */
const FilterDef filter_table[FILTER_COUNT] = {
	[FILTER_ID] = {
		"id", TAKES_UUID, true,
		"j.id OPERATOR(pg_catalog.=) $"
	},
	[FILTER_ID_STARTS_WITH] = {
		/* a prefix is a range of uuids, which an index on id serves */
		"id__starts_with", TAKES_UUID_PREFIX, false,
		"j.id OPERATOR(pg_catalog.>=) $ AND j.id OPERATOR(pg_catalog.<=) $"
	},
	[FILTER_BATCH_ID] = {
		"batch_id", TAKES_UUID, true,
		"j.batch_id OPERATOR(pg_catalog.=) $"
	},
	[FILTER_PROJECT_ID] = {
		"project_id", TAKES_UUID, true,
		"j.project_id OPERATOR(pg_catalog.=) $"
	},
	[FILTER_USER_ID] = {
		"user_id", TAKES_TEXT, true,
		"j.user_id OPERATOR(pg_catalog.=) $"
	},
	[FILTER_STATUS] = {
		"status", TAKES_STATUS, true,
		"j.status OPERATOR(pg_catalog.=) $"
	},
	[FILTER_MIN_RUNS] = {
		"min_runs", TAKES_INTEGER, false,
		"j.runs OPERATOR(pg_catalog.>=) $"
	},
	[FILTER_MAX_RUNS] = {
		"max_runs", TAKES_INTEGER, false,
		"j.runs OPERATOR(pg_catalog.<=) $"
	},
	[FILTER_ERRORS] = {
		"errors", TAKES_BOOLEAN, false,
		"(j.errors IS NOT NULL AND pg_catalog.cardinality(j.errors) OPERATOR(pg_catalog.>) 0)"
		" OPERATOR(pg_catalog.=) $"
	},
	[FILTER_ORIGIN] = {
		"origin", TAKES_ORIGIN, true,
		"j.origin OPERATOR(pg_catalog.=) $"
	},
	[FILTER_START_DATE] = {
		"start_date", TAKES_DATETIME, false,
		"j.start_timestamp OPERATOR(pg_catalog.>=) $",
		"j.created_at OPERATOR(pg_catalog.>=) $"
	},
	[FILTER_END_DATE] = {
		"end_date", TAKES_DATETIME, false,
		"j.end_timestamp OPERATOR(pg_catalog.<=) $",
		"j.created_at OPERATOR(pg_catalog.<=) $"
	},
};

/*
 * One value as it was given: a scalar of JSON (a text of a query string is a
 * JSON string), or an object or list where a scalar was wanted.
 */
typedef JsonbValue GivenValue;

static ProblemLocation
location_of_filter(Filter filter, int index)
{
	const char *name = filter_table[filter].name;

	return (ProblemLocation) {"query", name, strlen(name), index};
}

/* The text of a value if it is a string, else of a number; else false */
static bool
text_or_number(const GivenValue *given, const char **text, int *len)
{
	if (given->type == jbvString)
	{
		*text = given->val.string.val;
		*len = given->val.string.len;
		return true;
	}
	if (given->type == jbvNumeric)
	{
		char	   *digits = DatumGetCString(DirectFunctionCall1(numeric_out,
																 NumericGetDatum(given->val.numeric)));

		*text = digits;
		*len = strlen(digits);
		return true;
	}
	return false;
}

static Datum
uuid_datum(const unsigned char *bytes)
{
	pg_uuid_t  *uuid = palloc(sizeof(pg_uuid_t));

	memcpy(uuid->data, bytes, UUID_LEN);
	return UUIDPGetDatum(uuid);
}

static bool
read_uuid(const GivenValue *given, Datum *value)
{
	unsigned char bytes[PARSE_UUID_BYTES];

	if (given->type != jbvString ||
		!uuid_from_text(given->val.string.val, given->val.string.len, bytes))
		return false;
	*value = uuid_datum(bytes);
	return true;
}

/* No text of PostgreSQL holds U+0000, but a query string can */
static bool
has_nul(const GivenValue *given)
{
	return memchr(given->val.string.val, '\0', given->val.string.len) != NULL;
}

/* Sets two values; a prefix of no uuid becomes a range that holds none */
static bool
read_uuid_prefix(const GivenValue *given, Datum *values)
{
	unsigned char lowest[PARSE_UUID_BYTES];
	unsigned char highest[PARSE_UUID_BYTES];

	if (given->type != jbvString || has_nul(given))
		return false;
	if (!uuid_prefix_from_text(given->val.string.val, given->val.string.len,
						   lowest, highest))
	{
		memset(lowest, 0xFF, sizeof(lowest));
		memset(highest, 0x00, sizeof(highest));
	}
	values[0] = uuid_datum(lowest);
	values[1] = uuid_datum(highest);
	return true;
}

static bool
read_text(const GivenValue *given, Datum *value)
{
	if (given->type != jbvString || has_nul(given))
		return false;
	*value = PointerGetDatum(cstring_to_text_with_len(given->val.string.val,
													  given->val.string.len));
	return true;
}

static bool
read_label(const GivenValue *given, const Labels *labels, Datum *value)
{
	if (given->type != jbvString)
		return false;
	for (int i = 0; i < labels->count; i++)
	{
		if (strlen(labels->label[i]) == given->val.string.len &&
			memcmp(labels->label[i], given->val.string.val, given->val.string.len) == 0)
		{
			*value = Int32GetDatum(i);
			return true;
		}
	}
	return false;
}

static bool
read_integer(const GivenValue *given, Datum *value)
{
	const char *text;
	int			len;
	int64_t		number;

	if (!text_or_number(given, &text, &len) || !integer_from_text(text, len, &number))
		return false;
	*value = Int64GetDatum(number);
	return true;
}

static bool
read_boolean(const GivenValue *given, Datum *value)
{
	const char *text;
	int			len;
	bool		boolean;

	if (given->type == jbvBool)
		boolean = given->val.boolean;
	else if (!text_or_number(given, &text, &len) || !boolean_from_text(text, len, &boolean))
		return false;
	*value = BoolGetDatum(boolean);
	return true;
}

static bool
read_datetime(const GivenValue *given, Datum *value)
{
	const char *text;
	int			len;
	int64_t		usecs;
	TimestampTz timestamp;

	if (!text_or_number(given, &text, &len) || !datetime_from_text(text, len, &usecs))
		return false;
	/* all of Python's calendar lies well within PostgreSQL's */
	timestamp = usecs - (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
	Assert(IS_VALID_TIMESTAMP(timestamp));
	*value = TimestampTzGetDatum(timestamp);
	return true;
}

/*
 * Reads one value of a filter into *value (a prefix: into two).  If it is
 * none, adds a problem and returns false.
 */
static bool
read_value(Filter filter, const GivenValue *given, int index,
		   Datum *value, Problems *problems)
{
	ProblemType problem;

	if (given->type == jbvNull)
		problem = PROBLEM_NULL;
	else
	{
		switch (filter_table[filter].kind)
		{
			case TAKES_UUID:
				if (read_uuid(given, value))
					return true;
				problem = PROBLEM_UUID;
				break;
			case TAKES_UUID_PREFIX:
				if (given->type == jbvString && given->val.string.len == 0)
				{
					problem = PROBLEM_EMPTY_TEXT;
					break;
				}
				if (read_uuid_prefix(given, value))
					return true;
				problem = PROBLEM_TEXT;
				break;
			case TAKES_TEXT:
				if (read_text(given, value))
					return true;
				problem = PROBLEM_TEXT;
				break;
			case TAKES_STATUS:
				if (read_label(given, &job_status_labels, value))
					return true;
				problem = PROBLEM_STATUS;
				break;
			case TAKES_ORIGIN:
				if (read_label(given, &origin_labels, value))
					return true;
				problem = PROBLEM_ORIGIN;
				break;
			case TAKES_INTEGER:
				if (read_integer(given, value))
					return true;
				problem = PROBLEM_INTEGER;
				break;
			case TAKES_BOOLEAN:
				if (read_boolean(given, value))
					return true;
				problem = PROBLEM_BOOLEAN;
				break;
			case TAKES_DATETIME:
				if (read_datetime(given, value))
					return true;
				problem = PROBLEM_DATETIME;
				break;
			default:
				elog(ERROR, "unexpected kind of filter: %d", filter_table[filter].kind);
		}
	}

	problems_add(problems, problem, location_of_filter(filter, index), NULL);
	return false;
}

static int
compare_uuids(const void *a, const void *b)
{
	CHECK_FOR_INTERRUPTS();
	return memcmp(DatumGetUUIDP(*(const Datum *) a),
				  DatumGetUUIDP(*(const Datum *) b), UUID_LEN);
}

/*
 * Drops values that are there twice.  Uuids are sorted besides: an index is
 * then read from one end to the other, and rows come in that order.
 */
static void
drop_duplicates(FilterKind kind, FilterValues *values)
{
	int			kept = 0;

	if (kind == TAKES_UUID)
	{
		qsort(values->values, values->count, sizeof(Datum), compare_uuids);
		for (int i = 0; i < values->count; i++)
			if (i == 0 || compare_uuids(&values->values[i], &values->values[kept - 1]) != 0)
				values->values[kept++] = values->values[i];
		values->count = kept;
	}
	else if (kind == TAKES_STATUS || kind == TAKES_ORIGIN)
	{
		uint32		seen = 0;

		for (int i = 0; i < values->count; i++)
		{
			uint32		label = (uint32) 1 << DatumGetInt32(values->values[i]);

			if ((seen & label) == 0)
				values->values[kept++] = values->values[i];
			seen |= label;
		}
		values->count = kept;
	}
}

/*
 * Reads a list of values, all of them even if one is bad, and sets *values.
 * next() hands out one value after the other.
 */
static void
read_list(Filter filter, JsonbContainer *list, FilterValues *values, Problems *problems)
{
	uint32		count = JsonContainerSize(list);
	int			good = 0;
	int			index = 0;
	JsonbIterator *it = JsonbIteratorInit(list);
	JsonbIteratorToken token;
	JsonbValue	element;

	if (count == 0)
	{
		problems_add(problems, PROBLEM_EMPTY_LIST, location_of_filter(filter, -1), NULL);
		return;
	}

	values->values = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(Datum) * (Size) count);
	while ((token = JsonbIteratorNext(&it, &element, true)) != WJB_DONE)
	{
		CHECK_FOR_INTERRUPTS();
		if (token == WJB_ELEM &&
			read_value(filter, &element, index++, &values->values[good], problems))
			good++;
	}
	values->count = good;
	drop_duplicates(filter_table[filter].kind, values);
}

/* Reads all that was given for one filter */
static void
read_filter(Filter filter, const GivenValue *given, FilterValues *values,
			Problems *problems)
{
	const FilterDef *def = &filter_table[filter];

	if (def->list && given->type == jbvBinary &&
		JsonContainerIsArray(given->val.binary.data))
	{
		read_list(filter, given->val.binary.data, values, problems);
		return;
	}

	/* a scalar, or a list of one */
	values->values = palloc(sizeof(Datum) * 2);
	if (read_value(filter, given, def->list ? 0 : -1, values->values, problems))
		values->count = 1;
}

/* The filter of this name, or FILTER_COUNT if there is none */
static int
find_filter(const char *name, int len)
{
	int			filter;

	for (filter = 0; filter < FILTER_COUNT; filter++)
		if (strlen(filter_table[filter].name) == (size_t) len &&
			memcmp(filter_table[filter].name, name, len) == 0)
			break;
	return filter;
}

/*
 * A hint that names the known filter nearest to a misspelt key, or all of
 * them if none is near.
 */
static char *
hint_for_unknown_key(const char *name, int len)
{
	StringInfoData hint;
	int			nearest = FILTER_COUNT;
	int			least = 0;

	/* beyond this length nothing is near, and the distance is costly */
	if (len <= NAMEDATALEN)
	{
		char		lower[NAMEDATALEN];

		for (int i = 0; i < len; i++)
			lower[i] = pg_ascii_tolower((unsigned char) name[i]);
		for (int filter = 0; filter < FILTER_COUNT; filter++)
		{
			const char *known = filter_table[filter].name;
			int			distance = varstr_levenshtein(lower, len, known, strlen(known),
													  1, 1, 1, true);

			if (nearest == FILTER_COUNT || distance < least)
			{
				nearest = filter;
				least = distance;
			}
		}
		if (least > Max(len / 2, 1))
			nearest = FILTER_COUNT;
	}

	if (nearest < FILTER_COUNT)
		return psprintf("Perhaps you meant the filter \"%s\".",
						filter_table[nearest].name);

	initStringInfo(&hint);
	appendStringInfoString(&hint, "The filters are ");
	for (int filter = 0; filter < FILTER_COUNT; filter++)
		appendStringInfo(&hint, "%s%s", filter > 0 ? ", " : "", filter_table[filter].name);
	appendStringInfoChar(&hint, '.');
	return hint.data;
}

/* Unknown keys come last, so their hint is wanted only if nothing else is */
static void
add_unknown_key(Problems *problems, const char *name, int len)
{
	char	   *hint = problems->count == 0 ? hint_for_unknown_key(name, len) : NULL;

	problems_add(problems, PROBLEM_UNKNOWN_KEY,
				 (ProblemLocation) {"query", name, len, -1}, hint);
}

/* Begins a call's filters: none yet */
static void
init_filters(Filters *filters)
{
	memset(filters, 0, sizeof(*filters));
	filters->dates_by_creation = pasqal_jobs_date_filter == DATE_FILTER_CREATION;
}

/*
 * filters_from_jsonb
 *
 * Reads the filters of a call from a JSON object (NULL: from SQL's null).
 * What is wrong with them is added to *problems, filter by filter in the
 * order of the table, unknown keys last.  With no problem added, *filters is
 * complete.  Its values live in the current memory context and may point
 * into the object.
 */
void
filters_from_jsonb(Filters *filters, Jsonb *object, Problems *problems)
{
	GivenValue	given[FILTER_COUNT];
	bool		present[FILTER_COUNT] = {false};
	int64		unknown = 0;
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	item;
	int			filter = FILTER_COUNT;

	init_filters(filters);

	if (object == NULL || !JB_ROOT_IS_OBJECT(object))
	{
		bool		null = object == NULL;

		if (object && JB_ROOT_IS_SCALAR(object))
			null = getIthJsonbValueFromContainer(&object->root, 0)->type == jbvNull;
		problems_add(problems, null ? PROBLEM_NULL : PROBLEM_NO_OBJECT,
					 (ProblemLocation) {"query", NULL, 0, -1},
					 null ? "Pass '{}' as filters for every job of the batch." : NULL);
		return;
	}

	it = JsonbIteratorInit(&object->root);
	while ((token = JsonbIteratorNext(&it, &item, true)) != WJB_DONE)
	{
		CHECK_FOR_INTERRUPTS();
		if (token == WJB_KEY)
		{
			filter = find_filter(item.val.string.val, item.val.string.len);
			if (filter == FILTER_COUNT)
				unknown++;
		}
		else if (token == WJB_VALUE && filter < FILTER_COUNT)
		{
			given[filter] = item;
			present[filter] = true;
		}
	}

	for (filter = 0; filter < FILTER_COUNT; filter++)
		if (present[filter])
			read_filter(filter, &given[filter], &filters->of[filter], problems);

	if (unknown == 0)
		return;
	it = JsonbIteratorInit(&object->root);
	while ((token = JsonbIteratorNext(&it, &item, true)) != WJB_DONE)
	{
		CHECK_FOR_INTERRUPTS();
		if (token == WJB_KEY &&
			find_filter(item.val.string.val, item.val.string.len) == FILTER_COUNT)
			add_unknown_key(problems, item.val.string.val, item.val.string.len);
	}
}

/* A piece of a URL, decoded, as a string of JSON; in UTF-8 */
static GivenValue
decode(const char *text, size_t len, bool plus_is_blank)
{
	GivenValue	result = {.type = jbvString};
	char	   *decoded = MemoryContextAllocHuge(CurrentMemoryContext, PERCENT_DECODED_MAX(len) + 1);
	size_t		decoded_len = percent_decode(decoded, text, len, plus_is_blank);

	if (decoded_len > MaxAllocSize / 2)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("query string is too long")));
	result.val.string.val = decoded;
	result.val.string.len = decoded_len;
	return result;
}

/*
 * The same in the database's encoding.  If that lacks a character, question
 * marks take the place of all that is not ASCII, and the result is false.
 */
static bool
convert_to_server(GivenValue *given)
{
	int			encoding = GetDatabaseEncoding();
	char	   *text = given->val.string.val;
	int			len = given->val.string.len;
	bool		ascii = true;
	Oid			proc;

	for (int i = 0; ascii && i < len; i++)
		ascii = !IS_HIGHBIT_SET(text[i]);
	if (ascii || encoding == PG_UTF8 || encoding == PG_SQL_ASCII)
		return true;

	proc = FindDefaultConversionProc(PG_UTF8, encoding);
	if (OidIsValid(proc))
	{
		Size		size = (Size) len * MAX_CONVERSION_GROWTH + 1;
		char	   *converted = MemoryContextAllocHuge(CurrentMemoryContext, size);

		if (pg_do_encoding_conversion_buf(proc, PG_UTF8, encoding,
										  (unsigned char *) text, len,
										  (unsigned char *) converted, Min(size, PG_INT32_MAX),
										  true) == len)
		{
			given->val.string.val = converted;
			given->val.string.len = strlen(converted);
			return true;
		}
	}
	for (int i = 0; i < len; i++)
		if (IS_HIGHBIT_SET(text[i]))
			text[i] = '?';
	return false;
}

/* A text of the database in UTF-8 */
static const char *
text_in_utf8(text *t, size_t *len)
{
	char	   *result = text_to_cstring(t);

	if (GetDatabaseEncoding() != PG_SQL_ASCII)
		result = pg_server_to_any(result, strlen(result), PG_UTF8);
	*len = strlen(result);
	return result;
}

/*
 * batch_from_path
 *
 * Reads the batch from its segment of a URL's path (NULL: from SQL's null).
 * What is wrong with it is added to *problems.
 */
void
batch_from_path(Datum *batch, text *path, Problems *problems)
{
	GivenValue	given = {.type = jbvNull};

	if (path)
	{
		size_t		len;
		const char *utf8 = text_in_utf8(path, &len);

		given = decode(utf8, len, false);
	}
	if (!read_uuid(&given, batch))
		problems_add(problems, path ? PROBLEM_UUID : PROBLEM_NULL,
					 LOCATION_OF_BATCH, NULL);
}

/* All that a query string gives for one filter, or for one unknown key */
typedef struct GivenList
{
	int			count;
	int			capacity;
	GivenValue *values;
} GivenList;

static void
add_given(GivenList *list, GivenValue value)
{
	if (list->count == list->capacity)
	{
		if (list->capacity > PG_INT32_MAX / 2)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("query string is too long")));
		list->capacity = Max(8, list->capacity * 2);
		list->values = list->values == NULL ?
			palloc(list->capacity * sizeof(GivenValue)) :
			repalloc_huge(list->values, list->capacity * sizeof(GivenValue));
	}
	list->values[list->count++] = value;
}

/* Orders strings by their bytes; those that are equal keep their order */
static int
compare_given(const void *a, const void *b)
{
	const GivenValue *const *pa = a;
	const GivenValue *const *pb = b;
	const GivenValue *ga = *pa;
	const GivenValue *gb = *pb;
	int			result = memcmp(ga->val.string.val, gb->val.string.val,
								Min(ga->val.string.len, gb->val.string.len));

	CHECK_FOR_INTERRUPTS();
	if (result != 0)
		return result;
	if (ga->val.string.len != gb->val.string.len)
		return ga->val.string.len < gb->val.string.len ? -1 : 1;
	return ga < gb ? -1 : ga > gb ? 1 : 0;
}

/* Adds a problem for each unknown key, in the order of their first coming */
static void
add_unknown_keys(GivenList *keys, Problems *problems)
{
	GivenValue **sorted = MemoryContextAllocHuge(CurrentMemoryContext,
												 sizeof(GivenValue *) * (Size) keys->count);

	for (int i = 0; i < keys->count; i++)
		sorted[i] = &keys->values[i];
	qsort(sorted, keys->count, sizeof(GivenValue *), compare_given);
	for (int i = keys->count - 1; i > 0; i--)
		if (sorted[i]->val.string.len == sorted[i - 1]->val.string.len &&
			memcmp(sorted[i]->val.string.val, sorted[i - 1]->val.string.val,
				   sorted[i]->val.string.len) == 0)
			sorted[i]->type = jbvNull;	/* not the first of its name */

	for (int i = 0; i < keys->count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (keys->values[i].type == jbvString)
			add_unknown_key(problems, keys->values[i].val.string.val,
							keys->values[i].val.string.len);
	}
}

/*
 * filters_from_query_string
 *
 * Reads the filters of a call from the query string of a URL (NULL: from
 * SQL's null), as filters_from_jsonb does from an object.  A repeated list
 * parameter adds up, of a repeated scalar the last counts, and an empty
 * id__starts_with is the documented default.
 */
void
filters_from_query_string(Filters *filters, text *query_string, Problems *problems)
{
	GivenList	given[FILTER_COUNT] = {{0}};
	GivenList	unknown = {0};
	QueryString query;
	QueryPiece	piece;
	size_t		len;

	init_filters(filters);
	if (query_string == NULL)
	{
		problems_add(problems, PROBLEM_NULL, (ProblemLocation) {"query", NULL, 0, -1}, NULL);
		return;
	}

	query.at = text_in_utf8(query_string, &len);
	query.end = query.at + len;
	while (query_string_next(&query, &piece))
	{
		GivenValue	name = decode(piece.name, piece.name_len, true);
		GivenValue	value;
		int			filter = find_filter(name.val.string.val, name.val.string.len);

		CHECK_FOR_INTERRUPTS();

		if (filter == FILTER_COUNT)
		{
			(void) convert_to_server(&name);
			add_given(&unknown, name);
			continue;
		}
		value = decode(piece.value, piece.value_len, true);
		pfree(name.val.string.val);
		if (filter_table[filter].kind == TAKES_TEXT && !convert_to_server(&value))
			value.type = jbvBool;	/* no text of this database */
		if (!filter_table[filter].list && given[filter].count > 0)
			pfree(given[filter].values[--given[filter].count].val.string.val);
		add_given(&given[filter], value);
	}

	if (given[FILTER_ID_STARTS_WITH].count > 0 &&
		given[FILTER_ID_STARTS_WITH].values[0].val.string.len == 0)
		given[FILTER_ID_STARTS_WITH].count = 0;

	for (int filter = 0; filter < FILTER_COUNT; filter++)
	{
		FilterValues *values = &filters->of[filter];
		const FilterDef *def = &filter_table[filter];
		int			good = 0;

		if (given[filter].count == 0)
			continue;
		/* one more, since a prefix sets two */
		values->values = MemoryContextAllocHuge(CurrentMemoryContext,
												sizeof(Datum) * ((Size) given[filter].count + 1));
		for (int i = 0; i < given[filter].count; i++)
		{
			CHECK_FOR_INTERRUPTS();
			if (read_value(filter, &given[filter].values[i], def->list ? i : -1,
						   &values->values[good], problems))
				good++;
		}
		values->count = good;
		drop_duplicates(def->kind, values);
	}
	add_unknown_keys(&unknown, problems);
}
