/*-------------------------------------------------------------------------
 *
 * jobs_table.c
 *	  Finds and locks the relation that pasqal_jobs.jobs_table names.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/value.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/varlena.h"

#include "jobs_relation.h"
#include "settings.h"

/*
 * jobs_table_in_search_path
 *
 * Finds a name without a schema in the search_path, but not in the session's
 * temporary schema, where anyone can make a table jobs.  Sets *schema to the
 * name of its schema; returns InvalidOid if there is none.
 */
Oid
jobs_table_in_search_path(const char *name, char **schema)
{
	int			count = fetch_search_path_array(NULL, 0);
	Oid		   *path = palloc(count * sizeof(Oid));
	Oid			relid = InvalidOid;

	(void) fetch_search_path_array(path, count);
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
			 errmsg("invalid value for parameter \"%s\": \"%s\"",
					"pasqal_jobs.jobs_table", pasqal_jobs_table),
			 errdetail("%s", detail),
			 errhint("For example: SET pasqal_jobs.jobs_table = 'public.jobs'.")));
}

/*
 * jobs_table_lock
 *
 * The relation that the setting names, locked until the end of the
 * transaction.  Raises 42602 for an invalid name, 42501 for a schema that may
 * not be used, 42P01 if there is no such relation.
 */
Oid
jobs_table_lock(LOCKMODE lockmode)
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

	/* PostgreSQL's own message, with a hint */
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
		!OidIsValid(jobs_table_in_search_path(name->relname, &name->schemaname)))
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
