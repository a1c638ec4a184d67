/*-------------------------------------------------------------------------
 *
 * jobs_privileges.c
 *	  Who may cancel, or preview: the privileges of the user on a jobs relation.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "jobs_relation.h"

/* Has the user this right on each of the columns? */
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
 * jobs_privileges_check
 *
 * Raises 42501, with the GRANT that helps, if the user lacks what a cancel
 * (or, with AccessShareLock, a preview) needs.  The executor checks this and
 * more, but without a hint, and after the batch is locked.
 */
void
jobs_privileges_check(const JobsRelation *relation, LOCKMODE lockmode)
{
	static const JobColumn previewed[] = {COLUMN_ID, COLUMN_STATUS, COLUMN_BATCH_ID};
	bool		preview = lockmode == AccessShareLock;
	JobColumn	fields[FIELD_COUNT];
	const char *name;
	const char *user;
	const char *written = "";

	for (int c = 0; c < FIELD_COUNT; c++)
		fields[c] = c;
	if (preview ? allowed(relation, ACL_SELECT, previewed, lengthof(previewed)) :
		allowed(relation, ACL_SELECT, fields, FIELD_COUNT) &&
		allowed(relation, ACL_UPDATE, written_columns, WRITTEN_COUNT))
		return;

	name = jobs_relation_name(relation);
	user = quote_identifier(GetUserNameFromId(GetUserId(), false));
	for (int i = 0; i < WRITTEN_COUNT; i++)
		written = psprintf("%s%s%s", written, i > 0 ? ", " : "", job_columns[written_columns[i]].name);
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for %s %s",
					relation->shape.relkind == RELKIND_VIEW ? "view" :
					relation->shape.relkind == RELKIND_FOREIGN_TABLE ? "foreign table" : "table",
					RelationGetRelationName(relation->rel)),
			 preview ?
			 errhint("A preview needs: GRANT SELECT ON %s TO %s;", name, user) :
			 errhint("A cancel needs: GRANT SELECT, UPDATE (%s) ON %s TO %s;", written, name, user)));
}
