/*-------------------------------------------------------------------------
 *
 * replay.c
 *	  Gives every line of a corpus to a fuzz target, without a fuzzer.
 *
 *	replay CORPUS		runs them
 *	replay CORPUS DIR	writes each to a file of its own, for libFuzzer
 *
 * In a line \n, \\ and \xNN stand for a byte; an empty line is an input too.
 *
 *-------------------------------------------------------------------------
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t
unescape(uint8_t *result, const char *line)
{
	size_t		n = 0;

	while (*line && *line != '\n')
	{
		unsigned int byte;

		if (*line != '\\')
			result[n++] = (uint8_t) *line++;
		else if (line[1] == 'x' && sscanf(line + 2, "%2x", &byte) == 1)
		{
			result[n++] = (uint8_t) byte;
			line += 4;
		}
		else if (line[1] == 'n' || line[1] == '\\')
		{
			result[n++] = line[1] == 'n' ? '\n' : '\\';
			line += 2;
		}
		else
		{
			fprintf(stderr, "bad escape: %s", line);
			exit(2);
		}
	}
	return n;
}

int
main(int argc, char **argv)
{
	static char line[65536];
	FILE	   *corpus = argc > 1 ? fopen(argv[1], "r") : NULL;
	int			count = 0;

	if (corpus == NULL)
	{
		fprintf(stderr, "usage: replay CORPUS [DIR]\n");
		return 2;
	}
	while (fgets(line, sizeof(line), corpus))
	{
		/* of its own size, so that a byte read past the end is noticed */
		uint8_t    *bytes = malloc(strlen(line) + 1);
		uint8_t    *exact;
		size_t		n;

		if (bytes == NULL)
			return 2;
		n = unescape(bytes, line);
		exact = malloc(n > 0 ? n : 1);
		if (exact == NULL)
			return 2;
		memcpy(exact, bytes, n);
		if (argc > 2)
		{
			char		name[4096];
			FILE	   *file;

			snprintf(name, sizeof(name), "%s/%04d", argv[2], count);
			file = fopen(name, "w");
			if (file == NULL || fwrite(exact, 1, n, file) != n || fclose(file) != 0)
				return 2;
		}
		else
			LLVMFuzzerTestOneInput(exact, n);
		free(bytes);
		free(exact);
		count++;
	}
	fclose(corpus);
	printf("%d inputs\n", count);
	return 0;
}
