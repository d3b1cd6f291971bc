/* SPDX-License-Identifier: GPL-2.0-only */
/* See demangle.h. */
#include "demangle.h"

#include <libiberty/demangle.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "collector/base/text.h"

#define REFERENCES_MAX 20 /* back references: 2^20 times the length at most, for a name that means harm */

/* What libiberty says piece by piece: the beginning of it. */
struct written {
	char text[DEMANGLE_RAW_SIZE + 2]; /* for two dots */
	size_t len;
};

static void take(const char *piece, size_t len, void *arg)
{
	struct written *w = arg;
	size_t room = DEMANGLE_RAW_SIZE - 1 - w->len;

	len = len < room ? len : room;
	memcpy(w->text + w->len, piece, len);
	w->len += len;
}

/* Counts S2_ and T_ in C++, B1_ in Rust, and what looks like them in a name. */
static bool is_tangled(const char *symbol)
{
	const char *letters = symbol[1] == 'R' ? "B" : "ST";
	const char *number = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
	size_t n = 0;

	for (const char *at = symbol; (at = strpbrk(at, letters)) != NULL; at++)
		n += at[1 + strspn(at + 1, number)] == '_';
	return n > REFERENCES_MAX;
}

static bool demangle(const char *symbol, struct written *w)
{
	if (symbol[0] != '_' || (symbol[1] != 'Z' && symbol[1] != 'R') || strlen(symbol) >= DEMANGLE_RAW_SIZE ||
	    is_tangled(symbol))
		return false;
	/* Rust's older names look like those of C++ and end in a hash, which only this one leaves out. */
	if (!rust_demangle_callback(symbol, 0, take, w)) {
		w->len = 0;
		if (symbol[1] != 'Z' || !cplus_demangle_v3_callback(symbol, DMGL_ANSI, take, w))
			return false;
	}
	w->text[w->len] = '\0';
	return w->len > 0;
}

/* Length of "operator<<" and its like at that place, whose brackets are none; 0: something else is there. */
static size_t operator_len(const char *at)
{
	static const char word[] = "operator";
	size_t len = sizeof(word) - 1;

	return strncmp(at, word, len) == 0 ? len + strspn(at + len, "<>=-") : 0;
}

/* What stands between the outermost angle brackets becomes two dots, in place; where there is less, that remains. */
static void leave_arguments_out(char *text)
{
	size_t depth = 0;
	char *to = text;

	for (const char *at = text; *at; at++) {
		size_t copy = operator_len(at);

		if (copy) {
			for (; copy > 1; copy--, at++)
				if (!depth)
					*to++ = *at;
		} else if (*at == '>' && depth && --depth == 0) {
			to = at - to >= 2 ? stpcpy(to, "..") : to + (at - to);
		}
		if (!depth)
			*to++ = *at;
		if (*at == '<' && !copy)
			depth++;
	}
	strcpy(to, depth ? ".." : ""); /* there was something in it */
}

void demangle__name(const char *symbol, char *dst, size_t size)
{
	struct written w = {.len = 0};
	char *clone;

	if (!demangle(symbol, &w)) {
		text__clean(dst, size, symbol, strlen(symbol));
		return;
	}
	clone = strstr(w.text, " [clone ");
	if (clone)
		*clone = '\0';
	if (strlen(w.text) >= size)
		leave_arguments_out(w.text);
	text__clean(dst, size, w.text, strlen(w.text));
}
