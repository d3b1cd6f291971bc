/* SPDX-License-Identifier: GPL-2.0-only */
/* Blame rows added up again: what the contract shows, several rows, and what is none. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collector/schema/schema_blame.h"

static double pair_us(const struct blame_sum *sum, const char *victim, const char *holder)
{
	for (size_t i = 0; i < sum->pairs_n; i++)
		if (!strcmp(sum->pairs[i].victim, victim) && !strcmp(sum->pairs[i].holder, holder))
			return sum->pairs[i].us;
	return -1;
}

static const struct blame_victim *victim(const struct blame_sum *sum, const char *thr)
{
	for (size_t i = 0; i < sum->victims_n; i++)
		if (!strcmp(sum->victims[i].thr, thr))
			return &sum->victims[i];
	return NULL;
}

static int add(struct blame_sum *sum, const char *json)
{
	return blame_sum__add(sum, json, strlen(json));
}

Test(schema_blame, rows_add_up)
{
	struct blame_sum sum = {0};

	cr_assert_eq(add(&sum, "{\"t\":1,\"d\":1000000,\"b\":[[\"12\",\"7.88\",400],[\"12\",\"other\",100]],\"rest\":{\"12\":5},"
			       "\"handover\":{\"12\":7,\"13\":1},\"unknown\":{}}"),
		     0);
	cr_expect_not(sum.sampled);
	cr_assert_eq(add(&sum, "{\"t\":2,\"d\":1000000,\"b\":[[\"13\",\"7.88\",900],[\"12\",\"7.88\",50]],\"rest\":{},"
			       "\"handover\":{\"12\":3},\"unknown\":{\"12\":2},\"sampled\":true}"),
		     0);
	blame_sum__sort(&sum);
	cr_assert_eq(sum.pairs_n, 3);
	cr_expect_eq(sum.pairs[0].us, 900);
	cr_expect_eq(pair_us(&sum, "12", "7.88"), 450);
	cr_expect_eq(pair_us(&sum, "12", "other"), 100);
	cr_assert_not_null(victim(&sum, "12"));
	cr_expect_eq(victim(&sum, "12")->rest_us, 5);
	cr_expect_eq(victim(&sum, "12")->handover_us, 10);
	cr_expect_eq(victim(&sum, "12")->unknown_us, 2);
	cr_expect_eq(victim(&sum, "13")->handover_us, 1);
	cr_expect(sum.sampled);
	blame_sum__free(&sum);
}

Test(schema_blame, what_is_no_row_adds_nothing)
{
	static const char *const bad[] = {
		"",
		"x",
		"[]",
		"{}",
		"{\"b\":{}}",
		"{\"b\":[[\"1\",\"2\"]]}",
		"{\"b\":[[\"1\",\"2\",-1]]}",
		"{\"b\":[[1,2,3]]}",
		"{\"b\":[[\"1\",\"\\u001b[1m\",3]]}",
		"{\"b\":[[\"1\",\"2\",1e300]]}",
		"{\"b\":[[\"1\",\"2\",5]],\"rest\":[1]}",
		"{\"b\":[[\"1\",\"2\",5]],\"unknown\":{\"x y\":1}}",
		"{\"b\":[[\"1\",\"2\",5]],\"handover\":{\"1\":\"a\"}}",
		"{\"b\":[[\"12345678901234567890123456789012345678901\",\"2\",5]]}",
		"{\"b\":[[\"1\\u0000\",\"2\",5]]}",
	};
	struct blame_sum sum = {0};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		cr_expect_eq(add(&sum, bad[i]), -EBADMSG, "%s", bad[i]);
		cr_expect_eq(sum.pairs_n + sum.victims_n, 0, "%s", bad[i]);
	}
	blame_sum__free(&sum);
}

Test(schema_blame, many_pairs_are_kept_apart)
{
	struct blame_sum sum = {0};
	char row[100];

	for (int i = 0; i < 500; i++) {
		snprintf(row, sizeof(row), "{\"b\":[[\"%d\",\"7\",%d]],\"rest\":{\"%d\":1}}", i, i, i);
		cr_assert_eq(add(&sum, row), 0);
	}
	cr_assert_eq(sum.pairs_n, 500);
	cr_assert_eq(sum.victims_n, 500);
	for (int i = 0; i < 500; i++) {
		char thr[8];

		snprintf(thr, sizeof(thr), "%d", i);
		cr_expect_eq(pair_us(&sum, thr, "7"), i);
	}
	blame_sum__free(&sum);
}

/* A server that writes members of its own decides neither how long adding them up takes nor how much is kept. */
Test(schema_blame, member_of_many_pairs_is_added_without_walking_through_them, .timeout = 60)
{
	struct blame_sum sum = {0};
	size_t room = 1 << 20, len = 0;
	char *row = malloc(room);
	int pairs = 40000;

	cr_assert_not_null(row);
	len += (size_t)sprintf(row, "{\"b\":[");
	for (int i = 0; i < pairs; i++)
		len += (size_t)sprintf(row + len, "%s[\"%d\",\"7\",1]", i ? "," : "", i);
	sprintf(row + len, "]}");
	for (int i = 0; i < 40; i++)
		cr_assert_eq(add(&sum, row), 0);
	cr_expect_eq(sum.pairs_n, pairs);
	cr_expect_eq(pair_us(&sum, "39999", "7"), 40);
	blame_sum__sort(&sum);
	cr_assert_eq(add(&sum, row), 0, "after sorting, too");
	cr_expect_eq(sum.pairs_n, pairs);
	cr_expect_eq(pair_us(&sum, "0", "7"), 41);
	blame_sum__free(&sum);
	free(row);
}
