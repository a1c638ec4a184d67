/*-------------------------------------------------------------------------
 *
 * fuzz_values.c
 *	  Any bytes to all functions of parse_value.c, which must stay within
 *	  them and keep what parse_value.h promises.
 *
 *-------------------------------------------------------------------------
 */
#include "check.h"
#include "parse_value.h"

#define USECS_PER_DAY	INT64_C(86400000000)

/* The first day of year 1 and the last of 9999, in days since 1970 */
#define FIRST_DAY		INT64_C(-719162)
#define LAST_DAY		INT64_C(2932896)

static void
format_uuid(char *text, const unsigned char *uuid)
{
	for (int i = 0; i < PARSE_UUID_BYTES; i++)
		text += sprintf(text, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", uuid[i]);
}

static char
lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char) (c + 32) : c;
}

/* What a good uuid says must be read again from its usual spelling */
static void
fuzz_uuid(const char *text, size_t len)
{
	unsigned char uuid[PARSE_UUID_BYTES];
	unsigned char again[PARSE_UUID_BYTES];
	char		formatted[PARSE_UUID_TEXT + 1];

	memset(uuid, 0x5A, sizeof(uuid));
	if (!uuid_from_text(text, len, uuid))
	{
		for (int i = 0; i < PARSE_UUID_BYTES; i++)
			check(uuid[i] == 0x5A);
		return;
	}
	check(len >= 2 * PARSE_UUID_BYTES);
	format_uuid(formatted, uuid);
	check(uuid_from_text(formatted, PARSE_UUID_TEXT, again));
	check(memcmp(uuid, again, sizeof(uuid)) == 0);
}

/* Both ends of a prefix's range begin with it, and nothing lies beyond */
static void
fuzz_prefix(const char *text, size_t len)
{
	unsigned char low[PARSE_UUID_BYTES];
	unsigned char high[PARSE_UUID_BYTES];
	char		formatted[PARSE_UUID_TEXT + 1];

	if (!uuid_prefix_from_text(text, len, low, high))
		return;
	check(len <= PARSE_UUID_TEXT);
	check(memcmp(low, high, sizeof(low)) <= 0);
	format_uuid(formatted, low);
	for (size_t i = 0; i < PARSE_UUID_TEXT; i++)
		check(i < len ? formatted[i] == lower(text[i]) : formatted[i] == '0' || formatted[i] == '-');
	format_uuid(formatted, high);
	for (size_t i = 0; i < PARSE_UUID_TEXT; i++)
		check(i < len ? formatted[i] == lower(text[i]) : formatted[i] == 'f' || formatted[i] == '-');
}

static void
fuzz_integer(const char *text, size_t len)
{
	int64_t		value = 42;
	int64_t		again;
	char		formatted[32];

	if (!integer_from_text(text, len, &value))
	{
		check(value == 42);
		return;
	}
	sprintf(formatted, "%lld", (long long) value);
	check(integer_from_text(formatted, strlen(formatted), &again));
	check(value == again);
}

static void
fuzz_boolean(const char *text, size_t len)
{
	bool		value;

	if (boolean_from_text(text, len, &value))
		check(len >= 1 && len <= 5 && strchr(value ? "toyTOY1" : "fonFON0", text[0]) != NULL);
}

/* A date-time lies in Python's calendar, up to a day beyond for its offset */
static void
fuzz_datetime(const char *text, size_t len)
{
	int64_t		value = 42;

	if (!datetime_from_text(text, len, &value))
	{
		check(value == 42);
		return;
	}
	check(value >= (FIRST_DAY - 1) * USECS_PER_DAY);
	check(value < (LAST_DAY + 2) * USECS_PER_DAY);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *) data;

	fuzz_uuid(text, size);
	fuzz_prefix(text, size);
	fuzz_integer(text, size);
	fuzz_boolean(text, size);
	fuzz_datetime(text, size);
	return 0;
}
