/* SPDX-License-Identifier: GPL-2.0-only */
/* "Did you mean": the nearest of a few known words. Pure. */
#ifndef GILSCOPE_SUGGEST_H
#define GILSCOPE_SUGGEST_H

#include <stddef.h>

/* Letters to add, drop, replace or swap with their neighbour to get from `a` to `b`; long words are all far apart. */
size_t suggest__distance(const char *a, const char *b);

/* The word that `typed` was probably meant to be: one that begins with it, or the nearest. NULL: nothing is near. */
const char *suggest__word(const char *typed, const char *const *words, size_t n);

#endif
