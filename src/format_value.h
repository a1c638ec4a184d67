/*-------------------------------------------------------------------------
 *
 * format_value.h
 *	  Uuids, date-times and numbers as the text of a response.
 *
 * None of these texts ends in a NUL.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PASQAL_JOBS_FORMAT_VALUE_H
#define PASQAL_JOBS_FORMAT_VALUE_H

#include "datatype/timestamp.h"
#include "utils/builtins.h"
#include "utils/uuid.h"

/* Bytes at most */
#define FORMATTED_UUID		36	/* always */
#define FORMATTED_TIMESTAMP	48
#define FORMATTED_INTEGER	20
#define FORMATTED_NUMERIC	324

/*
 * The last text of a column: jobs of a response mostly have the same batch,
 * project, status and time of their cancel.  Zeroed, it has none.
 */
typedef struct LastText
{
	union
	{
		pg_uuid_t	uuid;
		TimestampTz timestamp;
		Oid			label;		/* a documented one of an enum */
	}			value;
	int			len;			/* 0: of no value yet */
	int			date_len;		/* the text begins with a date; 0: it does not */
	int64		days;			/* that date, from 2000-01-01 on */
	char		text[FORMATTED_TIMESTAMP];
} LastText;

extern const char digit_pairs[];

extern void format_uuid(char *result, const pg_uuid_t *uuid);
extern void format_timestamp(LastText *last, TimestampTz timestamp);
extern int	format_numeric(char *result, const char *value, size_t len);

/* The same as memcmp(), but sure to be two comparisons of words */
static inline bool
same_uuid(const pg_uuid_t *a, const pg_uuid_t *b)
{
	uint64		wa[2];
	uint64		wb[2];

	memcpy(wa, a, UUID_LEN);
	memcpy(wb, b, UUID_LEN);
	return wa[0] == wb[0] && wa[1] == wb[1];
}

/*
 * put_uuid: writes a uuid as format_uuid does, with the last text if it is the
 * same
 */
static inline char *
put_uuid(char *at, LastText *last, const pg_uuid_t *uuid)
{
	if (last->len == 0 || !same_uuid(&last->value.uuid, uuid))
	{
		last->value.uuid = *uuid;
		last->len = FORMATTED_UUID;
		format_uuid(last->text, uuid);
	}
	memcpy(at, last->text, FORMATTED_UUID);
	return at + FORMATTED_UUID;
}

/*
 * put_timestamp: writes a date-time as format_timestamp does.  Returns where it
 * ends; up to FORMATTED_TIMESTAMP bytes are overwritten.
 */
static inline char *
put_timestamp(char *at, LastText *last, TimestampTz timestamp)
{
	if (last->len == 0 || last->value.timestamp != timestamp)
		format_timestamp(last, timestamp);
	memcpy(at, last->text, FORMATTED_TIMESTAMP);
	return at + last->len;
}

/* put_two_digits: a number below 100, with a zero in front if need be */
static inline char *
put_two_digits(char *at, uint32 value)
{
	memcpy(at, &digit_pairs[2 * value], 2);
	return at + 2;
}

/* put_integer: writes an integer, and returns where it ends */
static inline char *
put_integer(char *at, int64 value)
{
	if ((uint64) value >= 10000)
		return at + pg_lltoa(value, at);
	if (value >= 100)
		return put_two_digits(put_integer(at, value / 100), value % 100);
	if (value >= 10)
		return put_two_digits(at, value);
	*at = '0' + value;
	return at + 1;
}

#endif							/* PASQAL_JOBS_FORMAT_VALUE_H */
