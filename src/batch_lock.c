/*-------------------------------------------------------------------------
 *
 * batch_lock.c
 *	  The lock that keeps cancels of one batch from deadlocking.
 *
 * Two UPDATEs that meet the same rows in different orders deadlock, and the
 * order depends on the plan and on where the versions of rows are.  So a
 * cancel that may lock more than one row first takes a lock of its batch, and
 * two cancels of a batch run one after the other.
 *
 * It is an advisory lock in a key space of its own: pg_locks shows the
 * relation as classid, the hash of the batch as objid, and BATCH_LOCK_SPACE as
 * objsubid.  SQL's advisory locks have 1 and 2 there, so no function of SQL
 * takes or releases this lock.  It ends with the transaction.  Two batches share
 * a lock only if their hashes of 32 bits are the same.
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
#include "parser/parse_relation.h"
#include "parser/parsetree.h"
#include "rewrite/prs2lock.h"
#include "rewrite/rewriteHandler.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/uuid.h"

#include "batch_lock.h"
#include "compat.h"

#define BATCH_LOCK_SPACE	0x504A

/* A chain of views, which may be a circle, is followed this far */
#define MAX_LEVELS			32

/*
 * A relation on the way down from the one that the call is for, the columns
 * that a cancel writes there, and whose privileges apply
 */
typedef struct Level
{
	Oid			relid;
	Oid			user;
	AttrNumber	written[WRITTEN_COUNT];
} Level;

/* May the user of a level write its columns, as a cancel does? */
static bool
may_cancel(const Level *level)
{
	if (pg_class_aclcheck(level->relid, level->user, ACL_UPDATE) == ACLCHECK_OK)
		return true;
	for (int i = 0; i < WRITTEN_COUNT; i++)
		if (pg_attribute_aclcheck(level->relid, level->written[i], level->user,
								  ACL_UPDATE) != ACLCHECK_OK)
			return false;
	return true;
}

/* Does a trigger or rule take the place of an UPDATE of the view? */
static bool
is_instead(Relation view)
{
	if (view->trigdesc && view->trigdesc->trig_update_instead_row)
		return true;
	for (int i = 0; i < view->rd_rules->numLocks; i++)
		if (view->rd_rules->rules[i]->event == CMD_UPDATE &&
			view->rd_rules->rules[i]->isInstead)
			return true;
	return false;
}

/*
 * Goes from an auto-updatable view to the relation below.  Returns false if
 * there is none, or if the columns that a cancel writes may not be written
 * there.  So nobody's view can block the cancels of a table in which its owner
 * may not cancel.  Below a view with security_invoker the caller needs the
 * right, also if another view is above it.
 */
static bool
go_below(Relation view, Level *level)
{
	Query	   *query = get_view_query(view);
	Level		below;

	if (is_instead(view) || view_query_is_auto_updatable(query, true) != NULL)
		return false;

	below.relid = rt_fetch(linitial_node(RangeTblRef, query->jointree->fromlist)->rtindex,
						   query->rtable)->relid;
	below.user = RelationHasSecurityInvoker(view) ? GetUserId() : view->rd_rel->relowner;
	for (int i = 0; i < WRITTEN_COUNT; i++)
	{
		TargetEntry *column = get_tle_by_resno(query->targetList, level->written[i]);

		if (column == NULL || !IsA(column->expr, Var))
			return false;		/* not updatable */
		below.written[i] = castNode(Var, column->expr)->varattno;
	}
	if (!may_cancel(&below))
		return false;
	*level = below;
	return true;
}

/* Is the column inherited?  This is cheap to see */
static bool
is_inherited(Oid relid, const char *column)
{
	HeapTuple	tuple = SearchSysCacheAttName(relid, column);
	bool		result;

	if (!HeapTupleIsValid(tuple))
		return false;
	result = ((Form_pg_attribute) GETSTRUCT(tuple))->attinhcount > 0;
	ReleaseSysCache(tuple);
	return result;
}

/*
 * The first parent of a partition, or of a child that inherits this column; or
 * InvalidOid.
 */
