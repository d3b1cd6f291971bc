/* SPDX-License-Identifier: GPL-2.0-only */
/* Bucket arithmetic and quantiles, against exact answers from the values themselves. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "collector/series/hist.h"

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
	struct hist h = {0};

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
	hist__clear(&h);
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
	struct hist h = {0};

	hist__count(&h, 1000000);
	cr_assert_eq(hist__quantile(&h, NULL, 0.99, 1000000), 1000000);
	cr_assert_gt(hist__quantile(&h, NULL, 0.99, 0), 1000000);
	hist__clear(&h);
}

Test(hist, quantile_of_nothing_is_zero)
{
	struct hist h = {0};
	struct hist open = {0};

	cr_assert_eq(hist__quantile(&h, &open, 0.5, 77), 0);
	cr_assert_eq(hist__quantile(NULL, NULL, 0.5, 77), 0);
}

Test(hist, quantile_is_over_the_union_of_both)
{
	struct hist ended = {0}, last = {0};
	struct hist open = {0}, first = {0};

	for (int i = 0; i < 99; i++) {
		hist__count(&ended, 1000);
		hist__count(&first, 1000);
	}
	hist__count(&open, 5000000000ull);
	hist__count(&last, 5000000000ull);
	cr_assert_lt(hist__quantile(&ended, &open, 0.99, 5000000000ull), 1100);
	cr_assert_gt(hist__quantile(&ended, &open, 1.0, 5000000000ull), 4600000000ull);
	for (double q = 0; q <= 1; q += 0.125)
		cr_assert_eq(hist__quantile(&ended, &open, q, 0), hist__quantile(&last, &first, q, 0));
	hist__clear(&ended);
	hist__clear(&open);
	hist__clear(&first);
	hist__clear(&last);
}

Test(hist, the_maximum_stands_for_what_is_off_the_scale)
{
	struct hist h = {0};

	hist__count(&h, 5ull << 41);
	cr_assert_eq(hist__quantile(&h, NULL, 0.5, 5ull << 41), 5ull << 41);
	cr_assert_eq(hist__quantile(&h, NULL, 0.5, 0), gil_hist_floor(GIL_HIST_BUCKETS - 1));
	hist__clear(&h);
}

Test(hist, odd_quantiles_are_clamped)
{
	struct hist h = {0};
	uint64_t v;

	hist__count(&h, 1000);
	v = hist__quantile(&h, NULL, 0.5, 0);
	cr_assert_eq(hist__quantile(&h, NULL, 0, 0), v);
	cr_assert_eq(hist__quantile(&h, NULL, -3, 0), v);
	cr_assert_eq(hist__quantile(&h, NULL, 7, 0), v);
	cr_assert_eq(hist__quantile(&h, NULL, __builtin_nan(""), 0), v);
	hist__clear(&h);
}

static uint32_t counted(const struct hist *h, uint32_t bucket)
{
	for (size_t i = 0; i < h->n; i++)
		if (h->buckets[i].index == bucket)
			return h->buckets[i].count;
	return 0;
}

/* Many counts in a bucket at once. */
static void set_count(struct hist *h, uint32_t bucket, uint32_t count)
{
	cr_assert_eq(hist__count(h, gil_hist_floor(bucket)), 0);
	for (size_t i = 0; i < h->n; i++)
		if (h->buckets[i].index == bucket)
			h->buckets[i].count = count;
}

Test(hist, counts_saturate)
{
	struct hist a = {0}, b = {0};

	set_count(&a, 7, UINT32_MAX - 1);
	set_count(&b, 7, 5);
	cr_assert_eq(hist__add(&a, &b), 0);
	cr_assert_eq(counted(&a, 7), UINT32_MAX);
	hist__count(&a, gil_hist_floor(7));
	cr_assert_eq(counted(&a, 7), UINT32_MAX);
	hist__clear(&a);
	hist__clear(&b);
}

static void fill(struct gil_hist *dense, struct hist *h)
{
	for (uint64_t n = next_random() % 60; n > 0; n--) {
		uint32_t bucket = (uint32_t)(next_random() % GIL_HIST_BUCKETS);

		dense->count[bucket]++;
		cr_assert_eq(hist__count(h, gil_hist_floor(bucket)), 0);
	}
}

