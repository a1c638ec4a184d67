/*-------------------------------------------------------------------------
 *
 * query_string.c
 *	  Reading a query string and a path as the web does.
 *
 *-------------------------------------------------------------------------
 */
#include "query_string.h"

#include <string.h>

#include "parse_value.h"

static const char replacement[] = "\xEF\xBF\xBD";	/* U+FFFD */

/*
 * query_string_next
 *
 * Sets *piece to the next piece between ampersands that is not empty, split
 * at its first =; returns false at the end.
 */
bool
query_string_next(QueryString *query, QueryPiece *piece)
{
	while (query->at < query->end)
	{
		const char *start = query->at;
		const char *end = memchr(start, '&', (size_t) (query->end - start));
		const char *equals;

		if (end == NULL)
			end = query->end;
		query->at = end < query->end ? end + 1 : end;
		if (end == start)
			continue;

		equals = memchr(start, '=', (size_t) (end - start));
		piece->name = start;
		piece->name_len = (size_t) ((equals ? equals : end) - start);
		piece->value = equals ? equals + 1 : end;
		piece->value_len = (size_t) (end - piece->value);
		return true;
	}
	return false;
}

/*
 * Looks at the bytes at the start of a text.  Returns the length of one
 * character of UTF-8; or, negative, how many bad bytes one U+FFFD replaces:
 * those that could have begun a character.
 */
static int
utf8_length(const unsigned char *s, size_t len)
{
	int			wanted;
	unsigned char low = 0x80;
	unsigned char high = 0xBF;

	if (s[0] < 0x80)
		return 1;
	if (s[0] >= 0xC2 && s[0] <= 0xDF)
		wanted = 2;
	else if (s[0] >= 0xE0 && s[0] <= 0xEF)
	{
		wanted = 3;
		if (s[0] == 0xE0)
			low = 0xA0;			/* no overlong form */
		if (s[0] == 0xED)
			high = 0x9F;		/* no surrogate */
	}
	else if (s[0] >= 0xF0 && s[0] <= 0xF4)
	{
		wanted = 4;
		if (s[0] == 0xF0)
			low = 0x90;
		if (s[0] == 0xF4)
			high = 0x8F;		/* nothing past U+10FFFF */
	}
	else
		return -1;

	for (int i = 1; i < wanted; i++)
	{
		if ((size_t) i >= len || s[i] < low || s[i] > high)
			return -i;
		low = 0x80;
		high = 0xBF;
	}
	return wanted;
}

/*
 * percent_decode
 *
 * Writes the text with every %XX replaced by its byte, and + by a blank if
 * plus_is_blank; any other % stays.  What is no UTF-8 then becomes U+FFFD.
 * Returns the length of the result, which needs PERCENT_DECODED_MAX(len) bytes
 * at most and may hold NULs.
 */
size_t
percent_decode(char *result, const char *text, size_t len, bool plus_is_blank)
{
	/*
	 * The bytes go to the end of the result first, and from there, repaired,
	 * to its start: that never overtakes, since a byte becomes three at most.
	 */
	char	   *bytes = result + PERCENT_DECODED_MAX(len) - len;
	size_t		nbytes = 0;
	size_t		done = 0;
	size_t		at = 0;

	for (size_t i = 0; i < len; i++)
	{
		char		c = text[i];

		if (c == '+' && plus_is_blank)
			c = ' ';
		else if (c == '%' && len - i > 2 && hex_digit(text[i + 1]) >= 0 && hex_digit(text[i + 2]) >= 0)
		{
			c = (char) (hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
			i += 2;
		}
		bytes[nbytes++] = c;
	}

	while (at < nbytes)
	{
		int			n = utf8_length((const unsigned char *) bytes + at, nbytes - at);

		if (n > 0)
		{
			memmove(result + done, bytes + at, (size_t) n);
			at += (size_t) n;
			done += (size_t) n;
		}
		else
		{
			memcpy(result + done, replacement, 3);
			at += (size_t) -n;
			done += 3;
		}
	}
	return done;
}
