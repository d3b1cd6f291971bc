/* SPDX-License-Identifier: GPL-2.0-only */
/* See markup.h. */
#include "markup.h"

#include <string.h>

static const char *reference_of(char c)
{
	switch (c) {
	case '&':
		return "&amp;";
	case '<':
		return "&lt;";
	case '>':
		return "&gt;";
	case '"':
		return "&quot;";
	case '\'':
		return "&#39;";
	default:
		return NULL;
	}
}

void markup__text(FILE *to, const char *text)
{
	for (; *text; text++) {
		const char *reference = reference_of(*text);

		if (reference)
			fputs(reference, to);
		else
			fputc(*text, to);
	}
}

void markup__markdown(FILE *to, const char *text)
{
	for (; *text; text++) {
		char one[2] = {*text, '\0'};

		if (strchr("\\`*_{}[]()#+-.!|~@:", *text))
			fprintf(to, "&#%d;", *text);
		else
			markup__text(to, one);
	}
}
