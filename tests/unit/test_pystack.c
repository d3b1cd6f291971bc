/* SPDX-License-Identifier: GPL-2.0-only */
/* Names of frames, from code objects that this test makes in its own memory, and what looking at them takes. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "collector/process/errand.h"
#include "collector/python/pystack.h"

#define CODES GIL_STACK_DEPTH
#define LONG_LINES 10000 /* bytes of a line table that is no usual one */

/* Where these objects have their members; lines are those of 3.12. */
static const struct pyoffsets offsets = {
	.minor = 12, .interp_modules = 0, .ob_type = 8, .type_name = 24, .type_flags = 32, .unicode_length = 16,
	.unicode_state = 24, .unicode_ascii_size = 32, .unicode_compact_size = 48, .bytes_size = 16, .bytes_data = 32,
	.tstate_frame = 0, .cframe_frame = PYOFF_NONE, .frame_previous = 8, .frame_code = 0, .frame_at = 16,
	.frame_owner = PYOFF_NONE, .code_filename = 32, .code_firstlineno = 24, .code_lines = 56, .code_bytes = 64,
};

struct type {
	uint64_t refs, type, size, name, flags;
};

struct text {
	uint64_t refs, type, length, state;
	char chars[32];
};

struct lines {
	uint64_t refs, type, size, hash;
	uint8_t data[LONG_LINES];
};

struct code {
	uint64_t refs, type, size, firstlineno, filename, name, qualname, lines, instructions;
};

static const struct type types[] = {
	{.name = (uintptr_t)"code"}, {.name = (uintptr_t)"str"}, {.name = (uintptr_t)"bytes"},
};
static struct text names[CODES], file;
static struct lines usual, longer;
static struct code codes[CODES];
static struct gil_frame frames[CODES];
static struct pysymbol symbols[CODES];
static struct pystack *stacks;

static uint64_t address(const void *p)
{
	return (uint64_t)(uintptr_t)p;
}

static void make_text(struct text *t, const char *chars)
{
	*t = (struct text){.type = address(&types[1]), .length = strlen(chars), .state = 1 << 2 | 1 << 5 | 1 << 6};
	memcpy(t->chars, chars, strlen(chars));
}

/* Each entry: eight instructions (16 bytes), a line further on. */
static void make_lines(struct lines *l, size_t size)
{
	*l = (struct lines){.type = address(&types[2]), .size = size};
	for (size_t i = 0; i < size; i += 2) {
		l->data[i] = 0x80 | 13 << 3 | 7;
		l->data[i + 1] = 2;
	}
}

static void make_code(size_t i)
{
	struct code *c = &codes[i];
	char name[32];

	snprintf(name, sizeof(name), "function_%zu", i);
	make_text(&names[i], name);
	*c = (struct code){
		.type = address(&types[0]), .size = LONG_LINES * 8, .firstlineno = 1000 * (i + 1), .filename = address(&file),
		.name = address(&names[i]), .qualname = address(&names[i]), .lines = address(&usual),
	};
}

/* How the programs would see it `at` bytes into its code. */
static struct gil_frame frame_in(size_t i, uint32_t at)
{
	const struct code *c = &codes[i];

	return (struct gil_frame){
		.code = address(c), .at = at,
		.print = gil_code_print(c->filename, c->name, c->qualname, c->lines, (uint32_t)c->firstlineno),
	};
}

static void set_up(void)
{
	cr_assert_eq(errand__prepare(), 0);
	make_text(&file, "/srv/app/module.py");
	make_lines(&usual, 64);
	make_lines(&longer, LONG_LINES);
	for (size_t i = 0; i < CODES; i++) {
		make_code(i);
		frames[i] = frame_in(i, 16);
	}
	cr_assert_eq(pystack__new(getpid(), &offsets, &stacks), 0);
}

static void tear_down(void)
{
	pystack__free(stacks);
	errand__dismiss();
}

TestSuite(pystack, .init = set_up, .fini = tear_down, .timeout = 60);

