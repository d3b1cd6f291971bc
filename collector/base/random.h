/* SPDX-License-Identifier: GPL-2.0-only */
/* Numbers that follow no period of an observed process's: jitter, sampling. Not for secrets. */
#ifndef GILSCOPE_RANDOM_H
#define GILSCOPE_RANDOM_H

#include <stdint.h>

/* The next of a sequence that does not repeat soon (xorshift). *state is the caller's, 0 at first or any seed. */
static inline uint32_t random__next(uint32_t *state)
{
	uint32_t x = *state ? *state : 0x9e3779b9;

	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	return *state = x;
}

#endif
