/*-------------------------------------------------------------------------
 *
 * filters.c
 *	  The table of filters, and reading their values.
 *
 * A new filter is one row of filter_table and one value of Filter.  Its
 * values, what is wrong with bad ones, its SQL and the hint for a misspelt key
 * follow from that row.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "datatype/timestamp.h"
#include "lib/qunique.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#include "arrays.h"
#include "filters.h"
#include "parse_value.h"
#include "settings.h"

/*
 * All conditions are about the job itself (alias j), so that an UPDATE tests
 * them again on the row that it has locked.  Operators and functions are
 * qualified, so that the caller's search_path does not matter.
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
		/* no condition: call_open compares the batch with its values */
		"batch_id", TAKES_UUID, true
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
		"status", TAKES_LABEL, true,
		"j.status OPERATOR(pg_catalog.=) $",
		.labels = LABELS_OF_STATUS
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
		"origin", TAKES_LABEL, true,
		"j.origin OPERATOR(pg_catalog.=) $",
		.labels = LABELS_OF_ORIGIN
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
 * Sets *text to a string or a number; returns false for others.  A number is
 * as jsonb writes it, without an exponent: 1e3 is 1000.
 */
static bool
text_or_number(const JsonbValue *given, const char **text, int *len)
{
	if (given->type == jbvString)
	{
		*text = given->val.string.val;
		*len = given->val.string.len;
		return true;
	}
	if (given->type != jbvNumeric)
		return false;
	*text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(given->val.numeric)));
	*len = strlen(*text);
	return true;
}

/* Is it a string without U+0000, which PostgreSQL cannot store? */
static bool
is_text(const JsonbValue *given)
{
	return given->type == jbvString &&
		memchr(given->val.string.val, '\0', given->val.string.len) == NULL;
}

/* filter_read_uuid: sets *uuid; false if the value is no uuid */
bool
filter_read_uuid(const JsonbValue *given, pg_uuid_t *uuid)
{
	return given->type == jbvString &&
		uuid_from_text(given->val.string.val, given->val.string.len, uuid->data);
}

/*
 * The readers of filter_kinds set *value (a prefix: two values) to what was
 * given and return NO_PROBLEM, or return what is wrong with it.  A uuid is
 * written to where *value points.
 */
static ProblemType
read_uuid(const JsonbValue *given, const LabelColumn *column, Datum *value)
{
	return filter_read_uuid(given, DatumGetUUIDP(*value)) ? NO_PROBLEM : PROBLEM_UUID;
}

/* A prefix that no uuid has becomes an empty range */
static ProblemType
read_uuid_prefix(const JsonbValue *given, const LabelColumn *column, Datum *value)
{
	pg_uuid_t  *range;

	if (!is_text(given))
		return PROBLEM_TEXT;
	if (given->val.string.len == 0)
		return PROBLEM_EMPTY_TEXT;

	range = palloc(2 * sizeof(pg_uuid_t));
	if (!uuid_prefix_from_text(given->val.string.val, given->val.string.len,
							   range[0].data, range[1].data))
	{
		memset(range[0].data, 0xFF, UUID_LEN);
		memset(range[1].data, 0x00, UUID_LEN);
	}
	value[0] = UUIDPGetDatum(&range[0]);
	value[1] = UUIDPGetDatum(&range[1]);
	return NO_PROBLEM;
}

static ProblemType
read_text(const JsonbValue *given, const LabelColumn *column, Datum *value)
{
	if (!is_text(given))
		return PROBLEM_TEXT;
	*value = PointerGetDatum(cstring_to_text_with_len(given->val.string.val,
													  given->val.string.len));
	return NO_PROBLEM;
}

static ProblemType
read_label(const JsonbValue *given, const LabelColumn *column, Datum *value)
{
	return given->type == jbvString &&
		label_column_read(column, given->val.string.val, given->val.string.len, value) ?
		NO_PROBLEM : PROBLEM_LABEL;
}

static ProblemType
read_integer(const JsonbValue *given, const LabelColumn *column, Datum *value)
{
	const char *text;
	int			len;
	int64_t		number;

	if (!text_or_number(given, &text, &len) || !integer_from_text(text, len, &number))
		return PROBLEM_INTEGER;
	*value = Int64GetDatum(number);
	return NO_PROBLEM;
}

