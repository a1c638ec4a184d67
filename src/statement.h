/*-------------------------------------------------------------------------
 *
 * statement.h
 *	  The SQL statements of a cancel.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PASQAL_JOBS_STATEMENT_H
#define PASQAL_JOBS_STATEMENT_H

#include "executor/tuptable.h"
#include "utils/timestamp.h"

#include "filters.h"
#include "jobs_relation.h"

typedef enum StatementKind
{
	/* (id, status) of every job of the batch that matches the filters */
	STATEMENT_MATCH,

	/* the same with creation_order third, for a work list */
	STATEMENT_WORK_LIST,

	/* cancels what matches and is cancelable; returns the response's fields */
	STATEMENT_CANCEL,

	/* (id, status, matches) of the jobs of the filter id, whatever the others
	 * say; "matches" is what they say */
	STATEMENT_LOOK
} StatementKind;

/* What a statement needs besides its kind */
typedef struct StatementArgs
{
	const JobsRelation *relation;
	Datum		batch;			/* uuid */
	TimestampTz timestamp;		/* for STATEMENT_CANCEL */
	const Filters *filters;
} StatementArgs;

/* Called with each row; the slot's attributes are deformed */
typedef void (*RowCallback) (TupleTableSlot *row, void *arg);

extern void statement_execute(StatementKind kind, const StatementArgs *args,
							  RowCallback callback, void *callback_arg);
extern void statement_execute_read_only(StatementKind kind, const StatementArgs *args,
										RowCallback callback, void *callback_arg);

#endif							/* PASQAL_JOBS_STATEMENT_H */
