/*-------------------------------------------------------------------------
 *
 * jobs_relation.c
 *	  The jobs relation as a call has it: found, checked, held open, verified.
 *
 * Which relation it is, what it looks like, and who may use it is up to
 * jobs_table.c, jobs_shape.c and jobs_privileges.c.
 *
 * What was found out about a relation is remembered until the catalogs report
 * a change (see forget_relation and forget_all), so that not every cancel of
 * one job has to look.
 *
 * A call holds its relation open.  Most DDL of the same session is refused
 * then by PostgreSQL itself (55006).  What is not refused (a column renamed, a
 * label of an enum renamed, a type dropped) is found by jobs_relation_verify,
 * which runs before and after each statement of a call.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_class.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/syscache.h"

#include "jobs_relation.h"
#include "settings.h"

/* Of more relations the least recently used one is forgotten */
#define MAX_KNOWN_RELATIONS	512

typedef struct KnownRelation
{
	Oid			relid;			/* hash key */
	bool		valid;
	JobsRelation relation;		/* not open */
	uint64		looked_below;	/* count of invalidations as its partitions
								 * were looked at */
	dlist_node	node;			/* in relations_by_use */
} KnownRelation;

static HTAB *known_relations = NULL;
static dlist_head relations_by_use = DLIST_STATIC_INIT(relations_by_use);	/* last used first */
static uint64 last_version = 0;
static uint64 invalidations = 0;	/* calls of the callbacks */

/* Relation cache callback: a relation (InvalidOid: any) may have changed */
static void
forget_relation(Datum arg, Oid relid)
{
	KnownRelation *entry;
	HASH_SEQ_STATUS status;

	invalidations++;
	if (OidIsValid(relid))
	{
		entry = hash_search(known_relations, &relid, HASH_FIND, NULL);
		if (entry)
			entry->valid = false;
		return;
	}
	hash_seq_init(&status, known_relations);
	while ((entry = hash_seq_search(&status)) != NULL)
		entry->valid = false;
}

/*
 * System cache callback: a label of an enum or the name of a schema has
 * changed.  Both are rare, so all relations are forgotten.
 */
static void
forget_all(Datum arg, int cacheid, uint32 hashvalue)
{
	forget_relation(arg, InvalidOid);
}

static void
create_cache(void)
{
	HASHCTL		ctl = {.keysize = sizeof(Oid), .entrysize = sizeof(KnownRelation)};

	known_relations = hash_create("pasqal_jobs relations", MAX_KNOWN_RELATIONS, &ctl,
								  HASH_ELEM | HASH_BLOBS);
	CacheRegisterRelcacheCallback(forget_relation, (Datum) 0);
	CacheRegisterSyscacheCallback(ENUMOID, forget_all, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, forget_all, (Datum) 0);
}

/* jobs_relation_display_name: the name with its schema, for messages */
char *
jobs_relation_display_name(Relation rel)
{
	char	   *schema = get_namespace_name(RelationGetNamespace(rel));

	return psprintf("%s.%s", schema ? schema : "?", RelationGetRelationName(rel));
}

/* jobs_relation_changed: raises 55000 for a relation that changed in a call */
void
jobs_relation_changed(const JobsRelation *relation)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("jobs relation \"%s\" was changed during the call", jobs_relation_display_name(relation->rel)),
			 errdetail("A trigger, policy or function that ran in the call, or another session, altered the relation or a type of its columns."),
			 errhint("Call again when the change is complete.")));
}

/* Finds or makes the entry of a relation, as the one that was used last */
static KnownRelation *
enter_relation(Oid relid)
{
	KnownRelation *entry;
	bool		found;

	if (hash_get_num_entries(known_relations) >= MAX_KNOWN_RELATIONS &&
		hash_search(known_relations, &relid, HASH_FIND, NULL) == NULL)
	{
		entry = dlist_tail_element(KnownRelation, node, &relations_by_use);
		dlist_delete(&entry->node);
		hash_search(known_relations, &entry->relid, HASH_REMOVE, NULL);
	}
	entry = hash_search(known_relations, &relid, HASH_ENTER, &found);
	if (found)
		dlist_delete(&entry->node);
	dlist_push_head(&relations_by_use, &entry->node);
	return entry;
}

