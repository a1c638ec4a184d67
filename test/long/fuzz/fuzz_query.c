/*-------------------------------------------------------------------------
 *
 * fuzz_query.c
 *	  Any bytes to query_string.c as a query string: pieces within it and in
 *	  order, decoded to no more bytes than promised, and to good UTF-8.
 *
 *-------------------------------------------------------------------------
 */
#include "check.h"
#include "query_string.h"

/* By code points, unlike the code under test */
static void
check_utf8(const char *text, size_t len)
{
	const unsigned char *s = (const unsigned char *) text;
	size_t		i = 0;

	while (i < len)
	{
		static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
		size_t		n = s[i] < 0x80 ? 1 : s[i] < 0xC0 ? 0 : s[i] < 0xE0 ? 2 : s[i] < 0xF0 ? 3 : s[i] < 0xF8 ? 4 : 0;
		uint32_t	c = n == 1 ? s[i] : s[i] & (0x7Fu >> n);

		check(n > 0 && n <= len - i);
		for (size_t k = 1; k < n; k++)
		{
			check((s[i + k] & 0xC0) == 0x80);
			c = c << 6 | (s[i + k] & 0x3Fu);
		}
		check(c >= least[n] && c <= 0x10FFFF && (c < 0xD800 || c > 0xDFFF));
		i += n;
	}
}

static void
fuzz_decode(const char *text, size_t len, bool plus_is_blank)
{
	/* not one byte more than promised; malloc(0) may be NULL */
	char	   *copy = malloc(len > 0 ? len : 1);
	char	   *result = malloc(len > 0 ? PERCENT_DECODED_MAX(len) : 1);
	size_t		n;
	bool		plain = true;

	check(copy != NULL && result != NULL);
	if (len > 0)
		memcpy(copy, text, len);
	n = percent_decode(result, copy, len, plus_is_blank);
	check(n <= PERCENT_DECODED_MAX(len));
	check_utf8(result, n);

	for (size_t i = 0; i < len; i++)
		plain = plain && (text[i] & 0x80) == 0 && text[i] != '%' && text[i] != '+';
	if (plain)
		check(n == len && (n == 0 || memcmp(result, text, n) == 0));
	free(copy);
	free(result);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *) data;
	QueryString query = {text, text + size};
	QueryPiece	piece;
	const char *last = text;

	while (query_string_next(&query, &piece))
	{
		check(piece.name >= last && piece.name + piece.name_len <= piece.value);
		check(piece.value + piece.value_len <= text + size);
		check(piece.name_len > 0 || piece.value > piece.name);
		check(piece.name_len == 0 || memchr(piece.name, '=', piece.name_len) == NULL);
		check(piece.value_len == 0 || memchr(piece.value, '&', piece.value_len) == NULL);
		last = piece.value + piece.value_len;
		fuzz_decode(piece.name, piece.name_len, true);
		fuzz_decode(piece.value, piece.value_len, true);
	}
	fuzz_decode(text, size, false);
	return 0;
}