static void check_same(const struct hist *h, const struct gil_hist *dense)
{
	uint64_t total = 0;

	for (size_t i = 0; i < h->n; i++)
		cr_assert(h->buckets[i].index < GIL_HIST_BUCKETS && (i == 0 || h->buckets[i - 1].index < h->buckets[i].index));
	for (uint32_t b = 0; b < GIL_HIST_BUCKETS; b++) {
		cr_assert_eq(counted(h, b), dense->count[b]);
		total += dense->count[b];
	}
	cr_assert_eq(hist__total(h), total);
}

Test(hist, it_is_an_array_of_all_buckets_without_the_empty_ones)
{
	for (int round = 0; round < 500; round++) {
		struct gil_hist x = {0}, y = {0};
		struct hist a = {0}, b = {0};

		fill(&x, &a);
		fill(&y, &b);
		check_same(&a, &x);
		cr_assert_eq(hist__add(&a, &b), 0);
		for (uint32_t i = 0; i < GIL_HIST_BUCKETS; i++)
			x.count[i] += y.count[i];
		check_same(&a, &x);
		check_same(&b, &y);
		hist__clear(&a);
		hist__clear(&b);
	}
}

Test(hist, advancing_tells_what_is_new)
{
	struct gil_hist now = {0};
	struct hist last = {0};

	for (int round = 0; round < 200; round++) {
		struct gil_hist added = {0};
		struct hist same = {0}, news = {0};

		fill(&added, &same);
		for (uint32_t i = 0; i < GIL_HIST_BUCKETS; i++)
			now.count[i] += added.count[i];
		cr_assert_eq(hist__advance(&news, &last, &now), 0);
		check_same(&news, &added);
		check_same(&last, &now);
		hist__clear(&same);
		hist__clear(&news);
	}
	hist__clear(&last);
}

Test(hist, advancing_survives_wrap_around)
{
	struct gil_hist now = {.count = {[3] = 4}};
	struct hist last = {0}, news = {0};

	set_count(&last, 3, UINT32_MAX - 1);
	set_count(&last, 9, UINT32_MAX);
	cr_assert_eq(hist__advance(&news, &last, &now), 0);
	cr_assert_eq(counted(&news, 3), 6);
	cr_assert_eq(counted(&news, 9), 1);
	cr_assert_eq(hist__total(&news), 7);
	hist__clear(&last);
	hist__clear(&news);
}

/* ---- half as fine ---- */

static struct hist_coarse coarse_of(const struct hist *fine)
{
	struct hist_coarse h;

	hist_coarse__from(&h, fine);
	return h;
}

Test(hist, wider_buckets_hold_two_fine_ones_and_lose_none)
{
	struct hist fine = {0};
	struct hist_coarse h;

	for (uint32_t b = 0; b < GIL_HIST_BUCKETS; b++)
		set_count(&fine, b, b * b + 1);
	h = coarse_of(&fine);
	cr_assert_eq(hist_coarse__total(&h), hist__total(&fine));
	for (uint32_t b = 0; b < HIST_COARSE_BUCKETS; b++)
		cr_assert_eq(h.count[b], counted(&fine, 2 * b) + counted(&fine, 2 * b + 1));
	hist_coarse__add(&h, &h);
	cr_assert_eq(hist_coarse__total(&h), 2 * hist__total(&fine));
	hist__clear(&fine);
}

Test(hist, counts_of_wider_buckets_stop_at_their_maximum)
{
	struct hist fine = {0};
	struct hist_coarse h;

	set_count(&fine, 8, UINT32_MAX);
	set_count(&fine, 9, 1);
	set_count(&fine, 20, UINT32_MAX);
	h = coarse_of(&fine);
	hist__clear(&fine);
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
		struct hist fine = {0};
		struct hist_coarse h;

		for (size_t i = 0; i < n; i++) {
			uint64_t floor = 1ull << (9 + next_random() % 25);

			v[i] = floor + next_random() % floor;
			hist__count(&fine, v[i]);
		}
		h = coarse_of(&fine);
		hist__clear(&fine);
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
