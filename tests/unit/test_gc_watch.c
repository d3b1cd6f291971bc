/* SPDX-License-Identifier: GPL-2.0-only */
/* Times of garbage collection out of looks, which are made up here: of collections that are known. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "collector/look/gc_watch.h"

#define MS 1000000ull
#define WORKER 0x1000
#define OTHER 0x2000

static struct gc_watch *watch;
static uint64_t bound;

static void set_up(void)
{
	watch = gc_watch__new();
	bound = UINT64_MAX;
	cr_assert_not_null(watch);
}

static void tear_down(void)
{
	gc_watch__free(watch);
}

TestSuite(gc_watch, .init = set_up, .fini = tear_down);

static void look(uint64_t at, bool collecting, uint64_t holder, uint64_t ended, uint32_t waiters)
{
	struct gc_look l = {
		.at = at, .collecting = collecting, .holder = holder, .locked = holder != 0, .ended = ended, .waiters = waiters,
		.tid = holder == WORKER ? 7 : 8,
	};

	gc_watch__note(watch, 0, 0, &l, bound);
}

/* What the interval had: `len` long, all of it observed. */
static struct proc_sample *settle(uint64_t len)
{
	struct proc_sample *s = proc_sample__new();
	struct thread_sample *t;

	cr_assert_not_null(s);
	s->len_ns = s->observed_ns = len;
	s->total.known = KNOWN_HOLD | KNOWN_WAIT;
	s->total.hold_ns = s->total.wait_ns = len;
	t = proc_sample__add_thread(s);
	t->key.tid = 7;
	t->m.hold_ns = len;
	gc_watch__settle(watch, s, true);
	return s;
}

static double error_of(const struct proc_sample *s)
{
	return sqrt(s->total.gc.err2);
}

Test(gc_watch, each_look_stands_for_half_of_the_time_to_its_neighbours)
{
	struct proc_sample *s;

	look(0, false, WORKER, 1, 0);
	for (uint64_t at = 10; at <= 50; at += 10)
		look(at * MS, true, WORKER, 1, 2);
	look(60 * MS, false, WORKER, 2, 0);
	look(100 * MS, false, 0, 2, 0);
	s = settle(100 * MS);
	cr_assert(s->total.known & KNOWN_GC && s->total.known & KNOWN_GC_WAIT);
	cr_expect_not(s->total.known & KNOWN_GC_EXACT);
	cr_expect_eq(s->total.gc.hold_ns, 50 * MS);
	cr_expect_eq(s->total.gc.wait_ns, 100 * MS, "two waited");
	cr_expect_eq(s->total.gc.max_ns, 40 * MS, "between its first and its last look it went on for sure");
	cr_expect_float_eq(error_of(s), sqrt(2 * 10.0 * 10.0 / 12) * 1e6, 1);
	cr_expect_eq(s->threads[0].m.gc.hold_ns, 50 * MS);
	proc_sample__free(s);
}

/* While a finalizer lets the GIL go, it is not held for the collection, whoever has it. */
Test(gc_watch, what_others_hold_meanwhile_is_not_counted)
{
	struct proc_sample *s;

	look(0, false, WORKER, 1, 0);
	for (uint64_t at = 10; at <= 30; at += 10)
		look(at * MS, true, WORKER, 1, 0);
	look(40 * MS, true, OTHER, 1, 0);
	look(50 * MS, true, 0, 1, 0);
	look(60 * MS, true, WORKER, 1, 0);
	look(70 * MS, false, WORKER, 2, 0);
	s = settle(70 * MS);
	cr_expect_eq(s->total.gc.hold_ns, 40 * MS, "%llu", (unsigned long long)s->total.gc.hold_ns);
	proc_sample__free(s);
}

/* Two in a row are two: the other one may be another thread's. */
Test(gc_watch, the_interpreters_own_count_tells_collections_apart)
{
	struct proc_sample *s;

	look(0, false, WORKER, 1, 0);
	look(10 * MS, true, WORKER, 1, 0);
	look(20 * MS, true, OTHER, 2, 0);
	look(30 * MS, false, 0, 3, 0);
	s = settle(30 * MS);
	cr_expect_eq(s->total.gc.hold_ns, 20 * MS);
	cr_expect_eq(s->total.gc.max_ns, 0, "how long either was nobody knows");
	cr_expect_float_eq(error_of(s), sqrt(2 * 10.0 * 10.0) * 1e6, 1);
	proc_sample__free(s);
}

