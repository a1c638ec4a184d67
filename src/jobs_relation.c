/*-------------------------------------------------------------------------
 *
 * jobs_relation.c
 *	  From the setting pasqal_jobs.jobs_table to a relation that is known to
 *	  have the columns of a job.
 *
 * What was found out about a relation is kept until the catalogs tell of a
 * change (see forget_relation and forget_all), because a cancel of one job
 * must not pay for it each time.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/value.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/regproc.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#include "columns.h"
#include "jobs_relation.h"
#include "pasqal_jobs.h"

typedef struct CachedRelation
{
	Oid			relid;			/* hash key */
	bool		valid;
	JobsRelation relation;
} CachedRelation;

static HTAB *cached_relations = NULL;
static uint64 last_version = 0;
static uint64 invalidations = 0;	/* calls of the two callbacks */

/* Relation cache callback: a relation (InvalidOid: any) may have changed */
static void
forget_relation(Datum arg, Oid relid)
{
	CachedRelation *entry;
	HASH_SEQ_STATUS status;

	invalidations++;
	if (OidIsValid(relid))
	{
		entry = hash_search(cached_relations, &relid, HASH_FIND, NULL);
		if (entry)
			entry->valid = false;
		return;
	}
	hash_seq_init(&status, cached_relations);
	while ((entry = hash_seq_search(&status)) != NULL)
		entry->valid = false;
}

/*
 * System cache callback: a label of an enum, or the name of a schema, has
 * changed.  Both are rare, so no relation is told from another.
 */
static void
forget_all(Datum arg, int cacheid, uint32 hashvalue)
{
	forget_relation(arg, InvalidOid);
}

static void
create_cache(void)
{
	HASHCTL		ctl = {
		.keysize = sizeof(Oid),
		.entrysize = sizeof(CachedRelation),
	};

	cached_relations = hash_create("pasqal_jobs relations", 16, &ctl,
								   HASH_ELEM | HASH_BLOBS);
	CacheRegisterRelcacheCallback(forget_relation, (Datum) 0);
	CacheRegisterSyscacheCallback(ENUMOID, forget_all, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, forget_all, (Datum) 0);
}

/*
 * Finds a name without a schema in the search_path, but never among the
 * temporary tables: anyone can make one called jobs.  InvalidOid if there is
 * none; else *schema is the name of its schema.
 */
