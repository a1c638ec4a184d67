/*-------------------------------------------------------------------------
 *
 * jobs_relation.h
 *	  The relation that pasqal_jobs.jobs_table names.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PASQAL_JOBS_JOBS_RELATION_H
#define PASQAL_JOBS_JOBS_RELATION_H

#include "access/attnum.h"
#include "storage/lockdefs.h"
#include "utils/relcache.h"

#include "columns.h"
#include "compat.h"
#include "label_column.h"
#include "row_locks.h"

/* How many bytes of a status are told; an enum's label has no more */
#define MAX_STATUS_TEXT	200

/* What the code relies on while it reads the relation's rows */
typedef struct JobsShape
{
	char		relkind;
	AttrNumber	attnum[COLUMN_COUNT];
	LabelColumn labels[LABEL_SET_COUNT];
} JobsShape;

/* A relation that has been found fit to hold jobs */
typedef struct JobsRelation
{
	Relation	rel;			/* open; NULL: it is not */
	Oid			relid;
	uint64		version;		/* another number after each look at it */
	uint64		seen;			/* count of invalidations at the last look */
	bool		update_may_skip;	/* a trigger, policy or rule of it may
									 * keep a row from this user's UPDATE; or
									 * we cannot tell */
	bool		has_row_security;
	bool		has_children;	/* partitions, or by inheritance */
	RowLocks	row_locks;
	bool		shows_xmax;		/* to this user, and row_locks is not NONE */
	bool		has_policies;	/* that apply to this user */
	JobsShape	shape;
} JobsRelation;

/* jobs_relation.c */
extern void jobs_relation_open(JobsRelation *relation, LOCKMODE lockmode);
extern void jobs_relation_close(JobsRelation *relation);
extern bool jobs_relation_verify(JobsRelation *relation);
extern char *jobs_relation_name(const JobsRelation *relation);
extern char *jobs_relation_display_name(Relation rel);
extern bool jobs_relation_tells_locked(const JobsRelation *relation);
pg_noreturn extern void jobs_relation_changed(const JobsRelation *relation);

/* jobs_table.c */
extern Oid	jobs_table_in_search_path(const char *name, char **schema);
extern Oid	jobs_table_lock(LOCKMODE lockmode);

/* jobs_shape.c */
extern void jobs_shape_check(JobsRelation *relation, bool again);
extern bool jobs_shape_equal(const JobsShape *a, const JobsShape *b);
extern JobStatus job_status(const JobsRelation *relation, Datum value, bool isnull);
extern const char *job_status_text(const JobsRelation *relation, Datum value, bool isnull);

/* jobs_privileges.c */
extern void jobs_privileges_check(const JobsRelation *relation, LOCKMODE lockmode);

#endif							/* PASQAL_JOBS_JOBS_RELATION_H */
