/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Histograms of durations: merge, subtract, quantiles. Bucket arithmetic is bpf/gil_hist.h's. Pure.
 */
#ifndef GILSCOPE_HIST_H
#define GILSCOPE_HIST_H

#include <stdint.h>

#include "../bpf/gil_hist.h"

/* dst += src. Counts saturate. */
void hist__add(struct gil_hist *dst, const struct gil_hist *src);

/* dst = now - before, for cumulative histograms (unsigned wrap-around is harmless). */
void hist__delta(struct gil_hist *dst, const struct gil_hist *now, const struct gil_hist *before);

/* Counts one value. */
void hist__count(struct gil_hist *h, uint64_t ns);

uint64_t hist__total(const struct gil_hist *h);

/*
 * Quantile q (0..1) in ns over the union of `a` and `b` (either may be NULL): the value in the middle of the
 * bucket that holds the ceil(q * total)-th smallest (relative error <= 6.25 %, 12.5 % promised), never above
 * `max_ns`, the exact maximum (0: not known), and equal to it where it is the largest that is asked for. 0 if empty.
 */
uint64_t hist__quantile(const struct gil_hist *a, const struct gil_hist *b, double q, uint64_t max_ns);

#endif
