/*-------------------------------------------------------------------------
 *
 * format_value.c
 *	  Uuids and date-times as the text of a response.
 *
 * A response holds up to seven of these for each job, so they are written by
 * hand: the session's DateStyle and TimeZone have no say in them anyway.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "format_value.h"

/* format_uuid: 8-4-4-4-12 in lower case, without a NUL */
void
format_uuid(char *result, const pg_uuid_t *uuid)
{
	static const char digits[] = "0123456789abcdef";

	for (int i = 0; i < UUID_LEN; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*result++ = '-';
		*result++ = digits[uuid->data[i] >> 4];
		*result++ = digits[uuid->data[i] & 0xF];
	}
}

/* Two or more decimal digits, with leading zeros */
static inline char *
put_digits(char *at, int value, int width)
{
	for (int i = width - 1; i >= 0; i--)
	{
		at[i] = '0' + value % 10;
		value /= 10;
	}
	return at + width;
}

/*
 * format_timestamp
 *
 * RFC 3339 in UTC as Python's isoformat() writes it: six digits of a fraction
 * or none at all.  What Python cannot have follows PostgreSQL: its words for
 * the infinite, more digits for a late year, BC for an early one.  Returns
 * the length in bytes; there is no NUL.
 */
int
format_timestamp(char *result, TimestampTz timestamp)
{
	static int64 last_days = PG_INT64_MIN;
	static int	last_year,
				last_month,
				last_day;
	char	   *at = result;
	int64		days;
	int			usecs;
	int			seconds;
	int			year,
				month,
				day;
	bool		bc;

	if (TIMESTAMP_IS_NOBEGIN(timestamp) || TIMESTAMP_IS_NOEND(timestamp))
	{
		const char *word = TIMESTAMP_IS_NOEND(timestamp) ? LATE : EARLY;

		memcpy(result, word, strlen(word));
		return strlen(word);
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

	/* most date-times of a response are of the same few days */
	if (days != last_days)
	{
		j2date((int) days + POSTGRES_EPOCH_JDATE, &last_year, &last_month, &last_day);
		last_days = days;
	}
	year = last_year;
	month = last_month;
	day = last_day;
	bc = year <= 0;
	if (bc)
		year = 1 - year;

	at = put_digits(at, year, year > 99999 ? 6 : year > 9999 ? 5 : 4);
	*at++ = '-';
	at = put_digits(at, month, 2);
	*at++ = '-';
	at = put_digits(at, day, 2);
	*at++ = 'T';
	at = put_digits(at, seconds / SECS_PER_HOUR, 2);
	*at++ = ':';
	at = put_digits(at, seconds / SECS_PER_MINUTE % MINS_PER_HOUR, 2);
	*at++ = ':';
	at = put_digits(at, seconds % SECS_PER_MINUTE, 2);
	if (usecs != 0)
	{
		*at++ = '.';
		at = put_digits(at, usecs, 6);
	}
	memcpy(at, "+00:00", 6);
	at += 6;
	if (bc)
	{
		memcpy(at, " BC", 3);
		at += 3;
	}
	return at - result;
}