/* Sets what is known of the open relation, from the cache or by a look at it */
static void
learn(JobsRelation *relation, bool again)
{
	KnownRelation *entry = hash_search(known_relations, &relation->relid, HASH_FIND, NULL);
	Relation	rel = relation->rel;

	/* the count before the look: what changes meanwhile is still to be seen */
	uint64		seen = invalidations;

	if (entry && entry->valid)
	{
		/*
		 * a partition that is attached further down does not invalidate this
		 * one
		 */
		if (entry->relation.has_children && entry->looked_below != invalidations)
		{
			entry->looked_below = invalidations;
			entry->relation.row_locks = row_locks_of(relation->relid, entry->relation.shape.relkind);
		}
		*relation = entry->relation;
		relation->rel = rel;
		dlist_move_head(&relations_by_use, &entry->node);
	}
	else
	{
		jobs_shape_check(relation, again);
		relation->version = ++last_version;

		entry = enter_relation(relation->relid);
		entry->relation = *relation;
		entry->relation.rel = NULL;
		entry->looked_below = seen;

		/* what changed during the look is looked at again next time */
		entry->valid = invalidations == seen;
	}
	relation->seen = seen;

	/* policies and privileges differ by user, so these are not remembered */
	relation->has_policies = relation->has_row_security &&
		check_enable_rls(relation->relid, InvalidOid, true) == RLS_ENABLED;
	relation->update_may_skip = relation->update_may_skip || relation->has_policies;
	relation->shows_xmax = relation->row_locks != ROW_LOCKS_NONE &&
		pg_class_aclcheck(relation->relid, GetUserId(), ACL_SELECT) == ACLCHECK_OK;
}

/*
 * Citus calls a function on a worker, over a connection of its own, if it was
 * distributed or is part of a query over a distributed table.  The settings of
 * the caller do not apply there, and the lock of the batch is not seen there.
 */
static void
refuse_between_nodes(void)
{
	static const char prefix[] = "citus_internal gpid=";

	if (application_name && strncmp(application_name, prefix, strlen(prefix)) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot cancel jobs over a connection between nodes of Citus"),
				 errdetail("The settings of the calling session, such as pasqal_jobs.jobs_table, do not hold there."),
				 errhint("Do not distribute the function; in a query over a distributed table, name the batches in WITH ... AS MATERIALIZED.")));
}

/*
 * jobs_relation_open
 *
 * Finds the relation that pasqal_jobs.jobs_table names, locks it until the end
 * of the transaction and holds it open until jobs_relation_close (or the end
 * of the subtransaction).  Raises an error if there is none, if it cannot hold
 * jobs, or if the user may not read it or, for a lockmode above
 * AccessShareLock, not update it.  No default takes its place.  Raises 0A000
 * in a session of Citus between nodes.
 */
void
jobs_relation_open(JobsRelation *relation, LOCKMODE lockmode)
{
	if (known_relations == NULL)
		create_cache();

	refuse_between_nodes();
	memset(relation, 0, sizeof(*relation));
	relation->relid = jobs_table_lock(lockmode);
	relation->rel = relation_open(relation->relid, NoLock);
	learn(relation, false);
	jobs_privileges_check(relation, lockmode);
}

/* jobs_relation_close: closes the relation; the lock stays */
void
jobs_relation_close(JobsRelation *relation)
{
	relation_close(relation->rel, NoLock);
	relation->rel = NULL;
}

/*
 * jobs_relation_verify
 *
 * Raises 55000 if the relation is no longer what it was as the call began.
 * Returns false if nothing at all has changed since the last look.  To be
 * called after each point where user code may have run.  What such
 * code has changed in a subtransaction and rolled back stays in the relation
 * cache until the relation is opened anew.
 */
bool
jobs_relation_verify(JobsRelation *relation)
{
	JobsShape	before;

	if (relation->seen == invalidations)
		return false;
	relation_close(relation_open(relation->relid, NoLock), NoLock);
	before = relation->shape;
	learn(relation, true);
	if (!jobs_shape_equal(&before, &relation->shape))
		jobs_relation_changed(relation);
	return true;
}

/*
 * jobs_relation_tells_locked
 *
 * Can a job that another transaction has locked be told from one that a policy
 * keeps?  STATEMENT_LOCK returns neither; only xmax tells.
 */
bool
jobs_relation_tells_locked(const JobsRelation *relation)
{
	return relation->row_locks != ROW_LOCKS_NONE &&
		(relation->shows_xmax || !relation->has_policies);
}

/*
 * jobs_relation_name
 *
 * The relation's name for use in SQL, with its schema and quoted as needed,
 * in palloc'd memory.  The catalogs are asked each time, since both names may
 * change.  Raises 55000 if the schema is gone.
 */
char *
jobs_relation_name(const JobsRelation *relation)
{
	char	   *schema = get_namespace_name(RelationGetNamespace(relation->rel));

	if (schema == NULL)
		jobs_relation_changed(relation);
	return quote_qualified_identifier(schema, RelationGetRelationName(relation->rel));
}
