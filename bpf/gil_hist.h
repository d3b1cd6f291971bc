/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Bucket arithmetic of the log-linear histograms, the same in the kernel and in userland.
 *
 * Values below 512 ns fall into 8 linear buckets of 64 ns; from there every power of two is cut
 * into 8 equal buckets. The method is that of HdrHistogram, with fixed parameters.
 */
#ifndef GILSCOPE_GIL_HIST_H
#define GILSCOPE_GIL_HIST_H

#include "gil_types.h"

/* floor(log2(v)), v > 0; a binary search, since BPF has no instruction for it. */
static inline __attribute__((always_inline)) __u32 gil_log2(__u64 v)
{
	__u32 bit = 0;

	if (v >> 32) { v >>= 32; bit += 32; }
	if (v >> 16) { v >>= 16; bit += 16; }
	if (v >> 8) { v >>= 8; bit += 8; }
	if (v >> 4) { v >>= 4; bit += 4; }
	if (v >> 2) { v >>= 2; bit += 2; }
	return bit + (__u32)(v >> 1);
}

/* Bucket of a duration in ns: 0 .. GIL_HIST_BUCKETS - 1. */
static inline __attribute__((always_inline)) __u32 gil_hist_bucket(__u64 ns)
{
	__u32 top, index;

	if (ns < (1ull << (GIL_HIST_SHIFT + GIL_HIST_SUB_BITS)))
		return (__u32)(ns >> GIL_HIST_SHIFT);
	if (ns >> GIL_HIST_TOP_BIT)
		return GIL_HIST_BUCKETS - 1;
	top = gil_log2(ns);
	index = ((top - GIL_HIST_SHIFT - GIL_HIST_SUB_BITS + 1) << GIL_HIST_SUB_BITS) +
		((__u32)(ns >> (top - GIL_HIST_SUB_BITS)) & ((1u << GIL_HIST_SUB_BITS) - 1));
	return index < GIL_HIST_BUCKETS ? index : GIL_HIST_BUCKETS - 1;
}

/* Lowest duration in ns that falls into bucket 0 .. GIL_HIST_BUCKETS. */
static inline __attribute__((always_inline)) __u64 gil_hist_floor(__u32 bucket)
{
	__u32 octave = bucket >> GIL_HIST_SUB_BITS;
	__u64 sub = bucket & ((1u << GIL_HIST_SUB_BITS) - 1);

	if (octave == 0)
		return sub << GIL_HIST_SHIFT;
	return ((1ull << GIL_HIST_SUB_BITS) + sub) << (octave - 1 + GIL_HIST_SHIFT);
}


/* The bucket of gil_over.hist that `ns` belongs to. */
static inline __attribute__((always_inline)) __u32 gil_over_bucket(__u64 ns)
{
	__u32 bucket = ns >> GIL_OVER_SHIFT ? gil_log2(ns >> GIL_OVER_SHIFT) + 1 : 0;

	return bucket < GIL_OVER_BUCKETS ? bucket : GIL_OVER_BUCKETS - 1;
}

#endif
