/*-------------------------------------------------------------------------
 *
 * parse_value.h
 *	  Reading one value of a filter from text.
 *
 * These functions parse untrusted text, so they need nothing else: no
 * PostgreSQL, no allocation, no global state but LC_NUMERIC, which is C in a
 * backend.  They can be compiled and fuzzed alone.  All take a pointer and a
 * length in bytes (the text need not end in a NUL and may hold any byte),
 * return true and set *result if the text is such a value, and else return
 * false and leave *result alone.  Text outside ASCII is taken to be UTF-8.
 *
 * They accept what pydantic 1 does, which the documented API is built on, but
 * for some spellings that only Python knows; doc/api.md lists those.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PASQAL_JOBS_PARSE_VALUE_H
#define PASQAL_JOBS_PARSE_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PARSE_UUID_BYTES	16
#define PARSE_UUID_TEXT		36	/* 8-4-4-4-12 */

/* The value of a hexadecimal digit, or -1 */
static inline int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

extern bool uuid_from_text(const char *text, size_t len,
						   unsigned char result[PARSE_UUID_BYTES]);
extern bool uuid_prefix_from_text(const char *text, size_t len,
								  unsigned char lowest[PARSE_UUID_BYTES],
								  unsigned char highest[PARSE_UUID_BYTES]);
extern bool integer_from_text(const char *text, size_t len, int64_t *result);
extern bool boolean_from_text(const char *text, size_t len, bool *result);
extern bool datetime_from_text(const char *text, size_t len, int64_t *result);

#endif							/* PASQAL_JOBS_PARSE_VALUE_H */
