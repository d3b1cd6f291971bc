/* SPDX-License-Identifier: GPL-2.0-only */
/* Circles are found soon, and lists that are none are left alone. */
#include <criterion/criterion.h>

#include "collector/base/circle.h"

/* The place after `at` in a list of `tail` places that lead into a circle of `n`. */
static uint64_t after(uint64_t at, uint64_t tail, uint64_t n)
{
	return at == tail + n ? tail + 1 : at + 1;
}

Test(circle, is_known_within_three_times_its_places)
{
	for (uint64_t tail = 0; tail < 40; tail++)
		for (uint64_t n = 1; n < 200; n++) {
			struct circle c = {0};
			uint64_t at = 1, steps = 0;

			while (!circle__closed(&c, at) && steps++ < 3 * (tail + n) + 3)
				at = after(at, tail, n);
			cr_assert_leq(steps, 3 * (tail + n) + 2, "%lu into a circle of %lu: %lu", tail, n, steps);
		}
}

Test(circle, is_not_where_a_list_is_long)
{
	struct circle c = {0};

	for (uint64_t at = 1; at < 100000; at++)
		cr_assert_not(circle__closed(&c, at * 8));
}
