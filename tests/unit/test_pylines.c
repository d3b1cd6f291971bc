/* SPDX-License-Identifier: GPL-2.0-only */
/* Line tables by hand, in each format, and broken ones. What real interpreters make is tests/integration/test_stacks.c's. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "collector/python/pylines.h"

#define CASES(x) (sizeof(x) / sizeof((x)[0]))

struct line_case {
	uint32_t minor;
	uint8_t table[16];
	size_t len;
	uint32_t at, line; /* of a function that begins in line 100 */
};

static const struct line_case cases[] = {
	/* co_lnotab: 0..5 line 100, 6..15 line 102, then 3 back; 300 bytes and 200 lines in two steps */
	{8, {6, 2, 10, 0xfd}, 4, 0, 100},
	{8, {6, 2, 10, 0xfd}, 4, 5, 100},
	{8, {6, 2, 10, 0xfd}, 4, 6, 102},
	{9, {6, 2, 10, 0xfd}, 4, 16, 99},
	{9, {6, 2, 10, 0xfd}, 4, 5000, 99},
	{9, {255, 0, 45, 127, 0, 73}, 6, 299, 100},
	{9, {255, 0, 45, 127, 0, 73}, 6, 300, 300},
	{9, {0}, 0, 10, 100},
	/* 3.10: ranges, one of them without a line */
	{10, {4, 1, 6, 0x80, 2, 5}, 6, 0, 101},
	{10, {4, 1, 6, 0x80, 2, 5}, 6, 3, 101},
	{10, {4, 1, 6, 0x80, 2, 5}, 6, 4, 0},
	{10, {4, 1, 6, 0x80, 2, 5}, 6, 10, 106},
	{10, {4, 1, 6, 0x80, 2, 5}, 6, 12, 0},
	/* 3.11+: one instruction on the line, two 1 line on, one without a line, three with long form 70 back */
	{11, {0x80, 0x00, 0xd9, 0x00, 0x00, 0xf8, 0xf2, 0x4d, 0x02, 0, 0, 0}, 12, 0, 100},
	{12, {0x80, 0x00, 0xd9, 0x00, 0x00, 0xf8, 0xf2, 0x4d, 0x02, 0, 0, 0}, 12, 2, 101},
	{12, {0x80, 0x00, 0xd9, 0x00, 0x00, 0xf8, 0xf2, 0x4d, 0x02, 0, 0, 0}, 12, 5, 101},
	{13, {0x80, 0x00, 0xd9, 0x00, 0x00, 0xf8, 0xf2, 0x4d, 0x02, 0, 0, 0}, 12, 6, 0},
	{14, {0x80, 0x00, 0xd9, 0x00, 0x00, 0xf8, 0xf2, 0x4d, 0x02, 0, 0, 0}, 12, 8, 31},
	{15, {0x80, 0x00, 0xd9, 0x00, 0x00, 0xf8, 0xf2, 0x4d, 0x02, 0, 0, 0}, 12, 14, 0},
	/* a line without columns: 3 on */
	{12, {0xe8, 0x06}, 2, 1, 103},
	/* begins in the middle of an entry */
	{12, {0x05, 0x80, 0x00}, 3, 0, 0},
};

static enum pyfamily_lines lines_of(uint32_t minor)
{
	return pyfamily__of((int)minor)->lines;
}

Test(pylines, each_format_says_the_line)
{
	for (size_t i = 0; i < CASES(cases); i++) {
		const struct line_case *c = &cases[i];
		uint32_t line = pylines__find(lines_of(c->minor), c->table, c->len, 100, c->at);

		cr_expect_eq(line, c->line, "case %zu, 3.%u at %u: line %u, not %u", i, c->minor, c->at, line, c->line);
	}
}

/* In memory of just that size, so that valgrind and the sanitizer see a step beyond; and it ends. */
Test(pylines, garbage_is_read_within_its_length)
{
	unsigned int seed = 1;

	for (int round = 0; round < 2000; round++) {
		size_t len = (size_t)(rand_r(&seed) % 64);
		uint8_t *table = malloc(len ?: 1);

		cr_assert_not_null(table);
		for (size_t i = 0; i < len; i++)
			table[i] = (uint8_t)rand_r(&seed);
		for (uint32_t minor = 8; minor <= 15; minor++)
			cr_assert_leq(pylines__find(lines_of(minor), table, len, 1, (uint32_t)rand_r(&seed) % 600),
				      (uint32_t)INT32_MAX);
		free(table);
	}
}

Test(pylines, lines_that_no_file_has_are_none)
{
	const uint8_t back[] = {0, 0x81};

	cr_expect_eq(pylines__find(LINES_LNOTAB, back, 2, 1, 0), 0);
	cr_expect_eq(pylines__find(LINES_LNOTAB, (const uint8_t[]){0, 1}, 2, INT32_MAX, 0), 0);
}