static Oid
find_in_search_path(const char *name, char **schema)
{
	int			room = 16;
	Oid		   *path = palloc(room * sizeof(Oid));
	int			count;
	Oid			relid = InvalidOid;

	/* fetch_search_path() would make a temporary schema for a pg_temp in it */
	while ((count = fetch_search_path_array(path, room)) > room)
	{
		room = count;
		path = repalloc(path, room * sizeof(Oid));
	}

	for (int i = 0; i < count && !OidIsValid(relid); i++)
	{
		if (isAnyTempNamespace(path[i]))
			continue;
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

/*
 * The relation that the setting names, locked until the end of the
 * transaction.  Raises 42602 for what is no name, 42P01 if there is none.
 */
static Oid
lookup_and_lock(LOCKMODE lockmode)
{
	List	   *names = NIL;
	RangeVar   *name;
	Oid			relid;
	char	   *copy = pstrdup(pasqal_jobs_table ? pasqal_jobs_table : "");

	if (!SplitIdentifierString(copy, '.', &names) || names == NIL || list_length(names) > 3)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("invalid value for setting \"%s\": \"%s\"",
						"pasqal_jobs.jobs_table", pasqal_jobs_table),
				 errdetail("It must be the name of a relation as in SQL."),
				 errhint("For example: SET pasqal_jobs.jobs_table = 'public.jobs'.")));

	/* SplitIdentifierString yields C strings; a RangeVar is made of nodes */
	{
		List	   *nodes = NIL;
		ListCell   *cell;

		foreach(cell, names)
			nodes = lappend(nodes, makeString(lfirst(cell)));
		name = makeRangeVarFromNameList(nodes);
	}

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

/* The name of a type as an error shows it */
static const char *
wanted_type(ColumnKind kind)
{
	switch (kind)
	{
		case KIND_UUID:
			return "uuid";
		case KIND_TEXT:
			return "text";
		case KIND_INTEGER:
			return "integer";
		case KIND_BIGINT:
			return "bigint";
		case KIND_TIMESTAMPTZ:
			return "timestamp with time zone";
		case KIND_JSONB:
			return "jsonb";
		case KIND_TEXT_ARRAY:
			return "text[]";
		case KIND_STATUS:
			return "JobStatus (or an enum with its labels, text or varchar)";
		case KIND_ORIGIN:
			return "Origin (or an enum with its labels, text or varchar)";
	}
	return "";
}

/*
 * Fills in how a column with labels is typed.  Returns NULL if that will do,
 * else a sentence that says why not.
 */
static char *
check_labels(Oid type, Oid collation, const Labels *labels, LabelColumn *column)
{
	column->type = getBaseType(type);
	column->is_enum = type_is_enum(type);
	if (column->type == TEXTOID || column->type == VARCHAROID)
	{
		/* SQL's idea of equal labels must be ours */
		if (OidIsValid(collation) && !get_collation_isdeterministic(collation))
			return " Its collation must be deterministic.";
		return NULL;
	}
	if (!column->is_enum)		/* a domain over an enum has no operators */
		return "";

	for (int i = 0; i < labels->count; i++)
	{
		column->label[i] = GetSysCacheOid2(ENUMTYPOIDNAME, Anum_pg_enum_oid,
										   ObjectIdGetDatum(type),
										   CStringGetDatum(labels->label[i]));
		if (!OidIsValid(column->label[i]))
			return psprintf(" The enum has no label \"%s\".", labels->label[i]);
	}
	return NULL;
}

static bool
type_fits(ColumnKind kind, Oid type)
{
	switch (kind)
	{
		case KIND_UUID:
			return type == UUIDOID;
		case KIND_TEXT:
			return type == TEXTOID;
		case KIND_INTEGER:
			return type == INT4OID;
		case KIND_BIGINT:
			return type == INT8OID;
		case KIND_TIMESTAMPTZ:
			return type == TIMESTAMPTZOID;
		case KIND_JSONB:
			return type == JSONBOID;
		case KIND_TEXT_ARRAY:
			return type == TEXTARRAYOID;
		case KIND_STATUS:
		case KIND_ORIGIN:
			break;
	}
	return false;
}

/* Does a cancel write this column? */
static bool
column_is_written(JobColumn column)
{
	return column == COLUMN_STATUS || column == COLUMN_UPDATED_AT ||
		column == COLUMN_END_TIMESTAMP;
}

/*
 * Looks at an open relation and sets *result.  Raises 42809 for a kind of
 * relation that holds no rows to update, 42703 for a missing column, 42804
 * for one of another type.
 */
static void
check_relation(Relation rel, JobsRelation *result)
{
	TupleDesc	desc = RelationGetDescr(rel);
	const char *name = psprintf("%s.%s", get_namespace_name(RelationGetNamespace(rel)),
								RelationGetRelationName(rel));

	memset(result, 0, sizeof(*result));
	result->relid = RelationGetRelid(rel);
	result->relkind = rel->rd_rel->relkind;

	if (result->relkind != RELKIND_RELATION &&
		result->relkind != RELKIND_PARTITIONED_TABLE &&
		result->relkind != RELKIND_FOREIGN_TABLE &&
		result->relkind != RELKIND_VIEW)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" cannot hold jobs", name),
				 errdetail("It is no table, partitioned table, foreign table or view."),
				 errhint("Set pasqal_jobs.jobs_table to the relation that holds the jobs, or make one with create_jobs_table().")));

	result->may_keep = result->relkind != RELKIND_RELATION ||
		rel->rd_rel->relhassubclass || rel->rd_rel->relhasrules || rel->rd_rel->relrowsecurity ||
		(rel->trigdesc && rel->trigdesc->trig_update_before_row);

	/* partitions of another access method would be rare */
	result->has_bitmap_scans = rel->rd_rel->relam == HEAP_TABLE_AM_OID ||
		result->relkind == RELKIND_PARTITIONED_TABLE;

	for (int c = 0; c < COLUMN_COUNT; c++)
	{
		const JobColumnDef *column = &job_columns[c];
		Form_pg_attribute attr = NULL;
		Oid			type;
		char	   *reason = "";

		for (int i = 0; i < desc->natts; i++)
		{
			Form_pg_attribute candidate = TupleDescAttr(desc, i);

			if (!candidate->attisdropped && strcmp(NameStr(candidate->attname), column->name) == 0)
			{
				attr = candidate;
				break;
			}
		}
		if (attr == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("relation \"%s\" has no column \"%s\"", name, column->name),
					 errdetail("A jobs relation needs a column \"%s\" of type %s.",
							   column->name, wanted_type(column->kind)),
					 errhint("Add the column, or let pasqal_jobs.jobs_table name a view that has it.")));

		type = attr->atttypid;
		if (column->kind == KIND_STATUS)
			reason = check_labels(type, attr->attcollation, &job_status_labels, &result->status);
		else if (column->kind == KIND_ORIGIN)
			reason = check_labels(type, attr->attcollation, &origin_labels, &result->origin);
		else if (type_fits(column->kind, getBaseType(type)))
			reason = NULL;

		if (reason)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"%s\" of relation \"%s\" has type %s",
							column->name, name, format_type_be(type)),
					 errdetail("A jobs relation needs a column \"%s\" of type %s.%s",
							   column->name, wanted_type(column->kind), reason),
					 column_is_written(c) ?
					 errhint("Change the column; a cancel writes it, so a view cannot cast it.") :
					 errhint("Change the column, or let pasqal_jobs.jobs_table name a view that casts it.")));
	}
}

