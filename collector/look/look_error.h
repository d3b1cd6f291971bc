/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How far off a sum may be that is made of looks.
 *
 * A hold of 100 ms is seen by a hundred looks, which are one observation and not a hundred. So the error comes from blocks: the
 * interval is cut into LOOK_BLOCKS parts, and of their sums s, with their covariances up to LOOK_LAGS - 1 blocks apart,
 *
 *   error^2 = sum over lags k of (1 - |k| / LOOK_LAGS) * cov(s[i], s[i + k]) * blocks      (Newey, West: Econometrica 55, 1987)
 *
 * which takes a process that repeats itself, too. Pure.
 */
#ifndef GILSCOPE_LOOK_ERROR_H
#define GILSCOPE_LOOK_ERROR_H

#include <stddef.h>

#define LOOK_BLOCKS 20
#define LOOK_LAGS 5

/* Standard error, squared, of the sum of `n` blocks. */
double look_error__square(const double *blocks, size_t n);

#endif
