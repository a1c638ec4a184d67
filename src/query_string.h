/*-------------------------------------------------------------------------
 *
 * query_string.h
 *	  Reading a query string and a path as the web does.
 *
 * Like parse_value.h: these functions parse untrusted text, and need only that
 * and the memory that they are given.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PASQAL_JOBS_QUERY_STRING_H
#define PASQAL_JOBS_QUERY_STRING_H

#include <stdbool.h>
#include <stddef.h>

/* What is left to read of a query string */
typedef struct QueryString
{
	const char *at;
	const char *end;
} QueryString;

/* One piece of it, still encoded: name=value; without = the value is empty */
typedef struct QueryPiece
{
	const char *name;
	size_t		name_len;
	const char *value;
	size_t		value_len;
} QueryPiece;

/* Bytes that percent_decode may need for a text of a length */
#define PERCENT_DECODED_MAX(len)	(3 * (len))

extern bool query_string_next(QueryString *query, QueryPiece *piece);
extern size_t percent_decode(char *result, const char *text, size_t len, bool plus_is_blank);

#endif							/* PASQAL_JOBS_QUERY_STRING_H */