/*
 * jobs_relation_open
 *
 * Finds the relation that pasqal_jobs.jobs_table names, locks it until the
 * end of the transaction and returns what is known of it, looking at it if
 * need be.  Raises an error if there is none or if it cannot hold jobs; a
 * default never takes its place.
 *
 * The answer is a copy: a trigger may call us again and make the cache learn
 * of other relations meanwhile.
 */
JobsRelation
jobs_relation_open(LOCKMODE lockmode)
{
	Oid			relid = lookup_and_lock(lockmode);
	CachedRelation *entry;
	bool		found;

	if (cached_relations == NULL)
		create_cache();

	entry = hash_search(cached_relations, &relid, HASH_FIND, NULL);
	if (entry == NULL || !entry->valid)
	{
		uint64		before = invalidations;
		Relation	rel = relation_open(relid, NoLock);
		JobsRelation looked;

		check_relation(rel, &looked);
		relation_close(rel, NoLock);

		looked.version = ++last_version;
		entry = hash_search(cached_relations, &relid, HASH_ENTER, &found);
		entry->relation = looked;

		/* what changed while we looked is looked at again next time */
		entry->valid = (invalidations == before);
	}
	return entry->relation;
}

/*
 * jobs_relation_name
 *
 * The relation's name for use in SQL, with its schema and quoted as needed,
 * in palloc'd memory.  It is asked of the catalogs each time, for neither
 * name need have stayed.
 */
char *
jobs_relation_name(const JobsRelation *relation)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relation->relid)),
									  get_rel_name(relation->relid));
}

/* label_datum: a label as a value of the column's own type */
Datum
label_datum(const LabelColumn *column, const Labels *labels, int label)
{
	if (column->is_enum)
		return ObjectIdGetDatum(column->label[label]);
	return CStringGetTextDatum(labels->label[label]);
}

/* job_status: a value of the column status; null is JOB_STATUS_OTHER */
JobStatus
job_status(const JobsRelation *relation, Datum value, bool isnull)
{
	if (isnull)
		return JOB_STATUS_OTHER;

	if (relation->status.is_enum)
	{
		for (int i = 0; i < job_status_labels.count; i++)
			if (DatumGetObjectId(value) == relation->status.label[i])
				return i;
	}
	else
	{
		text	   *t = DatumGetTextPP(value);

		for (int i = 0; i < job_status_labels.count; i++)
		{
			size_t		len = strlen(job_status_labels.label[i]);

			if (VARSIZE_ANY_EXHDR(t) == len &&
				memcmp(VARDATA_ANY(t), job_status_labels.label[i], len) == 0)
				return i;
		}
	}
	return JOB_STATUS_OTHER;
}

/*
 * job_status_text
 *
 * The text of a value of the column status, "null" for null; a constant or
 * palloc'd.
 */
char *
job_status_text(const JobsRelation *relation, Datum value, bool isnull)
{
	JobStatus	status = job_status(relation, value, isnull);

	if (isnull)
		return "null";
	if (status != JOB_STATUS_OTHER)
		return unconstify(char *, job_status_labels.label[status]);
	if (relation->status.is_enum)
	{
		Oid			output;
		bool		is_varlena;

		getTypeOutputInfo(relation->status.type, &output, &is_varlena);
		return OidOutputFunctionCall(output, value);
	}
	return TextDatumGetCString(value);
}
