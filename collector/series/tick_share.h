/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How a thread's exact times of an interval are divided among the stacks that it was seen in.
 *
 *   on a CPU    hold = the thread's hold on a CPU x the stack's share of its ticks. The ticks are drawn from all of that time
 *               alike, however long the single holds are, so no place is preferred; the error is that of counting. Of a thread
 *               that was too short on a CPU for a single tick, but lost it while it held, it goes the way of the next line: it
 *               was there just before and after
 *   without     hold = what was measured from the switch on, by what it did there (asleep, without a CPU), not more of each kind
 *               than the thread's exact sum
 *   blame       others' waiting for the thread, by (number of waiters at the ticks) x (time per tick), and by what was measured
 *
 * In light mode no time is known exactly: tick_share__estimate() reckons it from the ticks alone.
 *
 * What ticks and switches have not told, such as the time of a thread of which nothing was seen, is nobody's: it stays in
 * `rest`. The parts and the rest are together what there was to divide, to the nanosecond. Pure.
 */
#ifndef GILSCOPE_TICK_SHARE_H
#define GILSCOPE_TICK_SHARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf/gil_types.h"

/* A stack of a thread. */
struct tick_part {
	uint32_t thread;         /* the caller's number of it */
	bool nowhere;            /* it was seen, but not where */
	bool without;            /* estimates only: these ticks found the thread without the GIL */
	struct gil_tick_sum sum;
	uint64_t hold_ns, blame_ns; /* the outcome, */
	struct gil_off hold_off, blame_off; /* and of both what fell off the CPU */
};

/* A thread, by that number. */
struct tick_thread {
	uint64_t on_ns;          /* held on a CPU, exactly */
	struct gil_off off;      /* held without one, or without its being known: less of that where parts tell of it */
	uint64_t blame_ns;       /* others waited for it */
	/* set by tick_share__divide(): */
	uint64_t ticks;          /* in all */
	double ticks_ns;         /* the time that they stand for */
	uint64_t est_ns;         /* estimates only: how long it held, about */
	double est_var;          /* ns^2 */
	uint64_t rest_hold_ns, rest_blame_ns; /* what has no place */
	/* its own: */
	struct gil_off off_seen;
	double weight;           /* of all blame */
	struct {
		uint64_t ticks;
		struct gil_off off;
		double weight;
	} given;
};

/*
 * Light mode: reckons est_* and ticks of the threads, and hold_ns of the parts, of which those `without` have none. What is on
 * a CPU is as many periods as there were ticks; what is not was measured. A thread's CPU time is as good as known, so the error
 * is that of a share of its ticks.
 */
void tick_share__estimate(struct tick_thread *threads, size_t threads_n, struct tick_part *parts, size_t parts_n);

/*
 * The variance, ns^2, of what `seen` of `all` ticks are worth that stand for `ns`: the binomial distribution's, with the share
 * reckoned as if there had been one more tick of either kind (Laplace's rule), since none of a few is no proof of never. So a
 * place that was seen asleep only has one as well: of what it was on the CPU before and after. Without any tick each share is as
 * likely as another.
 */
double tick_share__var(double ns, double seen, double all);

/* Divides. `parts` of threads that have none is legal: then all is rest. */
void tick_share__divide(struct tick_thread *threads, size_t threads_n, struct tick_part *parts, size_t parts_n);

#endif
