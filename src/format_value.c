/*-------------------------------------------------------------------------
 *
 * format_value.c
 *	  Uuids, date-times and numbers as the text of a response.
 *
 * A response holds up to eleven of these for each job, so they are written by
 * hand: the session's DateStyle and TimeZone have no say in them anyway.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "format_value.h"

/* Each number below 100 as two decimal digits */
const char	digit_pairs[] =
"0001020304050607080910111213141516171819"
"2021222324252627282930313233343536373839"
"4041424344454647484950515253545556575859"
"6061626364656667686970717273747576777879"
"8081828384858687888990919293949596979899";

/* Each byte as two hexadecimal digits */
static const char hex_pairs[] =
"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
"202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f"
"404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f"
"606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f"
"808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f"
"a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf"
"c0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedf"
"e0e1e2e3e4e5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff";

/* format_uuid: 8-4-4-4-12 in lower case */
void
format_uuid(char *result, const pg_uuid_t *uuid)
{
	/* written out, which takes half the instructions of a loop */
#define PUT_BYTE(at, byte) \
	memcpy(result + (at), &hex_pairs[2 * uuid->data[byte]], 2)

	PUT_BYTE(0, 0);
	PUT_BYTE(2, 1);
	PUT_BYTE(4, 2);
	PUT_BYTE(6, 3);
	result[8] = '-';
	PUT_BYTE(9, 4);
	PUT_BYTE(11, 5);
	result[13] = '-';
	PUT_BYTE(14, 6);
	PUT_BYTE(16, 7);
	result[18] = '-';
	PUT_BYTE(19, 8);
	PUT_BYTE(21, 9);
	result[23] = '-';
	PUT_BYTE(24, 10);
	PUT_BYTE(26, 11);
	PUT_BYTE(28, 12);
	PUT_BYTE(30, 13);
	PUT_BYTE(32, 14);
	PUT_BYTE(34, 15);
}

/*
 * Writes the date that is days after 2000-01-01, and a T; returns where they
 * end
 */
static char *
put_date(char *at, int days)
{
	int			year,
				month,
				day;

	j2date(days + POSTGRES_EPOCH_JDATE, &year, &month, &day);
	if (year <= 0)
		year = 1 - year;		/* before our era */
	at = pg_ultostr_zeropad(at, year, 4);
	*at++ = '-';
	at = put_two_digits(at, month);
	*at++ = '-';
	at = put_two_digits(at, day);
	*at++ = 'T';
	return at;
}

/* The first day of our era: date2j(1, 1, 1) - POSTGRES_EPOCH_JDATE */
#define FIRST_DAY_AD	(-730119)

/*
 * format_timestamp
 *
 * RFC 3339 in UTC as Python's isoformat() writes it: six digits of a fraction
 * or none at all.  Beyond Python's range it follows PostgreSQL: its words for
 * infinity, years of more digits, BC.
 *
 * It is written into *last, whose date is kept if it is the same.
 */
void
format_timestamp(LastText *last, TimestampTz timestamp)
{
	char	   *at;
	int64		days;
	uint32		usecs;
	uint32		seconds;

	last->value.timestamp = timestamp;
	if (TIMESTAMP_IS_NOBEGIN(timestamp) || TIMESTAMP_IS_NOEND(timestamp))
	{
		const char *word = TIMESTAMP_IS_NOEND(timestamp) ? LATE : EARLY;

		last->date_len = 0;
		last->len = strlen(word);
		memcpy(last->text, word, last->len);
		return;
	}

	days = timestamp / USECS_PER_DAY;
	timestamp -= days * USECS_PER_DAY;
	if (timestamp < 0)
	{
		timestamp += USECS_PER_DAY;
		days--;
	}
	seconds = timestamp / USECS_PER_SEC;
	usecs = timestamp % USECS_PER_SEC;

	if (last->date_len == 0 || days != last->days)
	{
		last->date_len = put_date(last->text, (int) days) - last->text;
		last->days = days;
	}
	at = last->text + last->date_len;
	at = put_two_digits(at, seconds / SECS_PER_HOUR);
	*at++ = ':';
	at = put_two_digits(at, seconds / SECS_PER_MINUTE % MINS_PER_HOUR);
	*at++ = ':';
	at = put_two_digits(at, seconds % SECS_PER_MINUTE);
	if (usecs != 0)
	{
		*at++ = '.';
		at = put_two_digits(at, usecs / 10000);
		at = put_two_digits(at, usecs / 100 % 100);
		at = put_two_digits(at, usecs % 100);
	}
	memcpy(at, "+00:00", 6);
	at += 6;
	if (days < FIRST_DAY_AD)
	{
		memcpy(at, " BC", 3);
		at += 3;
	}
	last->len = at - last->text;
}

/* The digit to base 10000 at a place of a numeric; beyond its ends are zeros */
static inline int
numeric_digit(const char *digits, int count, int place)
{
	int16		digit;

	if (place < 0 || place >= count)
		return 0;
	memcpy(&digit, digits + place * sizeof(digit), sizeof(digit));
	return digit;
}

static inline char *
put_four_digits(char *at, int value)
{
	return put_two_digits(put_two_digits(at, value / 100), value % 100);
}

/*
 * format_numeric
 *
 * A numeric of jsonb, which has len bytes, as numeric_out() writes it.  The
 * value need not be aligned.  Returns the length in bytes, or -1 if the value
 * is not in the short form: a header of two bytes with the sign, the number of
 * decimals and the weight of the first digit, then digits to base 10000.
 */
int
format_numeric(char *result, const char *value, size_t len)
{
	const char *digits = value + VARHDRSZ + sizeof(uint16);
	int			count = (len - VARHDRSZ - sizeof(uint16)) / sizeof(int16);
	char	   *at = result;
	uint16		header;
	int			decimals;
	int			weight;
	char	   *end;

	memcpy(&header, value + VARHDRSZ, sizeof(header));
	if ((header & 0xC000) != 0x8000)
		return -1;
	decimals = (header & 0x1F80) >> 7;
	weight = (header & 0x3F) - (header & 0x40);

	if (header & 0x2000)
		*at++ = '-';
	at = put_integer(at, weight < 0 ? 0 : numeric_digit(digits, count, 0));
	for (int place = 1; place <= weight; place++)
		at = put_four_digits(at, numeric_digit(digits, count, place));
	if (decimals > 0)
	{
		*at++ = '.';
		end = at + decimals;
		for (int place = weight + 1; at < end; place++)
			at = put_four_digits(at, numeric_digit(digits, count, place));
		at = end;
	}
	return at - result;
}
