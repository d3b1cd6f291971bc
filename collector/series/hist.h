/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Histograms of durations: merge, subtract, quantiles. Bucket arithmetic is bpf/gil_hist.h's. Pure.
 *
 * The kernel counts in 8 buckets per octave. What is kept for long is half as fine: a hist_coarse's bucket i holds the
 * fine ones 2i and 2i + 1, so its bounds are gil_hist_floor(2i) and gil_hist_floor(2i + 2).
 */
#ifndef GILSCOPE_HIST_H
#define GILSCOPE_HIST_H

#include <stdint.h>

#include "bpf/gil_hist.h"

struct hist_bucket {
	uint16_t index;
	uint32_t count;
};

/*
 * The buckets in use, in ascending order: a few of 264, of thousands of threads in several windows. Zeroed is empty; owns its
 * memory. What adds returns 0, or -ENOMEM: then it may have added in part. Counts saturate.
 */
struct hist {
	struct hist_bucket *buckets;
	uint16_t n, room;
};

/* Counts one value. */
int hist__count(struct hist *h, uint64_t ns);

/* dst += src. */
int hist__add(struct hist *dst, const struct hist *src);

/*
 * Of cumulative counts: dst += now - last, and `last` becomes `now`. Unsigned wrap-around is harmless. `dst` is empty before.
 */
int hist__advance(struct hist *dst, struct hist *last, const struct gil_hist *now);

uint64_t hist__total(const struct hist *h);
void hist__clear(struct hist *h);

/*
 * Quantile q (0..1) in ns over the union of `ended` and `open` (either may be NULL): the value in the middle of the
 * bucket that holds the ceil(q * total)-th smallest (relative error <= 6.25 %, 12.5 % promised), never above
 * `max_ns`, the exact maximum (0: not known), and equal to it where it is the largest that is asked for. 0 if empty.
 */
uint64_t hist__quantile(const struct hist *ended, const struct hist *open, double q, uint64_t max_ns);

/* ---- half as fine ---- */

#define HIST_COARSE_BUCKETS (GIL_HIST_BUCKETS / 2)

struct hist_coarse {
	uint32_t count[HIST_COARSE_BUCKETS];
};

/* The same counts in the wider buckets; they saturate. */
void hist_coarse__from(struct hist_coarse *dst, const struct hist *src);

/* dst += src. Counts saturate. */
void hist_coarse__add(struct hist_coarse *dst, const struct hist_coarse *src);

uint64_t hist_coarse__total(const struct hist_coarse *h);

/*
 * As hist__quantile(). From 512 ns on a bucket [a, b) is at most a quarter of `a` wide and 2ab/(a + b) stands for it,
 * which is off by the same share at either end: relative error <= 1/9.
 */
uint64_t hist_coarse__quantile(const struct hist_coarse *h, double q, uint64_t max_ns);

#endif
