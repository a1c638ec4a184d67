/*-------------------------------------------------------------------------
 *
 * saved_plans.h
 *	  The plans of statements that a session keeps.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PASQAL_JOBS_SAVED_PLANS_H
#define PASQAL_JOBS_SAVED_PLANS_H

#include "executor/spi.h"

#include "filters.h"

/* What the text of a statement depends on, besides the relation's version */
typedef struct PlanKey
{
	Oid			relid;
	uint8		kind;			/* StatementKind */
	uint8		dates_by_creation;
	uint8		none_match;
	uint8		has_tids;		/* ... or wants them */
	uint8		row_locks;		/* RowLocks, if rows are locked */
	bool		shows_xmax;
	bool		held;
	bool		has_running_status;
	uint8		form[FILTER_COUNT]; /* of each filter's values */
} PlanKey;

typedef struct SavedPlan SavedPlan;

extern SavedPlan *saved_plan_find(const PlanKey *key, uint64 version);
extern SavedPlan *saved_plan_enter(const PlanKey *key, uint64 version, SPIPlanPtr plan);
extern SPIPlanPtr saved_plan_hold(SavedPlan *saved);
extern void saved_plan_release(SavedPlan *saved);
extern void saved_plan_forget(SavedPlan *saved);

#endif							/* PASQAL_JOBS_SAVED_PLANS_H */
