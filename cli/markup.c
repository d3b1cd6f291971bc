/* SPDX-License-Identifier: GPL-2.0-only */
/* See markup.h. */
#include "markup.h"

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
