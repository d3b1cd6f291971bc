/* SPDX-License-Identifier: GPL-2.0-only */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "collector/cpython/gil_words.h"

static const struct pyoffsets offsets = {.gil_last_holder = 8, .gil_locked = 16, .gil_cond = 32};

/* A GIL in this process's own memory. */
static struct {
	uint64_t interval, last_holder;
	int32_t locked, pad;
	uint64_t switches;
} gil;

static struct gil_words read_own(void)
{
	struct gil_words w;

	cr_assert_eq(gil_words__read(getpid(), &offsets, (uint64_t)(uintptr_t)&gil, &w), 0);
	return w;
}

Test(gil_words, are_read_where_the_version_has_them)
{
	struct gil_words w;

	gil.last_holder = 0x1234, gil.locked = 1, gil.switches = 7;
	w = read_own();
	cr_assert_eq(w.last_holder, 0x1234);
	cr_assert_eq(w.switches, 7);
	cr_assert_eq(gil_words__holder(&w), 0x1234);
	gil.locked = 0;
	w = read_own();
	cr_assert_eq(gil_words__holder(&w), 0, "the last holder of a free GIL has it no more");
	gil.locked = -1;
	w = read_own();
	cr_assert_eq(gil_words__holder(&w), 0, "a GIL that is not made yet has no holder");
}

Test(gil_words, that_cannot_be_read_change_nothing)
{
	struct gil_words w = {.last_holder = 42};

	cr_assert_eq(gil_words__read(getpid(), &offsets, 0, &w), -EINVAL);
	cr_assert_eq(gil_words__read(getpid(), &offsets, 0x10, &w), -EFAULT);
	cr_assert_eq(w.last_holder, 42);
}

Test(gil_words, tell_that_a_gil_was_taken_but_not_that_it_was_let_go)
{
	struct gil_words was = {.last_holder = 1, .switches = 5, .locked = 1}, is = was;

	cr_assert_not(gil_words__taken_since(&was, &is));
	is.locked = 0;
	cr_assert_not(gil_words__taken_since(&was, &is));
	cr_assert(gil_words__taken_since(&is, &was), "it was free");
	is = was, is.switches = 6;
	cr_assert(gil_words__taken_since(&was, &is));
	is = was, is.last_holder = 2;
	cr_assert(gil_words__taken_since(&was, &is));
}
