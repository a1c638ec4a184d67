/*-------------------------------------------------------------------------
 *
 * label_column.h
 *	  A column with labels (status, origin) as it is typed in one relation.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PASQAL_JOBS_LABEL_COLUMN_H
#define PASQAL_JOBS_LABEL_COLUMN_H

#include "catalog/pg_attribute.h"
#include "nodes/pg_list.h"

#include "labels.h"

typedef struct LabelColumn
{
	const Labels *labels;		/* that the API documents */
	Oid			type;			/* an enum, text or varchar; never a domain */
	bool		is_enum;
	bool		all_labels;		/* an enum that is not ours: a filter takes
								 * any label that it has */
	Oid			label[MAX_LABELS];	/* the enum's members of "labels" */
} LabelColumn;

extern Oid	enum_label_oid(Oid type, const char *label);
extern const char *label_column_init(LabelColumn *column, const Labels *labels,
									 const FormData_pg_attribute *attr);
extern Oid	label_column_param_type(const LabelColumn *column);
extern bool label_column_read(const LabelColumn *column, const char *text, int len,
							  Datum *value);
extern List *label_column_permitted(const LabelColumn *column);
extern bool label_column_equal(const LabelColumn *column, Datum a, Datum b);
extern int	label_column_index(const LabelColumn *column, Datum value);
extern const char *label_column_text(const LabelColumn *column, Datum value);

#endif							/* PASQAL_JOBS_LABEL_COLUMN_H */