Test(gc_watch, a_collection_is_divided_at_the_intervals_end)
{
	struct proc_sample *s;

	bound = 34 * MS;
	look(0, false, WORKER, 1, 0);
	for (uint64_t at = 10; at <= 40; at += 10)
		look(at * MS, true, WORKER, 1, 0);
	s = settle(34 * MS);
	cr_expect_eq(s->total.gc.hold_ns, 29 * MS, "%llu", (unsigned long long)s->total.gc.hold_ns);
	cr_expect_eq(s->total.gc.max_ns, 24 * MS, "so long it had lasted at the end");
	proc_sample__free(s);
	bound = UINT64_MAX;
	look(50 * MS, true, WORKER, 1, 0);
	look(60 * MS, false, WORKER, 2, 0);
	s = settle(26 * MS);
	cr_expect_eq(s->total.gc.hold_ns, 21 * MS, "%llu", (unsigned long long)s->total.gc.hold_ns);
	cr_expect_eq(s->total.gc.max_ns, 40 * MS, "it ended in this one, at full length");
	proc_sample__free(s);
}

/* A second in which nobody looked is not one in which nothing was collected. */
Test(gc_watch, what_was_not_looked_at_is_not_known)
{
	struct gc_look gone = {.gone = true};
	struct proc_sample *s;

	look(0, false, WORKER, 1, 0);
	look(10 * MS, false, WORKER, 1, 0);
	gc_watch__note(watch, 0, 0, &gone, bound);
	look(900 * MS, false, WORKER, 1, 0);
	look(1000 * MS, false, WORKER, 1, 0);
	s = settle(1000 * MS);
	cr_expect_not(s->total.known & (KNOWN_GC | KNOWN_GC_WAIT));
	proc_sample__free(s);
	s = settle(20 * MS);
	cr_expect(s->total.known & KNOWN_GC, "an interval of a few milliseconds needs no look of its own");
	proc_sample__free(s);
}

Test(gc_watch, a_part_is_never_more_than_the_whole)
{
	struct proc_sample *s = proc_sample__new();

	look(0, true, WORKER, 1, 0);
	look(100 * MS, true, WORKER, 1, 3);
	s->len_ns = s->observed_ns = 100 * MS;
	s->total.known = KNOWN_HOLD | KNOWN_WAIT;
	s->total.hold_ns = 60 * MS;
	s->total.wait_ns = 70 * MS;
	gc_watch__settle(watch, s, true);
	cr_expect_eq(s->total.gc.hold_ns, 60 * MS);
	cr_expect_eq(s->total.gc.wait_ns, 70 * MS);
	proc_sample__free(s);
}

/*
 * Looks at random times at collections of known lengths: the mean of many is right, and the error is what it is said to be, no
 * more than a third off. 2000 rounds: their own mean is off by a fortieth of one round's error.
 */
static void try_many(uint64_t length, uint64_t pause)
{
	enum { ROUNDS = 2000, COLLECTIONS = 20 };
	double sum = 0, squares = 0, said = 0;

	srand(1);
	for (int round = 0; round < ROUNDS; round++) {
		uint64_t at = 0, seen = 0, phase = (uint64_t)(rand() % 1000) * (length + pause) / 1000;
		struct proc_sample *s;
		double off;

		set_up();
		while (at < COLLECTIONS * (length + pause)) {
			uint64_t in = (at + phase) % (length + pause);

			look(at, in < length, WORKER, 1 + (at + phase) / (length + pause), 0);
			seen = at;
			at += 4 * MS + (uint64_t)(rand() % 7000) * 1000;
		}
		s = settle(seen);
		off = (double)s->total.gc.hold_ns - (double)seen * (double)length / (double)(length + pause);
		sum += off;
		squares += off * off;
		said += s->total.gc.err2;
		proc_sample__free(s);
		tear_down();
	}
	cr_expect_lt(fabs(sum / ROUNDS), 0.1 * sqrt(squares / ROUNDS), "%g ns too much", sum / ROUNDS);
	cr_expect_lt(sqrt(squares / said), 1.34, "%g times the error that was said", sqrt(squares / said));
	cr_expect_gt(sqrt(squares / said), 0.4, "%g times the error that was said", sqrt(squares / said));
	set_up();
}

Test(gc_watch, long_collections_are_told_within_their_error)
{
	try_many(100 * MS, 57 * MS);
}

Test(gc_watch, short_collections_are_told_within_their_error)
{
	try_many(2 * MS, 31 * MS);
}
