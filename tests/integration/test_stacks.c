/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Python stacks against what the programs say of themselves (sys._current_frames), on every interpreter of this machine:
 * function, file and line of every frame.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../../collector/pynames.h"
#include "../../collector/pystack.h"
#include "../../collector/text.h"
#include "../support/bpf_env.h"
#include "../support/interpreters.h"
#include "../support/python_memory.h"
#include "../support/workload.h"

TestSuite(stacks, .timeout = 120);

/* The thread state of a thread, as gilscope finds it. */
static uint64_t tstate_of(const struct pynames *names, pid_t tid)
{
	const struct pythread *all;
	size_t n;

	all = pynames__all(names, &n);
	for (size_t i = 0; i < n; i++)
		if (all[i].tid == tid)
			return all[i].tstate;
	cr_assert_fail("thread %d is not on the interpreter's list", (int)tid);
	return 0;
}

/* How a text of the program's is to be shown: cleaned, and of what is too long the beginning, or the end. */
static void expected_text(char *buf, size_t size, const char *text, bool end)
{
	size_t len = strlen(text), skip = 0;

	if (end && len > size - 1) {
		skip = len - (size - 1);
		while ((text[skip] & 0xc0) == 0x80)
			skip++;
	}
	text__clean(buf, size, text + skip, len - skip);
}

static void expect_frame(const struct pysymbol *got, json_t *want, const char *thread, size_t depth)
{
	char function[PYSTACK_FUNCTION_SIZE], file[PYSTACK_FILE_SIZE];

	expected_text(function, sizeof(function), json_string_value(json_array_get(want, 0)), false);
	expected_text(file, sizeof(file), json_string_value(json_array_get(want, 1)), true);
	cr_expect_str_eq(got->function, function, "%s, frame %zu: %s, not %s", thread, depth, got->function, function);
	cr_expect_str_eq(got->file, file, "%s, frame %zu: %s, not %s", thread, depth, got->file, file);
	cr_expect_eq(got->line, json_integer_value(json_array_get(want, 2)), "%s, frame %zu (%s): line %u, not %d", thread,
		     depth, function, got->line, (int)json_integer_value(json_array_get(want, 2)));
}

static void expect_stack(struct pystack *s, uint64_t tstate, json_t *thread)
{
	const char *name = json_string_value(json_array_get(thread, 1));
	json_t *want = json_array_get(thread, 2);
	struct gil_frame frames[GIL_STACK_DEPTH];
	struct pysymbol symbol;
	bool more;
	int n = pystack__walk_still(s, tstate, frames, GIL_STACK_DEPTH, &more);

	cr_assert_eq(n, (int)json_array_size(want), "%s: %d frames, not %zu", name, n, json_array_size(want));
	cr_expect_eq(more, strcmp(name, "ten_thousand") == 0, "%s", name);
	for (size_t i = 0; i < (size_t)n; i++) {
		cr_expect(pystack__symbol(s, &frames[i], &symbol), "%s: frame %zu has no name", name, i);
		expect_frame(&symbol, json_array_get(want, i), name, i);
	}
}

ParameterizedTestParameters(stacks, are_those_that_threads_say_they_have)
{
	static struct interpreter found[INTERPRETERS_MAX];

	return cr_make_param_array(struct interpreter, found, interpreters__find(found, INTERPRETERS_MAX));
}

ParameterizedTest(struct interpreter *in, stacks, are_those_that_threads_say_they_have)
{
	struct python_memory memory;
	struct workload w;
	json_t *truth, *thread;
	size_t i;

	workload__start(&w, in, "stacks.py");
	python_memory__open(&memory, w.pid);
	for (int round = 0; round < 2; round++) { /* the second time from the cache */
		truth = workload__ask(&w, "list");
		json_array_foreach(json_object_get(truth, "threads"), i, thread)
			expect_stack(memory.stacks,
				     tstate_of(memory.names, (pid_t)json_integer_value(json_array_get(thread, 0))), thread);
		cr_expect_gt(i, 15);
		json_decref(truth);
	}
	python_memory__close(&memory);
	workload__quit(&w);
}

/* A code object that is another than it was when it was seen has no name, whether that one was known before or not. */
Test(stacks, a_frame_of_a_freed_code_object_has_no_name)
{
	struct gil_frame frames[GIL_STACK_DEPTH];
	struct python_memory memory;
	struct pysymbol symbol;
	struct interpreter in;
	struct workload w;
	json_t *truth;
	uint64_t tstate;
	bool more;

	interpreter__stock(&in);
	workload__start(&w, &in, "stacks.py");
	python_memory__open(&memory, w.pid);
	truth = workload__ask(&w, "list");
	tstate = tstate_of(memory.names, (pid_t)json_integer_value(
		json_array_get(json_array_get(json_object_get(truth, "threads"), 0), 0)));
	cr_assert_gt(pystack__walk_still(memory.stacks, tstate, frames, GIL_STACK_DEPTH, &more), 1);
	frames[0].print ^= 2;
	cr_expect_not(pystack__symbol(memory.stacks, &frames[0], &symbol));
	cr_expect_str_eq(symbol.function, "?");
	cr_expect_eq(symbol.line, 0);
	frames[0].print ^= 2;
	cr_expect(pystack__symbol(memory.stacks, &frames[0], &symbol));
	cr_expect_str_eq(symbol.function, "stand");
	frames[0].print ^= 2;
	cr_expect_not(pystack__symbol(memory.stacks, &frames[0], &symbol));
	/* Not a code object, not even memory. */
	frames[0].code = tstate;
	cr_expect_not(pystack__symbol(memory.stacks, &frames[0], &symbol));
	frames[0].code = 64;
	cr_expect_not(pystack__symbol(memory.stacks, &frames[0], &symbol));
	json_decref(truth);
	python_memory__close(&memory);
	workload__quit(&w);
}
