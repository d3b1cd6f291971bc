/* SPDX-License-Identifier: GPL-2.0-only */
/* See overs.h. */
#include "overs.h"

#define ENOUGH 3        /* times that it was asked */
#define MOSTLY_LATE 0.5 /* of the times */
#define HARDLY_LATE 0.2

static uint64_t larger(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

void overs__add(struct gil_over *dst, const struct gil_over *src)
{
	dst->n += src->n;
	dst->ns += src->ns;
	dst->max_ns = larger(dst->max_ns, src->max_ns);
	for (int k = 0; k < GIL_OVER_BUCKETS; k++)
		dst->hist[k] += src->hist[k];
}

uint64_t overs__since(const struct gil_over *now, const struct gil_over *last, struct gil_over *ret)
{
	if (now->n < last->n || now->ns < last->ns) {
		*ret = (struct gil_over){0};
		return 1;
	}
	ret->n = now->n - last->n;
	ret->ns = now->ns - last->ns;
	ret->max_ns = ret->n ? now->max_ns : 0;
	for (int k = 0; k < GIL_OVER_BUCKETS; k++)
		ret->hist[k] = now->hist[k] - last->hist[k]; /* modulo 2^32, as they are counted */
	return 0;
}

uint64_t overs__end_of(size_t bucket)
{
	return bucket + 1 < GIL_OVER_BUCKETS ? 1ull << (GIL_OVER_SHIFT + bucket) : UINT64_MAX;
}

uint64_t overs__late(const struct gil_over *o)
{
	uint64_t late = 0;

	for (size_t k = 1; k < GIL_OVER_BUCKETS; k++)
		late += overs__end_of(k - 1) >= OVERS_LATE_NS ? o->hist[k] : 0;
	return late;
}

enum lets_go overs__kind(double n, double late)
{
	if (!(n >= ENOUGH) || !(late >= 0))
		return LETS_GO_UNKNOWN;
	if (late >= MOSTLY_LATE * n)
		return LETS_GO_LATE;
	return late > HARDLY_LATE * n ? LETS_GO_MIXED : LETS_GO_SOON;
}
