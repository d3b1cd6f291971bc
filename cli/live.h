/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What one interval looks like: the block of the live table, or one line where nobody repaints. Text out, no terminal.
 */
#ifndef GILSCOPE_LIVE_H
#define GILSCOPE_LIVE_H

#include <stdbool.h>
#include <stdio.h>

#include "rows.h"

struct live_size {
	size_t columns; /* no line is wider, if names can be cut that far */
	size_t lines;   /* at most this many lines in all, but titles, a thread and the rest are always there */
};

/*
 * Header and table of one process. `store` is a few words on where the history goes ("" or NULL: nothing to say).
 * Returns the line (from 0) that has the titles, -1: there is none.
 */
int live__block(FILE *to, const struct who *who, const struct proc_sample *s, const char *store, struct live_size size);

/* The same in one line, with the time of day; `say_who`: several processes are observed. */
void live__line(FILE *to, const struct who *who, const struct proc_sample *s, bool say_who);

/* The same for the sum of `n` processes. */
void live__sum(FILE *to, size_t n, const struct proc_sample *sum);

/* "12.3 s of 30 s, 17.7 s left": how far the run is; `remaining_ns` UINT64_MAX: it has no end. Returns buf. */
const char *live__progress(char *buf, size_t size, uint64_t elapsed_ns, uint64_t remaining_ns);

#endif
