/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The words of a garbage collector as they stand in the target's memory: whether it collects now, and how often it has, by
 * generation. One look, no probe; gc_watch.h makes times of many looks. Pure.
 */
#ifndef GILSCOPE_GC_WORDS_H
#define GILSCOPE_GC_WORDS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "pyver.h"

#define GC_GENERATIONS 3

struct gc_words {
	bool collecting;
	bool counted;                   /* `collections` is known */
	uint64_t collections[GC_GENERATIONS]; /* that have ended since the interpreter's start, the youngest generation's first */
};

/* Whether this version's layout is known at all. */
bool gc_words__are_known(const struct pyoffsets *off);

/* Address of an interpreter's garbage collector, by its own (3.8: by that of _PyRuntime, `interp` is ignored); 0: none. */
uint64_t gc_words__state(const struct pyoffsets *off, uint64_t runtime, uint64_t interp);

/* Reads the collector at `state`. 0, -EBADMSG (that is no collector) or what procmem__read() returns; *ret untouched then. */
int gc_words__read(pid_t pid, const struct pyoffsets *off, uint64_t state, struct gc_words *ret);

#endif
