/*-------------------------------------------------------------------------
 *
 * parse_value.c
 *	  Reading one value of a filter from text: uuid, prefix of a uuid,
 *	  integer, boolean, date-time.
 *
 * See parse_value.h for what all of them promise.
 *
 *-------------------------------------------------------------------------
 */
#include "parse_value.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define USECS_PER_SECOND		INT64_C(1000000)
#define SECONDS_PER_DAY			86400

/* pydantic takes numbers beyond this for milliseconds, and so on */
#define MILLISECOND_WATERSHED	2e10

/* ... and clamps those beyond this to the ends of Python's calendar */
#define LARGEST_NUMBER			3e20

/* The ends of Python's calendar, in microseconds since 1970 */
#define PYTHON_DATETIME_MIN		(INT64_C(-62135596800) * USECS_PER_SECOND)
#define PYTHON_DATETIME_MAX		(INT64_C(253402300800) * USECS_PER_SECOND - 1)

/*
 * Python refuses longer integers, blanks included; other numbers, without
 * blanks, are no longer here, either
 */
#define MAX_NUMBER_CHARACTERS	4300

typedef struct Text
{
	const char *at;
	const char *end;
} Text;

/* Is the next character a digit? */
static inline bool
at_digit(const Text *t)
{
	return t->at < t->end && *t->at >= '0' && *t->at <= '9';
}

/* Skips the next character if it is this one */
static bool
read_char(Text *t, char c)
{
	if (t->at == t->end || *t->at != c)
		return false;
	t->at++;
	return true;
}

/* Skips an optional sign; is it a minus? */
static bool
read_sign(Text *t)
{
	if (read_char(t, '-'))
		return true;
	(void) read_char(t, '+');
	return false;
}

/*
 * The number of bytes of the blank at the start of a text, 0 if there is
 * none.  Blank is what Python strips from around a number: ASCII's blanks
 * and Unicode's (given as UTF-8 here).
 */
static size_t
blank_length(const char *at, const char *end)
{
	const unsigned char *s = (const unsigned char *) at;
	size_t		len = (size_t) (end - at);

	if (len >= 1 && (s[0] == ' ' || (s[0] >= '\t' && s[0] <= '\r')))
		return 1;
	if (len >= 2 && s[0] == 0xC2 && (s[1] == 0x85 || s[1] == 0xA0))
		return 2;				/* U+0085, U+00A0 */
	if (len >= 3)
	{
		unsigned int c = ((unsigned int) s[0] << 16) | ((unsigned int) s[1] << 8) | s[2];

		if (c == 0xE19A80 ||	/* U+1680 */
			(c >= 0xE28080 && c <= 0xE2808A) || /* U+2000 to U+200A */
			c == 0xE280A8 || c == 0xE280A9 ||	/* U+2028, U+2029 */
			c == 0xE280AF ||	/* U+202F */
			c == 0xE2819F ||	/* U+205F */
			c == 0xE38080)		/* U+3000 */
			return 3;
	}
	return 0;
}

/* The text without the blanks around it */
static Text
strip_blanks(const char *text, size_t len)
{
	Text		result = {text, text + len};
	size_t		n;

	while ((n = blank_length(result.at, result.end)) > 0)
		result.at += n;

	/* no byte of a longer blank is a blank of its own, so order is free */
	for (n = 1; n <= 3 && n <= (size_t) (result.end - result.at); n++)
		if (blank_length(result.end - n, result.end) == n)
		{
			result.end -= n;
			n = 0;
		}
	return result;
}

/* Characters of UTF-8 are counted by the bytes that begin one */
static size_t
count_characters(const char *text, size_t len)
{
	size_t		count = 0;

	for (size_t i = 0; i < len; i++)
		if (((unsigned char) text[i] & 0xC0) != 0x80)
			count++;
	return count;
}

/*
 * uuid_from_text
 *
 * Thirty-two hexadecimal digits with hyphens anywhere, as Python's uuid.UUID()
 * reads them; braces around, and "urn:uuid:" before.
 */
bool
uuid_from_text(const char *text, size_t len, unsigned char result[PARSE_UUID_BYTES])
{
	static const char urn[] = "urn:uuid:";
	Text		t = {text, text + len};
	unsigned char uuid[PARSE_UUID_BYTES] = {0};
	int			ndigits = 0;

	/* the usual way to write one */
	if (len == PARSE_UUID_TEXT && uuid_prefix_from_text(text, len, result, uuid))
		return true;

	if (len > strlen(urn) && memcmp(text, urn, strlen(urn)) == 0)
		t.at += strlen(urn);
	if (read_char(&t, '{') && (t.at == t.end || *--t.end != '}'))
		return false;
	for (; t.at < t.end; t.at++)
	{
		int			digit = hex_digit(*t.at);

		if (*t.at == '-')
			continue;
		if (digit < 0 || ndigits == PARSE_UUID_BYTES * 2)
			return false;
		uuid[ndigits / 2] = (unsigned char) (uuid[ndigits / 2] << 4 | digit);
		ndigits++;
	}
	if (ndigits != PARSE_UUID_BYTES * 2)
		return false;
	memcpy(result, uuid, sizeof(uuid));
	return true;
}

