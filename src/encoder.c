/*-------------------------------------------------------------------------
 *
 * encoder.c
 *	  What the encoders of a response share.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "catalog/pg_type.h"
#include "utils/array.h"

#include "encoder.h"

/*
 * response_too_large
 *
 * Raises 54000.  The end of the transaction undoes what was canceled.
 */
void
response_too_large(size_t limit)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("response exceeds the limit of %zu bytes", limit),
			 errdetail("Nothing was canceled."),
			 errhint("Narrow the filters, or use cancel_jobs_in_chunks; cancel_jobs_rows answers if no single job is too large.")));
}

/* encoding_init: prepares to append a response to an output */
void
encoding_init(Encoding *encoding, Output *out, const JobsRelation *relation)
{
	memset(encoding, 0, sizeof(*encoding));
	encoding->out = out;
	encoding->start = out->len;
	encoding->relation = relation;
}

/*
 * encoding_label
 *
 * The text of a documented label of an enum column, or NULL.  Such a text
 * needs no escaping.
 */
const LastText *
encoding_label(Encoding *encoding, JobColumn column, Datum value)
{
	LastText   *last = &encoding->last[column];
	const LabelColumn *labels = &encoding->relation->shape.labels[job_columns[column].labels];
	int			index;

	if (last->len > 0 && last->value.label == DatumGetObjectId(value))
		return last;
	index = labels->is_enum ? label_column_index(labels, value) : -1;
	if (index < 0)
		return NULL;
	last->value.label = DatumGetObjectId(value);
	last->len = strlcpy(last->text, labels->labels->label[index], sizeof(last->text));
	return last;
}

/*
 * encoder_detoast
 *
 * Detoasts a value, if need be, into the current context; the header may be
 * short or unaligned.  Raises 54000 before that if the value alone exceeds the
 * limit.
 */
struct varlena *
encoder_detoast(Datum value, size_t limit)
{
	struct varlena *given = (struct varlena *) DatumGetPointer(value);

	/* what is in memory is compared with the limit as it is appended */
	if (!VARATT_IS_EXTERNAL(given) && !VARATT_IS_COMPRESSED(given))
		return given;
	if (toast_raw_datum_size(value) > limit + VARHDRSZ)
		response_too_large(limit);
	return detoast_attr(given);
}

/* encoder_text_array: a text array, in memory of the current context */
void
encoder_text_array(TextArray *array, Datum value, size_t limit)
{
	ArrayType  *detoasted;
	Datum	   *values;
	bool	   *nulls;
	int			count;

	detoasted = DatumGetArrayTypeP(PointerGetDatum(encoder_detoast(value, limit)));
	deconstruct_array(detoasted, TEXTOID, -1, false, TYPALIGN_INT, &values, &nulls, &count);
	array->ndim = ARR_NDIM(detoasted);
	array->dims = ARR_DIMS(detoasted);
	array->values = values;
	array->nulls = nulls;
}
