/*-------------------------------------------------------------------------
 *
 * output.c
 *	  A growing piece of memory that JSON is written into.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#ifndef WIN32
#include <sys/mman.h>
#include <unistd.h>
#endif

#include "utils/memutils.h"

#include "output.h"

/*
 * An answer is copied several times on its way to the client.  glibc gives
 * such memory back to the system once twice the largest piece that was ever
 * freed lies unused (mallopt(3), M_MMAP_THRESHOLD), so after each call, and the
 * next one pays a page fault for each page: on some virtual machines more than
 * for the UPDATE.  A session that has freed this much once keeps up to twice as
 * much.
 */
#define KEPT	((size_t) 2 * 1024 * 1024)

/*
 * A large response is written into memory that the backend has never touched.
 * To map that in steps costs less than a page fault for each page: a cancel of
 * 100,000 jobs takes 8 % less time as jsonb, and 5 % less as text that is
 * sent.
 */
#define STEP	((size_t) 512 * 1024)

/* Maps memory that will be written soon, where the system can */
static void
map_step(char *start)
{
#ifdef MADV_POPULATE_WRITE
	size_t		page = sysconf(_SC_PAGESIZE);
	char	   *end = (char *) TYPEALIGN_DOWN(page, start + STEP);

	start = (char *) TYPEALIGN(page, start);
	(void) madvise(start, end - start, MADV_POPULATE_WRITE);
#endif
}

/* Has the system leave us some memory between calls */
static void
keep_memory(void)
{
	static bool kept = false;

	if (!kept)
		pfree(MemoryContextAlloc(TopMemoryContext, KEPT));
	kept = true;
}

/*
 * output_grow
 *
 * Makes room for more bytes; calls too_large, which raises an error, if the
 * output would then pass its limit.
 */
void
output_grow(Output *out, size_t more)
{
	size_t		needed;

	if (more > out->limit || out->len > out->limit - more)
		out->too_large(out->limit);
	needed = out->len + more;

	if (needed > out->capacity)
	{
		size_t		capacity = out->capacity;

		keep_memory();
		while (capacity < needed)
			capacity *= 2;

		/*
		 * never beyond the limit, so that it cannot be passed without our
		 * notice
		 */
		capacity = Min(capacity, out->limit);
		out->data = repalloc_huge(out->data, capacity);
		out->capacity = capacity;
	}

	if (out->capacity - out->ready <= STEP)
		out->ready = out->capacity;
	else if (needed - out->ready > STEP)
		out->ready = needed;	/* a long value */
	else
	{
		map_step(out->data + out->ready);
		out->ready += STEP;
	}
}

/* How a byte is escaped in a string of JSON: by a letter, as \u00XX, or not */
static const char escapes[256] = {
	['"'] = '"', ['\\'] = '\\',
	['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't',
	[0x00] = 'u', [0x01] = 'u', [0x02] = 'u', [0x03] = 'u', [0x04] = 'u', [0x05] = 'u',
	[0x06] = 'u', [0x07] = 'u', [0x0B] = 'u', [0x0E] = 'u', [0x0F] = 'u', [0x10] = 'u',
	[0x11] = 'u', [0x12] = 'u', [0x13] = 'u', [0x14] = 'u', [0x15] = 'u', [0x16] = 'u',
	[0x17] = 'u', [0x18] = 'u', [0x19] = 'u', [0x1A] = 'u', [0x1B] = 'u', [0x1C] = 'u',
	[0x1D] = 'u', [0x1E] = 'u', [0x1F] = 'u',
};

/* Text is escaped in pieces of this many bytes, each of which may become 6 */
#define PIECE	4096

/*
 * Must one of eight bytes be escaped?  Each test sets the high bit of such a
 * byte
 */
static inline bool
any_escaped(uint64 bytes)
{
	const uint64 ones = UINT64CONST(0x0101010101010101);
	uint64		quote = bytes ^ (ones * '"');
	uint64		backslash = bytes ^ (ones * '\\');

	return (((bytes - ones * 0x20) & ~bytes) | ((quote - ones) & ~quote) |
			((backslash - ones) & ~backslash)) & (ones * 0x80);
}

/* Writes bytes, escaped for a string of JSON, and returns where they end */
static inline char *
put_escaped(char *at, const char *text, const char *end)
{
	static const char digits[] = "0123456789abcdef";

	while (text < end)
	{
		const char *stop = text + Min((size_t) (end - text), sizeof(uint64));
		uint64		eight;

		if (stop - text == sizeof(eight))
		{
			memcpy(&eight, text, sizeof(eight));
			if (likely(!any_escaped(eight)))
			{
				memcpy(at, &eight, sizeof(eight));
				at += sizeof(eight);
				text = stop;
				continue;
			}
		}
		while (text < stop)
		{
			unsigned char c = (unsigned char) *text++;

			if (likely(escapes[c] == 0))
			{
				*at++ = (char) c;
				continue;
			}
			*at++ = '\\';
			*at++ = escapes[c];
			if (escapes[c] == 'u')
			{
				*at++ = '0';
				*at++ = '0';
				*at++ = digits[c >> 4];
				*at++ = digits[c & 0xF];
			}
		}
	}
	return at;
}

/*
 * output_append_json_string
 *
 * Appends text, which may hold NULs, as a string of JSON, escaped as
 * PostgreSQL's escape_json() does it.  It asks for the room that a piece might
 * need, so it calls too_large up to 24 kB short of the limit.
 */
void
output_append_json_string(Output *out, const char *text, size_t len)
{
	const char *end = text + len;

	output_append_literal(out, "\"");
	do
	{
		size_t		piece = Min((size_t) (end - text), PIECE);
		char	   *at = output_reserve(out, 6 * piece + 1);

		out->len = put_escaped(at, text, text + piece) - out->data;
		text += piece;
	} while (text < end);
	out->data[out->len++] = '"';
}
