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

#include "utils/builtins.h"
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

/*
 * Writes the date some days after 2000-01-01, with a T, and sets *bc if it is
 * before our era.  Returns where the text ends.
 */
static char *
put_date(char *at, int days, bool *bc)
{
	int			year,
				month,
				day;

	j2date(days + POSTGRES_EPOCH_JDATE, &year, &month, &day);
	*bc = year <= 0;
	if (*bc)
		year = 1 - year;
	at = pg_ultostr_zeropad(at, year, 4);
	*at++ = '-';
	at = pg_ultostr_zeropad(at, month, 2);
	*at++ = '-';
	at = pg_ultostr_zeropad(at, day, 2);
	*at++ = 'T';
	return at;
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
	/* most date-times of a response are of the same few days */
	static int64 last_days = PG_INT64_MIN;
	static char last_date[FORMATTED_TIMESTAMP];
	static int	last_date_len;
	static bool last_bc;

	char	   *at = result;
	int64		days;
	unsigned int usecs;
	unsigned int seconds;

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

	if (days != last_days)
	{
		last_date_len = put_date(last_date, (int) days, &last_bc) - last_date;
		last_days = days;
	}
	memcpy(at, last_date, last_date_len);
	at += last_date_len;

	at = pg_ultostr_zeropad(at, seconds / SECS_PER_HOUR, 2);
	*at++ = ':';
	at = pg_ultostr_zeropad(at, seconds / SECS_PER_MINUTE % MINS_PER_HOUR, 2);
	*at++ = ':';
	at = pg_ultostr_zeropad(at, seconds % SECS_PER_MINUTE, 2);
	if (usecs != 0)
	{
		*at++ = '.';
		at = pg_ultostr_zeropad(at, usecs, 6);
	}
	memcpy(at, "+00:00", 6);
	at += 6;
	if (last_bc)
	{
		memcpy(at, " BC", 3);
		at += 3;
	}
	return at - result;
}