static void expect_symbol(size_t i, size_t code, uint32_t line)
{
	char name[32];

	snprintf(name, sizeof(name), "function_%zu", code);
	cr_expect_str_eq(symbols[i].function, name, "%zu: %s", i, symbols[i].function);
	cr_expect_str_eq(symbols[i].file, "/srv/app/module.py");
	cr_expect_eq(symbols[i].firstlineno, 1000 * (code + 1));
	cr_expect_eq(symbols[i].line, line, "%zu: %u", i, symbols[i].line);
}

/* Names the first `n` frames; how many errands that took. */
static uint64_t name_frames(size_t n, size_t want)
{
	uint64_t before = errand__counts().sent;

	cr_expect_eq(pystack__symbols(stacks, frames, n, symbols), want);
	return errand__counts().sent - before;
}

Test(pystack, a_deep_stack_of_new_code_takes_a_handful_of_errands_and_none_the_next_time)
{
	uint64_t errands;

	name_frames(1, 1); /* finds the types, once */
	errands = name_frames(CODES, CODES);
	cr_expect_leq(errands, 6, "%d", (int)errands);
	for (size_t i = 0; i < CODES; i++)
		expect_symbol(i, i, 1000 * ((uint32_t)i + 1) + 2);
	/* Some of that many meet in one place of the cache. */
	errands = name_frames(CODES, CODES);
	cr_expect_leq(errands, 3, "%d", (int)errands);
	expect_symbol(CODES - 1, CODES - 1, 1000 * CODES + 2);
	name_frames(1, 1); /* the newest of its place now, whoever else was in it */
	cr_expect_eq(name_frames(1, 1), 0);
}

Test(pystack, a_recursion_is_one_code_object_on_many_lines)
{
	uint64_t errands;

	name_frames(1, 1);
	for (size_t i = 0; i < CODES; i++)
		frames[i] = frame_in(7, 16 * (uint32_t)(i % 30));
	errands = name_frames(CODES, CODES);
	cr_expect_leq(errands, 3, "%d", (int)errands);
	for (size_t i = 0; i < CODES; i++)
		expect_symbol(i, 7, 8001 + (uint32_t)(i % 30));
}

Test(pystack, a_line_table_that_is_too_long_to_come_with_others_is_read_alone)
{
	codes[3].lines = address(&longer);
	frames[3] = frame_in(3, 16 * (LONG_LINES / 2 - 1));
	name_frames(5, 5);
	expect_symbol(2, 2, 3002);
	expect_symbol(3, 3, 4000 + LONG_LINES / 2);
	expect_symbol(4, 4, 5002);
}

/* Freed, another's by now, a lie: each has no name, and the others have theirs. */
Test(pystack, code_that_is_no_more_what_it_was_has_no_name_and_takes_none_from_others)
{
	frames[1].print ^= 2;
	codes[2].type = address(&types[1]);
	frames[3].code = 64;
	codes[4].qualname = address(&usual);
	frames[4] = frame_in(4, 16);
	names[5].length = UINT64_MAX;
	codes[6].lines = 4096;
	frames[6] = frame_in(6, 16);
	name_frames(CODES, CODES - 6);
	expect_symbol(0, 0, 1002);
	for (size_t i = 1; i < 7; i++)
		cr_expect_str_eq(symbols[i].function, "?", "%zu: %s", i, symbols[i].function);
	for (size_t i = 7; i < CODES; i++)
		expect_symbol(i, i, 1000 * ((uint32_t)i + 1) + 2);
}

/* ---- frames ---- */

static struct {
	uint64_t code, previous, at;
} made[CODES];

Test(pystack, frames_are_walked_with_one_look_at_their_code)
{
	uint64_t tstate[1] = {address(&made[0])}, before;
	bool more;
	int n;

	for (size_t i = 0; i < CODES; i++) {
		made[i].code = address(&codes[i]);
		made[i].previous = i + 1 < CODES ? address(&made[i + 1]) : 0;
		made[i].at = made[i].code + offsets.code_bytes + 16;
	}
	name_frames(1, 1);
	before = errand__counts().sent;
	n = pystack__walk(stacks, address(tstate), frames, CODES, &more);
	cr_assert_eq(n, CODES);
	cr_expect_not(more);
	cr_expect_leq(errand__counts().sent - before, CODES + 3);
	name_frames(CODES, CODES);
	expect_symbol(CODES - 1, CODES - 1, 1000 * CODES + 2);
}
