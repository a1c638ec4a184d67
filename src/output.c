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

	/* never beyond the limit, so that it cannot be passed without our notice */
	capacity = Min(capacity, out->limit);
	out->data = repalloc_huge(out->data, capacity);
	out->capacity = capacity;
}

/* Is any of eight bytes below a blank, a quote or a backslash? */
static inline bool
needs_escape(const char *at)
{
	const uint64 ones = UINT64CONST(0x0101010101010101);
	const uint64 highs = UINT64CONST(0x8080808080808080);
	uint64		word;
	uint64		quote;
	uint64		backslash;

	memcpy(&word, at, sizeof(word));
	quote = word ^ (ones * '"');
	backslash = word ^ (ones * '\\');

	/* each has the high bit of a byte set where that byte is small enough */
	return (((word - ones * ' ') & ~word) |
			((quote - ones) & ~quote) |
			((backslash - ones) & ~backslash)) & highs;
}

/*
 * output_append_json_string
 *
 * Appends text, which may hold NULs, as a string of JSON, escaped as
 * PostgreSQL's escape_json() does it.
 */
void
output_append_json_string(Output *out, const char *text, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	const char *end = text + len;

	output_append_literal(out, "\"");
	while (text < end)
	{
		const char *start = text;
		unsigned char c;

		while (end - text >= 8 && !needs_escape(text))
			text += 8;
		while (text < end && (unsigned char) *text >= ' ' && *text != '"' && *text != '\\')
			text++;
		output_append(out, start, text - start);
		if (text == end)
			break;

		c = *text++;
		switch (c)
		{
			case '"':
				output_append_literal(out, "\\\"");
				break;
			case '\\':
				output_append_literal(out, "\\\\");
				break;
			case '\b':
				output_append_literal(out, "\\b");
				break;
			case '\f':
				output_append_literal(out, "\\f");
				break;
			case '\n':
				output_append_literal(out, "\\n");
				break;
			case '\r':
				output_append_literal(out, "\\r");
				break;
			case '\t':
				output_append_literal(out, "\\t");
				break;
			default:
				{
					char		escape[] = {'\\', 'u', '0', '0', digits[c >> 4], digits[c & 0xF]};

					output_append(out, escape, sizeof(escape));
				}
		}
	}
	output_append_literal(out, "\"");
}
