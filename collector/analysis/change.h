/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whether something is different after than it was before, told from what it varies by itself. Pure.
 *
 * What is measured is a ratio of sums over intervals: time held over time observed. Intervals that follow one another are alike
 * (autocorrelated), so the error of that ratio comes from its slowest waves: the long-run variance by equally weighted cosines,
 * and Student's distribution with as many degrees of freedom as there are cosines (Lazarus, Lewis, Stock and Watson, "HAR
 * Inference", 2018). It is what Newey-West estimates, but keeps closer to its 5 % with few intervals. Differences are corrected
 * for how many were looked at (Holm).
 */
#ifndef GILSCOPE_CHANGE_H
#define GILSCOPE_CHANGE_H

#include <stdbool.h>
#include <stddef.h>

#define CHANGE_FEWEST 10 /* intervals on each side, or nothing is judged */

/* What was measured in `n` intervals that follow one another: the value is the sum of num over the sum of den (>= 0). */
struct change_series {
	const double *num, *den;
	size_t n;
};

struct change {
	double before, after;  /* NAN: not known */
	double difference, error, freedom; /* after - before, its standard error, degrees of freedom of that */
	double smallest;       /* in the value's unit: smaller differences are never named */
	double p;              /* chance of such a difference, or a larger one, if there was no change; NAN: it can't be judged */
	double low, high;      /* 95 % interval of the difference */
	bool seen;             /* it is named: beyond chance and beyond the floor */
	double would;          /* a difference of that size would have been seen four times out of five; NAN: not judged */
};

void change__measure(const struct change_series *before, const struct change_series *after, double smallest, struct change *ret);

/*
 * Which of `n` differences, measured beforehand, are seen: beyond chance, `smallest` and `at_least` (0.02) of what it was.
 */
void changes__judge(struct change *list, size_t n, double at_least);

/* Chance that |t| is at least so large, of Student's distribution. */
double student__p(double t, double freedom);

#endif
