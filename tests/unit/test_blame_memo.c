/* SPDX-License-Identifier: GPL-2.0-only */
/* Blame between two boundaries: differences of what the table says and of what was owed, against a plain sum. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "collector/reader/blame_memo.h"

#define BOUND 1000

static uint64_t part_of(const struct blame_list *list, uint64_t who)
{
	for (size_t i = 0; i < list->n; i++)
		if (list->part[i].who == who)
			return list->part[i].ns;
	return 0;
}

Test(blame_memo, a_list_is_sorted_and_adds_up)
{
	struct blame_list list = {0};
	uint64_t sums[64] = {0}, all = 0;

	srandom(11);
	for (int i = 0; i < 1000; i++) {
		uint64_t slot = (uint64_t)random() % 32, ns = (uint64_t)random() % 1000;
		bool by_tstate = random() % 2;

		cr_assert_eq(blame_list__add(&list, by_tstate ? blame_holder(0, slot + 1) : slot, ns), 0);
		sums[by_tstate ? 32 + slot : slot] += ns;
		all += ns;
	}
	for (uint64_t i = 0; i < 32; i++) {
		cr_assert_eq(part_of(&list, i), sums[i]);
		cr_assert_eq(part_of(&list, blame_holder(0, i + 1)), sums[32 + i]);
	}
	for (size_t i = 1; i < list.n; i++)
		cr_assert_lt(list.part[i - 1].who, list.part[i].who);
	cr_assert_eq(blame_list__sum(&list), all);
	blame_list__clear(&list);
}

static struct blame_reading reading_of(const struct gil_blame_key *keys, const struct gil_blame *values, size_t n, uint64_t bound)
{
	struct blame_reading reading = {0};

	for (size_t i = 0; i < n; i++)
		cr_assert_eq(blame_reading__add(&reading, &keys[i], &values[i], bound), 0);
	cr_assert_eq(blame_reading__sort(&reading), 0);
	return reading;
}

#define PAIRS 5000

/* In whatever order the table lists its pairs: none is lost, none changed, each victim's come in a row. */
Test(blame_memo, a_reading_is_sorted)
{
	static struct gil_blame_key keys[PAIRS];
	static struct gil_blame values[PAIRS];
	struct blame_reading reading;
	uint64_t sum = 0, expected = 0;

	srandom(5);
	for (uint64_t i = 0; i < PAIRS; i++) {
		bool by_tstate = random() % 4 == 0;

		keys[i] = (struct gil_blame_key){
			.victim = (uint32_t)random() % 97 * 3, .holder = by_tstate ? GIL_SLOT_NONE : (uint32_t)random() % 300,
			.holder_tstate = by_tstate ? 0x7f0000000000 + (uint64_t)random() % 300 : 0,
		};
		values[i].cur_ns = (uint64_t)random();
		expected += values[i].cur_ns * (keys[i].victim + 1) ^ blame_holder(keys[i].holder, keys[i].holder_tstate);
	}
	reading = reading_of(keys, values, PAIRS, BOUND);
	cr_assert_eq(reading.n, PAIRS);
	for (size_t i = 0; i < reading.n; i++) {
		struct blame_pair_sum pair = reading.pairs[i], before = reading.pairs[i ? i - 1 : 0];

		cr_assert(before.victim < pair.victim || (before.victim == pair.victim && before.who <= pair.who));
		sum += pair.ns * (pair.victim + 1) ^ pair.who;
	}
	cr_assert_eq(sum, expected);
	blame_reading__clear(&reading);
	cr_assert_eq(blame_reading__sort(&reading), 0, "an empty one, too");
}

