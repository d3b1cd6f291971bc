/* SPDX-License-Identifier: GPL-2.0-only */
/* How long rows are kept: as long as wanted while that fits; else the middle tier goes first, then all by one factor. */
#include <criterion/criterion.h>
#include <inttypes.h>

#include "collector/schema/keep.h"

#define START_MS 1795339260000
#define HOUR 3600u

static const uint32_t wanted_proc[TIER_COUNT] = {HOUR, 24 * HOUR, 168 * HOUR};
static const uint32_t wanted_threads[TIER_COUNT] = {HOUR, 6 * HOUR, 24 * HOUR};
static const uint32_t steps_s[TIER_COUNT] = {1, 10, 60};

/* `hours` of a process with so many busy threads, 316 bytes each row: 407 with what Redis adds. */
static void fill(struct keep *k, int threads, int64_t from_ms, uint32_t hours)
{
	for (int tier = 0; tier < TIER_COUNT; tier++)
		for (int64_t s = steps_s[tier]; s <= hours * HOUR; s += steps_s[tier]) {
			keep__add(k, KEEP_PROC, (enum tier)tier, from_ms + 1000 * s, 600);
			for (int i = 0; i < threads; i++)
				keep__add(k, KEEP_THREADS, (enum tier)tier, from_ms + 1000 * s, 316);
		}
}

static struct keep made(uint64_t limit, int threads)
{
	struct keep k;

	keep__init(&k, wanted_proc, wanted_threads, limit);
	fill(&k, threads, START_MS, 24);
	keep__settle(&k);
	return k;
}

/* What is counted as kept. */
static uint64_t kept(const struct keep *k)
{
	uint64_t sum = 0;

	for (int kind = 0; kind < KEEP_KINDS; kind++)
		for (int tier = 0; tier < TIER_COUNT; tier++)
			sum += keep__bytes(k, (enum keep_kind)kind, (enum tier)tier,
					   keep__seconds(k, (enum keep_kind)kind, (enum tier)tier));
	return sum;
}

static void expect_wanted(const struct keep *k)
{
	cr_expect_not(keep__is_short(k));
	for (int tier = 0; tier < TIER_COUNT; tier++) {
		cr_expect_eq(keep__seconds(k, KEEP_PROC, (enum tier)tier), wanted_proc[tier]);
		cr_expect_eq(keep__seconds(k, KEEP_THREADS, (enum tier)tier), wanted_threads[tier]);
	}
}

Test(keep, everything_is_kept_as_long_as_wanted_where_it_fits)
{
	struct keep k = made(125000000, 8);

	expect_wanted(&k);
}

Test(keep, without_a_limit_it_always_fits)
{
	struct keep k = made(0, 64);

	expect_wanted(&k);
}

Test(keep, what_a_row_takes_is_what_redis_allocates_for_it)
{
	struct keep k;

	keep__init(&k, wanted_proc, wanted_threads, 0);
	keep__add(&k, KEEP_THREADS, TIER_BASE, START_MS, 252);
	cr_expect_eq(keep__bytes(&k, KEEP_THREADS, TIER_BASE, HOUR), 256 + 87);
	keep__add(&k, KEEP_THREADS, TIER_BASE, START_MS, 253);
	cr_expect_eq(keep__bytes(&k, KEEP_THREADS, TIER_BASE, HOUR), 256 + 87 + 320 + 87);
	keep__add(&k, KEEP_THREADS, TIER_10S, START_MS, 700);
	cr_expect_eq(keep__bytes(&k, KEEP_THREADS, TIER_10S, HOUR), 768 + 87);
	keep__add(&k, KEEP_PROC, TIER_60S, START_MS, 100);
	cr_expect_eq(keep__bytes(&k, KEEP_PROC, TIER_60S, HOUR), 112 + 87);
}

Test(keep, the_middle_tier_goes_first)
{
	struct keep k = made(60000000, 20);
	uint32_t middle = keep__seconds(&k, KEEP_THREADS, TIER_10S);

	cr_expect(keep__is_short(&k));
	cr_expect_eq(keep__seconds(&k, KEEP_THREADS, TIER_BASE), HOUR);
	cr_expect_eq(keep__seconds(&k, KEEP_THREADS, TIER_60S), 24 * HOUR);
	cr_expect_lt(middle, 6 * HOUR);
	cr_expect_gt(middle, HOUR);
	cr_expect_leq(kept(&k), 60000000);
	/* No shorter than need be: one step more would be too much. */
	cr_expect_gt(kept(&k) + 20 * 6 * HOUR / KEEP_SLOTS / 10 * 407 * 2, 60000000);
}

Test(keep, then_all_by_one_factor)
{
	struct keep k = made(60000000, 100);
	uint32_t base = keep__seconds(&k, KEEP_THREADS, TIER_BASE);

	cr_expect_lt(base, HOUR / 2);
	cr_expect_gt(base, HOUR / 10);
	cr_expect_eq(keep__seconds(&k, KEEP_THREADS, TIER_10S), base);
	cr_expect_eq(keep__seconds(&k, KEEP_THREADS, TIER_60S) / 24, base);
	cr_expect_eq(keep__seconds(&k, KEEP_PROC, TIER_10S), 24 * HOUR, "the process is kept whole");
	cr_expect_leq(kept(&k), 60000000);
}

Test(keep, whatever_the_load_the_limit_holds)
{
	for (int threads = 1; threads <= 256; threads *= 2) {
		struct keep k = made(125000000, threads);

		cr_expect_leq(kept(&k), 125000000, "%d threads: %" PRIu64, threads, kept(&k));
	}
}

Test(keep, what_is_wanted_comes_back_when_the_threads_are_gone)
{
	struct keep k = made(60000000, 100);

	fill(&k, 1, START_MS + 24 * HOUR * 1000ll, 26);
	cr_expect(keep__settle(&k));
	expect_wanted(&k);
	cr_expect_not(keep__settle(&k), "nothing has changed");
}

Test(keep, stamps_from_anywhere)
{
	static const int64_t stamps[] = {
		-5, 0, 1, START_MS, START_MS - 7200000, INT64_MAX, 5, INT64_MIN, INT64_MAX - 1, START_MS,
	};
	struct keep k;

	keep__init(&k, wanted_proc, wanted_threads, 1000);
	for (size_t i = 0; i < sizeof(stamps) / sizeof(stamps[0]); i++) {
		keep__add(&k, KEEP_THREADS, TIER_BASE, stamps[i], 5000);
		keep__settle(&k);
		cr_expect_gt(keep__seconds(&k, KEEP_THREADS, TIER_BASE), 0);
	}
	cr_expect_eq(keep__bytes(&k, KEEP_THREADS, TIER_BASE, HOUR), 2 * (5120 + 87), "the newest two");
}

Test(keep, a_limit_that_the_process_alone_exceeds_leaves_a_little_of_its_threads)
{
	struct keep k = made(1000, 4);

	cr_expect_eq(keep__seconds(&k, KEEP_THREADS, TIER_BASE), HOUR / KEEP_SLOTS);
	cr_expect_eq(keep__seconds(&k, KEEP_PROC, TIER_BASE), HOUR);
}
