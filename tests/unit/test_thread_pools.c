/* SPDX-License-Identifier: GPL-2.0-only */
/* Pools by their names: what differs in its last number only is one; nothing else is. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "collector/analysis/thread_pools.h"

static void expect_pool(const struct thread_pool *pools, size_t i, const char *name, size_t n)
{
	cr_expect_str_eq(pools[i].name, name);
	cr_expect_eq(pools[i].n, n);
}

Test(thread_pools, differ_in_a_number_only)
{
	static const char *const names[] = {
		"main", "api-0", "api-2", "api-1", "web-7", "web-3", "Thread-3 (serve)", "Thread-4 (serve)", "Thread-5 (load)",
		"pool (71)", "pool (72)", "lone (73)", "7", "8", "x-1234567890", "x-1234567891", "",
	};
	size_t n, pool_of[sizeof(names) / sizeof(names[0])];
	struct thread_pool *pools = thread_pools__make(names, sizeof(names) / sizeof(names[0]), pool_of, &n);

	cr_assert_eq(n, 12);
	expect_pool(pools, 0, "main", 1);
	expect_pool(pools, 1, "api-0..2", 3);
	expect_pool(pools, 2, "web-* (2 threads)", 2);
	expect_pool(pools, 3, "Thread-3..4 (serve)", 2);
	expect_pool(pools, 4, "Thread-5 (load)", 1);
	expect_pool(pools, 5, "pool (2 threads)", 2);
	expect_pool(pools, 6, "lone (73)", 1);
	expect_pool(pools, 7, "7", 1);
	expect_pool(pools, 9, "x-1234567890", 1);
	cr_expect_eq(pool_of[5], 2);
	cr_expect_eq(pool_of[3], pool_of[1]);
	free(pools);
}

Test(thread_pools, none_is_no_pool)
{
	size_t n;
	struct thread_pool *pools = thread_pools__make(NULL, 0, NULL, &n);

	cr_assert_not_null(pools);
	cr_expect_eq(n, 0);
	free(pools);
}
