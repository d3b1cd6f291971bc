/* SPDX-License-Identifier: GPL-2.0-only */
/* Exact times divided by ticks: nothing is lost or made, no place is preferred however short the holds are. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "collector/series/tick_share.h"

TestSuite(tick_share);

#define MS 1000000ull
#define ASLEEP(ns, waited) {.off_ns = {[GIL_OFF_BLOCKED] = (ns)}, .off_waited_ns = {[GIL_OFF_BLOCKED] = (waited)}}

Test(tick_share, time_on_a_cpu_goes_by_ticks)
{
	struct tick_thread t = {.on_ns = 100 * MS, .blame_ns = 30 * MS};
	struct tick_part p[2] = {{.sum = {.ticks = 30, .waited = 30}}, {.sum = {.ticks = 70}}};

	tick_share__divide(&t, 1, p, 2);
	cr_expect_eq(p[0].hold_ns, 30 * MS);
	cr_expect_eq(p[1].hold_ns, 70 * MS);
	cr_expect_eq(p[0].blame_ns, 30 * MS);
	cr_expect_eq(p[1].blame_ns, 0);
	cr_expect_eq(t.rest_hold_ns + t.rest_blame_ns, 0);
}

Test(tick_share, time_off_the_cpu_is_as_measured)
{
	struct tick_thread t = {.on_ns = 10 * MS, .off = {{50 * MS}}, .blame_ns = 110 * MS};
	struct tick_part p[2] = {{.sum = {.ticks = 5, .waited = 5}}, {.sum = ASLEEP(50 * MS, 100 * MS)}};

	tick_share__divide(&t, 1, p, 2);
	cr_expect_eq(p[0].hold_ns, 10 * MS);
	cr_expect_eq(p[1].hold_ns, 50 * MS);
	cr_expect_eq(p[0].blame_ns, 10 * MS);
	cr_expect_eq(p[1].blame_ns, 100 * MS);
}

Test(tick_share, what_was_not_seen_has_no_place)
{
	struct tick_thread t[3] = {
		{.on_ns = 7 * MS, .blame_ns = 3 * MS},
		{.on_ns = 10 * MS, .off = {{20 * MS, 0, 10 * MS}}, .blame_ns = 40 * MS},
		{.on_ns = 10 * MS, .blame_ns = 10 * MS},
	};
	struct tick_part p[3] = {
		{.thread = 1, .sum = {.ticks = 10, .waited = 10}},
		{.thread = 2, .sum = {.ticks = 1, .waited = 1}},
		{.thread = 2, .nowhere = true, .sum = {.ticks = 4, .waited = 4}},
	};

	tick_share__divide(t, 3, p, 3);
	cr_expect_eq(t[0].rest_hold_ns, 7 * MS, "no tick, no switch");
	cr_expect_eq(t[0].rest_blame_ns, 3 * MS);
	cr_expect_eq(p[0].hold_ns, 10 * MS);
	cr_expect_eq(t[1].rest_hold_ns, 30 * MS, "off the CPU in a stack that is not known");
	cr_expect_eq(p[0].blame_ns, 10 * MS);
	cr_expect_eq(p[1].hold_ns, 2 * MS, "ticks without a stack count, too");
	cr_expect_eq(t[2].rest_hold_ns, 8 * MS);
	cr_expect_eq(t[2].rest_blame_ns, 8 * MS);
}

Test(tick_share, a_thread_too_short_on_a_cpu_for_a_tick_was_where_it_slept)
{
	struct tick_thread t = {.on_ns = MS, .off = {{40 * MS}}, .blame_ns = 41 * MS};
	struct tick_part p[2] = {
		{.sum = ASLEEP(30 * MS, 30 * MS)}, {.sum = ASLEEP(10 * MS, 10 * MS)},
	};

	tick_share__divide(&t, 1, p, 2);
	cr_expect_eq(p[0].hold_ns, 30 * MS + 750000);
	cr_expect_eq(t.rest_hold_ns + t.rest_blame_ns, 0);
}

/* A thread that computes, sleeps and lacks a CPU in three places: each is told apart, of holds and of what others waited. */
Test(tick_share, what_a_holder_did_off_the_cpu_is_told_apart)
{
	struct tick_thread t = {.on_ns = 20 * MS, .off = {{50 * MS, 30 * MS, 0}}, .blame_ns = 190 * MS};
	struct tick_part p[2] = {
		{.sum = {.ticks = 20, .waited = 10, .off_ns = {0, 30 * MS, 0}, .off_waited_ns = {0, 30 * MS, 0}}},
		{.sum = ASLEEP(50 * MS, 150 * MS)},
	};

	tick_share__divide(&t, 1, p, 2);
	cr_expect_eq(p[0].hold_ns, 50 * MS);
	cr_expect_eq(p[0].hold_off.ns[GIL_OFF_PREEMPTED], 30 * MS);
	cr_expect_eq(p[0].hold_off.ns[GIL_OFF_BLOCKED], 0);
	cr_expect_eq(p[0].blame_ns, 40 * MS);
	cr_expect_eq(p[0].blame_off.ns[GIL_OFF_PREEMPTED], 30 * MS);
	cr_expect_eq(p[1].hold_off.ns[GIL_OFF_BLOCKED], 50 * MS);
	cr_expect_eq(p[1].blame_off.ns[GIL_OFF_BLOCKED], 150 * MS);
	cr_expect_eq(p[1].blame_ns, 150 * MS);
}

