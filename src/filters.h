/*-------------------------------------------------------------------------
 *
 * filters.h
 *	  Reading the filters of a call.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PASQAL_JOBS_FILTERS_H
#define PASQAL_JOBS_FILTERS_H

#include "utils/jsonb.h"
#include "utils/uuid.h"

#include "filter_values.h"
#include "problems.h"

/*
 * What was given for one filter: values that JSON has too, in an array or in
 * a list of JSON.  A text of a query string is a JSON string.
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

extern int	filter_find(const char *name, int len);
extern void given_add(GivenFilter *given, const JsonbValue *value);
extern bool given_has_labels(const GivenFilters *given);
extern void given_from_jsonb(GivenFilters *given, Jsonb *object, Problems *problems);
extern bool filter_read_uuid(const JsonbValue *given, pg_uuid_t *uuid);
extern void filters_read(Filters *filters, const GivenFilters *given,
						 const JobsRelation *relation, Problems *problems);

#endif							/* PASQAL_JOBS_FILTERS_H */
