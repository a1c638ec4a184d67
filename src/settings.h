/*-------------------------------------------------------------------------
 *
 * settings.h
 *	  The settings pasqal_jobs.*.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PASQAL_JOBS_SETTINGS_H
#define PASQAL_JOBS_SETTINGS_H

/* The values of pasqal_jobs.date_filter */
typedef enum DateFilter
{
	DATE_FILTER_EXECUTION,		/* start_timestamp and end_timestamp */
	DATE_FILTER_CREATION		/* created_at for both */
} DateFilter;

extern char *pasqal_jobs_table;
extern char *pasqal_jobs_notify_channel;
extern int	pasqal_jobs_date_filter;
extern int	pasqal_jobs_max_jobs;	/* 0: no limit */
extern int	pasqal_jobs_chunk_pause;	/* milliseconds */

extern void settings_define(void);
extern void settings_check(void);

#endif							/* PASQAL_JOBS_SETTINGS_H */
