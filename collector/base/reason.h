/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A refusal in words: why something could not be done, and what to do about it.
 *
 * Functions that may refuse take a `struct reason *` and return a negative errno. The sentence is
 * written once, at the place that knows; callers pass code and sentence up, cli prints it. It is
 * one sentence, without a trailing newline, safe for a terminal (see text__clean()).
 */
#ifndef GILSCOPE_REASON_H
#define GILSCOPE_REASON_H

struct reason {
	char text[512];
};

/* Fills `why` (NULL is legal) and returns `err`, so that a refusal is one line: return reason__set(...). */
int reason__set(struct reason *why, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