static ProblemType
read_boolean(const JsonbValue *given, const LabelColumn *column, Datum *value)
{
	const char *text;
	int			len;
	bool		boolean;

	if (given->type == jbvBool)
		boolean = given->val.boolean;
	else if (!text_or_number(given, &text, &len) || !boolean_from_text(text, len, &boolean))
		return PROBLEM_BOOLEAN;
	*value = BoolGetDatum(boolean);
	return NO_PROBLEM;
}

static ProblemType
read_datetime(const JsonbValue *given, const LabelColumn *column, Datum *value)
{
	const char *text;
	int			len;
	int64_t		usecs;
	TimestampTz timestamp;

	if (!text_or_number(given, &text, &len) || !datetime_from_text(text, len, &usecs))
		return PROBLEM_DATETIME;
	/* all of Python's calendar lies well within PostgreSQL's */
	timestamp = usecs - (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
	Assert(IS_VALID_TIMESTAMP(timestamp));
	*value = TimestampTzGetDatum(timestamp);
	return NO_PROBLEM;
}

typedef struct FilterKindDef
{
	ProblemType (*read) (const JsonbValue *given, const LabelColumn *column, Datum *value);
	Oid			param_type;		/* InvalidOid: the column decides */
} FilterKindDef;

static const FilterKindDef filter_kinds[] = {
	[TAKES_UUID] = {read_uuid, UUIDOID},
	[TAKES_UUID_PREFIX] = {read_uuid_prefix, UUIDOID},
	[TAKES_TEXT] = {read_text, TEXTOID},
	[TAKES_LABEL] = {read_label, InvalidOid},
	[TAKES_INTEGER] = {read_integer, INT8OID},
	[TAKES_BOOLEAN] = {read_boolean, BOOLOID},
	[TAKES_DATETIME] = {read_datetime, TIMESTAMPTZOID},
};

/* The column that a filter's labels are compared with; NULL for other kinds */
static const LabelColumn *
label_column_of(Filter filter, const JobsRelation *relation)
{
	return filter_table[filter].kind == TAKES_LABEL ?
		&relation->shape.labels[filter_table[filter].labels] : NULL;
}

/* filter_param_type: the type of a filter's values as parameters in SQL */
Oid
filter_param_type(Filter filter, const JobsRelation *relation)
{
	const LabelColumn *column = label_column_of(filter, relation);

	return column ? label_column_param_type(column) :
		filter_kinds[filter_table[filter].kind].param_type;
}

/* Most uuids differ in the first half, which is compared as one number */
static inline int
compare_uuids(const pg_uuid_t *a, const pg_uuid_t *b)
{
	uint64		x;
	uint64		y;

	memcpy(&x, a->data, sizeof(x));
	memcpy(&y, b->data, sizeof(y));
	if (x != y)
		return pg_ntoh64(x) < pg_ntoh64(y) ? -1 : 1;
	return memcmp(a->data, b->data, UUID_LEN);
}

/*
 * filter_compare_ids: compares uuids (Datums) in the order of a filter's
 * values
 */
int
filter_compare_ids(const void *a, const void *b)
{
	CHECK_FOR_INTERRUPTS();
	return compare_uuids(DatumGetUUIDP(*(const Datum *) a), DatumGetUUIDP(*(const Datum *) b));
}

#define ST_SORT sort_uuids
#define ST_ELEMENT_TYPE pg_uuid_t
#define ST_COMPARE(a, b) compare_uuids(a, b)
#define ST_SCOPE static
#define ST_CHECK_FOR_INTERRUPTS
#define ST_DEFINE
#include "lib/sort_template.h"

/*
 * Sorts uuids and drops duplicates; returns how many are left.  So an index is
 * read in its order.
 */
static int
sort_and_drop_duplicates(pg_uuid_t *uuids, int count)
{
	int			kept = 0;

	sort_uuids(uuids, count);
	for (int i = 0; i < count; i++)
		if (i == 0 || memcmp(&uuids[i], &uuids[kept - 1], UUID_LEN) != 0)
			uuids[kept++] = uuids[i];
	return kept;
}

/* Compares values (Datums) by *compare, a function of PostgreSQL */
static int
compare_values(const void *a, const void *b, void *compare)
{
	CHECK_FOR_INTERRUPTS();
	return DatumGetInt32(DirectFunctionCall2Coll(*(PGFunction *) compare, C_COLLATION_OID,
												 *(const Datum *) a, *(const Datum *) b));
}

/* Sorts texts or labels, and drops duplicates; labels of an enum are Oids */
static int
drop_repeated_values(FilterValues *values, const LabelColumn *column)
{
	PGFunction	compare = column && column->is_enum ? btoidcmp : bttextcmp;

	qsort_arg(values->values, values->count, sizeof(Datum), compare_values, &compare);
	return (int) qunique_arg(values->values, values->count, sizeof(Datum), compare_values, &compare);
}

/* Reads all values of one filter, even if some are bad */
static FilterValues
read_filter(Filter filter, const GivenFilter *given, const LabelColumn *column,
			Problems *problems)
{
	const FilterDef *def = &filter_table[filter];
	Problem		problem = {.location = {"query", def->name, strlen(def->name), -1}, .permitted = column};
	FilterValues result = {0, NULL};
	JsonbIterator *it = NULL;
	pg_uuid_t  *uuids = NULL;
	JsonbValue	value;

	if (given->count == 0)
	{
		problem.type = PROBLEM_EMPTY_LIST;
		problems_add(problems, &problem);
		return result;
	}

	/* one more, since a prefix sets two */
	result.values = MemoryContextAllocHuge(CurrentMemoryContext,
										   sizeof(Datum) * ((Size) given->count + 1));
	if (def->kind == TAKES_UUID)
		uuids = MemoryContextAllocHuge(CurrentMemoryContext,
									   sizeof(pg_uuid_t) * (Size) given->count);
	if (given->list)
	{
		it = JsonbIteratorInit(given->list);
		(void) JsonbIteratorNext(&it, &value, true);	/* the array's begin */
	}

	for (int i = 0; i < given->count; i++)
	{
		Datum	   *place = &result.values[result.count];

		CHECK_FOR_INTERRUPTS();
		if (it)
			(void) JsonbIteratorNext(&it, &value, true);
		else
			value = given->values[i];
		if (uuids)
			*place = UUIDPGetDatum(&uuids[result.count]);

		problem.type = value.type == jbvNull ? PROBLEM_NULL :
			filter_kinds[def->kind].read(&value, column, place);
		problem.location.index = def->list ? i : -1;
		if (problem.type == NO_PROBLEM)
			result.count++;
		else
			problems_add(problems, &problem);
	}

	if (uuids)
		result.count = sort_and_drop_duplicates(uuids, result.count);
	else if (def->list)
		result.count = drop_repeated_values(&result, column);
	return result;
}

/* filter_find: the filter of this name, or FILTER_COUNT if there is none */
int
filter_find(const char *name, int len)
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
		char		lower[NAMEDATALEN + 1] = "";

		for (int i = 0; i < len; i++)
			lower[i] = pg_ascii_tolower((unsigned char) name[i]);
		for (int filter = 0; filter < FILTER_COUNT; filter++)
		{
			const char *known = filter_table[filter].name;
			int			distance = varstr_levenshtein(lower, len, known, strlen(known),
													  1, 1, 1, true);

			/* "user" means user_id, however long the rest is */
			if (len > 1 && strstr(known, lower))
				distance = Min(distance, 1);

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

/* given_add: adds a value to an array, in memory of the current context */
void
given_add(GivenFilter *given, const JsonbValue *value)
{
	if (given->count > PG_INT32_MAX / 2)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("too many filters or values of a filter")));
	if ((size_t) given->count == given->capacity)
		given->values = grow_array(CurrentMemoryContext, given->values,
								   &given->capacity, sizeof(JsonbValue));
	given->present = true;
	given->values[given->count++] = *value;
}