Test(blame_memo, what_is_settled_is_what_came_since)
{
	struct gil_blame_key keys[] = {
		{.victim = 8, .holder = 2}, {.victim = 7, .holder = 2}, {.victim = 7, .holder = 9},
		{.victim = 7, .holder_tstate = 0x1000}, {.victim = 3, .holder = 5},
	};
	/* The second saw the boundary pass: its state at it was put aside. */
	struct gil_blame values[] = {
		{.cur_ns = 1}, {.bound = BOUND, .cur_ns = 100, .snap_ns = 60}, {.cur_ns = 30}, {.cur_ns = 5}, {.cur_ns = 1},
	};
	struct blame_reading reading = reading_of(keys, values, 5, BOUND);
	struct blame_list owed = {0}, parts = {0}, none = {0};
	struct blame_memo memo = {0};

	blame_list__add(&owed, 9, 12);
	blame_list__add(&owed, 4, 8);
	cr_assert_eq(blame_memo__settle(&memo, &reading, 7, 0, &owed, &parts), 0);
	cr_assert_eq(parts.n, 4);
	cr_assert_eq(part_of(&parts, 2), 60);
	cr_assert_eq(part_of(&parts, 9), 42);
	cr_assert_eq(part_of(&parts, 4), 8);
	cr_assert_eq(part_of(&parts, blame_holder(0, 0x1000)), 5);
	blame_list__clear(&parts);

	/* Of what was owed to 9 only 2 were charged; what was owed to 4, never. Both turn out unknown, and are nobody's anew. */
	values[2].cur_ns = 32;
	blame_reading__clear(&reading);
	reading = reading_of(keys, values, 5, 2 * BOUND);
	cr_assert_eq(blame_memo__settle(&memo, &reading, 7, 0, &none, &parts), 0);
	cr_assert_eq(parts.n, 1);
	cr_assert_eq(part_of(&parts, 2), 40);
	blame_list__clear(&parts);
	blame_list__clear(&owed);
	blame_reading__clear(&reading);
	blame_memo__clear(&memo);
}

Test(blame_memo, a_slot_given_back_is_forgotten)
{
	bool gone[16] = {[9] = true};
	struct gil_blame_key keys[] = {{.victim = 7, .holder = 9}, {.victim = 7, .holder_tstate = 9}};
	struct gil_blame values[] = {{.cur_ns = 50}, {.cur_ns = 40}};
	struct blame_reading reading = reading_of(keys, values, 2, BOUND);
	struct blame_list parts = {0}, none = {0};
	struct blame_memo memo = {0};

	blame_memo__settle(&memo, &reading, 7, 0, &none, &parts);
	blame_list__clear(&parts);
	blame_memo__forget(&memo, gone);
	cr_assert_eq(blame_memo__settle(&memo, &reading, 7, 0, &none, &parts), 0);
	cr_assert_eq(parts.n, 1, "the one known by its thread state is another");
	cr_assert_eq(part_of(&parts, 9), 50);
	blame_list__clear(&parts);
	blame_reading__clear(&reading);
	blame_memo__clear(&memo);
}

/* Whoever held the GIL when the probes were armed has a name by the time at which the waiter is charged. */
Test(blame_memo, what_was_owed_to_a_holder_without_a_name_is_not_told_again_under_its_name)
{
	struct gil_blame_key keys[] = {{.victim = 7, .holder = GIL_SLOT_SEED}, {.victim = 7, .holder = 9}};
	struct gil_blame values[] = {{.cur_ns = 50}, {.cur_ns = 30}};
	struct blame_reading reading = reading_of(keys, values, 1, BOUND);
	struct blame_list owed = {0}, parts = {0}, none = {0};
	struct blame_memo memo = {0};

	blame_list__add(&owed, GIL_SLOT_SEED, 20);
	cr_assert_eq(blame_memo__settle(&memo, &reading, 7, 0, &owed, &parts), 0);
	cr_assert_eq(part_of(&parts, GIL_SLOT_SEED), 70);
	blame_list__clear(&parts);
	blame_list__clear(&owed);
	blame_reading__clear(&reading);
	/* 20 of the 30 are those. */
	reading = reading_of(keys, values, 2, 2 * BOUND);
	cr_assert_eq(blame_memo__settle(&memo, &reading, 7, 9, &none, &parts), 0);
	cr_assert_eq(parts.n, 1);
	cr_assert_eq(part_of(&parts, 9), 10);
	blame_list__clear(&parts);
	blame_reading__clear(&reading);
	blame_memo__clear(&memo);
}