/*
 * uuid_prefix_from_text
 *
 * Sets the lowest and the highest uuid whose text (8-4-4-4-12) begins with the
 * text given, in either case, and returns true; returns false if there is
 * none.
 */
bool
uuid_prefix_from_text(const char *text, size_t len,
					  unsigned char lowest[PARSE_UUID_BYTES],
					  unsigned char highest[PARSE_UUID_BYTES])
{
	int			ndigits = 0;
	unsigned char low[PARSE_UUID_BYTES];
	unsigned char high[PARSE_UUID_BYTES];

	if (len > PARSE_UUID_TEXT)
		return false;

	memset(low, 0x00, sizeof(low));
	memset(high, 0xFF, sizeof(high));

	for (size_t i = 0; i < len; i++)
	{
		int			value;
		int			shift;

		if (i == 8 || i == 13 || i == 18 || i == 23)
		{
			if (text[i] != '-')
				return false;
			continue;
		}
		value = hex_digit(text[i]);
		if (value < 0)
			return false;
		shift = (ndigits % 2 == 0) ? 4 : 0;
		low[ndigits / 2] |= (unsigned char) (value << shift);
		high[ndigits / 2] &= (unsigned char) ~((0xF ^ value) << shift);
		ndigits++;
	}

	memcpy(lowest, low, sizeof(low));
	memcpy(highest, high, sizeof(high));
	return true;
}

/*
 * integer_from_text
 *
 * An optional sign and decimal digits, blanks around.  A number past int64
 * becomes the nearest int64: as a bound on a column of type integer that is
 * the same.
 */
bool
integer_from_text(const char *text, size_t len, int64_t *result)
{
	Text		t = strip_blanks(text, len);
	bool		negative = read_sign(&t);
	int64_t		value = 0;

	if (!at_digit(&t) || count_characters(text, len) > MAX_NUMBER_CHARACTERS)
		return false;

	/* collected as a negative number, for there is one more of those */
	for (; at_digit(&t); t.at++)
	{
		int			digit = *t.at - '0';

		if (value < (INT64_MIN + digit) / 10)
			value = INT64_MIN;
		else
			value = value * 10 - digit;
	}
	if (t.at != t.end)
		return false;

	if (negative)
		*result = value;
	else
		*result = (value == INT64_MIN) ? INT64_MAX : -value;
	return true;
}

/*
 * boolean_from_text
 *
 * One of twelve words, in any case, no blanks around.
 */
