/* SPDX-License-Identifier: GPL-2.0-only */
/* See hist.h. Counts stop at their maximum instead of starting over. */
#include "hist.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define ROOM_STEP 4 /* buckets that a histogram grows by */

static inline uint32_t add_saturating(uint32_t a, uint32_t b)
{
	uint32_t sum = a + b;

	return sum | -(uint32_t)(sum < a);
}

static int make_room(struct hist *h, size_t n)
{
	size_t room = (n + ROOM_STEP - 1) / ROOM_STEP * ROOM_STEP;
	struct hist_bucket *buckets;

	if (n <= h->room)
		return 0;
	buckets = reallocarray(h->buckets, room, sizeof(*buckets));
	if (!buckets)
		return -ENOMEM;
	h->buckets = buckets;
	h->room = (uint16_t)room;
	return 0;
}

/* First place whose bucket is not below `index`. */
static size_t place_of(const struct hist *h, uint32_t index)
{
	size_t low = 0, high = h->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (h->buckets[middle].index < index)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* The count of a bucket, which is made if need be; NULL: no memory. */
static uint32_t *count_of(struct hist *h, uint32_t index)
{
	size_t at = place_of(h, index);

	if (at < h->n && h->buckets[at].index == index)
		return &h->buckets[at].count;
	if (make_room(h, h->n + 1u))
		return NULL;
	memmove(h->buckets + at + 1, h->buckets + at, (h->n - at) * sizeof(*h->buckets));
	h->buckets[at] = (struct hist_bucket){.index = (uint16_t)index};
	h->n++;
	return &h->buckets[at].count;
}

int hist__count(struct hist *h, uint64_t ns)
{
	uint32_t *count = count_of(h, gil_hist_bucket(ns));

	if (!count)
		return -ENOMEM;
	*count = add_saturating(*count, 1);
	return 0;
}

/* How many buckets of `src` are not in `dst`. */
static size_t count_missing(const struct hist *dst, const struct hist *src)
{
	size_t at = 0, n = 0;

	for (size_t i = 0; i < src->n; i++) {
		while (at < dst->n && dst->buckets[at].index < src->buckets[i].index)
			at++;
		n += at == dst->n || dst->buckets[at].index != src->buckets[i].index;
	}
	return n;
}

/* Merges from the end, so that nothing is overwritten before it was looked at. */
int hist__add(struct hist *dst, const struct hist *src)
{
	size_t n = dst->n + count_missing(dst, src), mine = dst->n, theirs = src->n;

	if (make_room(dst, n))
		return -ENOMEM;
	dst->n = (uint16_t)n;
	while (theirs > 0) {
		struct hist_bucket bucket = src->buckets[theirs - 1];

		if (mine > 0 && dst->buckets[mine - 1].index > bucket.index) {
			bucket = dst->buckets[--mine];
		} else {
			theirs--;
			if (mine > 0 && dst->buckets[mine - 1].index == bucket.index)
				bucket.count = add_saturating(bucket.count, dst->buckets[--mine].count);
		}
		dst->buckets[--n] = bucket;
	}
	return 0;
}

int hist__advance(struct hist *dst, struct hist *last, const struct gil_hist *now)
{
	for (uint32_t index = 0, at = 0; index < GIL_HIST_BUCKETS; index++) {
		bool known = at < last->n && last->buckets[at].index == index;
		uint32_t before = known ? last->buckets[at].count : 0, *count, *mine;

		at += known;
		if (now->count[index] == before)
			continue;
		count = count_of(last, index);
		mine = count ? count_of(dst, index) : NULL;
		if (!mine)
			return -ENOMEM;
		at += !known;
		*count = now->count[index];
		*mine = now->count[index] - before;
	}
	return 0;
}

uint64_t hist__total(const struct hist *h)
{
	uint64_t total = 0;

	for (size_t i = 0; i < h->n; i++)
		total += h->buckets[i].count;
	return total;
}

void hist__clear(struct hist *h)
{
	free(h->buckets);
	*h = (struct hist){0};
}

/* ---- quantiles ---- */

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

uint64_t hist__quantile(const struct hist *ended, const struct hist *open, double q, uint64_t max_ns)
{
	static const struct hist none;
	const struct hist *a = ended ? ended : &none, *b = open ? open : &none;
	uint64_t total = hist__total(a) + hist__total(b), rank, seen = 0;

	if (total == 0)
		return 0;
	rank = rank_of(q, total);
	if (rank == total && max_ns > 0)
		return max_ns; /* the largest value is known exactly */
	for (size_t i = 0, k = 0; i < a->n || k < b->n;) {
		uint32_t next_a = i < a->n ? a->buckets[i].index : UINT32_MAX;
		uint32_t next_b = k < b->n ? b->buckets[k].index : UINT32_MAX;

		seen += next_a <= next_b ? a->buckets[i++].count : b->buckets[k++].count;
		if (seen >= rank)
			return representative(next_a <= next_b ? next_a : next_b, max_ns);
	}
	return max_ns; /* not reached: the last bucket completes the total */
}

/* ---- half as fine ---- */

_Static_assert(GIL_HIST_BUCKETS % 2 == 0, "the last wide bucket is short of one");

void hist_coarse__from(struct hist_coarse *dst, const struct hist *src)
{
	memset(dst, 0, sizeof(*dst));
	for (size_t i = 0; i < src->n; i++) {
		uint32_t *count = &dst->count[src->buckets[i].index / 2];

		*count = add_saturating(*count, src->buckets[i].count);
	}
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
