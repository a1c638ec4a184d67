/*-------------------------------------------------------------------------
 *
 * jobs_relation.c
 *	  From the setting pasqal_jobs.jobs_table to a relation that is known to
 *	  have the columns of a job.
 *
 * What was found out about a relation is remembered until the catalogs report
 * a change (see forget_relation and forget_all), so that a cancel of one job
 * does not pay for it each time.
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
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_trigger.h"
#include "commands/dbcommands.h"
#include "commands/trigger.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/value.h"
#include "parser/parse_relation.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#include "jobs_relation.h"
#include "settings.h"

/* When there are so many relations, the one that was not used for longest goes */
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

/*
 * Finds a name without a schema in the search_path.  The array of that leaves
 * out the session's temporary schema, where anyone can make a table jobs.
 * InvalidOid if there is none; else *schema is the name of its schema.
 */
static Oid
find_in_search_path(const char *name, char **schema)
{
	int			room = 16;
	Oid		   *path = palloc(room * sizeof(Oid));
	int			count;
	Oid			relid = InvalidOid;

	while ((count = fetch_search_path_array(path, room)) > room)
	{
		room = count;
		path = repalloc(path, room * sizeof(Oid));
	}

	for (int i = 0; i < count && !OidIsValid(relid); i++)
	{
		relid = get_relname_relid(name, path[i]);
		if (OidIsValid(relid))
		{
			*schema = get_namespace_name(path[i]);
			if (*schema == NULL)
				relid = InvalidOid; /* dropped this moment */
		}
	}
	pfree(path);
	return relid;
}

/* Raises 42602 for the setting jobs_table */
static void
invalid_name(const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_NAME),
			 errmsg("invalid value for setting \"%s\": \"%s\"",
					"pasqal_jobs.jobs_table", pasqal_jobs_table),
			 errdetail("%s", detail),
			 errhint("For example: SET pasqal_jobs.jobs_table = 'public.jobs'.")));
}

/*
 * The relation that the setting names, locked until the end of the
 * transaction.  Raises 42602 for an invalid name, 42501 for a schema that may
 * not be used, 42P01 if there is no such relation.
 */
static Oid
lookup_and_lock(LOCKMODE lockmode)
{
	List	   *names = NIL;
	List	   *nodes = NIL;
	ListCell   *cell;
	RangeVar   *name;
	Oid			schema = InvalidOid;
	Oid			relid;
	char	   *copy = pstrdup(pasqal_jobs_table);

	if (!SplitIdentifierString(copy, '.', &names) || names == NIL || list_length(names) > 3)
		invalid_name("It must be the name of a relation as in SQL.");
	foreach(cell, names)
		nodes = lappend(nodes, makeString(lfirst(cell)));
	name = makeRangeVarFromNameList(nodes);
	if (name->catalogname && strcmp(name->catalogname, get_database_name(MyDatabaseId)) != 0)
		invalid_name("It names another database.");

	/* PostgreSQL's own message, and the way out */
	if (name->schemaname && !name->catalogname)
		schema = get_namespace_oid(name->schemaname, true);
	if (OidIsValid(schema) &&
		object_aclcheck(NamespaceRelationId, schema, GetUserId(), ACL_USAGE) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for schema %s", name->schemaname),
				 errhint("The call needs: GRANT USAGE ON SCHEMA %s TO %s;",
						 quote_identifier(name->schemaname),
						 quote_identifier(GetUserNameFromId(GetUserId(), false)))));

	if (name->schemaname == NULL &&
		!OidIsValid(find_in_search_path(name->relname, &name->schemaname)))
		relid = InvalidOid;
	else
		relid = RangeVarGetRelid(name, lockmode, true);

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("jobs relation \"%s\" does not exist", pasqal_jobs_table),
				 name->schemaname ? 0 :
				 errdetail("It was looked for in the search_path, temporary tables left out."),
				 errhint("Set pasqal_jobs.jobs_table to the relation that holds the jobs, or make one with create_jobs_table().")));
	return relid;
}