bool
boolean_from_text(const char *text, size_t len, bool *result)
{
	static const struct
	{
		const char *word;
		bool		value;
	}			words[] = {
		{"true", true}, {"t", true}, {"1", true},
		{"on", true}, {"yes", true}, {"y", true},
		{"false", false}, {"f", false}, {"0", false},
		{"off", false}, {"no", false}, {"n", false},
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
	{
		size_t		at = 0;

		if (strlen(words[i].word) != len)
			continue;
		while (at < len &&
			   (text[at] >= 'A' && text[at] <= 'Z' ? text[at] + 32 : text[at]) == words[i].word[at])
			at++;
		if (at == len)
		{
			*result = words[i].value;
			return true;
		}
	}
	return false;
}

/* Skips digits; are there any? */
static bool
skip_digits(Text *t)
{
	const char *start = t->at;

	while (at_digit(t))
		t->at++;
	return t->at > start;
}

/*
 * A decimal number as Python's float() reads it: blanks around, a sign, digits
 * with a point among them, an exponent.  NaN, infinities and numbers too large
 * for a double are refused.
 */
static bool
parse_number(const char *text, size_t len, double *result)
{
	Text		t = strip_blanks(text, len);
	const char *start = t.at;
	char		copy[MAX_NUMBER_CHARACTERS + 1];
	bool		digits;
	double		value;

	(void) read_sign(&t);
	digits = skip_digits(&t);
	if (read_char(&t, '.'))
		digits = skip_digits(&t) || digits;
	if (!digits)
		return false;
	if (read_char(&t, 'e') || read_char(&t, 'E'))
	{
		(void) read_sign(&t);
		if (!skip_digits(&t))
			return false;
	}
	if (t.at != t.end || t.end - start > MAX_NUMBER_CHARACTERS)
		return false;

	memcpy(copy, start, (size_t) (t.end - start));
	copy[t.end - start] = '\0';
	value = strtod(copy, NULL);
	if (isinf(value))
		return false;
	*result = value;
	return true;
}

/*
 * Unix seconds (or milliseconds and so on, told apart by their size) to
 * microseconds since 1970, rounded to even as Python's timedelta() does.
 */
static int64_t
datetime_from_number(double seconds)
{
	double		whole;
	double		fraction;
	double		usecs;

	if (seconds > LARGEST_NUMBER)
		return PYTHON_DATETIME_MAX;
	if (seconds < -LARGEST_NUMBER)
		return PYTHON_DATETIME_MIN;
	while (fabs(seconds) > MILLISECOND_WATERSHED)
		seconds /= 1000;

	fraction = modf(seconds, &whole) * USECS_PER_SECOND;
	usecs = round(fraction);
	if (fabs(fraction - usecs) == 0.5)
		usecs = 2.0 * round(fraction / 2.0);
	return (int64_t) whole * USECS_PER_SECOND + (int64_t) usecs;
}

/* Reads min to max digits; false if there are fewer.  More stay unread. */
static bool
read_digits(Text *t, int min, int max, int *result)
{
	int			value = 0;
	int			n = 0;

	for (; n < max && at_digit(t); n++)
		value = value * 10 + (*t->at++ - '0');
	*result = value;
	return n >= min;
}

/* Days from 1970-01-01 to a date of the proleptic Gregorian calendar */
static int64_t
days_from_civil(int year, int month, int day)
{
	/* years that begin in March put the leap day last */
	int64_t		y = month > 2 ? year : year - 1;
	int64_t		m = month > 2 ? month - 3 : month + 9;
	int64_t		days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1;

	return days - 719468;
}

static bool
date_exists(int year, int month, int day)
{
	static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool		leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	if (year < 1 || month < 1 || month > 12 || day < 1)
		return false;
	return day <= lengths[month - 1] + (month == 2 && leap ? 1 : 0);
}

/* Reads a time of day, seconds and fraction optional, into *usecs */
static bool
read_time(Text *t, int64_t *usecs)
{
	int			hour;
	int			minute;
	int			second = 0;
	int			fraction = 0;

	if (!read_digits(t, 1, 2, &hour) || !read_char(t, ':') || !read_digits(t, 1, 2, &minute))
		return false;
	if (read_char(t, ':'))
	{
		if (!read_digits(t, 1, 2, &second))
			return false;
		if (read_char(t, '.'))
		{
			const char *start = t->at;
			int			ignored;

			if (!read_digits(t, 1, 6, &fraction))
				return false;
			for (size_t n = (size_t) (t->at - start); n < 6; n++)
				fraction *= 10;
			(void) read_digits(t, 0, 6, &ignored);
		}
	}
	*usecs = (hour * 3600 + minute * 60 + second) * USECS_PER_SECOND + fraction;
	return hour <= 23 && minute <= 59 && second <= 59;
}

/* Reads an optional offset from UTC, in *minutes east of it */
static bool
read_offset(Text *t, int *minutes)
{
	bool		west = t->at < t->end && *t->at == '-';
	int			hours;

	*minutes = 0;
	if (read_char(t, 'Z') || (!read_char(t, '-') && !read_char(t, '+')))
		return true;
	if (!read_digits(t, 2, 2, &hours))
		return false;
	if ((read_char(t, ':') || at_digit(t)) && !read_digits(t, 2, 2, minutes))
		return false;
	*minutes += hours * 60;
	if (*minutes >= 24 * 60)
		return false;
	if (west)
		*minutes = -*minutes;
	return true;
}

/*
 * datetime_from_text
 *
 * ISO 8601 with T or a blank between date and time, or a number (Unix
 * seconds).  The result is in microseconds since 1970-01-01 00:00 UTC; a
 * time without a zone is UTC.  A date alone is refused, and so are
 * PostgreSQL's words ("now", "infinity").
 */
bool
datetime_from_text(const char *text, size_t len, int64_t *result)
{
	Text		t = {text, text + len};
	double		number;
	int			year,
				month,
				day,
				offset;
	int64_t		usecs;

	if (parse_number(text, len, &number))
	{
		*result = datetime_from_number(number);
		return true;
	}

	if (!read_digits(&t, 4, 4, &year) || !read_char(&t, '-') ||
		!read_digits(&t, 1, 2, &month) || !read_char(&t, '-') ||
		!read_digits(&t, 1, 2, &day) || !date_exists(year, month, day) ||
		!(read_char(&t, 'T') || read_char(&t, ' ')) ||
		!read_time(&t, &usecs) || !read_offset(&t, &offset))
		return false;

	/* the regular expression's $ lets one newline pass */
	(void) read_char(&t, '\n');
	if (t.at != t.end)
		return false;

	*result = (days_from_civil(year, month, day) * SECONDS_PER_DAY - offset * 60) * USECS_PER_SECOND + usecs;
	return true;
}
