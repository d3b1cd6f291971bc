/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Samples in, windows out: the tiers 1s, 10s, 60s, and the totals since attach.
 *
 * Merging only: sums add, maxima max, histograms merge, percentiles are computed at the very end.
 * Pure: no clock, no I/O; time is in the samples. Threads that ended keep their totals; beyond
 * `max_threads` the smallest ended ones are folded into a pseudo-thread, counted.
 */
#ifndef GILSCOPE_AGGR_H
#define GILSCOPE_AGGR_H

#include "sample.h"

enum tier {
	TIER_BASE, /* one sample per --interval; its name is "1s" whatever that is */
	TIER_10S,
	TIER_60S,
	TIER_COUNT,
};

struct aggr_opts {
	uint64_t interval_ns;  /* of the base samples */
	size_t max_threads;    /* threads kept apart in the totals, 0: default 4096 */
};

struct aggr;

struct aggr *aggr__new(const struct aggr_opts *opts);
void aggr__free(struct aggr *a);

/*
 * Adds the next sample (end_ms not before the previous one's; a step backwards closes the open windows).
 * Windows that it completes go to `emit`, oldest first, TIER_10S before TIER_60S; the sample itself is
 * not emitted. A window's end_ms is a multiple of its step; len_ns and observed_ns are the sums of what it
 * really covers. A tier whose step is not longer than the interval gets the sample as it is. Without `emit`, now
 * and ever, only the totals are kept. 0 or -ENOMEM.
 */
int aggr__add(struct aggr *a, const struct proc_sample *s,
	      int (*emit)(void *arg, enum tier tier, const struct proc_sample *window), void *arg);

/* Emits the windows begun, at the end of a run (partial = true, end_ms = the last sample's). */
int aggr__flush(struct aggr *a, int (*emit)(void *arg, enum tier, const struct proc_sample *), void *arg);

/* Everything since attach. Owned by the aggr, valid until the next call. */
const struct proc_sample *aggr__totals(struct aggr *a);

/*
 * For tests: how many threads were folded into the pseudo-thread in the totals. One that lives on while all places are taken by
 * living threads counts once per sample.
 */
uint64_t aggr__folded(const struct aggr *a);

uint64_t tier__step_ns(enum tier tier, uint64_t interval_ns);
const char *tier__name(enum tier tier);

#endif
