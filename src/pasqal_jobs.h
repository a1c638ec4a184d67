/*-------------------------------------------------------------------------
 *
 * pasqal_jobs.h
 *	  What every file of the extension may know: its settings.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PASQAL_JOBS_H
#define PASQAL_JOBS_H

/* The values of pasqal_jobs.date_filter */
typedef enum DateFilter
{
	DATE_FILTER_EXECUTION,		/* start_timestamp and end_timestamp */
	DATE_FILTER_CREATION		/* created_at for both */
} DateFilter;

extern char *pasqal_jobs_table;
extern int	pasqal_jobs_date_filter;

#endif							/* PASQAL_JOBS_H */
