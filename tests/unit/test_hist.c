/* SPDX-License-Identifier: GPL-2.0-only */
/* Bucket arithmetic and quantiles, against exact answers from the values themselves. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "../../collector/hist.h"

static uint64_t random_state = 88172645463325252ull;

static uint64_t next_random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static int ascending(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

Test(hist, every_value_lies_in_its_bucket)
{
	for (int bit = 0; bit < 41; bit++) {
		for (int i = 0; i < 200; i++) {
			uint64_t v = (1ull << bit) + next_random() % (1ull << bit);
			uint32_t b = gil_hist_bucket(v);

			cr_assert(gil_hist_floor(b) <= v && v < gil_hist_floor(b + 1), "%lu in %u", v, b);
		}
	}
}

Test(hist, buckets_follow_one_another_without_gap)
{
	cr_assert_eq(gil_hist_floor(0), 0);
	for (uint32_t b = 0; b < GIL_HIST_BUCKETS; b++) {
		cr_assert_eq(gil_hist_bucket(gil_hist_floor(b)), b);
		cr_assert_eq(gil_hist_bucket(gil_hist_floor(b + 1) - 1), b);
	}
	cr_assert_eq(gil_hist_floor(GIL_HIST_BUCKETS), 1ull << GIL_HIST_TOP_BIT);
}

Test(hist, what_is_off_the_scale_lands_in_the_last_bucket)
{
	cr_assert_eq(gil_hist_bucket(1ull << 41), GIL_HIST_BUCKETS - 1);
	cr_assert_eq(gil_hist_bucket(UINT64_MAX), GIL_HIST_BUCKETS - 1);
}

/* Values spread evenly over the octaves from 512 ns to 17 s. */
static void check_quantiles(size_t n)
{
	static const double qs[] = {0.01, 0.25, 0.5, 0.9, 0.99, 0.999, 1.0};
	uint64_t *v = calloc(n, sizeof(*v));
	struct gil_hist h = {0};

	for (size_t i = 0; i < n; i++) {
		int bit = 9 + (int)(next_random() % 25);

		v[i] = (1ull << bit) + next_random() % (1ull << bit);
		hist__count(&h, v[i]);
	}
	qsort(v, n, sizeof(*v), ascending);
	for (size_t i = 0; i < sizeof(qs) / sizeof(qs[0]); i++) {
		size_t rank = (size_t)(qs[i] * (double)n + 0.999999);
		double exact = (double)v[rank ? rank - 1 : 0];
		double got = (double)hist__quantile(&h, NULL, qs[i], v[n - 1]);

		cr_assert(got >= exact * (1 - 0.0625) && got <= exact * (1 + 0.0625),
			  "q%.3f of %zu: %.0f instead of %.0f", qs[i], n, got, exact);
	}
	free(v);
}

Test(hist, quantiles_are_within_a_sixteenth_of_the_exact_ones)
{
	for (int round = 0; round < 20; round++) {
		check_quantiles(1);
		check_quantiles(2);
		check_quantiles(100);
		check_quantiles(10007);
	}
}

Test(hist, quantile_never_exceeds_the_exact_maximum)
{
	struct gil_hist h = {0};

	hist__count(&h, 1000000);
	cr_assert_eq(hist__quantile(&h, NULL, 0.99, 1000000), 1000000);
	cr_assert_gt(hist__quantile(&h, NULL, 0.99, 0), 1000000);
}

Test(hist, quantile_of_nothing_is_zero)
{
	struct gil_hist h = {0};
	struct hist_open open = {0};

	cr_assert_eq(hist__quantile(&h, &open, 0.5, 77), 0);
	cr_assert_eq(hist__quantile(NULL, NULL, 0.5, 77), 0);
}

Test(hist, quantile_is_over_the_union_of_both)
{
	struct gil_hist ended = {0}, last = {0};
	struct hist_open open = {0}, first = {0};

	for (int i = 0; i < 99; i++) {
		hist__count(&ended, 1000);
		hist_open__count(&first, 1000);
	}
	hist_open__count(&open, 5000000000ull);
	hist__count(&last, 5000000000ull);
	cr_assert_lt(hist__quantile(&ended, &open, 0.99, 5000000000ull), 1100);
	cr_assert_gt(hist__quantile(&ended, &open, 1.0, 5000000000ull), 4600000000ull);
	for (double q = 0; q <= 1; q += 0.125)
		cr_assert_eq(hist__quantile(&ended, &open, q, 0), hist__quantile(&last, &first, q, 0));
}

Test(hist, open_counts_stop_at_their_maximum)
{
	struct hist_open a = {0}, b = {0};

	for (int i = 0; i < 70000; i++)
		hist_open__count(&a, 1000);
	cr_assert_eq(hist_open__total(&a), UINT16_MAX);
	hist_open__count(&b, 1000);
	hist_open__count(&b, 2000);
	hist_open__add(&b, &a);
	cr_assert_eq(hist_open__total(&b), UINT16_MAX + 1);
}

Test(hist, the_maximum_stands_for_what_is_off_the_scale)
{
	struct gil_hist h = {0};

	hist__count(&h, 5ull << 41);
	cr_assert_eq(hist__quantile(&h, NULL, 0.5, 5ull << 41), 5ull << 41);
	cr_assert_eq(hist__quantile(&h, NULL, 0.5, 0), gil_hist_floor(GIL_HIST_BUCKETS - 1));
}

Test(hist, odd_quantiles_are_clamped)
{
	struct gil_hist h = {0};
	uint64_t v;

	hist__count(&h, 1000);
	v = hist__quantile(&h, NULL, 0.5, 0);
	cr_assert_eq(hist__quantile(&h, NULL, 0, 0), v);
	cr_assert_eq(hist__quantile(&h, NULL, -3, 0), v);
	cr_assert_eq(hist__quantile(&h, NULL, 7, 0), v);
	cr_assert_eq(hist__quantile(&h, NULL, __builtin_nan(""), 0), v);
}

