/*-------------------------------------------------------------------------
 *
 * labels.h
 *	  The labels of the API's enumerations, in the API's order.
 *
 * The filters, the check of the jobs relation and the response use these.  The
 * install script has them, too, for its types.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PASQAL_JOBS_LABELS_H
#define PASQAL_JOBS_LABELS_H

typedef enum JobStatus
{
	JOB_PENDING,
	JOB_RUNNING,
	JOB_DONE,
	JOB_ERROR,
	JOB_CANCELED,
	JOB_STATUS_OTHER			/* null, or a label that is not the API's */
} JobStatus;

#define MAX_LABELS		5

/* An enumeration: the name of its type and the labels of its members */
typedef struct Labels
{
	const char *type_name;
	int			count;
	const char *label[MAX_LABELS];
	bool		required[MAX_LABELS];	/* a column's enum must have it */
} Labels;

typedef enum LabelSet
{
	LABELS_OF_STATUS,			/* indexed by JobStatus */
	LABELS_OF_ORIGIN
} LabelSet;

#define LABEL_SET_COUNT	(LABELS_OF_ORIGIN + 1)

extern const Labels label_sets[LABEL_SET_COUNT];	/* indexed by LabelSet */

/* A cancel takes a job from one of two states */
static inline bool
job_is_cancelable(JobStatus status)
{
	return status == JOB_PENDING || status == JOB_RUNNING;
}

#endif							/* PASQAL_JOBS_LABELS_H */
