/*-------------------------------------------------------------------------
 *
 * output.c
 *	  A growing piece of memory that a response is written into.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "output.h"

/*
 * output_too_large
 *
 * Raises 54000.  The end of the transaction undoes what was canceled.
 */
void
output_too_large(size_t limit)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("response exceeds the limit of %zu bytes", limit),
			 errdetail("Nothing was canceled."),
			 errhint("Use cancel_jobs_rows or cancel_jobs_in_chunks, or narrow the filters.")));
}

/*
 * output_grow
 *
 * Makes room for more bytes; raises 54000 (output_too_large) if with them
 * the out would pass its limit.
 */
void
output_grow(Output *out, size_t more)
{
	size_t		capacity = out->capacity;

	if (more > out->limit || out->len > out->limit - more)
		output_too_large(out->limit);
	while (capacity - out->len < more)
		capacity *= 2;
	out->data = repalloc_huge(out->data, capacity);
	out->capacity = capacity;
}
