/*-------------------------------------------------------------------------
 *
 * progress.h
 *	  What cancel_jobs_in_chunks tells of its work: in pg_stat_activity, in
 *	  notices, and in the context of an error.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PASQAL_JOBS_PROGRESS_H
#define PASQAL_JOBS_PROGRESS_H

#include "portability/instr_time.h"
#include "utils/hsearch.h"

/* How far the work is, as of the last commit; failed jobs are counted at once */
typedef struct Progress
{
	const char *batch;			/* its uuid as text */
	uint64		query_id;		/* of the CALL, for pg_stat_activity */
	size_t		total;			/* jobs of the work list */
	size_t		tried;			/* jobs of it that were canceled or failed */
	uint64		canceled;
	uint64		failed;
	HTAB	   *reasons;		/* why jobs failed */
	instr_time	start;			/* of the first chunk */
	instr_time	last;			/* notice */
} Progress;

extern void progress_begin(Progress *progress, Datum batch);
extern void progress_failed(Progress *progress, const char *why);
extern void progress_start(Progress *progress, size_t total);
extern void progress_show(const Progress *progress);
extern void progress_show_call(const Progress *progress);
extern void progress_notice(Progress *progress);
extern void progress_context(void *arg);
extern void progress_end(const Progress *progress);

#endif							/* PASQAL_JOBS_PROGRESS_H */
