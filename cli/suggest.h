/* SPDX-License-Identifier: GPL-2.0-only */
/* "Did you mean": the nearest of a few known words. Pure. */
#ifndef GILSCOPE_SUGGEST_H
#define GILSCOPE_SUGGEST_H

#include <stddef.h>

/* The word that `typed` was probably meant to be: one that begins with it, or the nearest. NULL: nothing is near. */
const char *suggest__word(const char *typed, const char *const *words, size_t n);

#endif
