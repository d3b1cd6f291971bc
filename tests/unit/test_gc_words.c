/* SPDX-License-Identifier: GPL-2.0-only */
/* The garbage collector's words, in this process's own memory. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "collector/cpython/gc_words.h"

/* As up to 3.14: three times collections, collected, uncollectable; then `collecting`. */
static struct {
	uint64_t before[16];
	uint64_t stats[3][3];
	int collecting, pad;
} state;

static const struct pyoffsets offsets = {
	.runtime_gc = PYOFF_NONE, .interp_gc = 40, .gc_collecting = 200, .gc_stats = 128, .gc_ring = PYOFF_NONE,
};

static int read_state(const struct pyoffsets *off, const void *at, struct gc_words *ret)
{
	return gc_words__read(getpid(), off, (uint64_t)(uintptr_t)at, ret);
}

Test(gc_words, tell_whether_and_how_often)
{
	struct gc_words w;

	memset(&state, 0, sizeof(state));
	for (int i = 0; i < 3; i++)
		state.stats[i][0] = 100u - 10u * (unsigned int)i;
	cr_assert_eq(read_state(&offsets, &state, &w), 0);
	cr_expect_not(w.collecting);
	cr_assert(w.counted);
	cr_expect_eq(w.collections[0], 100);
	cr_expect_eq(w.collections[2], 80);
	state.collecting = 1;
	cr_assert_eq(read_state(&offsets, &state, &w), 0);
	cr_expect(w.collecting);
}

/* 3.15: the newest record of each ring has the sums. */
Test(gc_words, are_found_behind_the_rings_of_3_15)
{
	static struct {
		uint64_t young[11][8], young_index, old1[3][8], old1_index, old2[3][8], old2_index;
	} rings;
	static struct {
		uint64_t rings;
		int collecting, pad;
	} newer;
	const struct pyoffsets off = {
		.runtime_gc = PYOFF_NONE, .interp_gc = 0, .gc_collecting = 8, .gc_stats = PYOFF_NONE, .gc_ring = 0,
	};
	struct gc_words w;

	cr_assert_eq(sizeof(rings), 1112);
	newer.rings = (uint64_t)(uintptr_t)&rings;
	rings.young_index = 10, rings.young[10][2] = 7, rings.old1_index = 1, rings.old1[1][2] = 5, rings.old2[0][2] = 3;
	cr_assert_eq(read_state(&off, &newer, &w), 0);
	cr_assert(w.counted);
	cr_expect_eq(w.collections[0], 7);
	cr_expect_eq(w.collections[1], 5);
	cr_expect_eq(w.collections[2], 3);
	rings.old1_index = 3;
	cr_expect_eq(read_state(&off, &newer, &w), -EBADMSG, "there is no such record");
	newer.rings = 16;
	cr_expect_eq(read_state(&off, &newer, &w), -EFAULT);
}

/* What is no collector is not taken for one that rests. */
Test(gc_words, that_cannot_be_are_refused)
{
	struct gc_words w = {.collections = {42}};
	struct pyoffsets off = offsets;

	memset(&state, 0, sizeof(state));
	state.collecting = 2;
	cr_expect_eq(read_state(&offsets, &state, &w), -EBADMSG);
	state.collecting = 0;
	state.stats[1][0] = UINT64_MAX;
	cr_expect_eq(read_state(&offsets, &state, &w), -EBADMSG);
	cr_expect_eq(gc_words__read(getpid(), &offsets, 64, &w), -EFAULT);
	cr_expect_eq(gc_words__read(getpid(), &offsets, 0, &w), -EINVAL);
	off.gc_collecting = PYOFF_NONE;
	cr_expect_eq(read_state(&off, &state, &w), -EINVAL);
	cr_expect_not(gc_words__are_known(&off));
	cr_expect_eq(w.collections[0], 42);
}

Test(gc_words, stand_in_the_interpreter_or_in_3_8_in_the_runtime)
{
	struct pyoffsets off = offsets;

	cr_expect_eq(gc_words__state(&offsets, 1000, 5000), 5040);
	cr_expect_eq(gc_words__state(&offsets, 1000, 0), 0);
	off.runtime_gc = 344, off.interp_gc = PYOFF_NONE;
	cr_expect_eq(gc_words__state(&off, 1000, 5000), 1344);
}
