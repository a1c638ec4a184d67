/*-------------------------------------------------------------------------
 *
 * check.h
 *	  What the fuzzers share: a condition that is tested in every build.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PASQAL_JOBS_FUZZ_CHECK_H
#define PASQAL_JOBS_FUZZ_CHECK_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define check(condition) \
	do { \
		if (!(condition)) \
		{ \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
			abort(); \
		} \
	} while (0)

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif							/* PASQAL_JOBS_FUZZ_CHECK_H */
