/*-------------------------------------------------------------------------
 *
 * encoder.h
 *	  The forms in which a response can be given.
 *
 * response.c gathers what a response has, and an encoder writes it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PASQAL_JOBS_ENCODER_H
#define PASQAL_JOBS_ENCODER_H

#include "executor/tuptable.h"

#include "arrays.h"
#include "format_value.h"
#include "jobs_relation.h"
#include "output.h"

/* What a response is written to, and what is kept from one job to the next */
typedef struct Encoding
{
	Output	   *out;			/* a response, a varlena, is at its end */
	size_t		start;			/* where the response starts */
	const JobsRelation *relation;	/* whose jobs they are */
	LastText	last[FIELD_COUNT];	/* of uuids, date-times and labels */
} Encoding;

/* A canceled job: its place in the answer, its bytes in the output */
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

/* The encoded jobs and the errors of a response, in order */
typedef struct ResponseContent
{
	ResponseJob *jobs;
	size_t		job_count;
	bool		in_order;		/* the jobs were encoded in this order */
	ResponseError *errors;
	size_t		error_count;
} ResponseContent;

typedef struct Encoder
{
	/* No response may have more bytes */
	size_t		limit;

	/* Begins a response, with room for the head of this many jobs */
	void		(*begin) (Encoding *encoding, size_t expected_jobs);

	/*
	 * Appends one job of the relation, given as the fields of a response;
	 * returns the offset at which it starts.  Leaves detoasted values in the
	 * current memory context.
	 */
	size_t		(*encode_job) (Encoding *encoding, const TupleTableSlot *row);

	/*
	 * Makes a response of the jobs that were appended and the errors.  Jobs
	 * that were not in order, or more or fewer than expected, may be copied
	 * to other memory of the same context.
	 */
	void		(*finish) (Encoding *encoding, const ResponseContent *content);
} Encoder;

extern const Encoder json_encoder;
extern const Encoder jsonb_encoder;

/* A text array, and its elements that are still to be read */
typedef struct TextArray
{
	int			ndim;
	const int  *dims;
	const Datum *values;
	const bool *nulls;
} TextArray;

pg_noreturn extern void response_too_large(size_t limit);
extern void encoding_init(Encoding *encoding, Output *out, const JobsRelation *relation);
extern const LastText *encoding_label(Encoding *encoding, JobColumn column, Datum value);
extern struct varlena *encoder_detoast(Datum value, size_t limit);
extern void encoder_text_array(TextArray *array, Datum value, size_t limit);

#endif							/* PASQAL_JOBS_ENCODER_H */
