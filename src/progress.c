/*-------------------------------------------------------------------------
 *
 * progress.c
 *	  What cancel_jobs_in_chunks tells of its work: in pg_stat_activity, in
 *	  notices, and in the context of an error.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "nodes/pg_list.h"
#include "tcop/tcopprot.h"
#include "utils/backend_status.h"
#include "utils/fmgrprotos.h"

#include "cancel.h"
#include "progress.h"

/*
 * How many jobs failed for one reason.  A reason contains a status, which may
 * be any text.  So there are limits to the reasons that are counted, and to
 * those that are shown.
 */
#define REASON_BYTES	256
#define MAX_REASONS		10000
#define SHOWN_REASONS	20

typedef struct Reason
{
	char		why[REASON_BYTES];	/* hash key */
	uint64		jobs;
} Reason;

StaticAssertDecl(sizeof(WHY_STATUS) + MAX_STATUS_TEXT + 3 <= REASON_BYTES,
				 "a reason must fit its key");

/* progress_begin: starts at zero; allocates in the current context */
void
progress_begin(Progress *progress, Datum batch)
{
	HASHCTL		ctl = {.keysize = REASON_BYTES, .entrysize = sizeof(Reason), .hcxt = CurrentMemoryContext};

	memset(progress, 0, sizeof(*progress));
	progress->batch = DatumGetCString(DirectFunctionCall1(uuid_out, batch));
	progress->query_id = pgstat_get_my_query_id();
	progress->reasons = hash_create("pasqal_jobs reasons", 16, &ctl,
									HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
}

/* progress_failed: counts a job that was not canceled */
void
progress_failed(Progress *progress, const char *why)
{
	bool		full = hash_get_num_entries(progress->reasons) >= MAX_REASONS;
	bool		found;
	Reason	   *reason = hash_search(progress->reasons, why, full ? HASH_FIND : HASH_ENTER, &found);

	if (reason)
		reason->jobs = found ? reason->jobs + 1 : 1;
	progress->failed++;
}

/* progress_start: starts the clock, with the first chunk */
void
progress_start(Progress *progress, size_t total)
{
	progress->total = total;
	INSTR_TIME_SET_CURRENT(progress->start);
	progress->last = progress->start;
}

/*
 * Shows a text in pg_stat_activity, and the CALL's query_id, which that clears
 */
static void
report_activity(const Progress *progress, const char *activity)
{
	pgstat_report_activity(STATE_RUNNING, activity);
	pgstat_report_query_id(progress->query_id, true);
}

/* progress_show: shows in pg_stat_activity how far the work is */
void
progress_show(const Progress *progress)
{
	char	   *activity = psprintf("CALL cancel_jobs_in_chunks('%s', ...) -- tried %zu of %zu jobs, canceled "
									UINT64_FORMAT ", failed " UINT64_FORMAT,
									progress->batch, progress->tried, progress->total,
									progress->canceled, progress->failed);

	report_activity(progress, activity);
	pfree(activity);
}

/* progress_show_call: shows the statement again */
void
progress_show_call(const Progress *progress)
{
	report_activity(progress, debug_query_string);
}

/*
 * progress_notice
 *
 * Reports how far the work is, and how long the rest may take, if a second has
 * passed since the last time.  The estimate includes pauses.
 */
void
progress_notice(Progress *progress)
{
	size_t		left = progress->total - progress->tried;
	instr_time	now;
	instr_time	since;
	instr_time	elapsed;

	INSTR_TIME_SET_CURRENT(now);
	since = elapsed = now;
	INSTR_TIME_SUBTRACT(since, progress->last);
	if (INSTR_TIME_GET_DOUBLE(since) < 1.0 || left == 0 || progress->tried == 0)
		return;
	progress->last = now;
	INSTR_TIME_SUBTRACT(elapsed, progress->start);
	ereport(NOTICE,
			(errmsg("canceled " UINT64_FORMAT " of %zu jobs (%d %%), about %.0f s left",
					progress->canceled, progress->total,
					(int) (progress->tried * 100.0 / progress->total),
					ceil(INSTR_TIME_GET_DOUBLE(elapsed) / progress->tried * left))));
}

/*
 * progress_context
 *
 * Error context callback: what a failed call has committed.  Warnings of
 * triggers show it, too.
 */
void
progress_context(void *arg)
{
	const Progress *progress = arg;

	if (progress->tried > 0)
		errcontext("cancel_jobs_in_chunks, of which chunks with %zu of %zu jobs were committed, " UINT64_FORMAT " of these canceled",
				   progress->tried, progress->total, progress->canceled);
}

/* Orders reasons: the most frequent one first */
static int
compare_reasons(const ListCell *a, const ListCell *b)
{
	const Reason *ra = lfirst(a);
	const Reason *rb = lfirst(b);

	if (ra->jobs != rb->jobs)
		return ra->jobs > rb->jobs ? -1 : 1;
	return strcmp(ra->why, rb->why);
}

/*
 * progress_end: reports how many jobs were canceled, and why others were not
 */
void
progress_end(const Progress *progress)
{
	List	   *reasons = NIL;
	uint64		counted = 0;
	uint64		shown = 0;
	HASH_SEQ_STATUS status;
	Reason	   *reason;
	StringInfoData detail;
	int			rest;

	hash_seq_init(&status, progress->reasons);
	while ((reason = hash_seq_search(&status)) != NULL)
	{
		reasons = lappend(reasons, reason);
		counted += reason->jobs;
	}
	list_sort(reasons, compare_reasons);

	initStringInfo(&detail);
	for (int i = 0; i < Min(list_length(reasons), SHOWN_REASONS); i++)
	{
		reason = list_nth(reasons, i);
		appendStringInfo(&detail, "%s%s (" UINT64_FORMAT ").", i > 0 ? "\n" : "",
						 reason->why, reason->jobs);
		shown += reason->jobs;
	}
	rest = list_length(reasons) - SHOWN_REASONS;
	if (rest > 0)
		appendStringInfo(&detail, "\n%s%d more reason%s (" UINT64_FORMAT ").",
						 counted < progress->failed ? "At least " : "", rest, rest > 1 ? "s" : "",
						 progress->failed - shown);
	ereport(NOTICE,
			(errmsg("jobs canceled: " UINT64_FORMAT ", failed: " UINT64_FORMAT,
					progress->canceled, progress->failed),
			 detail.len > 0 ? errdetail_internal("%s", detail.data) : 0));
}
