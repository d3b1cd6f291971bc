/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A target's memory: every address leads somewhere into what the fuzzer made, so that each pointer can be followed, and lists and
 * frames run in circles; it may change while it is read. Names, stacks, lines, strings, GILs and interpreters are read out of it,
 * with the layout of each version. What comes out must be clean and bounded, and come soon.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "collector/cpython/gil_words.h"
#include "collector/cpython/pyinterps.h"
#include "collector/cpython/pyver.h"
#include "collector/process/procmem.h"
#include "collector/python/pylines.h"
#include "collector/python/pynames.h"
#include "collector/python/pystack.h"
#include "collector/python/pystr.h"
#include "collector/python/pytid.h"
#include "memory.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FRAMES 128

static void expect(int truth)
{
	if (!truth)
		abort();
}

static void check_clean(const char *text, size_t size)
{
	expect(memchr(text, '\0', size) != NULL);
	for (const char *c = text; *c; c++)
		expect((unsigned char)*c >= 0x20 && *c != 0x7f);
}

static void check_strings(const struct pyoffsets *off, const uint8_t *data, size_t size)
{
	char utf8[4 * 64];
	struct pystr s;
	size_t n;

	if (size < off->unicode_ascii_size || off->unicode_ascii_size > 256)
		return;
	s = pystr__head(off, data);
	if (!pystr__is_sane(&s))
		return;
	expect(s.kind == 1 || s.kind == 2 || s.kind == 4);
	n = (size - off->unicode_ascii_size) / s.kind;
	n = pystr__utf8(utf8, data + off->unicode_ascii_size, s.kind, n < 64 ? n : 64);
	expect(n <= sizeof(utf8));
}

static void check_lines(const uint8_t *data, size_t size)
{
	for (enum pyfamily_lines kind = LINES_LNOTAB; kind <= LINES_LOCATIONS; kind++) {
		pylines__find(kind, data, size, 1, 0);
		pylines__find(kind, data, size, UINT32_MAX, (uint32_t)size * 2);
	}
}

static void check_names(const struct pyoffsets *off, uint64_t runtime)
{
	const struct pythread *all;
	struct pynames *names;
	size_t n = 0;

	if (pynames__new(NOBODY, runtime, off, &names))
		return;
	pynames__refresh(names, 1);
	all = pynames__all(names, &n);
	for (size_t i = 0; i < n; i++) {
		check_clean(all[i].name, sizeof(all[i].name));
		expect(!i || all[i - 1].tstate <= all[i].tstate);
	}
	pynames__free(names);
}

static void check_stacks(const struct pyoffsets *off, uint64_t tstate)
{
	struct gil_frame frames[FRAMES];
	struct pysymbol symbol;
	struct pystack *stack;
	char text[512];
	bool more;
	int n;

	if (pystack__new(NOBODY, off, &stack))
		return;
	n = pystack__walk(stack, tstate, frames, FRAMES, &more);
	expect(n <= FRAMES);
	for (int i = 0; i < n; i++) {
		pystack__symbol(stack, &frames[i], &symbol);
		check_clean(symbol.function, sizeof(symbol.function));
		check_clean(symbol.file, sizeof(symbol.file));
		pystack__describe(&symbol, text, sizeof(text));
		check_clean(text, sizeof(text));
	}
	expect(pystack__walk_still(stack, tstate, frames, FRAMES, &more) <= FRAMES);
	pystack__free(stack);
}

static void check_gils(const struct pyoffsets *off, uint64_t runtime, uint64_t at)
{
	struct gil_words words = {0};
	uint64_t ids[16];
	int n = 0;

	if (gil_words__read(NOBODY, off, at, &words) == 0)
		gil_words__holder(&words);
	if (pyinterps__ids(NOBODY, off, runtime, ids, 16, &n) == 0)
		expect(n >= 0 && n <= 16);
	pyinterps__is_empty(NOBODY, off, runtime);
	pyinterps__main_gil(NOBODY, off, runtime);
	expect(pytid__of_tstate(NOBODY, off, at) >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct pyoffsets *off;
	uint64_t runtime, at;
	struct pyoffsets mine;

	if (size < 8)
		return 0;
	mine = layouts[data[0] % LAYOUTS].offsets;
	mine.minor = layouts[data[0] % LAYOUTS].minor;
	off = &mine;
	runtime = 0x10000u + data[2] * 8u;
	at = 0x10000u + data[3] * 8u;
	memory__set(data + 4, size - 4, data[1]);
	check_strings(off, data + 4, size - 4);
	check_lines(data + 4, size - 4);
	check_gils(off, runtime, at);
	check_names(off, runtime);
	check_stacks(off, at);
	return 0;
}
