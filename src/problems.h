/*-------------------------------------------------------------------------
 *
 * problems.h
 *	  What is wrong with a request, for the API (HTTP 422) and for
 *	  a person (an error).
 *
 *-------------------------------------------------------------------------
 */
#ifndef PASQAL_JOBS_PROBLEMS_H
#define PASQAL_JOBS_PROBLEMS_H

#include "compat.h"
#include "label_column.h"
#include "output.h"

typedef enum ProblemType
{
	NO_PROBLEM,
	PROBLEM_UUID,
	PROBLEM_INTEGER,
	PROBLEM_BOOLEAN,
	PROBLEM_DATETIME,
	PROBLEM_TEXT,
	PROBLEM_EMPTY_TEXT,
	PROBLEM_LABEL,
	PROBLEM_NULL,
	PROBLEM_EMPTY_LIST,
	PROBLEM_NO_OBJECT,
	PROBLEM_UNKNOWN_KEY
} ProblemType;

/* Where a problem is: ["path", name], ["query"], ["query", name, index], ... */
typedef struct ProblemLocation
{
	const char *part;			/* "path" or "query" */
	const char *name;			/* a key, not NUL-terminated, or NULL */
	int			name_len;		/* bytes */
	int			index;			/* in a list, or -1 */
} ProblemLocation;

#define LOCATION_OF_FILTERS \
	{"query", NULL, 0, -1}
#define LOCATION_OF_BATCH \
	{"path", "batch__id", sizeof("batch__id") - 1, -1}

typedef struct Problem
{
	ProblemType type;
	ProblemLocation location;
	const char *hint;			/* in place of the type's own, or NULL */
	const LabelColumn *permitted;	/* whose labels, for PROBLEM_LABEL */
} Problem;

/* The problems of one request, in the order of their report */
typedef struct Problems
{
	uint64		count;			/* all that were found */
	uint64		limit;			/* how many of them the body will show */
	Output		entries;		/* their JSON, comma between */
	char	   *message;		/* the first one in words */
	char	   *hint;			/* for the first one */
	const LabelColumn *column;	/* the column whose labels follow */
	char	   *labels;			/* for the API's message */
	char	   *ctx;			/* for its ctx */
	size_t		label_bytes;	/* of labels and ctx, in all entries */
} Problems;

#define PROBLEMS_NO_LIMIT	PG_UINT64_MAX
#define PROBLEMS_IN_DETAIL	100

extern void problems_init(Problems *problems, uint64 limit);
extern void problems_add(Problems *problems, const Problem *problem);
extern struct varlena *problems_body(const Problems *problems);
pg_noreturn extern void problems_raise(const Problems *problems);

#endif							/* PASQAL_JOBS_PROBLEMS_H */