/* Of a hold from before arming little is known but what its switches tell. */
Test(tick_share, what_was_measured_of_the_unknown_is_known)
{
	struct tick_thread t = {.on_ns = 10 * MS, .off = {{20 * MS, 0, 30 * MS}}};
	struct tick_part p[2] = {{.sum = ASLEEP(40 * MS, 0)}, {.sum = {.ticks = 4}}};

	tick_share__divide(&t, 1, p, 2);
	cr_expect_eq(p[0].hold_off.ns[GIL_OFF_BLOCKED], 40 * MS);
	cr_expect_eq(t.off.ns[GIL_OFF_BLOCKED], 40 * MS);
	cr_expect_eq(t.off.ns[GIL_OFF_UNSEEN], 10 * MS);
	cr_expect_eq(t.rest_hold_ns, 10 * MS);
}

/* More was measured than there was: clocks of two CPUs. */
Test(tick_share, no_more_is_given_than_there_is)
{
	struct tick_thread t = {.off = {{10 * MS}}};
	struct tick_part p[2] = {{.sum = ASLEEP(9 * MS, 0)}, {.sum = ASLEEP(3 * MS, 0)}};

	tick_share__divide(&t, 1, p, 2);
	cr_expect_eq(p[0].hold_ns + p[1].hold_ns, 10 * MS);
	cr_expect_eq(t.rest_hold_ns, 0);
}

Test(tick_share, nothing_is_rounded_away)
{
	for (uint64_t n = 1; n < 200; n++) {
		struct tick_thread t = {.on_ns = 1000000007, .off = {{999999937}}, .blame_ns = 123456789123ull};
		struct tick_part p[200] = {{0}};
		uint64_t hold = 0, blame = 0;

		for (uint64_t i = 0; i < n; i++)
			p[i].sum = (struct gil_tick_sum){
				.ticks = 1 + i % 7, .waited = i % 5 + 1, .off_ns = {1 + 37 * i}, .off_waited_ns = {1 + 91 * i},
			};
		tick_share__divide(&t, 1, p, n);
		for (uint64_t i = 0; i < n; i++) {
			hold += p[i].hold_ns;
			blame += p[i].blame_ns;
		}
		cr_assert_eq(hold + t.rest_hold_ns, t.on_ns + t.off.ns[GIL_OFF_BLOCKED]);
		cr_assert_eq(blame + t.rest_blame_ns, t.blame_ns);
	}
}

