/*-------------------------------------------------------------------------
 *
 * response.c
 *	  Gathering the answer of a cancel: jobs as the executor returns them,
 *	  encoded at once; errors; the order of both.
 *
 * The encoder decides what a job and the whole look like.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "columns.h"
#include "response.h"

typedef struct Response
{
	const Encoder *encoder;
	Encoding	encoding;
	ResponseContent content;
	size_t		job_capacity;
	size_t		error_capacity;
	MemoryContext context;		/* for what lasts as long as the response */
	MemoryContext row_context;	/* for one row; reset with each */
} Response;

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

	response->encoder->begin(&response->encoding, jobs);
}

static void
add_job(TupleTableSlot *row, void *arg)
{
	Response   *response = arg;
	ResponseContent *content = &response->content;
	ResponseJob *job;
	MemoryContext old;

	if (content->job_count == response->job_capacity)
		content->jobs = grow_array(response->context, content->jobs,
								   &response->job_capacity, sizeof(ResponseJob));
	job = &content->jobs[content->job_count];
	job_order_set(&job->order, row, COLUMN_ID, COLUMN_CREATION_ORDER);
	if (content->in_order && content->job_count > 0)
		content->in_order = compare_jobs(job - 1, job) <= 0;

	old = MemoryContextSwitchTo(response->row_context);
	job->offset = response->encoder->encode_job(&response->encoding, row);
	MemoryContextSwitchTo(old);
	MemoryContextReset(response->row_context);

	job->len = response->encoding.out->len - job->offset;
	content->job_count++;
}

static void
add_error(const pg_uuid_t *id, const char *why, void *arg)
{
	Response   *response = arg;
	ResponseContent *content = &response->content;
	ResponseError *error;

	if (content->error_count == response->error_capacity)
		content->errors = grow_array(response->context, content->errors,
									 &response->error_capacity, sizeof(ResponseError));
	error = &content->errors[content->error_count++];
	error->id = id;
	error->why = why;
}

/*
 * response_of_cancel
 *
 * Cancels what is requested, and appends an answer in the API's shape to the
 * output, as a varlena: jobs by creation_order, then by id; errors by id.  All
 * other memory is of the current context.  Returns the number of canceled jobs.
 * Raises what cancel raises, and 54000 for a response that is too large.
 */
uint64
response_of_cancel(const Request *request, const Encoder *encoder, Output *out)
{
	Response	response = {
		.encoder = encoder,
		.content = {.in_order = true},
		.context = CurrentMemoryContext,
		.row_context = AllocSetContextCreate(CurrentMemoryContext, "pasqal_jobs row",
											 ALLOCSET_DEFAULT_SIZES),
	};
	CancelObserver observer = {expect_jobs, add_job, add_error, &response};
	ResponseContent *content = &response.content;
	uint64		canceled;

	encoding_init(&response.encoding, out, request->relation);
	canceled = cancel(request, CANCEL_CALL, &observer);
	if (!content->in_order)
		qsort(content->jobs, content->job_count, sizeof(ResponseJob), compare_jobs);
	encoder->finish(&response.encoding, content);
	return canceled;
}
