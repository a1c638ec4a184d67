/*-------------------------------------------------------------------------
 *
 * statement_text.h
 *	  The text and the parameters of a statement.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PASQAL_JOBS_STATEMENT_TEXT_H
#define PASQAL_JOBS_STATEMENT_TEXT_H

#include "lib/stringinfo.h"

#include "saved_plans.h"
#include "statement.h"

/*
 * The form of a filter in a statement: absent, the number of its values, or an
 * array.  Labels are compared one by one up to FORM_MAX_ORS of them: a
 * comparison with an array of an enum would not be pushed down to a foreign
 * server.
 */
#define FORM_ABSENT		0
#define FORM_ONE		1
#define FORM_MAX_ORS	100
#define FORM_ARRAY		253		/* = ANY (array) */
#define FORM_LONG_ARRAY	254		/* the same, planned for its values */
#define FORM_HIDDEN_ARRAY	255 /* the same, which the planner does not look
								 * at */

/*
 * The batch, the timestamp, the status of RUNNING jobs, tids, the holder, two
 * values for the prefix; and labels one by one, of two filters
 */
#define MAX_PARAMS		(5 + 2 + FILTER_COUNT + 2 * FORM_MAX_ORS)

/* A statement that is built: its text, if that is wanted, and its parameters */
typedef struct Statement
{
	const Request *request;
	const PlanKey *key;			/* what the relation was like as it was made */
	StatementKind kind;
	StringInfo	sql;			/* NULL: parameters only */
	int			param_count;
	Oid			param_types[MAX_PARAMS];
	Datum		param_values[MAX_PARAMS];
} Statement;

extern void statement_fill_key(PlanKey *key, StatementKind kind, const Request *request);
extern bool statement_answers_for_named(StatementKind kind, const Request *request);
extern void statement_build(Statement *statement);

#endif							/* PASQAL_JOBS_STATEMENT_TEXT_H */