/* Holds of any length, made up: one place takes a tenth of each, right at its end; told is a tenth, within chance. */
Test(tick_share, no_length_of_hold_is_preferred)
{
	const double lengths_us[] = {20, 300, 1000, 9000};

	srand48(1);
	for (size_t l = 0; l < sizeof(lengths_us) / sizeof(lengths_us[0]); l++) {
		struct tick_thread t = {.on_ns = 4000 * MS};
		struct tick_part p[2] = {{0}};
		double error;

		for (double at_us = 0; at_us < 4e6; at_us += 1000) {
			double within = fmod(at_us + 1000 * drand48(), lengths_us[l]) / lengths_us[l];

			p[within > 0.9].sum.ticks++;
		}
		tick_share__divide(&t, 1, p, 2);
		error = sqrt(tick_share__var(t.ticks_ns, (double)p[1].sum.ticks, (double)t.ticks));
		cr_expect_leq(fabs((double)p[1].hold_ns - 400e6), 5 * error, "holds of %.0f us: %.1f %%", lengths_us[l],
			      (double)p[1].hold_ns / 4e7);
	}
}

Test(tick_share, the_error_is_that_of_counting_and_never_none)
{
	/* 100 ms x sqrt(0.3 x 0.7 / 100), with a tick of either kind more */
	cr_expect_leq(fabs(sqrt(tick_share__var(100e6, 30, 100)) - 4.6452e6), 1e3);
	cr_expect_geq(sqrt(tick_share__var(100e6, 100, 100)), 0.99e6, "all of a hundred: within a period");
	cr_expect_geq(sqrt(tick_share__var(100e6, 0, 100)), 0.99e6, "none of a hundred");
	cr_expect_eq(tick_share__var(0, 0, 0), 0);
	cr_expect_leq(fabs(sqrt(tick_share__var(120e6, 0, 0)) - 34.64e6), 1e4, "without a tick each share is as likely");
}

/* Made up: a place sleeps, and is on a CPU for a moment before and after, too short for most ticks. Its error tells of that. */
Test(tick_share, what_is_seen_asleep_only_has_an_error_too)
{
	size_t outside = 0;

	srand48(2);
	for (size_t run = 0; run < 400; run++) {
		const uint64_t on_ns = 700 * MS, mine_ns = 2 * MS, ticks_n = 250;
		struct tick_thread t = {.on_ns = on_ns, .off = {{200 * MS}}};
		struct tick_part p[2] = {{.sum = ASLEEP(200 * MS, 0)}, {.sum = {.ticks = 0}}};
		double error;

		for (size_t i = 0; i < ticks_n; i++)
			p[drand48() >= (double)mine_ns / (double)on_ns].sum.ticks++;
		tick_share__divide(&t, 1, p, 2);
		error = sqrt(tick_share__var(t.ticks_ns, (double)p[0].sum.ticks, (double)t.ticks));
		outside += fabs((double)p[0].hold_ns - (double)(200 * MS + mine_ns)) > 3 * error;
	}
	cr_expect_leq(outside, 400 / 20, "%zu of 400 lie outside", outside);
}

Test(tick_share, an_estimate_counts_ticks_with_the_gil_and_time_off_the_cpu)
{
	struct tick_thread t[2] = {{0}};
	struct tick_part p[4] = {
		{.thread = 1, .sum = {.ticks = 10, .on_ns = 40 * MS}},
		{.thread = 1, .without = true, .sum = {.ticks = 30, .on_ns = 120 * MS}},
		{.thread = 1, .nowhere = true, .sum = {.ticks = 1, .on_ns = 4 * MS}},
		{.thread = 1, .sum = ASLEEP(5 * MS, 0)},
	};

	tick_share__estimate(t, 2, p, 4);
	cr_expect_eq(t[0].est_ns, 0);
	cr_expect_eq(t[0].est_var, 0);
	cr_expect_eq(t[1].est_ns, 49 * MS, "what has no place is held all the same");
	cr_expect_eq(p[0].hold_ns, 40 * MS);
	cr_expect_eq(p[1].hold_ns, 0);
	cr_expect_eq(p[3].hold_ns, 5 * MS);
	cr_expect_eq(t[1].est_var, tick_share__var(164e6, 11, 41), "by all of its ticks");
}
