/* SPDX-License-Identifier: GPL-2.0-only */
/* The guard's decisions, look by look, on programs that are made up. */
#include <criterion/criterion.h>
#include <math.h>

#include "collector/look/guard.h"

#define SECOND 1000000000ull
#define RATE 3000.0

static struct guard g;
static uint64_t now;

static void begin(void)
{
	now = 1000 * SECOND;
	guard__begin(&g, RATE, now);
}

TestSuite(guard, .init = begin);

/* One look: switches a second, cost of the probes in CPUs, threads that queue. */
static enum guard_order look(double rate, double share, uint32_t waiters)
{
	struct guard_look l = {
		.now = now += GUARD_LOOK_NS, .span_ns = GUARD_LOOK_NS, .switches = rate / 10, .share = share, .lifts = true,
		.waiters = waiters,
	};

	return guard__look(&g, &l);
}

/* Looks until something is ordered, at most so many. */
static enum guard_order looks(size_t n, double rate, double share, uint32_t waiters)
{
	enum guard_order order = GUARD_GO_ON;

	for (size_t i = 0; order == GUARD_GO_ON && i < n; i++)
		order = look(rate, share, waiters);
	return order;
}

static void expect_lifted(void)
{
	uint64_t from = now;

	cr_assert_eq(looks(10, 20, 0.03, 2500), GUARD_LIFT);
	cr_expect_leq(now - from, SECOND / 2, "it took %.1f s", (double)(now - from) / 1e9);
}

static double until_retry(void)
{
	uint64_t from = now;

	cr_assert_eq(looks(40000, RATE, 0.005, 0), GUARD_RETRY);
	return (double)(now - from) / 1e9;
}

Test(guard, lifts_all_probes_of_a_long_queue_within_half_a_second)
{
	cr_expect_eq(looks(100, RATE, 0.005, 3), GUARD_GO_ON);
	expect_lifted();
	cr_expect_eq(looks(20, RATE, 0, 0), GUARD_GUILTY);
	cr_expect_eq(g.state, GUARD_RESTING);
}

Test(guard, leaves_a_short_queue_alone_whatever_it_costs)
{
	cr_expect_eq(looks(1000, 200, 0.8, 100), GUARD_GO_ON);
	cr_expect_eq(looks(1000, 1, 0.05, 100), GUARD_GO_ON);
}

/* It pauses just after arming, or stops for good, or hardly gets a CPU: nobody queues for long. */
Test(guard, does_not_suspect_the_probes_of_a_program_that_stands_still)
{
	cr_expect_eq(looks(10, 0, 0, 0), GUARD_GO_ON);
	cr_expect_eq(looks(100, RATE, 0.005, 1), GUARD_GO_ON);
	cr_expect_eq(looks(36000, 0, 0, 0), GUARD_GO_ON);
	cr_expect_eq(looks(1000, 30, 0.01, 150), GUARD_GO_ON);
}

Test(guard, does_not_take_one_burst_for_a_queue)
{
	for (int i = 0; i < 1000; i++) {
		cr_expect_eq(look(30000, 0.3, 2000), GUARD_GO_ON);
		cr_expect_eq(look(0, 0, 0), GUARD_GO_ON);
	}
}

Test(guard, gives_the_probes_back_where_lifting_them_changes_nothing)
{
	uint64_t from;

	guard__begin(&g, 200, now);
	cr_assert_eq(looks(10, 200, 0.1, 500), GUARD_LIFT);
	from = now;
	cr_assert_eq(looks(100, 200, 0, 0), GUARD_INNOCENT);
	cr_expect_leq(now - from, 2 * SECOND);
	/* Not suspected again for a while, then for longer. */
	from = now;
	cr_assert_eq(looks(10000, 200, 0.1, 500), GUARD_LIFT);
	cr_expect_geq(now - from, 60 * SECOND);
	cr_assert_eq(looks(100, 200, 0, 0), GUARD_INNOCENT);
	from = now;
	cr_assert_eq(looks(10000, 200, 0.1, 500), GUARD_LIFT);
	cr_expect_geq(now - from, 120 * SECOND);
}

/* A program that ended its work just then: without probes it does nothing, either. */
Test(guard, does_not_find_the_probes_guilty_of_a_program_that_has_stopped)
{
	cr_assert_eq(looks(10, 0, 0.05, 500), GUARD_LIFT);
	cr_expect_eq(looks(110, 0, 0, 0), GUARD_INNOCENT);
}

/* The queue outlasts the probes by some seconds, and the process did well before them: that is no proof of innocence. */
Test(guard, waits_for_a_queue_to_dissolve_that_the_probes_have_made)
{
	cr_assert_eq(looks(10, 450, 0.03, 2500), GUARD_LIFT);
	cr_assert_eq(looks(60, 150, 0, 0), GUARD_GO_ON);
	cr_assert_eq(looks(20, 900, 0, 0), GUARD_GO_ON);
	cr_expect_eq(looks(10, RATE, 0, 0), GUARD_GUILTY);
}

Test(guard, does_not_judge_by_memory_that_cannot_be_read)
{
	cr_assert_eq(looks(10, NAN, 0.05, 500), GUARD_LIFT);
	cr_expect_eq(looks(110, NAN, 0, 0), GUARD_INNOCENT);
}

Test(guard, lifts_the_rest_where_the_queue_lasts_under_it)
{
	expect_lifted();
	cr_assert_eq(looks(20, RATE, 0, 0), GUARD_GUILTY);
	cr_assert_eq(looks(20, 20, 0.001, 0), GUARD_LIFT);
	cr_expect_eq(looks(20, RATE, 0, 0), GUARD_GUILTY);
}

Test(guard, tries_again_ever_more_rarely)
{
	double last = 0;

	for (int i = 0; i < 6; i++) {
		double rest;

		expect_lifted();
		cr_assert_eq(looks(20, RATE, 0, 0), GUARD_GUILTY);
		rest = until_retry();
		cr_expect(rest >= last * 1.9 || rest >= 599, "after %.0f s it rests %.0f s", last, rest);
		last = rest;
	}
	cr_expect_leq(last, 601);
}

Test(guard, lets_probes_return_a_bounded_number_of_times_an_hour)
{
	uint64_t from = now;
	size_t returns = 0;

	while (now - from < 3600 * SECOND) {
		enum guard_order order = g.state == GUARD_CHECKING ? look(RATE, 0, 0) :
					 g.state == GUARD_RESTING ? look(RATE, 0.005, 0) : look(20, 0.03, 2500);

		returns += order == GUARD_RETRY || order == GUARD_INNOCENT;
	}
	cr_expect_gt(returns, 0);
	cr_expect_leq(returns, GUARD_RETURNS);
}

Test(guard, never_lets_more_innocent_ones_return_than_that)
{
	uint64_t from = now;
	size_t returns = 0;

	guard__begin(&g, 0, now);
	while (now - from < 3600 * SECOND) {
		enum guard_order order = look(0, 0.1, 500);

		returns += order == GUARD_RETRY || order == GUARD_INNOCENT;
	}
	cr_expect_gt(returns, 0);
	cr_expect_leq(returns, GUARD_RETURNS);
}

/* A change of phase while the probes cost nothing is the program's own, and what comes later is compared with that. */
Test(guard, forgets_how_fast_a_program_was_in_another_phase)
{
	looks(100, 100, 0.001, 0);
	cr_expect_lt(g.reference, 150);
}
