/*-------------------------------------------------------------------------
 *
 * filters.h
 *	  The filters of a cancel: their names, what they take, which jobs they
 *	  match, and their values in one call.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PASQAL_JOBS_FILTERS_H
#define PASQAL_JOBS_FILTERS_H

#include "utils/jsonb.h"
#include "utils/uuid.h"

#include "jobs_relation.h"
#include "problems.h"

/* The filters, in the order in which problems with them are reported */
typedef enum Filter
{
	FILTER_ID,
	FILTER_ID_STARTS_WITH,
	FILTER_BATCH_ID,
	FILTER_PROJECT_ID,
	FILTER_USER_ID,
	FILTER_STATUS,
	FILTER_MIN_RUNS,
	FILTER_MAX_RUNS,
	FILTER_ERRORS,
	FILTER_ORIGIN,
	FILTER_START_DATE,
	FILTER_END_DATE
} Filter;

#define FILTER_COUNT	(FILTER_END_DATE + 1)

/* What a filter takes; see filter_kinds in filters.c */
typedef enum FilterKind
{
	TAKES_UUID,
	TAKES_UUID_PREFIX,			/* two values: the lowest and highest uuid */
	TAKES_TEXT,
	TAKES_LABEL,				/* values as label_column_read gives them */
	TAKES_INTEGER,				/* int8 */
	TAKES_BOOLEAN,
	TAKES_DATETIME				/* timestamptz */
} FilterKind;

typedef struct FilterDef
{
	const char *name;
	FilterKind	kind;
	bool		list;			/* takes a list, too: uuids, texts, labels
								 * only */

	/*
	 * The condition on the job j in SQL.  Each $ becomes a parameter with the
	 * filter's value, or ANY ($n) with all values of a list.  For a few
	 * labels the condition is written once for each, with OR between.
	 */
	const char *condition;

	/* ... with pasqal_jobs.date_filter = creation, if that differs */
	const char *creation_condition;
	LabelSet	labels;			/* for TAKES_LABEL */
} FilterDef;

extern const FilterDef filter_table[FILTER_COUNT];	/* indexed by Filter */

/*
 * A list that is longer is compared with the jobs of the batch, since the
 * planner would look at each of its elements to use another index
 */
#define LONG_LIST		50000

/* The values of one filter; count 0: the filter is absent */
typedef struct FilterValues
{
	int			count;
	Datum	   *values;			/* not null; of a list sorted, and none twice */
} FilterValues;

typedef struct Filters
{
	FilterValues of[FILTER_COUNT];	/* indexed by Filter */
	bool		dates_by_creation;	/* pasqal_jobs.date_filter */
	bool		none_match;		/* the filter batch_id leaves out the batch */
} Filters;

static inline bool
filter_present(const Filters *filters, Filter filter)
{
	return filters->of[filter].count > 0;
}

/*
 * What was given for one filter: values of JSON, in an array or a list of
 * JSON.  A text of a query string is a JSON string.
 */
typedef struct GivenFilter
{
	bool		present;
	int			count;
	size_t		capacity;		/* of the array */
	JsonbValue *values;
	JsonbContainer *list;		/* in place of the array, or NULL */
} GivenFilter;

/* What was given for all of them; and the unknown keys, as strings */
typedef struct GivenFilters
{
	GivenFilter of[FILTER_COUNT];	/* indexed by Filter */
	GivenFilter unknown;
} GivenFilters;

extern Oid	filter_param_type(Filter filter, const JobsRelation *relation);
extern int	filter_compare_ids(const void *a, const void *b);
extern int	filter_find(const char *name, int len);
extern void given_add(GivenFilter *given, const JsonbValue *value);
extern bool given_has_labels(const GivenFilters *given);
extern void given_from_jsonb(GivenFilters *given, Jsonb *object, Problems *problems);
extern bool filter_read_uuid(const JsonbValue *given, pg_uuid_t *uuid);
extern void filters_read(Filters *filters, const GivenFilters *given,
						 const JobsRelation *relation, Problems *problems);

#endif							/* PASQAL_JOBS_FILTERS_H */
