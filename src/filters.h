/*-------------------------------------------------------------------------
 *
 * filters.h
 *	  The filters of a cancel: what they are called, what they take, which
 *	  jobs they match, and their values in one call.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PASQAL_JOBS_FILTERS_H
#define PASQAL_JOBS_FILTERS_H

#include "utils/jsonb.h"
#include "utils/uuid.h"

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

/* What a filter takes; decides how it is parsed and the type of its values */
typedef enum FilterKind
{
	TAKES_UUID,
	TAKES_UUID_PREFIX,			/* two values: the lowest and highest uuid */
	TAKES_TEXT,
	TAKES_STATUS,				/* values are indexes into job_status_labels */
	TAKES_ORIGIN,				/* likewise origin_labels */
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
	 * The condition on the job j in SQL; each $ stands for the filter's value
	 * (of a list for ANY (values), or the condition is repeated and joined by
	 * OR, as the statement's builder decides).
	 */
	const char *condition;

	/* ... with pasqal_jobs.date_filter = creation, if that differs */
	const char *creation_condition;
} FilterDef;

extern const FilterDef filter_table[FILTER_COUNT];	/* indexed by Filter */

/* The values of one filter; count 0: the filter is not there */
typedef struct FilterValues
{
	int			count;
	Datum	   *values;			/* not null; no uuid and no label twice */
} FilterValues;

typedef struct Filters
{
	FilterValues of[FILTER_COUNT];	/* indexed by Filter */
	bool		dates_by_creation;	/* pasqal_jobs.date_filter */
} Filters;

static inline bool
filter_present(const Filters *filters, Filter filter)
{
	return filters->of[filter].count > 0;
}

extern void batch_from_path(Datum *batch, text *path, Problems *problems);
extern void filters_from_query_string(Filters *filters, text *query_string,
									  Problems *problems);
extern void filters_from_jsonb(Filters *filters, Jsonb *object, Problems *problems);

#endif							/* PASQAL_JOBS_FILTERS_H */
