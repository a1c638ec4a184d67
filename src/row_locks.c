/*-------------------------------------------------------------------------
 *
 * row_locks.c
 *	  Row locks: how jobs can be locked, and which look locked.
 *
 * Whether a job is locked is seen at the xmax of its row: the transaction, or
 * the MultiXact, that locked it last.  SQL does not tell which of the two it
 * is, so this is a hint: a row that looks locked may be free, but a row that is
 * locked looks so.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_namespace_d.h"
#include "catalog/pg_partitioned_table.h"
#include "storage/procarray.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "columns.h"
#include "row_locks.h"

/* Is it a generated column? */
static bool
is_generated(Oid relid, AttrNumber attnum)
{
	HeapTuple	tuple = SearchSysCache2(ATTNUM, ObjectIdGetDatum(relid), Int16GetDatum(attnum));
	bool		result = false;

	if (HeapTupleIsValid(tuple))
	{
		result = ((Form_pg_attribute) GETSTRUCT(tuple))->attgenerated != '\0';
		ReleaseSysCache(tuple);
	}
	return result;
}

/*
 * Does a cancel change one of these columns of the relation?  An expression
 * (0) and a generated column may depend on those.
 */
static bool
writes_any(Oid relid, const int16 *attnums, int count)
{
	for (int a = 0; a < count; a++)
		if (attnums[a] == 0 || is_generated(relid, attnums[a]))
			return true;
	for (int i = 0; i < WRITTEN_COUNT; i++)
	{
		AttrNumber	written = get_attnum(relid, job_columns[written_columns[i]].name);

		for (int a = 0; a < count; a++)
			if (attnums[a] == written)
				return true;
	}
	return false;
}

/* Does a cancel write a column of a unique or a partition key? */
static bool
writes_key(Oid relid)
{
	bool		result = false;
	HeapTuple	tuple = SearchSysCache1(PARTRELID, ObjectIdGetDatum(relid));
	Relation	indexes;
	ScanKeyData key;
	SysScanDesc scan;

	if (HeapTupleIsValid(tuple))
	{
		Form_pg_partitioned_table partitioned = (Form_pg_partitioned_table) GETSTRUCT(tuple);

		result = writes_any(relid, partitioned->partattrs.values, partitioned->partnatts);
		ReleaseSysCache(tuple);
	}

	ScanKeyInit(&key, Anum_pg_index_indrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	indexes = table_open(IndexRelationId, AccessShareLock);
	scan = systable_beginscan(indexes, IndexIndrelidIndexId, true, NULL, 1, &key);
	while (!result && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_index index = (Form_pg_index) GETSTRUCT(tuple);

		result = index->indisunique &&
			heap_attisnull(tuple, Anum_pg_index_indexprs, NULL) &&
			heap_attisnull(tuple, Anum_pg_index_indpred, NULL) &&
			writes_any(relid, index->indkey.values, index->indnkeyatts);
	}
	systable_endscan(scan);
	table_close(indexes, AccessShareLock);
	return result;
}

/* Is the relation a table that Citus distributes? */
static bool
is_distributed(Oid relid)
{
	Oid			catalog = get_relname_relid("pg_dist_partition", PG_CATALOG_NAMESPACE);
	Oid			index = get_relname_relid("pg_dist_partition_logical_relid_index", PG_CATALOG_NAMESPACE);
	Relation	rel;
	ScanKeyData key;
	SysScanDesc scan;
	bool		result;

	if (!OidIsValid(catalog) || !OidIsValid(index))
		return false;
	ScanKeyInit(&key, get_attnum(catalog, "logicalrelid"), BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	rel = table_open(catalog, AccessShareLock);
	scan = systable_beginscan(rel, index, true, NULL, 1, &key);
	result = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return result;
}

/*
 * row_locks_of
 *
 * How the rows of a relation can be locked.  All of its partitions or children
 * are looked at, without a lock on any.
 */
RowLocks
row_locks_of(Oid relid, char relkind)
{
	RowLocks	result = ROW_LOCKS_NO_KEY_UPDATE;
	List	   *relids;
	ListCell   *cell;

	if ((relkind != RELKIND_RELATION && relkind != RELKIND_PARTITIONED_TABLE) ||
		is_distributed(relid))
		return ROW_LOCKS_NONE;

	relids = find_all_inheritors(relid, NoLock, NULL);
	foreach(cell, relids)
	{
		HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(lfirst_oid(cell)));
		Form_pg_class class;
		bool		in_heap;

		if (!HeapTupleIsValid(tuple))
			continue;			/* dropped this moment */
		class = (Form_pg_class) GETSTRUCT(tuple);
		in_heap = class->relkind == RELKIND_PARTITIONED_TABLE ||
			(class->relkind == RELKIND_RELATION && class->relam == HEAP_TABLE_AM_OID);
		ReleaseSysCache(tuple);
		if (!in_heap)
			return ROW_LOCKS_NONE;
		if (writes_key(lfirst_oid(cell)))
			result = ROW_LOCKS_UPDATE;
	}
	list_free(relids);
	return result;
}

/* may_be_multixact: could this xmax be the number of a MultiXact? */
bool
may_be_multixact(LockView *view, TransactionId xmax)
{
	if (view->next_multi == 0)
	{
		view->oldest_multi = GetOldestMultiXactId();
		view->next_multi = ReadNextMultiXactId();
	}
	return !MultiXactIdPrecedes(xmax, view->oldest_multi) &&
		MultiXactIdPrecedes(xmax, view->next_multi);
}

/*
 * row_looks_locked
 *
 * Does another transaction seem to hold the lock of a row with this xmax?
 */
bool
row_looks_locked(LockView *view, TransactionId xmax)
{
	if (xmax == view->last)
		return view->last_locks;

	view->last = xmax;
	view->last_locks = TransactionIdIsValid(xmax) &&
		(may_be_multixact(view, xmax) ||
		 (TransactionIdIsNormal(xmax) && !TransactionIdIsCurrentTransactionId(xmax) &&
		  TransactionIdIsInProgress(xmax)));
	return view->last_locks;
}
