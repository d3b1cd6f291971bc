/* SPDX-License-Identifier: GPL-2.0-only */
/* See change.h. */
#include "change.h"

#include <math.h>
#include <stdlib.h>

#define COSINES_MIN 4
#define COSINES_MAX 16
/*
 * What is named has less than 5 chances of 100 to be none. From few intervals that are alike the error comes out a little too
 * small: what has more than 3 of 100 by it is not named (tests/unit/test_change.c).
 */
#define NAMED 0.03
#define INTERVAL 0.05
#define FOUR_OF_FIVE 0.2 /* chance to miss it */

/* ---- Student's distribution ---- */

/* The continued fraction of the incomplete beta function, by Lentz's method. */
static double beta_fraction(double a, double b, double x)
{
	const double tiny = 1e-300;
	double c = 1, d = 1 - (a + b) * x / (a + 1), h;

	d = 1 / (fabs(d) < tiny ? tiny : d);
	h = d;
	for (int m = 1; m <= 300; m++) {
		double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
		double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)), step;

		d = 1 + even * d;
		c = 1 + even / c;
		d = 1 / (fabs(d) < tiny ? tiny : d);
		c = fabs(c) < tiny ? tiny : c;
		h *= d * c;
		d = 1 + odd * d;
		c = 1 + odd / c;
		d = 1 / (fabs(d) < tiny ? tiny : d);
		c = fabs(c) < tiny ? tiny : c;
		step = d * c;
		h *= step;
		if (fabs(step - 1) < 1e-12)
			break;
	}
	return h;
}

static double incomplete_beta(double a, double b, double x)
{
	double front;

	if (x <= 0 || x >= 1)
		return x <= 0 ? 0 : 1;
	front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x));
	if (x < (a + 1) / (a + b + 2))
		return front * beta_fraction(a, b, x) / a;
	return 1 - front * beta_fraction(b, a, 1 - x) / b;
}

double student__p(double t, double freedom)
{
	return isinf(t) ? 0 : incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t));
}

/* The |t| that is exceeded with that chance. */
static double student_quantile(double p, double freedom)
{
	double low = 0, high = 1;

	while (student__p(high, freedom) > p && high < 1e6)
		high *= 2;
	for (int i = 0; i < 60; i++) {
		double middle = (low + high) / 2;

		if (student__p(middle, freedom) > p)
			low = middle;
		else
			high = middle;
	}
	return high;
}

/* ---- measuring ---- */

struct ratio {
	double value, variance;
	int freedom; /* 0: too few intervals for a variance */
};

/* As few as tell the slow waves from chance, more where there is much to tell from. */
static int cosines_of(size_t n)
{
	int cosines = (int)(sqrt((double)n) / 3);

	return cosines < COSINES_MIN ? COSINES_MIN : cosines > COSINES_MAX ? COSINES_MAX : cosines;
}

/* The weight of one wave in what intervals deviate from the ratio by. */
static double weight_of_wave(const struct change_series *s, double value, double mean_den, int wave)
{
	double sum = 0;

	for (size_t i = 0; i < s->n; i++)
		sum += (s->num[i] - value * s->den[i]) / mean_den * cos(M_PI * wave * ((double)i + 0.5) / (double)s->n);
	return sum * sum * 2 / (double)s->n;
}

static struct ratio ratio_of(const struct change_series *s)
{
	double num = 0, den = 0, variance = 0;
	struct ratio r = {.value = NAN, .variance = NAN};
	int cosines = cosines_of(s->n);

	for (size_t i = 0; i < s->n; i++) {
		num += s->num[i];
		den += s->den[i];
	}
	if (!(den > 0) || isnan(num))
		return r;
	r.value = num / den;
	if (s->n < CHANGE_FEWEST)
		return r;
	for (int wave = 1; wave <= cosines; wave++)
		variance += weight_of_wave(s, r.value, den / (double)s->n, wave);
	r.variance = variance / cosines / (double)s->n;
	r.freedom = cosines;
	return r;
}

void change__measure(const struct change_series *before, const struct change_series *after, double smallest, struct change *ret)
{
	struct ratio a = ratio_of(before), b = ratio_of(after);
	double variance = a.variance + b.variance;

	*ret = (struct change){
		.before = a.value, .after = b.value, .difference = b.value - a.value, .error = sqrt(variance), .p = NAN,
		.smallest = smallest,
		.low = NAN, .high = NAN, .would = NAN,
	};
	if (isnan(ret->difference) || isnan(variance))
		return;
	ret->freedom = a.freedom + b.freedom;
	if (variance > 0) /* Welch's */
		ret->freedom = variance * variance / (a.variance * a.variance / a.freedom + b.variance * b.variance / b.freedom);
	if (variance > 0)
		ret->p = student__p(ret->difference / ret->error, ret->freedom);
	else
		ret->p = ret->difference == 0 ? 1 : 0;
}

/* ---- judging ---- */

static int surest_first(const void *a, const void *b)
{
	double x = (*(struct change *const *)a)->p, y = (*(struct change *const *)b)->p;

	return (x > y) - (x < y);
}

static double floor_of(const struct change *c, double at_least)
{
	return fmax(at_least * fabs(c->before), c->smallest);
}

static void say_limits(struct change *c, size_t looked_at, double floor)
{
	double single = student_quantile(INTERVAL, c->freedom) * c->error;
	double strict = student_quantile(NAMED / (double)looked_at, c->freedom) * c->error;

	c->low = c->difference - single;
	c->high = c->difference + single;
	c->would = fmax(floor, strict + student_quantile(2 * FOUR_OF_FIVE, c->freedom) * c->error);
}

void changes__judge(struct change *list, size_t n, double at_least)
{
	struct change **sorted = calloc(n + 1, sizeof(*sorted));
	bool all_before = true;
	size_t judged = 0;

	for (size_t i = 0; sorted && i < n; i++)
		if (!isnan(list[i].p))
			sorted[judged++] = &list[i];
	if (judged)
		qsort(sorted, judged, sizeof(*sorted), surest_first);
	for (size_t i = 0; i < judged; i++) {
		struct change *c = sorted[i];
		double floor = floor_of(c, at_least);

		all_before = all_before && c->p <= NAMED / (double)(judged - i);
		c->seen = all_before && fabs(c->difference) >= floor;
		say_limits(c, judged, floor);
	}
	free(sorted);
}
