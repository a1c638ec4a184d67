/*-------------------------------------------------------------------------
 *
 * batch_lock.c
 *	  The lock that keeps cancels of one batch from deadlocking.
 *
 * Two UPDATEs that meet the same rows in different orders deadlock, and the
 * order is the planner's: by one index or another, by bitmap, by the versions
 * in a page.  So a cancel that may lock more than one row first takes a lock
 * of its batch, and two cancels of a batch run one after the other.
 *
 * It is an advisory lock in a key space of its own: pg_locks shows the
 * relation as classid, the hash of the batch as objid, and BATCH_LOCK_SPACE as
 * objsubid.  SQL's advisory locks have 1 and 2 there, so no function of SQL
 * takes or releases this lock.  It ends with the transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "parser/parsetree.h"
#include "rewrite/prs2lock.h"
#include "rewrite/rewriteHandler.h"
#include "storage/lock.h"
#include "utils/acl.h"
#include "utils/rel.h"
#include "utils/uuid.h"

#include "batch_lock.h"

#define BATCH_LOCK_SPACE	0x504A

/*
 * So many different locks can a transaction hold for one relation, however
 * many batches it cancels; the price is that two batches may share a lock.
 */
#define BATCH_LOCKS			1024

/* May the view update anything of the table below it? */
static bool
view_may_update(Relation view, Oid table)
{
	Oid			user = RelationHasSecurityInvoker(view) ? GetUserId() :
	view->rd_rel->relowner;

	return pg_class_aclcheck(table, user, ACL_UPDATE) == ACLCHECK_OK ||
		pg_attribute_aclcheck_all(table, user, ACL_UPDATE, ACLMASK_ANY) == ACLCHECK_OK;
}

/*
 * The relation whose rows an UPDATE of this one locks, if that is the only
 * one: the table below an automatically updatable view, the root of a
 * partition.  So cancels by way of a view, a partition and a table meet at one
 * lock.  A view that cannot update its table, or that has triggers or rules in
 * place of UPDATE, stands for itself: with a view of one's own nobody can
 * block the cancels of a table that one may not update.
 */
static Oid
locked_relation(Relation rel)
{
	Oid			result = RelationGetRelid(rel);

	if (rel->rd_rel->relispartition)
		return llast_oid(get_partition_ancestors(result));

	if (rel->rd_rel->relkind == RELKIND_VIEW &&
		!(rel->trigdesc && rel->trigdesc->trig_update_instead_row) &&
		rel->rd_rules->numLocks == 1)
	{
		Query	   *query = get_view_query(rel);
		List	   *from = query->jointree->fromlist;

		if (list_length(from) == 1 && IsA(linitial(from), RangeTblRef))
		{
			RangeTblEntry *rte = rt_fetch(linitial_node(RangeTblRef, from)->rtindex,
										  query->rtable);

			if (rte->rtekind == RTE_RELATION && view_may_update(rel, rte->relid))
			{
				Relation	base = relation_open(rte->relid, AccessShareLock);

				check_stack_depth();
				result = locked_relation(base);
				relation_close(base, NoLock);
			}
		}
	}
	return result;
}

/*
 * batch_lock
 *
 * Takes the lock of a batch until the end of the transaction.  Waits for
 * other cancels of the batch, interruptibly and within lock_timeout; or, if
 * that is not wanted, returns false if another transaction has the lock.
 */
bool
batch_lock(const JobsRelation *relation, Datum batch, bool wait)
{
	uint32		hash = hash_bytes(DatumGetUUIDP(batch)->data, UUID_LEN) % BATCH_LOCKS;
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, locked_relation(relation->rel), hash,
						 BATCH_LOCK_SPACE);
	return LockAcquire(&tag, ExclusiveLock, false, !wait) != LOCKACQUIRE_NOT_AVAIL;
}
