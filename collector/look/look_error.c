/* SPDX-License-Identifier: GPL-2.0-only */
/* See look_error.h. */
#include "look_error.h"

double look_error__square(const double *blocks, size_t n)
{
	double mean = 0, sum = 0;

	if (n <= LOOK_LAGS)
		return 0;
	for (size_t i = 0; i < n; i++)
		mean += blocks[i] / (double)n;
	for (size_t lag = 0; lag < LOOK_LAGS; lag++) {
		double cov = 0;

		for (size_t i = 0; i + lag < n; i++)
			cov += (blocks[i] - mean) * (blocks[i + lag] - mean);
		sum += (lag ? 2 : 1) * (1 - (double)lag / LOOK_LAGS) * cov;
	}
	/* The mean is the blocks' own, which takes a part of what they have in common. */
	sum /= 1 - (double)LOOK_LAGS / (double)n;
	return sum > 0 ? sum : 0;
}
