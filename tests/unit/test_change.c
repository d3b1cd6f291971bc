/* SPDX-License-Identifier: GPL-2.0-only */
/* Changes, told from what made-up series vary by themselves: how often nothing is taken for something, and something found. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdint.h>

#include "collector/analysis/change.h"

#define PAIRS 1000
#define LONGEST 600

static uint64_t state;

static double uniform(void)
{
	state = state * 6364136223846793005ull + 1442695040888963407ull;
	return ((double)(state >> 11) + 0.5) / 9007199254740992.0;
}

static double normal(void)
{
	return sqrt(-2 * log(uniform())) * cos(2 * M_PI * uniform());
}

struct made {
	double num[LONGEST], den[LONGEST];
	struct change_series series;
};

/*
 * Time held in each of `n` seconds: 20 % of it on average, varying by half of that, and the more like the second before the
 * nearer `like` is to 1.
 */
static void make(struct made *m, size_t n, double like, double times)
{
	double level = normal();

	for (size_t i = 0; i < n; i++) {
		level = like * level + sqrt(1 - like * like) * normal();
		m->den[i] = 1e6 * (0.9 + 0.1 * uniform());
		m->num[i] = times * 0.2 * m->den[i] * exp(0.5 * level - 0.125);
	}
	m->series = (struct change_series){m->num, m->den, n};
}

/* In how many of 1,000 pairs a change is seen. */
static int seen_of_1000(size_t before, size_t after, double like, double times, double at_least)
{
	static struct made a, b;
	int seen = 0;

	state = 42 + before + 1000 * after;
	for (int i = 0; i < PAIRS; i++) {
		struct change c;

		make(&a, before, like, 1);
		make(&b, after, like, times);
		change__measure(&a.series, &b.series, 0, &c);
		changes__judge(&c, 1, at_least);
		seen += c.seen && (times == 1 || (c.difference > 0) == (times > 1));
	}
	return seen;
}

Test(change, nothing_is_taken_for_something_in_less_than_5_of_100)
{
	static const struct {
		size_t before, after;
		double like;
	} cases[] = {{60, 60, 0}, {60, 60, 0.5}, {60, 300, 0.5}, {120, 120, 0.7}, {300, 300, 0.8}, {600, 600, 0.9},
		     {20, 20, 0.3}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int seen = seen_of_1000(cases[i].before, cases[i].after, cases[i].like, 1, 0);

		cr_expect_lt(seen, 50, "%zu and %zu seconds, %.1f: %d", cases[i].before, cases[i].after, cases[i].like, seen);
	}
}

Test(change, something_is_found)
{
	static const struct {
		size_t n;
		double like, times;
		int found;
	} cases[] = {{60, 0, 1.5, 840}, {60, 0.3, 2, 950}, {300, 0.5, 1.5, 950}, {300, 0.5, 0.5, 950}, {600, 0.8, 2, 950}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int seen = seen_of_1000(cases[i].n, cases[i].n, cases[i].like, cases[i].times, 0.02);

		cr_expect_geq(seen, cases[i].found, "%zu seconds, %.1f, times %.1f: %d", cases[i].n, cases[i].like,
			      cases[i].times, seen);
	}
}

Test(change, of_many_that_stay_the_same_none_is_named)
{
	static struct made a, b;
	int named = 0;

	state = 7;
	for (int i = 0; i < 200; i++) {
		struct change list[20];
		bool any = false;

		for (size_t k = 0; k < 20; k++) {
			make(&a, 60, 0.5, 1);
			make(&b, 60, 0.5, 1);
			change__measure(&a.series, &b.series, 0, &list[k]);
		}
		changes__judge(list, 20, 0);
		for (size_t k = 0; k < 20; k++)
			any = any || list[k].seen;
		named += any;
	}
	cr_expect_lt(named, 10, "%d of 200", named);
}

Test(change, what_is_not_known_or_too_little_is_not_judged)
{
	const double num[CHANGE_FEWEST] = {1, 2, 1, 2, 1, 2, 1, 2, 1, 2}, den[CHANGE_FEWEST] = {9, 9, 9, 9, 9, 9, 9, 9, 9, 9};
	const double gone[CHANGE_FEWEST] = {1, 2, NAN}, none[CHANGE_FEWEST] = {0};
	const struct change_series whole = {num, den, CHANGE_FEWEST}, few = {num, den, CHANGE_FEWEST - 1};
	const struct change_series unknown = {gone, den, CHANGE_FEWEST}, empty = {none, none, CHANGE_FEWEST};
	const struct change_series *const cases[] = {&few, &unknown, &empty};
	struct change c;

	for (size_t i = 0; i < 3; i++) {
		change__measure(&whole, cases[i], 0, &c);
		changes__judge(&c, 1, 0);
		cr_expect(isnan(c.p) && isnan(c.would) && !c.seen, "%zu", i);
	}
	change__measure(&whole, &few, 0, &c);
	cr_expect_float_eq(c.before, 15.0 / 90, 1e-12);
	cr_expect_float_eq(c.after, 13.0 / 81, 1e-12, "what was measured is told all the same");
}

Test(change, without_any_variation_each_difference_is_one)
{
	const double ones[CHANGE_FEWEST] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, twos[CHANGE_FEWEST] = {2, 2, 2, 2, 2, 2, 2, 2, 2, 2};
	const struct change_series one = {ones, twos, CHANGE_FEWEST}, two = {twos, twos, CHANGE_FEWEST};
	struct change c;

	change__measure(&one, &two, 0, &c);
	changes__judge(&c, 1, 0.02);
	cr_expect(c.seen);
	cr_expect_eq(c.difference, 0.5);
	change__measure(&one, &two, 0.6, &c);
	changes__judge(&c, 1, 0.02);
	cr_expect_not(c.seen, "below the floor");
	change__measure(&one, &one, 0, &c);
	changes__judge(&c, 1, 0);
	cr_expect_eq(c.p, 1);
}

Test(change, students_distribution_is_as_in_the_tables)
{
	cr_expect_float_eq(student__p(2.776, 4), 0.05, 1e-4);
	cr_expect_float_eq(student__p(-2.776, 4), 0.05, 1e-4);
	cr_expect_float_eq(student__p(12.706, 1), 0.05, 1e-4);
	cr_expect_float_eq(student__p(1.96, 1e6), 0.05, 1e-4);
	cr_expect_float_eq(student__p(0, 5), 1, 1e-12);
	cr_expect_eq(student__p(INFINITY, 5), 0);
}