/* The relation's name with its schema, for messages */
static char *
display_name(Relation rel)
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
			 errmsg("jobs relation \"%s\" was changed during the call", display_name(relation->rel)),
			 errdetail("A trigger, policy or function that ran in the call, or another session, altered the relation or a type of its columns."),
			 errhint("Call again when the change is complete.")));
}

/*
 * The name of a column's type as an error shows it.  For a column with labels
 * any enum that has them, text and varchar serve, too.
 */
static const char *
wanted_type(const JobColumnDef *column)
{
	if (column->kind == KIND_LABEL)
		return label_sets[column->labels].type_name;
	return format_type_be(column_types[column->kind]);
}

/*
 * Raises 42804 for a column of another type.  reason is a sentence that says
 * more, or empty.
 */
static void
report_type(Relation rel, JobColumn c, Oid type, const char *reason)
{
	const JobColumnDef *column = &job_columns[c];
	bool		is_written = false;

	for (int i = 0; i < WRITTEN_COUNT; i++)
		is_written = is_written || written_columns[i] == c;

	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("column \"%s\" of relation \"%s\" has type %s",
					column->name, display_name(rel), format_type_be(type)),
			 reason[0] ?
			 errdetail("A jobs relation needs a column \"%s\" of type %s, of another enum with its labels, of text or varchar.  %s",
					   column->name, wanted_type(column), reason) :
			 column->kind == KIND_LABEL ?
			 errdetail("A jobs relation needs a column \"%s\" of type %s, of another enum with its labels, of text or varchar.",
					   column->name, wanted_type(column)) :
			 errdetail("A jobs relation needs a column \"%s\" of type %s.",
					   column->name, wanted_type(column)),
			 is_written ?
			 errhint("Change the column; a cancel writes it, so a view cannot cast it.") :
			 errhint("Change the column, or let pasqal_jobs.jobs_table name a view that casts it.")));
}

/* Could anything of the relation, its policies apart, keep a row from an UPDATE? */
static bool
may_keep_rows(Relation rel)
{
	for (int i = 0; rel->trigdesc && i < rel->trigdesc->numtriggers; i++)
	{
		const Trigger *trigger = &rel->trigdesc->triggers[i];

		if (TRIGGER_FOR_ROW(trigger->tgtype) && TRIGGER_FOR_BEFORE(trigger->tgtype) &&
			TRIGGER_FOR_UPDATE(trigger->tgtype) && trigger->tgenabled != TRIGGER_DISABLED)
			return true;
	}
	return rel->rd_rel->relkind != RELKIND_RELATION ||
		rel->rd_rel->relhassubclass || rel->rd_rel->relhasrules;
}

/*
 * Looks at the open relation and sets what is known of it.  If it cannot hold
 * jobs, raises 42809 for its kind, 42703 for a missing column, 42804 for one
 * of another type; in the middle of a call (again) 55000 in place of these.
 */