/* given_has_labels: do any of the filters depend on the jobs relation? */
bool
given_has_labels(const GivenFilters *given)
{
	for (int filter = 0; filter < FILTER_COUNT; filter++)
		if (given->of[filter].present && filter_table[filter].kind == TAKES_LABEL)
			return true;
	return false;
}

/*
 * Converts a string to UTF-8, in which a number or a date-time is read: the
 * blanks around it may be any of Unicode's.  Where PostgreSQL has no
 * conversion it stays as it is.
 */
static void
convert_to_utf8(JsonbValue *value)
{
	int			encoding = GetDatabaseEncoding();
	char	   *converted;

	if (value->type != jbvString || encoding == PG_UTF8 || encoding == PG_SQL_ASCII ||
		!OidIsValid(FindDefaultConversionProc(encoding, PG_UTF8)))
		return;
	converted = pg_server_to_any(value->val.string.val, value->val.string.len, PG_UTF8);
	if (converted != value->val.string.val)
	{
		value->val.string.val = converted;
		value->val.string.len = strlen(converted);
	}
}

/*
 * given_from_jsonb
 *
 * Takes the filters of a call from a JSON object.  If that is NULL, or no
 * object, adds this to *problems.  *given points into the object.
 */
void
given_from_jsonb(GivenFilters *given, Jsonb *object, Problems *problems)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	item;
	int			filter = FILTER_COUNT;

	memset(given, 0, sizeof(*given));
	if (object == NULL || !JB_ROOT_IS_OBJECT(object))
	{
		Problem		problem = {.type = PROBLEM_NO_OBJECT, .location = LOCATION_OF_FILTERS};

		if (object == NULL ||
			(JB_ROOT_IS_SCALAR(object) &&
			 getIthJsonbValueFromContainer(&object->root, 0)->type == jbvNull))
		{
			problem.type = PROBLEM_NULL;
			problem.hint = "Pass '{}' as filters for every job of the batch.";
		}
		problems_add(problems, &problem);
		return;
	}

	it = JsonbIteratorInit(&object->root);
	while ((token = JsonbIteratorNext(&it, &item, true)) != WJB_DONE)
	{
		CHECK_FOR_INTERRUPTS();
		if (token == WJB_KEY)
		{
			filter = filter_find(item.val.string.val, item.val.string.len);
			if (filter == FILTER_COUNT)
				given_add(&given->unknown, &item);
		}
		else if (token != WJB_VALUE || filter == FILTER_COUNT)
			continue;
		else if (filter_table[filter].list && item.type == jbvBinary &&
				 JsonContainerIsArray(item.val.binary.data))
		{
			given->of[filter].present = true;
			given->of[filter].list = item.val.binary.data;
			given->of[filter].count = JsonContainerSize(item.val.binary.data);
		}
		else
		{
			/* of lists there are texts, labels and uuids only */
			if (!filter_table[filter].list)
				convert_to_utf8(&item);
			given_add(&given->of[filter], &item);
		}
	}
}

