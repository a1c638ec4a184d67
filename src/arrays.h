/*-------------------------------------------------------------------------
 *
 * arrays.h
 *	  Arrays that grow, and the order of jobs in them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PASQAL_JOBS_ARRAYS_H
#define PASQAL_JOBS_ARRAYS_H

#include "executor/tuptable.h"
#include "utils/memutils.h"
#include "utils/uuid.h"

/* What decides the place of a job among others */
typedef struct JobOrder
{
	int64		creation_order;
	pg_uuid_t	id;
	bool		no_creation_order;	/* null, which comes last */
} JobOrder;

extern void *grow_array(MemoryContext context, void *array, size_t *capacity, size_t size);
extern void job_order_set(JobOrder *order, const TupleTableSlot *row, int id, int creation_order);
extern int	job_order_compare(const JobOrder *a, const JobOrder *b);

#endif							/* PASQAL_JOBS_ARRAYS_H */