static Oid
parent_of(Oid relid, const char *column)
{
	Oid			parent = InvalidOid;
	Relation	inherits;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	if (!is_inherited(relid, column))
		return InvalidOid;

	ScanKeyInit(&key, Anum_pg_inherits_inhrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	inherits = table_open(InheritsRelationId, AccessShareLock);
	scan = systable_beginscan(inherits, InheritsRelidSeqnoIndexId, true, NULL, 1, &key);
	if (HeapTupleIsValid(tuple = systable_getnext(scan)))
		parent = ((Form_pg_inherits) GETSTRUCT(tuple))->inhparent;
	systable_endscan(scan);
	table_close(inherits, AccessShareLock);
	return parent;
}

/*
 * The relation whose lock a cancel takes: the root of the tables in which an
 * UPDATE of this one locks rows, or the last view above them in which the user
 * may cancel.  So cancels by way of a view, a partition, a child and their
 * table meet at one lock.
 */
static Oid
locked_relation(const JobsRelation *relation)
{
	Level		level = {.relid = relation->relid, .user = GetUserId()};
	const char *column;
	Oid			parent;

	for (int i = 0; i < WRITTEN_COUNT; i++)
		level.written[i] = relation->shape.attnum[written_columns[i]];

	for (int i = 0; i < MAX_LEVELS && get_rel_relkind(level.relid) == RELKIND_VIEW; i++)
	{
		Relation	view = relation_open(level.relid, AccessShareLock);
		bool		went = go_below(view, &level);

		relation_close(view, NoLock);
		if (!went)
			return level.relid;
	}
	column = get_attname(level.relid, level.written[0], true);
	while (column && OidIsValid(parent = parent_of(level.relid, column)))
		level.relid = parent;
	return level.relid;
}

/* What a call waits for */
typedef struct Wait
{
	Datum		batch;
	int			pid;			/* of a session that has the lock; 0: not
								 * known */
} Wait;

/* Error context callback: what the call was waiting for */
static void
waiting_context(void *arg)
{
	const Wait *wait = arg;
	const char *batch = DatumGetCString(DirectFunctionCall1(uuid_out, wait->batch));

	if (wait->pid != 0)
		errcontext("while waiting for other cancels of batch %s, of which process %d has the lock",
				   batch, wait->pid);
	else
		errcontext("while waiting for other cancels of batch %s", batch);
}

/*
 * The process that has the lock, or 0 if none is known.  A prepared
 * transaction has none: its virtual transaction id is that of a session which
 * is in another transaction now, or has been replaced.
 */
static int
holder_of(const LOCKTAG *tag)
{
	VirtualTransactionId *holders = GetLockConflicts(tag, ExclusiveLock, NULL);
	VirtualTransactionId current;
	PGPROC	   *process;

	if (!VirtualTransactionIdIsValid(holders[0]) ||
		(process = vxid_process(holders[0])) == NULL)
		return 0;
	GET_VXID_FROM_PGPROC(current, *process);
	return VirtualTransactionIdEquals(current, holders[0]) ? process->pid : 0;
}

/*
 * batch_lock
 *
 * Takes the lock of a batch until the end of the transaction.  With wait,
 * waits for other cancels of the batch, interruptibly and within lock_timeout.
 */
BatchLock
batch_lock(const JobsRelation *relation, Datum batch, bool wait)
{
	uint32		hash = hash_bytes(DatumGetUUIDP(batch)->data, UUID_LEN);
	Wait		state = {.batch = batch};
	ErrorContextCallback context = {error_context_stack, waiting_context, &state};
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, locked_relation(relation), hash,
						 BATCH_LOCK_SPACE);
	if (LockAcquire(&tag, ExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL)
		return BATCH_LOCK_TAKEN;
	if (!wait)
		return BATCH_LOCK_BUSY;

	state.pid = holder_of(&tag);
	error_context_stack = &context;
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
	error_context_stack = context.previous;
	return BATCH_LOCK_WAITED;
}
