/*-------------------------------------------------------------------------
 *
 * response.h
 *	  The answer of a cancel in the API's shape.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PASQAL_JOBS_RESPONSE_H
#define PASQAL_JOBS_RESPONSE_H

#include "arrays.h"
#include "cancel.h"
#include "output.h"

typedef struct Response Response;

/* A form in which a response can be given */
typedef struct ResponseEncoder
{
	/* No response may have more bytes */
	size_t		limit;

	/* Makes room for what comes before the first of so many jobs */
	void		(*begin) (Output *out, size_t expected_jobs);

	/*
	 * Appends one job of the relation, given as the fields of a response;
	 * returns the offset at which it starts.  Leaves detoasted values in the
	 * current memory context.
	 */
	size_t		(*encode_job) (Output *out, const JobsRelation *relation,
							   TupleTableSlot *row);

	/*
	 * Puts all together: in response->encoded if the jobs are in order and as
	 * many as expected, else in memory of the current context.
	 */
	struct varlena *(*finish) (Response *response);
} ResponseEncoder;

extern const ResponseEncoder response_as_jsonb;
extern const ResponseEncoder response_as_json;

/* A canceled job: its place in the answer, its bytes in response->encoded */
typedef struct ResponseJob
{
	JobOrder	order;
	uint32		len;
	size_t		offset;
} ResponseJob;

/* A job that was not canceled */
typedef struct ResponseError
{
	const pg_uuid_t *id;
	const char *why;
} ResponseError;

struct Response
{
	const ResponseEncoder *encoder;
	const JobsRelation *relation;
	MemoryContext context;		/* for what lasts as long as the response */
	MemoryContext result_context;	/* for the answer */
	MemoryContext row_context;	/* for one row; reset with each */
	Output		encoded;		/* the jobs, in the order they came in; in
								 * result_context */
	ResponseJob *jobs;
	size_t		job_count;
	size_t		job_capacity;
	bool		in_order;		/* the jobs came in the order of the answer */
	ResponseError *errors;		/* by id */
	size_t		error_count;
	size_t		error_capacity;
};

/* A text array, and its elements that are still to be read */
typedef struct TextArray
{
	int			ndim;
	const int  *dims;
	const Datum *values;
	const bool *nulls;
} TextArray;

extern struct varlena *response_of_cancel(const Request *request,
										  const ResponseEncoder *encoder,
										  MemoryContext result_context,
										  uint64 *canceled);
extern void response_check_size(Datum value, size_t limit);
extern struct varlena *response_detoast(Datum value, size_t limit);
extern void response_text_array(TextArray *array, Datum value, size_t limit);
pg_noreturn extern void response_too_large(size_t limit);

#endif							/* PASQAL_JOBS_RESPONSE_H */
