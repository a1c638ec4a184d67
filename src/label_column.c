/*-------------------------------------------------------------------------
 *
 * label_column.c
 *	  A column of labels (status, origin), and its type in one relation.
 *
 * A label's Oid is valid as long as its enum is as it was when the relation
 * was checked; statement_execute() makes sure of that before and after each
 * statement, also of labels that only a filter names.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "catalog/pg_collation_d.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "label_column.h"

/*
 * enum_labels
 *
 * The labels of an enum as they are now, from the catalog cache: rows of
 * pg_enum, ordered by label.  To be released with ReleaseSysCacheList; until
 * then they stay as they are.  Looking for a single label would leave an entry
 * in that cache for each unknown text, and callers choose those.
 */
CatCList *
enum_labels(Oid type)
{
	return SearchSysCacheList1(ENUMTYPOIDNAME, ObjectIdGetDatum(type));
}

static Form_pg_enum
get_label(const CatCList *labels, int i)
{
	return (Form_pg_enum) GETSTRUCT(&labels->members[i]->tuple);
}

/* enum_find_label: the Oid of one of the labels of an enum, or InvalidOid */
Oid
enum_find_label(const CatCList *labels, const char *label)
{
	for (int i = 0; i < labels->n_members; i++)
		if (strcmp(NameStr(get_label(labels, i)->enumlabel), label) == 0)
			return get_label(labels, i)->oid;
	return InvalidOid;
}

/* enum_label_is: has the label of this Oid this text? */
bool
enum_label_is(Oid oid, const char *label)
{
	HeapTuple	tuple = SearchSysCache1(ENUMOID, ObjectIdGetDatum(oid));
	bool		result = HeapTupleIsValid(tuple) &&
	strcmp(NameStr(((Form_pg_enum) GETSTRUCT(tuple))->enumlabel), label) == 0;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return result;
}

/* enum_labels_kept: does each label of "before" still have its Oid? */
bool
enum_labels_kept(const CatCList *before, const CatCList *now)
{
	for (int i = 0; before != now && i < before->n_members; i++)
		if (enum_find_label(now, NameStr(get_label(before, i)->enumlabel)) != get_label(before, i)->oid)
			return false;
	return true;
}

/*
 * label_column_init
 *
 * Sets the type and the labels of a column.  A label that an enum lacks is
 * InvalidOid, which no value equals.  Returns NULL if the column can hold the
 * labels that a cancel needs, else a sentence that says why not, or an empty
 * string.
 */
const char *
label_column_init(LabelColumn *column, const Labels *labels,
				  const FormData_pg_attribute *attr)
{
	CatCList   *members;
	const char *reason = NULL;

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

	members = enum_labels(column->type);
	for (int i = 0; i < labels->count; i++)
	{
		column->label[i] = enum_find_label(members, labels->label[i]);
		if (labels->required[i] && !OidIsValid(column->label[i]))
			reason = psprintf("The enum has no label \"%s\".", labels->label[i]);
	}
	ReleaseSysCacheList(members);
	return reason;
}

/*
 * label_column_param_type: the type of a parameter that is compared with the
 * column
 */
Oid
label_column_param_type(const LabelColumn *column)
{
	return column->is_enum ? column->type : TEXTOID;
}

/*
 * label_column_read
 *
 * Sets *value to a label as a parameter of label_column_param_type; returns
 * false if it is not permitted.  Text is allocated in the current context.
 */
bool
label_column_read(const LabelColumn *column, const char *text, int len, Datum *value)
{
	char		label[NAMEDATALEN];

	if (len >= NAMEDATALEN || memchr(text, '\0', len))
		return false;
	memcpy(label, text, len);
	label[len] = '\0';

	if (column->is_enum)
	{
		CatCList   *members = enum_labels(column->type);
		Oid			oid = enum_find_label(members, label);

		ReleaseSysCacheList(members);
		*value = ObjectIdGetDatum(oid);
		return OidIsValid(oid);
	}
	*value = CStringGetTextDatum(label);
	return label_text_index(column->labels, *value) >= 0;
}

/* Orders labels (pg_enum rows) as their enum does */
static int
compare_labels(const ListCell *a, const ListCell *b)
{
	float4		x = ((Form_pg_enum) lfirst(a))->enumsortorder;
	float4		y = ((Form_pg_enum) lfirst(b))->enumsortorder;

	return x < y ? -1 : x > y;
}

/*
 * label_column_permitted
 *
 * The labels that a filter takes, as a list of C strings: all of an enum in
 * its order, or the documented ones.
 */
List *
label_column_permitted(const LabelColumn *column)
{
	List	   *result = NIL;
	CatCList   *members;
	ListCell   *cell;

	if (!column->is_enum)
	{
		for (int i = 0; i < column->labels->count; i++)
			result = lappend(result, pstrdup(column->labels->label[i]));
		return result;
	}

	members = enum_labels(column->type);
	for (int i = 0; i < members->n_members; i++)
		result = lappend(result, get_label(members, i));
	list_sort(result, compare_labels);
	foreach(cell, result)
		lfirst(cell) = pstrdup(NameStr(((Form_pg_enum) lfirst(cell))->enumlabel));
	ReleaseSysCacheList(members);
	return result;
}

/* label_column_equal: are two values of the column the same? */
bool
label_column_equal(const LabelColumn *column, Datum a, Datum b)
{
	if (column->is_enum)
		return DatumGetObjectId(a) == DatumGetObjectId(b);
	return DatumGetBool(DirectFunctionCall2Coll(texteq, C_COLLATION_OID, a, b));
}

/*
 * label_text_index: label_column_index for text or varchar
 *
 * A text that is too long for a label is not detoasted: it may have a gigabyte,
 * and the caller's memory may last as long as a statement.
 */
int
label_text_index(const Labels *labels, Datum value)
{
	text	   *t;

	if (toast_raw_datum_size(value) - VARHDRSZ >= NAMEDATALEN)
		return -1;
	t = DatumGetTextPP(value);
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
