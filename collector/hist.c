/* SPDX-License-Identifier: GPL-2.0-only */
/* See hist.h. Counts stop at their maximum instead of starting over. */
#include "hist.h"

#include <math.h>
#include <stddef.h>

static inline uint32_t add_saturating(uint32_t a, uint32_t b)
{
	uint32_t sum = a + b;

	return sum | -(uint32_t)(sum < a);
}

void hist__add(struct gil_hist *dst, const struct gil_hist *src)
{
	for (size_t i = 0; i < GIL_HIST_BUCKETS; i++)
		dst->count[i] = add_saturating(dst->count[i], src->count[i]);
}

void hist__delta(struct gil_hist *dst, const struct gil_hist *now, const struct gil_hist *before)
{
	for (size_t i = 0; i < GIL_HIST_BUCKETS; i++)
		dst->count[i] = now->count[i] - before->count[i];
}

void hist__count(struct gil_hist *h, uint64_t ns)
{
	uint32_t *count = &h->count[gil_hist_bucket(ns)];

	*count = add_saturating(*count, 1);
}

uint64_t hist__total(const struct gil_hist *h)
{
	uint64_t total = 0;

	for (size_t i = 0; i < GIL_HIST_BUCKETS; i++)
		total += h->count[i];
	return total;
}

void hist_open__add(struct hist_open *dst, const struct hist_open *src)
{
	for (size_t i = 0; i < GIL_HIST_BUCKETS; i++) {
		uint32_t sum = (uint32_t)dst->count[i] + src->count[i];

		dst->count[i] = (uint16_t)(sum < UINT16_MAX ? sum : UINT16_MAX);
	}
}

void hist_open__count(struct hist_open *h, uint64_t ns)
{
	uint16_t *count = &h->count[gil_hist_bucket(ns)];

	*count += *count < UINT16_MAX;
}

uint64_t hist_open__total(const struct hist_open *h)
{
	uint64_t total = 0;

	for (size_t i = 0; i < GIL_HIST_BUCKETS; i++)
		total += h->count[i];
	return total;
}

/* What stands for all values of a bucket. Above the scale only the maximum says more than its floor. */
static uint64_t representative(uint32_t bucket, uint64_t max_ns)
{
	uint64_t low = gil_hist_floor(bucket), value;

	if (bucket == GIL_HIST_BUCKETS - 1)
		return max_ns > low ? max_ns : low;
	value = low + (gil_hist_floor(bucket + 1) - low) / 2;
	return max_ns > 0 && value > max_ns ? max_ns : value;
}

/* Rank of the quantile, 1 .. total. */
static uint64_t rank_of(double q, uint64_t total)
{
	double rank = ceil(q * (double)total);

	if (!(rank >= 1))
		return 1;
	return rank >= (double)total ? total : (uint64_t)rank;
}

uint64_t hist__quantile(const struct gil_hist *ended, const struct hist_open *open, double q, uint64_t max_ns)
{
	uint64_t total = (ended ? hist__total(ended) : 0) + (open ? hist_open__total(open) : 0);
	uint64_t rank, seen = 0;

	if (total == 0)
		return 0;
	rank = rank_of(q, total);
	if (rank == total && max_ns > 0)
		return max_ns; /* the largest value is known exactly */
	for (uint32_t i = 0; i < GIL_HIST_BUCKETS; i++) {
		seen += (ended ? ended->count[i] : 0ull) + (open ? open->count[i] : 0ull);
		if (seen >= rank)
			return representative(i, max_ns);
	}
	return max_ns; /* not reached: the last bucket completes the total */
}

/* ---- half as fine ---- */

_Static_assert(GIL_HIST_BUCKETS % 2 == 0, "the last wide bucket is short of one");

void hist_coarse__from(struct hist_coarse *dst, const struct gil_hist *src)
{
	for (size_t i = 0; i < HIST_COARSE_BUCKETS; i++)
		dst->count[i] = add_saturating(src->count[2 * i], src->count[2 * i + 1]);
}

void hist_coarse__add(struct hist_coarse *dst, const struct hist_coarse *src)
{
	for (size_t i = 0; i < HIST_COARSE_BUCKETS; i++)
		dst->count[i] = add_saturating(dst->count[i], src->count[i]);
}

uint64_t hist_coarse__total(const struct hist_coarse *h)
{
	uint64_t total = 0;

	for (size_t i = 0; i < HIST_COARSE_BUCKETS; i++)
		total += h->count[i];
	return total;
}

/* The harmonic mean of a bucket's bounds; of the first one, which begins at 0, the middle. */
static uint64_t coarse_representative(uint32_t bucket, uint64_t max_ns)
{
	uint64_t low = gil_hist_floor(2 * bucket), high = gil_hist_floor(2 * bucket + 2), value = high / 2;

	if (bucket == HIST_COARSE_BUCKETS - 1)
		return max_ns > low ? max_ns : low;
	if (low > 0)
		value = (uint64_t)(2.0 * (double)low * (double)high / (double)(low + high));
	return max_ns > 0 && value > max_ns ? max_ns : value;
}

uint64_t hist_coarse__quantile(const struct hist_coarse *h, double q, uint64_t max_ns)
{
	uint64_t total = hist_coarse__total(h), rank, seen = 0;

	if (total == 0)
		return 0;
	rank = rank_of(q, total);
	if (rank == total && max_ns > 0)
		return max_ns;
	for (uint32_t i = 0; i < HIST_COARSE_BUCKETS; i++) {
		seen += h->count[i];
		if (seen >= rank)
			return coarse_representative(i, max_ns);
	}
	return max_ns; /* not reached */
}
