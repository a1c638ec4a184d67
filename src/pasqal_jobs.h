/*-------------------------------------------------------------------------
 *
 * pasqal_jobs.h
 *	  What the functions that SQL calls have in common: the settings, the
 *	  arguments (batch uuid, filters jsonb), the notification.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PASQAL_JOBS_H
#define PASQAL_JOBS_H

#include "fmgr.h"

#include "filters.h"

/* The values of pasqal_jobs.date_filter */
typedef enum DateFilter
{
	DATE_FILTER_EXECUTION,		/* start_timestamp and end_timestamp */
	DATE_FILTER_CREATION		/* created_at for both */
} DateFilter;

extern char *pasqal_jobs_table;
extern int	pasqal_jobs_date_filter;
extern char *pasqal_jobs_notify_channel;

extern void read_arguments(FunctionCallInfo fcinfo, Datum *batch, Filters *filters);
extern void notify_canceled(Datum batch, uint64 canceled);
extern MemoryContext create_call_context(MemoryContext parent);

#endif							/* PASQAL_JOBS_H */
