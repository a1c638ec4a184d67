/*-------------------------------------------------------------------------
 *
 * response.c
 *	  Gathering the answer of a cancel: jobs as the executor returns them,
 *	  encoded at once; errors; the order of both.
 *
 * What a job or the whole looks like in the end is up to the encoder.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"

#include "columns.h"
#include "response.h"

/*
 * An empty response.  The answer will be in memory of result_context, all
 * else comes from the current context.
 */
static void
init_response(Response *response, const ResponseEncoder *encoder,
			  const JobsRelation *relation, MemoryContext result_context)
{
	memset(response, 0, sizeof(*response));
	response->encoder = encoder;
	response->relation = relation;
	response->context = CurrentMemoryContext;
	response->row_context = AllocSetContextCreate(CurrentMemoryContext,
												  "pasqal_jobs row",
												  ALLOCSET_DEFAULT_SIZES);
	response->result_context = result_context;
	response->in_order = true;
	output_init(&response->encoded, result_context, encoder->limit, response_too_large);
}

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

/*
 * response_check_size
 *
 * Raises 54000 for a varlena that by itself would be too large, before it is
 * detoasted.
 */
void
response_check_size(Datum value, size_t limit)
{
	if (toast_raw_datum_size(value) > limit + VARHDRSZ)
		response_too_large(limit);
}

/* response_detoast: such a value, in memory of the current context if need be */
struct varlena *
response_detoast(Datum value, size_t limit)
{
	response_check_size(value, limit);
	return PG_DETOAST_DATUM_PACKED(value);
}

/* response_text_array: a text array, in memory of the current context */
void
response_text_array(TextArray *array, Datum value, size_t limit)
{
	ArrayType  *detoasted;
	Datum	   *values;
	bool	   *nulls;
	int			count;

	response_check_size(value, limit);
	detoasted = DatumGetArrayTypeP(value);
	deconstruct_array(detoasted, TEXTOID, -1, false, TYPALIGN_INT, &values, &nulls, &count);
	array->ndim = ARR_NDIM(detoasted);
	array->dims = ARR_DIMS(detoasted);
	array->values = values;
	array->nulls = nulls;
}

static int
compare_jobs(const void *a, const void *b)
{
	const ResponseJob *ja = a;
	const ResponseJob *jb = b;

	CHECK_FOR_INTERRUPTS();
	return job_order_compare(&ja->order, &jb->order);
}

static void
expect_jobs(size_t jobs, void *arg)
{
	Response   *response = arg;

	response->encoder->begin(&response->encoded, jobs);
}

static void
add_job(TupleTableSlot *row, void *arg)
{
	Response   *response = arg;
	ResponseJob *job;
	MemoryContext old;

	if (response->job_count == response->job_capacity)
		response->jobs = grow_array(response->context, response->jobs,
									&response->job_capacity, sizeof(ResponseJob));
	job = &response->jobs[response->job_count];
	job_order_set(&job->order, row, COLUMN_ID, COLUMN_CREATION_ORDER);
	if (response->in_order && response->job_count > 0)
		response->in_order = compare_jobs(job - 1, job) <= 0;

	old = MemoryContextSwitchTo(response->row_context);
	job->offset = response->encoder->encode_job(&response->encoded, response->relation, row);
	MemoryContextSwitchTo(old);
	MemoryContextReset(response->row_context);

	job->len = response->encoded.len - job->offset;
	response->job_count++;
}

static void
add_error(const pg_uuid_t *id, const char *why, void *arg)
{
	Response   *response = arg;
	ResponseError *error;

	if (response->error_count == response->error_capacity)
		response->errors = grow_array(response->context, response->errors,
									  &response->error_capacity, sizeof(ResponseError));
	error = &response->errors[response->error_count++];
	error->id = id;
	error->why = why;
}

/*
 * Puts the answer together: jobs by creation_order, then by id; errors by id.
 */
static struct varlena *
finish_response(Response *response)
{
	MemoryContext old;
	struct varlena *result;

	if (!response->in_order)
		qsort(response->jobs, response->job_count, sizeof(ResponseJob), compare_jobs);

	old = MemoryContextSwitchTo(response->result_context);
	result = response->encoder->finish(response);
	MemoryContextSwitchTo(old);

	if ((char *) result != response->encoded.data)
		pfree(response->encoded.data);
	return result;
}

/*
 * response_of_cancel
 *
 * Cancels what is requested, and answers in the API's shape: a varlena in
 * memory of result_context.  *canceled is the number of canceled jobs.  Raises
 * what cancel raises, and 54000 for a response that is too large.
 */
struct varlena *
response_of_cancel(const Request *request, const ResponseEncoder *encoder,
				   MemoryContext result_context, uint64 *canceled)
{
	Response	response;
	CancelObserver observer = {expect_jobs, add_job, add_error, &response};

	init_response(&response, encoder, request->relation, result_context);
	*canceled = cancel(request, CANCEL_CALL, &observer);
	return finish_response(&response);
}
