/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Arithmetic of the time that a GIL was held off the CPU, the same in the kernel and in userland.
 *
 * A GIL has one clock per kind of such time. It runs while the holder is in that state, so what fell into a hold or into a
 * wait is what the clocks went on meanwhile, as blame is by the held clock.
 */
#ifndef GILSCOPE_GIL_OFF_H
#define GILSCOPE_GIL_OFF_H

#include "gil_types.h"

/* The clocks of `view` at `now`. */
static inline __attribute__((always_inline)) struct gil_off gil_off_at(const struct gil_cpu_view *view, __u64 now)
{
	struct gil_off at = view->off;
	__u64 open = now > view->since ? now - view->since : 0;

	for (__u32 kind = 0; kind < GIL_OFF_KINDS; kind++)
		if (view->state == GIL_CPU_OF_KIND(kind))
			at.ns[kind] += open;
	return at;
}

static inline __attribute__((always_inline)) void gil_off_add(struct gil_off *sum, const struct gil_off *part)
{
	for (__u32 kind = 0; kind < GIL_OFF_KINDS; kind++)
		sum->ns[kind] += part->ns[kind];
}

/* In sum, of all kinds. */
static inline __attribute__((always_inline)) __u64 gil_off_sum(const struct gil_off *off)
{
	__u64 sum = 0;

	for (__u32 kind = 0; kind < GIL_OFF_KINDS; kind++)
		sum += off->ns[kind];
	return sum;
}

/*
 * Adds to `sum` what the clocks went on since `place`, but no more than `room` ns in all, and moves `place` on by as much. The
 * clocks are those of another CPU's events and may be ahead of ours by a little: the rest is for the next time.
 */
static inline __attribute__((always_inline)) void gil_off_take(struct gil_off *place, const struct gil_off *at, __u64 room,
							       struct gil_off *sum)
{
	for (__u32 kind = 0; kind < GIL_OFF_KINDS; kind++) {
		__u64 part = at->ns[kind] > place->ns[kind] ? at->ns[kind] - place->ns[kind] : 0;

		if (part > room)
			part = room;
		room -= part;
		place->ns[kind] += part;
		sum->ns[kind] += part;
	}
}

#endif
