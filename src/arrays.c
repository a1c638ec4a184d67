/*-------------------------------------------------------------------------
 *
 * arrays.c
 *	  Arrays that grow, and the order of jobs in them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "arrays.h"

/* grow_array: doubles an array that is full; NULL: makes one in context */
void *
grow_array(MemoryContext context, void *array, size_t *capacity, size_t size)
{
	*capacity = Max(16, *capacity * 2);
	return array == NULL ? MemoryContextAlloc(context, *capacity * size) :
		repalloc_huge(array, *capacity * size);
}

/* job_order_set: sets the order from the values of a row; a null id comes last */
void
job_order_set(JobOrder *order, const TupleTableSlot *row, int id, int creation_order)
{
	order->no_creation_order = row->tts_isnull[creation_order];
	order->creation_order = order->no_creation_order ? 0 :
		DatumGetInt64(row->tts_values[creation_order]);
	if (row->tts_isnull[id])
		memset(&order->id, 0xFF, UUID_LEN);
	else
		order->id = *DatumGetUUIDP(row->tts_values[id]);
}

/* job_order_compare: orders jobs by creation_order, then by id */
int
job_order_compare(const JobOrder *a, const JobOrder *b)
{
	if (a->no_creation_order != b->no_creation_order)
		return a->no_creation_order ? 1 : -1;
	if (a->creation_order != b->creation_order)
		return a->creation_order < b->creation_order ? -1 : 1;
	return memcmp(&a->id, &b->id, UUID_LEN);
}
