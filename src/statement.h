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

#include "request.h"

typedef enum StatementKind
{
	/* (id, status, xmax) of every job of the batch that matches the filters */
	STATEMENT_MATCH,

	/*
	 * (id, status, xmax, matches, creation_order, tid) of the same jobs, for
	 * a work list; or, with a filter id, of the jobs of STATEMENT_LOOK.  The
	 * tid is null unless the request wants it.
	 */
	STATEMENT_WORK_LIST,

	/*
	 * locks the jobs that match and can be canceled, but for those that
	 * another transaction has locked; returns (id) of each
	 */
	STATEMENT_LOCK,

	/*
	 * cancels the jobs that match and can be canceled, with the request's
	 * tids and held_by as xmax, if it has these; returns the fields of a
	 * response, numbered as in columns.h
	 */
	STATEMENT_CANCEL,

	/*
	 * (id, status, xmax, matches) of all jobs of the filter id; "matches"
	 * says whether the other filters match, too
	 */
	STATEMENT_LOOK
} StatementKind;

/*
 * The attributes of the rows of all statements but STATEMENT_CANCEL.  The xmax
 * is null where the user may not see it, and in a preview.
 */
enum ResultColumn
{
	RESULT_ID,
	RESULT_STATUS,
	RESULT_XMAX,
	RESULT_MATCHES,
	RESULT_CREATION_ORDER,
	RESULT_TID
};

/*
 * Called with each row, which is deformed and has the attributes of the
 * statement
 */
typedef void (*RowCallback) (TupleTableSlot *row, void *arg);

extern void statement_execute(StatementKind kind, const Request *request,
							  RowCallback callback, void *callback_arg);

#endif							/* PASQAL_JOBS_STATEMENT_H */
