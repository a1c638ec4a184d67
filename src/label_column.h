/*-------------------------------------------------------------------------
 *
 * label_column.h
 *	  A column of labels (status, origin), and its type in one relation.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PASQAL_JOBS_LABEL_COLUMN_H
#define PASQAL_JOBS_LABEL_COLUMN_H

#include "catalog/pg_attribute.h"
#include "nodes/pg_list.h"
#include "utils/catcache.h"

#include "columns.h"

typedef struct LabelColumn
{
	const Labels *labels;		/* that the API documents */
	Oid			type;			/* an enum, text or varchar; never a domain */
	bool		is_enum;
	Oid			label[MAX_LABELS];	/* the enum's members of "labels";
									 * InvalidOid: it has no such label */
} LabelColumn;

extern CatCList *enum_labels(Oid type);
extern Oid	enum_find_label(const CatCList *labels, const char *label);
extern bool enum_label_is(Oid oid, const char *label);
extern bool enum_labels_kept(const CatCList *before, const CatCList *now);
extern const char *label_column_init(LabelColumn *column, const Labels *labels,
									 const FormData_pg_attribute *attr);
extern Oid	label_column_param_type(const LabelColumn *column);
extern bool label_column_read(const LabelColumn *column, const char *text, int len,
							  Datum *value);
extern List *label_column_permitted(const LabelColumn *column);
extern bool label_column_equal(const LabelColumn *column, Datum a, Datum b);
extern int	label_text_index(const Labels *labels, Datum value);
extern const char *label_column_text(const LabelColumn *column, Datum value);

/* label_column_index: which of the documented labels a value is, or -1 */
static inline int
label_column_index(const LabelColumn *column, Datum value)
{
	if (!column->is_enum)
		return label_text_index(column->labels, value);
	for (int i = 0; i < column->labels->count; i++)
		if (column->label[i] == DatumGetObjectId(value))
			return i;
	return -1;
}

#endif							/* PASQAL_JOBS_LABEL_COLUMN_H */
