/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Lists out of a target's memory may run in a circle: whoever follows one asks at each place whether he has been there. Brent's
 * way: one place is remembered, and exchanged for the present one after 1, 2, 4, ... steps, so a circle of n places is known
 * after 3n steps and those that lead into it, at most. Pure.
 */
#ifndef GILSCOPE_CIRCLE_H
#define GILSCOPE_CIRCLE_H

#include <stdbool.h>
#include <stdint.h>

struct circle {
	uint64_t mark;         /* 0: none yet */
	uint32_t steps, limit; /* since it was set, and when it moves on */
};

/* Zeroed at the beginning. `at` is not 0. */
static inline bool circle__closed(struct circle *c, uint64_t at)
{
	if (at == c->mark)
		return true;
	if (c->steps++ == c->limit) {
		c->mark = at;
		c->limit = c->limit * 2 + 1;
		c->steps = 0;
	}
	return false;
}

#endif