static void
check_relation(JobsRelation *relation, bool again)
{
	Relation	rel = relation->rel;
	TupleDesc	desc = RelationGetDescr(rel);
	JobsShape  *shape = &relation->shape;

	memset(shape, 0, sizeof(*shape));
	shape->relkind = rel->rd_rel->relkind;
	if (shape->relkind != RELKIND_RELATION &&
		shape->relkind != RELKIND_PARTITIONED_TABLE &&
		shape->relkind != RELKIND_FOREIGN_TABLE &&
		shape->relkind != RELKIND_VIEW)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("relation \"%s\" cannot hold jobs", display_name(rel)),
				 errdetail_relkind_not_supported(shape->relkind),
				 errhint("Set pasqal_jobs.jobs_table to the relation that holds the jobs, or make one with create_jobs_table().")));

	relation->may_keep = may_keep_rows(rel);
	relation->has_row_security = rel->rd_rel->relrowsecurity;
	relation->has_children = shape->relkind == RELKIND_PARTITIONED_TABLE || rel->rd_rel->relhassubclass;
	relation->row_locks = row_locks_of(relation->relid, shape->relkind);

	for (int c = 0; c < COLUMN_COUNT; c++)
	{
		const JobColumnDef *column = &job_columns[c];
		AttrNumber	attnum = attnameAttNum(rel, column->name, false);
		const FormData_pg_attribute *attr = attnum == InvalidAttrNumber ? NULL :
		TupleDescAttr(desc, attnum - 1);
		const char *reason = NULL;

		if (attr == NULL && !again)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("relation \"%s\" has no column \"%s\"", display_name(rel), column->name),
					 errdetail("A jobs relation needs a column \"%s\" of type %s.",
							   column->name, wanted_type(column)),
					 errhint("Add the column, or let pasqal_jobs.jobs_table name a view that has it.")));

		if (attr && column->kind == KIND_LABEL)
			reason = label_column_init(&shape->labels[column->labels],
									   &label_sets[column->labels], attr);
		else if (attr && getBaseType(attr->atttypid) != column_types[column->kind])
			reason = "";
		if (attr == NULL || (reason && again))
			jobs_relation_changed(relation);
		if (reason)
			report_type(rel, c, attr->atttypid, reason);
		shape->attnum[c] = attnum;
	}
}

/* The entry of a relation, new or not, as the one that was used last */
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

	if (entry && entry->valid)
	{
		/*
		 * a partition of a partition may have come without a word about this
		 * one
		 */
		if (entry->relation.has_children && entry->looked_below != invalidations)
		{
			entry->looked_below = invalidations;
			entry->relation.row_locks = row_locks_of(relation->relid, entry->relation.shape.relkind);
		}
		*relation = entry->relation;
		relation->rel = rel;
		relation->seen = invalidations;
		dlist_move_head(&relations_by_use, &entry->node);
	}
	else
	{
		relation->seen = invalidations;
		check_relation(relation, again);
		relation->version = ++last_version;

		entry = enter_relation(relation->relid);
		entry->relation = *relation;
		entry->relation.rel = NULL;
		entry->looked_below = relation->seen;

		/* what changed during the look is looked at again next time */
		entry->valid = invalidations == relation->seen;
	}

	/* policies and privileges differ by user, so these are not remembered */
	relation->has_policies = relation->has_row_security &&
		check_enable_rls(relation->relid, InvalidOid, true) == RLS_ENABLED;
	relation->may_keep = relation->may_keep || relation->has_policies;
	relation->shows_xmax = relation->row_locks != ROW_LOCKS_NONE &&
		pg_class_aclcheck(relation->relid, GetUserId(), ACL_SELECT) == ACLCHECK_OK;
}

/* May the user do this with each of the columns? */
static bool
allowed(const JobsRelation *relation, AclMode mode, const JobColumn *columns, int count)
{
	Oid			user = GetUserId();

	if (pg_class_aclcheck(relation->relid, user, mode) == ACLCHECK_OK)
		return true;
	for (int i = 0; i < count; i++)
		if (pg_attribute_aclcheck(relation->relid, relation->shape.attnum[columns[i]],
								  user, mode) != ACLCHECK_OK)
			return false;
	return true;
}

/*
 * Raises 42501, with the GRANT that helps, if the user lacks what a cancel
 * (or, with AccessShareLock, a preview) needs.  The executor checks the same
 * and more, but gives no hint; and it comes after the lock of the batch.
 */
