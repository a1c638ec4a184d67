/*-------------------------------------------------------------------------
 *
 * request.h
 *	  What is to be canceled: one request, as it is passed down to the
 *	  statements.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PASQAL_JOBS_REQUEST_H
#define PASQAL_JOBS_REQUEST_H

#include "nodes/pg_list.h"

#include "filters.h"

/*
 * A label of an enum that a filter or running_status names, and its Oid as it
 * was read
 */
typedef struct NamedLabel
{
	Oid			oid;
	char		label[NAMEDATALEN];
} NamedLabel;

typedef struct Request
{
	JobsRelation *relation;		/* open */
	Datum		batch;			/* uuid */
	Filters		filters;

	/*
	 * Is a work list to have the tids of its jobs? And the tids that jobs of
	 * the filter id had, if known; which they may have no more
	 */
	bool		wants_tids;
	FilterValues tids;

	/*
	 * Only jobs whose rows this transaction has locked; InvalidTransactionId:
	 * all
	 */
	TransactionId held_by;

	/* Leave jobs that others have locked, in place of waiting for them */
	bool		skip_locked;

	/* What RUNNING jobs become, as the column has it, if that is not CANCELED */
	bool		has_running_status;
	Datum		running_status;

	/*
	 * The labels of its filters and of running_status; other sessions may
	 * rename them meanwhile
	 */
	List	   *named_labels;	/* of NamedLabel */

	/* how many jobs may be canceled; 0: no limit */
	uint64		max_jobs;

	/* change nothing, and see what the calling statement's snapshot sees */
	bool		read_only;
} Request;

/* Are the jobs named, by the filter id? */
static inline bool
request_lists_jobs(const Request *request)
{
	return filter_present(&request->filters, FILTER_ID);
}

/* Do the labels that the request names still have their Oids? */
static inline bool
request_labels_kept(const Request *request)
{
	ListCell   *cell;

	foreach(cell, request->named_labels)
	{
		const NamedLabel *named = lfirst(cell);

		if (!enum_label_is(named->oid, named->label))
			return false;
	}
	return true;
}

#endif							/* PASQAL_JOBS_REQUEST_H */
