/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The interval grid: boundaries in CLOCK_MONOTONIC that fall on multiples of the interval of the wall clock. Pure: clocks
 * are arguments.
 *
 * Small errors of the wall clock are followed smoothly, those below a millisecond not at all, so that an interval is
 * exactly as long as it is called unless the clock was corrected in it. A step (somebody sets the clock) is believed
 * only after it has lasted for half a minute: until then stamps go on as before, so that a clock set back and forth
 * neither repeats nor reorders samples. Time spent in suspend is known (CLOCK_BOOTTIME) and believed at once.
 */
#ifndef GILSCOPE_GRID_H
#define GILSCOPE_GRID_H

#include <stdbool.h>
#include <stdint.h>

struct grid_clocks {
	uint64_t mono_ns; /* CLOCK_MONOTONIC */
	int64_t wall_ns;  /* CLOCK_REALTIME */
	uint64_t boot_ns; /* CLOCK_BOOTTIME */
};

struct grid {
	uint64_t interval_ns;
	int64_t offset_ns;     /* stamp = monotonic + offset */
	uint64_t suspended_ns; /* boot - mono when last looked */
	uint64_t step_since;   /* mono: a step has been seen since then; 0: none */
	int64_t last_ms;       /* newest stamp given out */
};

void grid__init(struct grid *g, uint64_t interval_ns, const struct grid_clocks *now);

/* The next boundary at least `margin_ns` ahead of now (ns, CLOCK_MONOTONIC); its stamp in *ret_end_ms. */
uint64_t grid__next(struct grid *g, const struct grid_clocks *now, uint64_t margin_ns, int64_t *ret_end_ms);

/* Stamp (ms) of a moment before the planned boundary, at which the interval is cut short instead. */
int64_t grid__stamp(struct grid *g, uint64_t mono_ns);

#endif
