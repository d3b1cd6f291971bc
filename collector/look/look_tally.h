/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What looks at one process tell of an interval: how long each thread had its GIL, how long it queued and for whom, as estimates
 * with a standard error. Pure.
 *
 * Each look at a GIL stands for its weight. Waiting is counted by the GIL's own number of waiters where that is known (then
 * looks at threads only part it among them), else by the looks at threads: the share of them that found the thread queueing.
 * A thread that was never seen with the GIL has no hold. Errors: look_error.h, and no less than what the looks themselves leave
 * open: where between two of them a hold began or ended.
 */
#ifndef GILSCOPE_LOOK_TALLY_H
#define GILSCOPE_LOOK_TALLY_H

#include "collector/series/sample.h"
#include "look_ring.h"

struct look_tally;

struct look_tally *look_tally__new(void);
void look_tally__free(struct look_tally *t);

/* One record, of the interval from `start` to `end` (ns, CLOCK_MONOTONIC). */
void look_tally__note(struct look_tally *t, const struct look_record *r, uint64_t start, uint64_t end);

/* One GIL, by its place in records. */
struct look_gil {
	uint64_t addr;
	uint32_t number; /* id of its interpreter */
	uint64_t collector; /* of garbage, that interpreter's: gc_words__state(); 0: not known */
};

/* What a thread did to others in one stack: its part of what it held and of what others waited for it. */
struct look_code {
	uint32_t thread; /* place in the sample */
	uint64_t hash;   /* 0: it is not known where */
	uint64_t hold_ns, blame_ns;
	uint32_t times;
};

/* Called for each, at the end of settling; NULL: not. 0 or -errno, which settling returns. */
struct look_code_taker {
	int (*take)(void *arg, struct proc_sample *s, const struct look_code *code);
	void *arg;
};

/*
 * Puts the interval of `len_ns` into an empty sample, and begins the next one: GILs, threads (by tid alone: who they are is the
 * caller's to say), blame, totals, and observed_ns: what was looked at. 0 or -ENOMEM.
 */
int look_tally__settle(struct look_tally *t, const struct look_gil *gils, uint32_t gils_n, uint64_t len_ns,
		       const struct look_code_taker *codes, struct proc_sample *s);

#endif
