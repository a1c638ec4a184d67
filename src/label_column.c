/*-------------------------------------------------------------------------
 *
 * label_column.c
 *	  A column with labels (status, origin) as it is typed in one relation.
 *
 * A label's Oid holds as long as its enum is what it was as the relation was
 * checked; jobs_relation_verify() makes sure of that after each statement.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "label_column.h"

/* enum_label_oid: the Oid of an enum's label, or InvalidOid */
Oid
enum_label_oid(Oid type, const char *label)
{
	return GetSysCacheOid2(ENUMTYPOIDNAME, Anum_pg_enum_oid,
						   ObjectIdGetDatum(type), CStringGetDatum(label));
}

/* Does the type belong to this extension? */
static bool
type_is_ours(Oid type)
{
	Oid			extension = getExtensionOfObject(TypeRelationId, type);

	return OidIsValid(extension) &&
		extension == get_extension_oid("pasqal_jobs", true);
}

/*
 * label_column_init
 *
 * Fills in how a column is typed.  Returns NULL if it can hold the labels,
 * else a sentence that says why not, or an empty string.
 */
const char *
label_column_init(LabelColumn *column, const Labels *labels,
				  const FormData_pg_attribute *attr)
{
	column->labels = labels;
	column->type = getBaseType(attr->atttypid);
	column->is_enum = type_is_enum(attr->atttypid);
	if (column->type == TEXTOID || column->type == VARCHAROID)
	{
		/* SQL must call the same labels equal as the C code does */
		if (OidIsValid(attr->attcollation) &&
			!get_collation_isdeterministic(attr->attcollation))
			return "Its collation must be deterministic.";
		return NULL;
	}
	if (!column->is_enum)		/* a domain over an enum has no operators */
		return "";

	for (int i = 0; i < labels->count; i++)
	{
		column->label[i] = enum_label_oid(column->type, labels->label[i]);
		if (!OidIsValid(column->label[i]))
			return psprintf("The enum has no label \"%s\".", labels->label[i]);
	}
	column->all_labels = !type_is_ours(column->type);
	return NULL;
}

/* label_column_param_type: the type of a parameter that the column equals */
Oid
label_column_param_type(const LabelColumn *column)
{
	return column->is_enum ? column->type : TEXTOID;
}

/*
 * label_column_read
 *
 * Sets *value to a label as a parameter of label_column_param_type; returns
 * false if a filter does not take it.  Text is allocated in the current
 * context.
 */
bool
label_column_read(const LabelColumn *column, const char *text, int len, Datum *value)
{
	char		label[NAMEDATALEN];
	Oid			oid;

	if (len >= NAMEDATALEN || memchr(text, '\0', len))
		return false;
	memcpy(label, text, len);
	label[len] = '\0';

	if (column->all_labels)
	{
		oid = enum_label_oid(column->type, label);
		*value = ObjectIdGetDatum(oid);
		return OidIsValid(oid);
	}
	for (int i = 0; i < column->labels->count; i++)
	{
		if (strcmp(column->labels->label[i], label) == 0)
		{
			*value = column->is_enum ? ObjectIdGetDatum(column->label[i]) :
				CStringGetTextDatum(label);
			return true;
		}
	}
	return false;
}

/*
 * label_column_permitted
 *
 * The labels that a filter takes, as a list of C strings: the documented ones,
 * or all of an enum that is not ours in its order.
 */
List *
label_column_permitted(const LabelColumn *column)
{
	List	   *result = NIL;
	Relation	rel;
	Relation	index;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	if (!column->all_labels)
	{
		for (int i = 0; i < column->labels->count; i++)
			result = lappend(result, pstrdup(column->labels->label[i]));
		return result;
	}

	ScanKeyInit(&key, Anum_pg_enum_enumtypid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(column->type));
	rel = table_open(EnumRelationId, AccessShareLock);
	index = index_open(EnumTypIdSortOrderIndexId, AccessShareLock);
	scan = systable_beginscan_ordered(rel, index, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext_ordered(scan, ForwardScanDirection)))
		result = lappend(result, pstrdup(NameStr(((Form_pg_enum) GETSTRUCT(tuple))->enumlabel)));
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
	return result;
}

/* label_text_index: label_column_index for text or varchar */
int
label_text_index(const Labels *labels, Datum value)
{
	text	   *t = DatumGetTextPP(value);

	for (int i = 0; i < labels->count; i++)
	{
		const char *label = labels->label[i];

		if (VARSIZE_ANY_EXHDR(t) == strlen(label) &&
			memcmp(VARDATA_ANY(t), label, strlen(label)) == 0)
			return i;
	}
	return -1;
}

/*
 * label_column_text
 *
 * The text of a value that is not null: a constant, or allocated in the
 * current context.  Raises 55000 if the enum has lost the label.
 */
const char *
label_column_text(const LabelColumn *column, Datum value)
{
	int			index = label_column_index(column, value);
	HeapTuple	tuple;
	char	   *label;

	if (index >= 0)
		return column->labels->label[index];
	if (!column->is_enum)
		return TextDatumGetCString(value);

	tuple = SearchSysCache1(ENUMOID, value);
	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a type of the jobs relation was dropped during the call"),
				 errhint("Call again when the change is complete.")));
	label = pstrdup(NameStr(((Form_pg_enum) GETSTRUCT(tuple))->enumlabel));
	ReleaseSysCache(tuple);
	return label;
}
