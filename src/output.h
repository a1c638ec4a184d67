/*-------------------------------------------------------------------------
 *
 * output.h
 *	  A growing piece of memory that JSON is written into.
 *
 * Like StringInfo, but with a limit of the user's choice, and the user may write
 * in place.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PASQAL_JOBS_OUTPUT_H
#define PASQAL_JOBS_OUTPUT_H

#include "utils/memutils.h"

typedef struct Output
{
	char	   *data;
	size_t		len;
	size_t		ready;			/* bytes that may be written */
	size_t		capacity;		/* bytes allocated */
	size_t		limit;			/* len may not pass this */
	void		(*too_large) (size_t limit);	/* raises the error then */
} Output;

static inline void
output_init(Output *out, MemoryContext context, size_t limit,
			void (*too_large) (size_t limit))
{
	out->len = 0;
	out->ready = out->capacity = 1024;
	out->limit = limit;
	out->too_large = too_large;
	out->data = MemoryContextAlloc(context, out->capacity);
}

extern void output_grow(Output *out, size_t more);
extern void output_append_json_string(Output *out, const char *text, size_t len);

/* Makes room for some more bytes and returns where they go; see output_grow */
static inline char *
output_reserve(Output *out, size_t more)
{
	if (more > out->ready - out->len)
		output_grow(out, more);
	return out->data + out->len;
}

static inline void
output_append(Output *out, const char *bytes, size_t len)
{
	memcpy(output_reserve(out, len), bytes, len);
	out->len += len;
}

static inline void
output_append_string(Output *out, const char *string)
{
	output_append(out, string, strlen(string));
}

#define output_append_literal(out, literal) \
	output_append(out, literal, sizeof(literal) - 1)

#endif							/* PASQAL_JOBS_OUTPUT_H */
