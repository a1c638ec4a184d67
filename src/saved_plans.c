/*-------------------------------------------------------------------------
 *
 * saved_plans.c
 *	  The plans of statements that a session keeps.
 *
 * The rules that keep a plan alive while it is used:
 *
 * - User code runs while a statement is planned, and may call us.  So an entry
 *	 has its plan from the beginning, and nothing here runs user code.
 * - An execution holds its entry.  An entry that is held is neither freed nor
 *	 given another plan, and its address stays.
 * - When there are too many plans, the least recently used one is freed.
 *
 * Whether it is a generic plan is decided in statement.c (make_plan).
 *
 * A plan is used as long as the relation has the version that it was made for
 * and the plan cache calls it valid.  It is never freed in an invalidation
 * callback.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/ilist.h"
#include "utils/hsearch.h"

#include "saved_plans.h"

/* A plan takes 30 to 90 kB, and a table in use has three or four */
#define MAX_SAVED_PLANS	512

struct SavedPlan
{
	PlanKey		key;
	SPIPlanPtr	plan;
	uint64		version;		/* of the JobsRelation it was made for */
	int			users;			/* executions under way */
	dlist_node	node;			/* in plans_by_use */
};

static HTAB *saved_plans = NULL;
static dlist_head plans_by_use = DLIST_STATIC_INIT(plans_by_use);	/* last used first */

/*
 * saved_plan_find
 *
 * The plan of a statement, or NULL if there is none that can be used.
 */
SavedPlan *
saved_plan_find(const PlanKey *key, uint64 version)
{
	SavedPlan  *saved = saved_plans ? hash_search(saved_plans, key, HASH_FIND, NULL) : NULL;

	if (saved == NULL || saved->version != version || !SPI_plan_is_valid(saved->plan))
		return NULL;
	dlist_move_head(&plans_by_use, &saved->node);
	return saved;
}

/* saved_plan_forget: frees a plan that nobody holds, and its entry */
void
saved_plan_forget(SavedPlan *saved)
{
	SPIPlanPtr	plan = saved->plan;

	Assert(saved->users == 0);
	dlist_delete(&saved->node);
	hash_search(saved_plans, &saved->key, HASH_REMOVE, NULL);
	SPI_freeplan(plan);
}

/* Forgets the least recently used one of the plans that nobody holds */
static void
forget_one_plan(void)
{
	dlist_iter	iter;

	dlist_reverse_foreach(iter, &plans_by_use)
	{
		SavedPlan  *saved = dlist_container(SavedPlan, node, iter.cur);

		if (saved->users == 0)
		{
			saved_plan_forget(saved);
			return;
		}
	}
}

/*
 * saved_plan_enter
 *
 * Keeps a plan that was made for a statement, in place of an earlier one.
 * Returns NULL if the earlier one is held by an execution that has called us:
 * then SPI_finish frees the plan.
 */
SavedPlan *
saved_plan_enter(const PlanKey *key, uint64 version, SPIPlanPtr plan)
{
	HASHCTL		ctl = {.keysize = sizeof(PlanKey), .entrysize = sizeof(SavedPlan)};
	SavedPlan  *saved;

	if (saved_plans == NULL)
		saved_plans = hash_create("pasqal_jobs plans", MAX_SAVED_PLANS, &ctl,
								  HASH_ELEM | HASH_BLOBS);

	saved = hash_search(saved_plans, key, HASH_FIND, NULL);
	if (saved && saved->users > 0)
		return NULL;
	if (saved)
		saved_plan_forget(saved);
	else if (hash_get_num_entries(saved_plans) >= MAX_SAVED_PLANS)
		forget_one_plan();

	saved = hash_search(saved_plans, key, HASH_ENTER, NULL);
	SPI_keepplan(plan);
	saved->plan = plan;
	saved->version = version;
	saved->users = 0;
	dlist_push_head(&plans_by_use, &saved->node);
	return saved;
}

/*
 * saved_plan_hold
 *
 * Keeps the plan until saved_plan_release, and returns it.
 */
SPIPlanPtr
saved_plan_hold(SavedPlan *saved)
{
	saved->users++;
	return saved->plan;
}

/* saved_plan_release: ends a hold, also after an error */
void
saved_plan_release(SavedPlan *saved)
{
	saved->users--;
}
