/*-------------------------------------------------------------------------
 *
 * jobs_shape.c
 *	  What a jobs relation looks like: its columns, and what may keep a row from
 *	  an UPDATE.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "catalog/pg_class.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "mb/pg_wchar.h"
#include "parser/parse_relation.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "jobs_relation.h"

/* The types that a column may have, as an error shows them */
static const char *
wanted_type(const JobColumnDef *column)
{
	if (column->kind == KIND_LABEL)
		return psprintf("%s, text, varchar, or another enum", label_sets[column->labels].type_name);
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
					column->name, jobs_relation_display_name(rel), format_type_be(type)),
			 errdetail("A jobs relation needs a column \"%s\" of type %s.%s%s",
					   column->name, wanted_type(column), reason[0] ? "  " : "", reason),
			 is_written ?
			 errhint("Change the column; a cancel writes it, so a view cannot cast it.") :
			 errhint("Change the column, or let pasqal_jobs.jobs_table name a view that casts it.")));
}

/* Could anything but a policy keep a row from an UPDATE? */
static bool
update_may_skip_rows(Relation rel)
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
 * jobs_shape_check
 *
 * Looks at the open relation and sets what is known of it.  If it cannot hold
 * jobs, raises 42809 for its kind, 42703 for a missing column, 42804 for one
 * of another type; in the middle of a call (again) 55000 in place of the last
 * two.
 */
void
jobs_shape_check(JobsRelation *relation, bool again)
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
				 errmsg("relation \"%s\" cannot hold jobs", jobs_relation_display_name(rel)),
				 errdetail_relkind_not_supported(shape->relkind),
				 errhint("Set pasqal_jobs.jobs_table to the relation that holds the jobs, or make one with create_jobs_table().")));

	relation->update_may_skip = update_may_skip_rows(rel);
	relation->has_row_security = rel->rd_rel->relrowsecurity;
	relation->has_children = shape->relkind == RELKIND_PARTITIONED_TABLE || rel->rd_rel->relhassubclass;
	relation->row_locks = row_locks_of(relation->relid, shape->relkind);

	for (int c = 0; c < COLUMN_COUNT; c++)
	{
		const JobColumnDef *column = &job_columns[c];
		AttrNumber	attnum = attnameAttNum(rel, column->name, false);
		const FormData_pg_attribute *attr = (attnum == InvalidAttrNumber ? NULL :
											 TupleDescAttr(desc, attnum - 1));
		const char *reason = NULL;

		if (attr == NULL && !again)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("relation \"%s\" has no column \"%s\"", jobs_relation_display_name(rel), column->name),
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

/* job_status: a value of the column status; null is JOB_STATUS_OTHER */
JobStatus
job_status(const JobsRelation *relation, Datum value, bool isnull)
{
	int			index = -1;

	if (!isnull)
		index = label_column_index(&relation->shape.labels[LABELS_OF_STATUS], value);
	return index < 0 ? JOB_STATUS_OTHER : (JobStatus) index;
}

/*
 * job_status_text
 *
 * The same as text, "null" for null; see label_column_text.  Of a long text
 * only the beginning, and three dots: each of a million jobs may have one.
 */
const char *
job_status_text(const JobsRelation *relation, Datum value, bool isnull)
{
	const LabelColumn *column = &relation->shape.labels[LABELS_OF_STATUS];
	text	   *start;
	int			len;

	if (isnull)
		return "null";
	if (column->is_enum || toast_raw_datum_size(value) - VARHDRSZ <= MAX_STATUS_TEXT)
		return label_column_text(column, value);

	/* a character that the slice cuts begins behind what is kept */
	start = DatumGetTextPSlice(value, 0, MAX_STATUS_TEXT + MAX_MULTIBYTE_CHAR_LEN);
	len = pg_mbcliplen(VARDATA_ANY(start), VARSIZE_ANY_EXHDR(start), MAX_STATUS_TEXT);
	return psprintf("%.*s...", len, VARDATA_ANY(start));
}
