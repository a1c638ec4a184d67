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

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "parser/parsetree.h"
#include "rewrite/prs2lock.h"
#include "rewrite/rewriteHandler.h"
#include "storage/lock.h"
#include "utils/acl.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/uuid.h"

#include "batch_lock.h"

#define BATCH_LOCK_SPACE	0x504A

/*
 * The number of different locks of one relation: a transaction never holds
 * more, however many batches it cancels.  Two batches may share a lock.
 */
#define BATCH_LOCKS			1024

/* A chain of views or of parents that is longer than this is not followed */
#define MAX_LEVELS			32

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
 * The table that an automatically updatable view updates, or InvalidOid.  A
 * view that cannot update its table, or that has triggers or rules in place of
 * UPDATE, has none.  So a user's own view cannot block the cancels of a table
 * that this user may not update.
 */
static Oid
table_below(Relation view)
{
	Query	   *query;
	RangeTblEntry *rte;

	if (view->trigdesc && view->trigdesc->trig_update_instead_row)
		return InvalidOid;
	for (int i = 0; i < view->rd_rules->numLocks; i++)
		if (view->rd_rules->rules[i]->event == CMD_UPDATE &&
			view->rd_rules->rules[i]->isInstead)
			return InvalidOid;

	query = get_view_query(view);
	if (list_length(query->jointree->fromlist) != 1 ||
		!IsA(linitial(query->jointree->fromlist), RangeTblRef))
		return InvalidOid;
	rte = rt_fetch(linitial_node(RangeTblRef, query->jointree->fromlist)->rtindex,
				   query->rtable);
	return rte->rtekind == RTE_RELATION && view_may_update(view, rte->relid) ?
		rte->relid : InvalidOid;
}

/*
 * The relation that a partition, or a child of inheritance, belongs to, or
 * InvalidOid.  Of several parents it is the first.
 */
static Oid
parent_of(Oid relid)
{
	Oid			parent = InvalidOid;
	Relation	inherits = table_open(InheritsRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_inherits_inhrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	scan = systable_beginscan(inherits, InheritsRelidSeqnoIndexId, true, NULL, 1, &key);
	if (HeapTupleIsValid(tuple = systable_getnext(scan)))
		parent = ((Form_pg_inherits) GETSTRUCT(tuple))->inhparent;
	systable_endscan(scan);
	table_close(inherits, AccessShareLock);
	return parent;
}

/*
 * The relation whose lock a cancel takes: the root of the tables whose rows an
 * UPDATE of this one locks.  So cancels by way of a view, a partition, a child
 * and their table meet at one lock.
 */
static Oid
locked_relation(Relation rel)
{
	Oid			result = RelationGetRelid(rel);
	Oid			next;

	for (int level = 0; level < MAX_LEVELS; level++)
	{
		char		relkind = get_rel_relkind(result);

		if (relkind == RELKIND_VIEW)
		{
			Relation	view = relation_open(result, AccessShareLock);

			next = table_below(view);
			relation_close(view, NoLock);
		}
		else
			next = parent_of(result);
		if (!OidIsValid(next))
			break;
		result = next;
	}
	return result;
}

/* Error context callback: what a lock timeout was waiting for */
static void
waiting_context(void *arg)
{
	errcontext("while waiting for other cancels of batch %s",
			   DatumGetCString(DirectFunctionCall1(uuid_out, *(Datum *) arg)));
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
	ErrorContextCallback context = {error_context_stack, waiting_context, &batch};
	LockAcquireResult result;
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, locked_relation(relation->rel), hash,
						 BATCH_LOCK_SPACE);
	error_context_stack = &context;
	result = LockAcquire(&tag, ExclusiveLock, false, !wait);
	error_context_stack = context.previous;
	return result != LOCKACQUIRE_NOT_AVAIL;
}
