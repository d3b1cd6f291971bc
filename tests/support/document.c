/* SPDX-License-Identifier: GPL-2.0-only */
#include "document.h"

#include <criterion/criterion.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A document's words with single blanks between them, without the marks of troff and Markdown. */
static char *read_words(const char *path)
{
	FILE *file = fopen(path, "r");
	char *text = calloc(1, 1 << 20);
	size_t len = 0;
	int c;

	cr_assert(file, "%s", path);
	while ((c = fgetc(file)) != EOF && len < (1 << 20) - 1) {
		if (c == '\\' || c == '`' || c == '"')
			continue;
		if (isspace(c) && len && text[len - 1] == ' ')
			continue;
		text[len++] = isspace(c) ? ' ' : (char)c;
	}
	fclose(file);
	return text;
}

void document__must_say(const char *path, const char *row)
{
	char *text = read_words(path);

	cr_expect(strstr(text, row), "%s lacks: %s", path, row);
	free(text);
}
