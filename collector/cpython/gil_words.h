/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The words of one GIL as they stand in the target's memory: whether it is taken, by whom last, how often it changed hands.
 * One look, no probe. The target runs on between the words, so two looks that agree are worth more than one. Pure.
 */
#ifndef GILSCOPE_GIL_WORDS_H
#define GILSCOPE_GIL_WORDS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "pyver.h"

struct gil_words {
	uint64_t last_holder; /* address of a thread state, 0: never taken */
	uint64_t switches;    /* how often another thread than before took it; an unsigned long of CPython's, it wraps */
	uint32_t locked;      /* 1: taken, 0: free, -1: not made yet. Up to 3.11 it stays 1 when the interpreter ends */
};

/* Where `switches` stands in a GIL: before `cond` in every version (Include/internal/pycore_gil.h). */
static inline uint32_t gil_words__switches_at(const struct pyoffsets *off)
{
	return off->gil_cond - (uint32_t)sizeof(uint64_t);
}

/* Reads the GIL at `gil` of a process. 0 or what procmem__read() returns, *ret untouched. */
int gil_words__read(pid_t pid, const struct pyoffsets *off, uint64_t gil, struct gil_words *ret);

/* The thread state that has the GIL; 0: nobody. */
uint64_t gil_words__holder(const struct gil_words *w);

/* Whether the GIL was taken between two looks, as far as its words tell: the same thread taking it anew does not show. */
bool gil_words__taken_since(const struct gil_words *was, const struct gil_words *is);

#endif
