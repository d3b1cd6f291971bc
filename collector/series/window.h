/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A sample that grows: consecutive samples of one process merged into one. What aggr is made of. Pure.
 *
 * Finds threads and blame pairs by hash, keeps the number of threads bounded by folding ended ones into a
 * pseudo-thread.
 */
#ifndef GILSCOPE_WINDOW_H
#define GILSCOPE_WINDOW_H

#include "collector/base/keymap.h"
#include "pair_index.h"
#include "sample.h"

#define WINDOW_MAX_GILS 64     /* GILs kept apart, the first ones; further ones are GIL_NUMBER_OTHER together */
#define WINDOW_MAX_PAIRS 65536 /* blame cells kept apart; further pairs are charged to PSEUDO_OTHER */
#define WINDOW_MAX_CODE 256    /* places in the code kept apart; the rest is code_rest */
#define WINDOW_MAX_STACKS 256  /* stacks kept apart, the weightiest */

/* Zeroed is empty, except for max_threads. */
struct window {
	struct proc_sample sample;
	bool begun;             /* has at least one sample */
	bool seen;              /* some of them not guarded: something could be known */
	size_t max_threads;     /* kept apart, pseudo-threads not counted; > 0 */
	bool no_stacks;         /* nobody asks this one for whole stacks */
	uint64_t folded;        /* threads folded into PSEUDO_OTHER since clear */
	struct keymap threads;  /* (start_ticks, tid << 32 | gil) -> index in sample.threads */
	struct pair_index pairs; /* (victim, holder) -> index in sample.blame */
	size_t next_pair;       /* where the next cell is if samples list them in the same order */
	uint32_t *place;        /* scratch: index in the added sample -> index in ours */
	size_t place_cap;
};

/*
 * Adds the next sample in time. Sums add, maxima max, histograms merge; what is open, live_threads, rss and names
 * are the newcomer's; known is what was known all the time; cpu is unknown if it was unknown once. 0 or -ENOMEM
 * (the window is then short of parts of `s`).
 */
int window__add(struct window *w, const struct proc_sample *s);

/* Makes it empty. */
void window__clear(struct window *w);
void window__free(struct window *w);

#endif
