/*-------------------------------------------------------------------------
 *
 * filter_values.h
 *	  The filters of a cancel: their names, what they take, which jobs they
 *	  match, and their values in one call.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PASQAL_JOBS_FILTER_VALUES_H
#define PASQAL_JOBS_FILTER_VALUES_H

#include "jobs_relation.h"

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
	bool		list;			/* takes a list, too */

	/*
	 * The condition on the job j in SQL; each $ becomes the filter's value
	 * (of a list for ANY (values), or the condition is repeated and joined by
	 * OR, as the statement's builder decides).
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

/* The values of one filter; count 0: the filter is not there */
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

extern Oid	filter_param_type(Filter filter, const JobsRelation *relation);
extern int	filter_compare_ids(const void *a, const void *b);

#endif							/* PASQAL_JOBS_FILTER_VALUES_H */
