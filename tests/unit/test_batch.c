/* SPDX-License-Identifier: GPL-2.0-only */
/* Batches of commands. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "collector/schema/batch.h"

Test(batch, gives_back_what_was_put_in)
{
	struct batch *b = batch__new();
	const char *const *argv;
	const size_t *lens;

	batch__command(b, "ZADD");
	batch__arg(b, "key");
	batch__arg_int(b, -9223372036854775807ll - 1);
	batch__arg_mem(b, "a\0b\n", 4);
	batch__command(b, "PING");
	batch__command(b, "SET");
	batch__arg_mem(b, "", 0);
	batch__arg_fmt(b, "%s:%d", "x", 5);
	cr_assert_eq(batch__error(b), 0);
	cr_assert_eq(batch__commands(b), 3);
	cr_assert_eq(batch__get(b, 0, &argv, &lens), 4);
	cr_assert_str_eq(argv[0], "ZADD");
	cr_assert_str_eq(argv[2], "-9223372036854775808");
	cr_assert_eq(lens[3], 4);
	cr_assert_arr_eq(argv[3], "a\0b\n", 4);
	cr_assert_eq(batch__get(b, 1, &argv, &lens), 1);
	cr_assert_eq(batch__get(b, 2, &argv, &lens), 3);
	cr_assert_eq(lens[1], 0);
	cr_assert_str_eq(argv[2], "x:5");
	cr_assert_eq(batch__get(b, 3, &argv, &lens), 0);
	batch__free(b);
	batch__free(NULL);
}

Test(batch, arguments_stay_where_they_are_while_it_grows)
{
	struct batch *b = batch__new();
	static char big[300000];
	const char *const *argv;
	const size_t *lens;
	const char *first;

	memset(big, 'x', sizeof(big));
	batch__command(b, "FIRST");
	batch__get(b, 0, &argv, &lens);
	first = argv[0];
	for (int i = 0; i < 3000; i++) {
		batch__command(b, "SET");
		batch__arg_fmt(b, "key%d", i);
		batch__arg_mem(b, big, i == 1000 ? sizeof(big) : 100);
	}
	cr_assert_eq(batch__error(b), 0);
	batch__get(b, 0, &argv, &lens);
	cr_assert_eq(argv[0], first);
	cr_assert_eq(batch__get(b, 1001, &argv, &lens), 3);
	cr_assert_str_eq(argv[1], "key1000");
	cr_assert_eq(lens[2], sizeof(big));
	cr_assert_gt(batch__bytes(b), sizeof(big) + 3000 * 100);
	cr_assert_lt(batch__bytes(b), 2 * (sizeof(big) + 3000 * 150));
	batch__free(b);
}

Test(batch, long_formatted_arguments_are_not_cut)
{
	struct batch *b = batch__new();
	static char text[10001];
	const char *const *argv;
	const size_t *lens;

	memset(text, 'y', sizeof(text) - 1);
	batch__command(b, "ECHO");
	batch__arg_fmt(b, "<%s>", text);
	batch__get(b, 0, &argv, &lens);
	cr_assert_eq(lens[1], 10002);
	cr_assert_eq(argv[1][10001], '>');
	batch__free(b);
}

Test(batch, an_argument_without_a_command_spoils_it_for_good)
{
	struct batch *b = batch__new();

	batch__arg(b, "lost");
	cr_assert_eq(batch__error(b), -EINVAL);
	batch__command(b, "PING");
	cr_assert_eq(batch__commands(b), 0);
	cr_assert_eq(batch__error(b), -EINVAL);
	batch__free(b);
}