Test(hist, counts_saturate)
{
	struct gil_hist a = {0}, b = {0};

	a.count[7] = UINT32_MAX - 1;
	b.count[7] = 5;
	hist__add(&a, &b);
	cr_assert_eq(a.count[7], UINT32_MAX);
	hist__count(&a, gil_hist_floor(7));
	cr_assert_eq(a.count[7], UINT32_MAX);
}

Test(hist, delta_survives_wrap_around)
{
	struct gil_hist now = {0}, before = {0}, d;

	before.count[3] = UINT32_MAX - 1;
	now.count[3] = 4;
	hist__delta(&d, &now, &before);
	cr_assert_eq(d.count[3], 6);
	cr_assert_eq(hist__total(&d), 6);
}

/* ---- half as fine ---- */

static struct hist_coarse coarse_of(const struct gil_hist *fine)
{
	struct hist_coarse h;

	hist_coarse__from(&h, fine);
	return h;
}

Test(hist, wider_buckets_hold_two_fine_ones_and_lose_none)
{
	struct gil_hist fine;
	struct hist_coarse h;

	for (uint32_t b = 0; b < GIL_HIST_BUCKETS; b++)
		fine.count[b] = b * b + 1;
	h = coarse_of(&fine);
	cr_assert_eq(hist_coarse__total(&h), hist__total(&fine));
	for (uint32_t b = 0; b < HIST_COARSE_BUCKETS; b++)
		cr_assert_eq(h.count[b], fine.count[2 * b] + fine.count[2 * b + 1]);
	hist_coarse__add(&h, &h);
	cr_assert_eq(hist_coarse__total(&h), 2 * hist__total(&fine));
}

Test(hist, counts_of_wider_buckets_stop_at_their_maximum)
{
	struct gil_hist fine = {.count = {[8] = UINT32_MAX, [9] = 1, [20] = UINT32_MAX}};
	struct hist_coarse h = coarse_of(&fine);

	cr_assert_eq(h.count[4], UINT32_MAX);
	hist_coarse__add(&h, &h);
	cr_assert_eq(h.count[10], UINT32_MAX);
	cr_assert_eq(hist_coarse__total(&h), 2ull * UINT32_MAX);
}

/* What stands for a bucket is as far from its first value as from its last, at most a ninth. */
Test(hist, a_wider_bucket_is_off_by_a_ninth_at_most)
{
	double worst = 0;

	for (uint32_t b = gil_hist_bucket(512) / 2; b < HIST_COARSE_BUCKETS - 1; b++) {
		double low = (double)gil_hist_floor(2 * b), high = (double)gil_hist_floor(2 * b + 2);
		struct hist_coarse h = {0};
		double value;

		h.count[b] = 3;
		value = (double)hist_coarse__quantile(&h, 0.5, 0);
		cr_assert(value >= low && value < high, "bucket %u: %.0f", b, value);
		cr_assert_leq(value / low - 1, 1.0 / 9);
		cr_assert_leq(1 - (value + 1) / high, 1.0 / 9);
		worst = value / low - 1 > worst ? value / low - 1 : worst;
	}
	cr_assert_gt(worst, 0.111, "the bound is not met by any bucket");
}

Test(hist, quantiles_of_wider_buckets_are_within_a_ninth_of_the_exact_ones)
{
	static const double qs[] = {0.01, 0.25, 0.5, 0.9, 0.99, 1.0};
	static uint64_t v[10007];

	for (int round = 0; round < 20; round++) {
		size_t n = round % 2 ? 10007 : 1 + (size_t)(next_random() % 200);
		struct gil_hist fine = {0};
		struct hist_coarse h;

		for (size_t i = 0; i < n; i++) {
			uint64_t floor = 1ull << (9 + next_random() % 25);

			v[i] = floor + next_random() % floor;
			hist__count(&fine, v[i]);
		}
		h = coarse_of(&fine);
		qsort(v, n, sizeof(*v), ascending);
		for (size_t i = 0; i < sizeof(qs) / sizeof(qs[0]); i++) {
			size_t rank = (size_t)(qs[i] * (double)n + 0.999999);
			double exact = (double)v[rank ? rank - 1 : 0];
			double got = (double)hist_coarse__quantile(&h, qs[i], v[n - 1]);

			cr_assert(got + 1 >= exact * 8 / 9 && got <= exact * 10 / 9,
				  "q%.2f of %zu: %.0f instead of %.0f", qs[i], n, got, exact);
		}
	}
}

Test(hist, ends_of_the_wider_scale)
{
	struct hist_coarse none = {0}, first = {.count = {5}}, last = {.count = {[HIST_COARSE_BUCKETS - 1] = 2}};

	cr_assert_eq(hist_coarse__quantile(&none, 0.5, 77), 0);
	cr_assert_eq(hist_coarse__quantile(&first, 0.5, 0), 64);
	cr_assert_eq(hist_coarse__quantile(&first, 0.5, 20), 20, "never above the exact maximum");
	cr_assert_eq(hist_coarse__quantile(&first, 1, 100), 100);
	cr_assert_eq(hist_coarse__quantile(&last, 0.5, 5ull << 41), 5ull << 41);
	cr_assert_eq(hist_coarse__quantile(&last, 0.5, 0), gil_hist_floor(2 * (HIST_COARSE_BUCKETS - 1)));
	cr_assert_eq(hist_coarse__quantile(&first, __builtin_nan(""), 0), 64);
}
