/* SPDX-License-Identifier: GPL-2.0-only */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "bpf/gil_hist.h"
#include "collector/series/overs.h"

#define MS 1000000ull

static void count(struct gil_over *o, uint64_t ns)
{
	o->n++;
	o->ns += ns;
	o->max_ns = ns > o->max_ns ? ns : o->max_ns;
	o->hist[gil_over_bucket(ns)]++;
}

Test(overs, every_duration_has_the_bucket_that_ends_behind_it)
{
	uint64_t begin = 0;

	for (uint32_t k = 0; k < GIL_OVER_BUCKETS; begin = overs__end_of(k++)) {
		cr_expect_eq(gil_over_bucket(begin), k);
		cr_expect_eq(gil_over_bucket(overs__end_of(k) - 1), k);
	}
	cr_expect_eq(gil_over_bucket(UINT64_MAX), GIL_OVER_BUCKETS - 1);
}

Test(overs, late_begins_where_it_is_said_to)
{
	struct gil_over o = {0};

	count(&o, 0);
	count(&o, OVERS_LATE_NS - 1);
	cr_expect_eq(overs__late(&o), 0);
	count(&o, OVERS_LATE_NS);
	count(&o, 1000000 * MS);
	cr_expect_eq(overs__late(&o), 2);
}

Test(overs, sums_and_differences_agree)
{
	struct gil_over first = {0}, both = {0}, rest, sum;

	count(&first, 3 * MS);
	both = first;
	both.max_ns = 0;
	count(&both, 1 * MS);
	count(&both, 2 * MS);
	cr_expect_eq(overs__since(&both, &first, &rest), 0);
	cr_expect(rest.n == 2 && rest.ns == 3 * MS && rest.max_ns == 2 * MS);
	sum = first;
	overs__add(&sum, &rest);
	cr_expect(sum.n == 3 && sum.ns == 6 * MS && sum.max_ns == 3 * MS);
	cr_expect_arr_eq(sum.hist, both.hist, sizeof(sum.hist));
	cr_expect_eq(overs__since(&both, &both, &rest), 0);
	cr_expect(rest.n == 0 && rest.max_ns == 0, "no hold ended: the longest is an older interval's");
	cr_expect_eq(overs__since(&first, &both, &rest), 1);
	cr_expect(rest.n == 0 && rest.ns == 0);
}

Test(overs, kind_is_told_only_of_who_was_asked_and_by_most_of_the_times)
{
	cr_expect_eq(overs__kind(NAN, NAN), LETS_GO_UNKNOWN);
	cr_expect_eq(overs__kind(2, 2), LETS_GO_UNKNOWN);
	cr_expect_eq(overs__kind(3, NAN), LETS_GO_UNKNOWN);
	cr_expect_eq(overs__kind(100, 0), LETS_GO_SOON);
	cr_expect_eq(overs__kind(100, 20), LETS_GO_SOON);
	cr_expect_eq(overs__kind(100, 30), LETS_GO_MIXED);
	cr_expect_eq(overs__kind(100, 50), LETS_GO_LATE);
	cr_expect_eq(overs__kind(100, 100), LETS_GO_LATE);
}