/*
 * filters_read
 *
 * Reads the filters that were given.  What is wrong with them is added to
 * *problems, filter by filter in the order of the table, unknown keys last.
 * With no problem added, *filters is complete.  Its values live in the current
 * memory context and do not point into what was given.  The relation is needed
 * only if given_has_labels.
 */
void
filters_read(Filters *filters, const GivenFilters *given,
			 const JobsRelation *relation, Problems *problems)
{
	memset(filters, 0, sizeof(*filters));
	filters->dates_by_creation = pasqal_jobs_date_filter == DATE_FILTER_CREATION;

	for (int filter = 0; filter < FILTER_COUNT; filter++)
		if (given->of[filter].present)
			filters->of[filter] = read_filter(filter, &given->of[filter],
											  label_column_of(filter, relation), problems);

	for (int i = 0; i < given->unknown.count; i++)
	{
		const JsonbValue *key = &given->unknown.values[i];
		Problem		problem = {
			.type = PROBLEM_UNKNOWN_KEY,
			.location = {"query", key->val.string.val, key->val.string.len, -1}
		};

		CHECK_FOR_INTERRUPTS();
		/* the hint of the first problem is the one that is shown */
		if (problems->count == 0)
			problem.hint = hint_for_unknown_key(key->val.string.val, key->val.string.len);
		problems_add(problems, &problem);
	}
}
