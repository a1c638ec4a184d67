/*-------------------------------------------------------------------------
 *
 * jobs_relation.h
 *	  The relation that pasqal_jobs.jobs_table names.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PASQAL_JOBS_JOBS_RELATION_H
#define PASQAL_JOBS_JOBS_RELATION_H

#include "storage/lockdefs.h"

#include "labels.h"

/* How a column with labels (status, origin) is typed in one relation */
typedef struct LabelColumn
{
	Oid			type;			/* an enum, text or varchar; never a domain */
	bool		is_enum;
	Oid			label[MAX_LABELS];	/* the enum's members of ours */
} LabelColumn;

/* What is known of a relation that has been found fit to hold jobs */
typedef struct JobsRelation
{
	Oid			relid;
	uint64		version;		/* another number after each look at it */
	char		relkind;
	bool		may_keep;		/* a trigger, policy or rule of it may keep a
								 * row from an UPDATE; or we cannot tell */
	bool		has_bitmap_scans;	/* false if we cannot tell */
	LabelColumn status;
	LabelColumn origin;
} JobsRelation;

extern JobsRelation jobs_relation_open(LOCKMODE lockmode);
extern char *jobs_relation_name(const JobsRelation *relation);
extern Datum label_datum(const LabelColumn *column, const Labels *labels, int label);
extern JobStatus job_status(const JobsRelation *relation, Datum value, bool isnull);
extern char *job_status_text(const JobsRelation *relation, Datum value, bool isnull);

#endif							/* PASQAL_JOBS_JOBS_RELATION_H */
