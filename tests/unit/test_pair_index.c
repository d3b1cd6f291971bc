/* SPDX-License-Identifier: GPL-2.0-only */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "collector/series/pair_index.h"

#define THREADS 60u

/* Every pair of 60 threads: the index grows several times on the way. */
static struct blame_cell *add_all(struct pair_index *index)
{
	struct blame_cell *cells = calloc(THREADS * THREADS, sizeof(*cells));

	cr_assert_not_null(cells);
	for (uint32_t i = 0; i < THREADS * THREADS; i++) {
		cells[i] = (struct blame_cell){.victim = i / THREADS, .holder = i % THREADS};
		cr_assert_eq(pair_index__add(index, cells, i), 0);
	}
	return cells;
}

Test(pair_index, empty_one_finds_nothing)
{
	struct pair_index index = {0};

	cr_expect_eq(pair_index__find(&index, NULL, 0, 0), PAIR_NONE);
	pair_index__clear(&index);
	pair_index__free(&index);
}

Test(pair_index, every_pair_is_found_where_it_is)
{
	struct pair_index index = {0};
	struct blame_cell *cells = add_all(&index);

	for (uint32_t i = 0; i < THREADS * THREADS; i++)
		cr_expect_eq(pair_index__find(&index, cells, i / THREADS, i % THREADS), i);
	cr_expect_eq(pair_index__find(&index, cells, THREADS, 0), PAIR_NONE);
	cr_expect_eq(pair_index__find(&index, cells, 0, THREADS), PAIR_NONE);
	pair_index__free(&index);
	free(cells);
}

Test(pair_index, victim_and_holder_are_not_taken_for_each_other)
{
	const struct blame_cell cells[] = {{.victim = 3, .holder = 7}, {.victim = 7, .holder = 3}};
	struct pair_index index = {0};

	cr_assert_eq(pair_index__add(&index, cells, 0), 0);
	cr_expect_eq(pair_index__find(&index, cells, 7, 3), PAIR_NONE);
	cr_assert_eq(pair_index__add(&index, cells, 1), 0);
	cr_expect_eq(pair_index__find(&index, cells, 7, 3), 1);
	cr_expect_eq(pair_index__find(&index, cells, 3, 7), 0);
	pair_index__free(&index);
}

Test(pair_index, cleared_one_is_empty_and_can_be_used_again)
{
	struct pair_index index = {0};
	struct blame_cell *cells = add_all(&index);

	pair_index__clear(&index);
	cr_expect_eq(pair_index__find(&index, cells, 1, 1), PAIR_NONE);
	cr_assert_eq(pair_index__add(&index, cells, 5), 0);
	cr_expect_eq(pair_index__find(&index, cells, 0, 5), 5);
	pair_index__free(&index);
	free(cells);
}
