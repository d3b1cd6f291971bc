/* SPDX-License-Identifier: GPL-2.0-only */
/* The interval grid under a wall clock that drifts, steps and sleeps. */
#include <criterion/criterion.h>
#include <inttypes.h>

#include "collector/series/grid.h"

#define MS 1000000ll
#define SECOND (1000 * MS)
#define START_WALL (1795339305ll * SECOND + 437 * MS)

struct world {
	struct grid grid;
	struct grid_clocks now;
};

static void begin(struct world *w, uint64_t interval_ns)
{
	w->now = (struct grid_clocks){.mono_ns = 1000 * SECOND, .wall_ns = START_WALL, .boot_ns = 1200 * SECOND};
	grid__init(&w->grid, interval_ns, &w->now);
}

/* Lives up to the next boundary; the wall clock runs `ppm` fast. Returns the boundary's stamp. */
static int64_t next(struct world *w, int64_t ppm, uint64_t *ret_mono)
{
	int64_t stamp, passed;
	uint64_t end = grid__next(&w->grid, &w->now, 20 * MS, &stamp);

	cr_assert_gt(end, w->now.mono_ns);
	passed = (int64_t)(end - w->now.mono_ns) + 5 * MS;
	w->now.mono_ns += (uint64_t)passed;
	w->now.boot_ns += (uint64_t)passed;
	w->now.wall_ns += passed + passed * ppm / 1000000;
	if (ret_mono)
		*ret_mono = end;
	return stamp;
}

static int64_t true_ms(const struct world *w)
{
	return (w->now.wall_ns - 5 * MS) / MS;
}

Test(grid, boundaries_fall_on_multiples_of_the_step)
{
	struct world w;
	int64_t stamp;

	begin(&w, 1 * SECOND);
	for (int i = 0; i < 100; i++) {
		stamp = next(&w, 0, NULL);
		cr_expect_eq(stamp, START_WALL / SECOND * 1000 + (i + 1) * 1000);
		cr_expect_eq(stamp, true_ms(&w));
	}
}

Test(grid, odd_steps_keep_their_own_multiples)
{
	struct world w;

	begin(&w, 7 * SECOND);
	for (int i = 0; i < 20; i++)
		cr_expect_eq(next(&w, 0, NULL) % 7000, 0);
}

Test(grid, drift_is_followed)
{
	struct world w;

	begin(&w, 1 * SECOND);
	for (int i = 0; i < 3600; i++) {
		int64_t stamp = next(&w, 500, NULL), late = true_ms(&w) - stamp;

		cr_expect(late >= -2 && late <= 2, "stamp %" PRId64 " is %" PRId64 " ms off", stamp, late);
		cr_expect_eq(stamp % 1000, 0);
	}
}

/* The clocks cannot be read at one moment, and the wall clock is always being corrected a little. */
Test(grid, errors_below_a_millisecond_leave_intervals_exact)
{
	static const int64_t noise_ns[] = {0, 137, -999999, 250000, 999999, -1, 31};
	uint64_t end, before = 0;
	struct world w;

	begin(&w, 1 * SECOND);
	w.now.boot_ns = w.now.mono_ns; /* never suspended: noise may put it below */
	grid__init(&w.grid, 1 * SECOND, &w.now);
	for (int i = 0; i < 70; i++) {
		int64_t noise = noise_ns[i % 7];

		w.now.wall_ns += noise;
		w.now.boot_ns += (uint64_t)(noise / 2);
		next(&w, 0, &end);
		w.now.wall_ns -= noise;
		w.now.boot_ns -= (uint64_t)(noise / 2);
		cr_expect(i == 0 || end - before == SECOND, "interval %d: %" PRIu64 " ns", i, end - before);
		before = end;
	}
}

Test(grid, drift_shortens_one_interval_by_a_millisecond_instead_of_each_by_a_little)
{
	uint64_t end, before, odd = 0;
	struct world w;

	begin(&w, 1 * SECOND);
	next(&w, 50, &before);
	for (int i = 0; i < 200; i++) {
		next(&w, 50, &end);
		odd += end - before != SECOND;
		cr_expect(end - before >= SECOND - 2 * MS && end - before <= SECOND, "%" PRIu64 " ns", end - before);
		before = end;
	}
	cr_expect_geq(odd, 9);
	cr_expect_leq(odd, 10);
}

Test(grid, clock_set_an_hour_back_and_forth_leaves_no_trace)
{
	struct world w;
	int64_t last, stamp;

	begin(&w, 1 * SECOND);
	last = next(&w, 0, NULL);
	w.now.wall_ns -= 3600 * SECOND;
	for (int i = 0; i < 20; i++) {
		stamp = next(&w, 0, NULL);
		cr_expect_eq(stamp, last + 1000);
		last = stamp;
	}
	w.now.wall_ns += 3600 * SECOND;
	for (int i = 0; i < 20; i++) {
		stamp = next(&w, 0, NULL);
		cr_expect_eq(stamp, last + 1000);
		last = stamp;
	}
	cr_expect_eq(last, true_ms(&w));
}

static void expect_believed_within_a_minute(int64_t step_ns)
{
	struct world w;
	int steps = 0;

	begin(&w, 1 * SECOND);
	next(&w, 0, NULL);
	w.now.wall_ns += step_ns;
	while (next(&w, 0, NULL) != true_ms(&w))
		cr_assert_lt(++steps, 60, "still wrong after a minute");
}

Test(grid, lasting_step_forward_is_true_within_a_minute)
{
	expect_believed_within_a_minute(3600 * SECOND);
}

Test(grid, lasting_step_back_is_true_within_a_minute)
{
	expect_believed_within_a_minute(-3600 * SECOND);
}

Test(grid, time_in_suspend_is_believed_at_once)
{
	struct world w;
	int64_t before, after;

	begin(&w, 1 * SECOND);
	before = next(&w, 0, NULL);
	w.now.boot_ns += 8 * 3600 * SECOND;
	w.now.wall_ns += 8 * 3600 * SECOND;
	after = next(&w, 0, NULL);
	cr_expect_geq(after - before, 8 * 3600 * 1000);
	cr_expect_eq(after, true_ms(&w));
}

Test(grid, late_reader_skips_boundaries_and_never_repeats_one)
{
	struct world w;
	int64_t first, second;

	begin(&w, 1 * SECOND);
	first = next(&w, 0, NULL);
	w.now.mono_ns += 3 * SECOND;
	w.now.boot_ns += 3 * SECOND;
	w.now.wall_ns += 3 * SECOND;
	second = next(&w, 0, NULL);
	cr_expect_eq(second - first, 4000);
}

Test(grid, cut_interval_is_stamped_when_it_was_cut)
{
	struct world w;
	int64_t planned, cut;
	uint64_t end;

	begin(&w, 10 * SECOND);
	end = grid__next(&w.grid, &w.now, 20 * MS, &planned);
	cut = grid__stamp(&w.grid, w.now.mono_ns + 1 * SECOND);
	cr_expect_eq(cut, (START_WALL + 1 * SECOND) / MS);
	cr_expect_lt(cut, planned);
	w.now.mono_ns += 1 * SECOND;
	w.now.boot_ns += 1 * SECOND;
	w.now.wall_ns += 1 * SECOND;
	cr_expect_eq(grid__next(&w.grid, &w.now, 20 * MS, &planned), end, "the grid goes on");
}
