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

/* The values of pasqal_jobs.locked_jobs */
typedef enum LockedJobs
{
	LOCKED_JOBS_WAIT,
	LOCKED_JOBS_SKIP
} LockedJobs;

extern char *pasqal_jobs_table;
extern char *pasqal_jobs_notify_channel;
extern int	pasqal_jobs_date_filter;
extern char *pasqal_jobs_running_status;
extern int	pasqal_jobs_locked_jobs;
extern int	pasqal_jobs_max_jobs;	/* 0: no limit */
extern int	pasqal_jobs_chunk_pause;	/* milliseconds */

extern void settings_define(void);
extern void settings_check(void);

#endif							/* PASQAL_JOBS_SETTINGS_H */
