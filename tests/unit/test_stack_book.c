/* SPDX-License-Identifier: GPL-2.0-only */
/* What is remembered of a stack, and for how long. Names come from a target's memory elsewhere: here there is none. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "collector/stacks/stack_book.h"

static struct stack_book *book;

static void set_up(void)
{
	book = stack_book__new();
	cr_assert_not_null(book);
}

static void tear_down(void)
{
	stack_book__free(book);
}

TestSuite(stack_book, .init = set_up, .fini = tear_down);

static void learn(uint64_t hash, uint32_t proc, uint32_t depth, bool more)
{
	struct gil_stack_event *e = calloc(1, sizeof(*e));

	cr_assert_not_null(e);
	e->hash = hash;
	e->proc = proc;
	e->depth = depth;
	e->more = more;
	stack_book__learn(book, e, NULL);
	free(e);
}

Test(stack_book, frames_that_cannot_be_named_are_question_marks)
{
	const struct stack_text *text;

	learn(1000, 1, 3, true);
	text = stack_book__find(book, 1000);
	cr_assert_not_null(text);
	cr_assert_str_eq(text->line, "...;?;?;?");
	cr_assert_str_eq(text->leaf.function, "?");
	cr_assert_str_eq(text->leaf.file, "");
	cr_assert_eq(text->leaf.line, 0);
	cr_assert_null(stack_book__find(book, 1001));
	cr_assert_null(stack_book__find(book, 0));
}

Test(stack_book, no_python_code_is_no_function)
{
	learn(1000, 1, 0, false);
	cr_assert_str_eq(stack_book__find(book, 1000)->leaf.function, "");
	cr_assert_str_eq(stack_book__find(book, 1000)->leaf.file, "");
	cr_assert_str_eq(stack_book__find(book, 1000)->line, "");
}

Test(stack_book, what_was_learned_last_stays)
{
	const uint64_t apart = 1ull << 32; /* the same place for all of them */

	for (uint64_t i = 1; i <= 100; i++)
		learn(i * apart, 1, (uint32_t)(i % 3), false);
	cr_assert_not_null(stack_book__find(book, 100 * apart));
	cr_assert_not_null(stack_book__find(book, 99 * apart));
	cr_assert_null(stack_book__find(book, apart), "room is bounded");
	cr_assert_str_eq(stack_book__find(book, 100 * apart)->line, "?");
	cr_assert_str_eq(stack_book__find(book, 98 * apart)->line, "?;?");
}

Test(stack_book, a_process_that_is_gone_is_forgotten)
{
	learn(1, 7, 1, false);
	learn(2, 8, 1, false);
	stack_book__forget(book, 7);
	cr_assert_null(stack_book__find(book, 1));
	cr_assert_not_null(stack_book__find(book, 2));
	learn(1, 9, 2, false);
	cr_assert_str_eq(stack_book__find(book, 1)->line, "?;?", "another's by now");
}
