/* SPDX-License-Identifier: GPL-2.0-only */
/* Strings of CPython's, as bytes copied out of a target's memory: nothing in them is believed. Pure. */
#ifndef GILSCOPE_PYSTR_H
#define GILSCOPE_PYSTR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "collector/cpython/pyver.h"

struct pystr {
	uint64_t length;     /* in characters */
	uint32_t kind;       /* bytes per character, if pystr__is_sane() */
	bool compact, ascii;
	uint32_t data;       /* offset of the characters in a compact string */
};

/* From the first off->unicode_ascii_size bytes of the object. */
struct pystr pystr__head(const struct pyoffsets *off, const uint8_t *head);

/* Whether characters can stand behind such a head. */
bool pystr__is_sane(const struct pystr *s);

/*
 * `n` characters of that kind as UTF-8 into `to`, which has room for 4 * n bytes; the number of bytes. Surrogates come out
 * malformed, for text__clean() to find.
 */
size_t pystr__utf8(char *to, const uint8_t *chars, uint32_t kind, size_t n);

#endif