static void
check_privileges(const JobsRelation *relation, LOCKMODE lockmode)
{
	static const JobColumn previewed[] = {COLUMN_ID, COLUMN_STATUS, COLUMN_BATCH_ID};
	bool		preview = lockmode == AccessShareLock;
	JobColumn	fields[FIELD_COUNT];
	const char *name;
	const char *user;

	for (int c = 0; c < FIELD_COUNT; c++)
		fields[c] = c;
	if (preview ? allowed(relation, ACL_SELECT, previewed, lengthof(previewed)) :
		allowed(relation, ACL_SELECT, fields, FIELD_COUNT) &&
		allowed(relation, ACL_UPDATE, written_columns, WRITTEN_COUNT))
		return;

	name = jobs_relation_name(relation);
	user = quote_identifier(GetUserNameFromId(GetUserId(), false));
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 relation->shape.relkind == RELKIND_VIEW ?
			 errmsg("permission denied for view %s", RelationGetRelationName(relation->rel)) :
			 relation->shape.relkind == RELKIND_FOREIGN_TABLE ?
			 errmsg("permission denied for foreign table %s", RelationGetRelationName(relation->rel)) :
			 errmsg("permission denied for table %s", RelationGetRelationName(relation->rel)),
			 preview ?
			 errhint("A preview needs: GRANT SELECT ON %s TO %s;", name, user) :
			 errhint("A cancel needs: GRANT SELECT, UPDATE (status, updated_at, end_timestamp) ON %s TO %s;",
					 name, user)));
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
 * Finds the relation that pasqal_jobs.jobs_table names, locks it until the
 * end of the transaction and holds it open until jobs_relation_close (or the
 * end of the subtransaction).  Raises an error if there is none, if it cannot
 * hold jobs, or if the user may not read it or, for a lockmode above
 * AccessShareLock, not update it.  A default never takes its place.  Raises
 * 0A000 in a session of Citus between nodes.
 */
void
jobs_relation_open(JobsRelation *relation, LOCKMODE lockmode)
{
	if (known_relations == NULL)
		create_cache();

	refuse_between_nodes();
	memset(relation, 0, sizeof(*relation));
	relation->relid = lookup_and_lock(lockmode);
	relation->rel = relation_open(relation->relid, NoLock);
	learn(relation, false);
	check_privileges(relation, lockmode);
}

/* jobs_relation_close: ends the hold; the lock stays */
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
 * To be called after each point where code of others may have run.  What such
 * code has changed and undone with a subtransaction stays in the relation cache
 * until the relation is opened anew.
 */
void
jobs_relation_verify(JobsRelation *relation)
{
	JobsShape	before;

	if (relation->seen == invalidations)
		return;
	relation_close(relation_open(relation->relid, NoLock), NoLock);
	before = relation->shape;
	learn(relation, true);
	if (!jobs_shape_equal(&before, &relation->shape))
		jobs_relation_changed(relation);
}

/*
 * jobs_relation_tells_locked
 *
 * Can a job that another transaction has locked be told from one that a policy
 * keeps?  The statement that locks jobs returns neither; xmax differs.
 */
bool
jobs_relation_tells_locked(const JobsRelation *relation)
{
	return relation->row_locks != ROW_LOCKS_NONE &&
		(relation->shows_xmax || !relation->has_policies);
}

/* jobs_shape_equal: are the columns and types the same? */
bool
jobs_shape_equal(const JobsShape *a, const JobsShape *b)
{
	for (int i = 0; i < LABEL_SET_COUNT; i++)
		if (a->labels[i].type != b->labels[i].type ||
			memcmp(a->labels[i].label, b->labels[i].label, sizeof(a->labels[i].label)) != 0)
			return false;
	return a->relkind == b->relkind &&
		memcmp(a->attnum, b->attnum, sizeof(a->attnum)) == 0;
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

/* job_status: a value of the column status; null is JOB_STATUS_OTHER */
JobStatus
job_status(const JobsRelation *relation, Datum value, bool isnull)
{
	int			index = -1;

	if (!isnull)
		index = label_column_index(&relation->shape.labels[LABELS_OF_STATUS], value);
	return index < 0 ? JOB_STATUS_OTHER : (JobStatus) index;
}

/* job_status_text: the same as text, "null" for null; see label_column_text */
const char *
job_status_text(const JobsRelation *relation, Datum value, bool isnull)
{
	return isnull ? "null" :
		label_column_text(&relation->shape.labels[LABELS_OF_STATUS], value);
}
