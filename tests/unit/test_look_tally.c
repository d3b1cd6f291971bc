/* SPDX-License-Identifier: GPL-2.0-only */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "collector/look/look_error.h"
#include "collector/look/look_tally.h"
#include "collector/series/window.h"

#define MS 1000000ull
#define LEN (1000 * MS)
#define HOG 11
#define VICTIM 12

static const struct look_gil gils[] = {{.addr = 0x1000, .number = 0}, {.addr = 0x2000, .number = 3}};

/* A look each millisecond of a second, of which the first `held_ms` of every `period_ms` are HOG's. */
static void look_each_ms(struct look_tally *t, unsigned int held_ms, unsigned int period_ms, uint32_t waiters)
{
	for (unsigned int i = 0; i < 1000; i++) {
		bool held = i % period_ms < held_ms;
		struct look_record r = {
			.at = i * MS + MS / 2, .holder = held ? 0xa0 : 0, .holder_tid = held ? HOG : 0, .weight_ns = MS,
			.switches = 7 + i / period_ms, .waiters = waiters, .kind = LOOK_AT_GIL,
		};

		look_tally__note(t, &r, 0, LEN);
	}
}

/* 50 rounds, in each of which VICTIM queues if `queues`. */
static void look_at_victim(struct look_tally *t, bool queues)
{
	for (unsigned int i = 0; i < 50; i++) {
		struct look_record round = {.at = i * 20 * MS + 1, .kind = LOOK_ROUND, .waiters = 1};
		struct look_record r = {
			.at = i * 20 * MS + 2, .kind = LOOK_AT_THREAD, .tid = VICTIM,
			.doing = queues ? LOOK_QUEUES : LOOK_BLOCKED,
			.holder = i % 2 ? 0xa0 : 0, .holder_tid = i % 2 ? HOG : 0, .switches = 7,
		};

		look_tally__note(t, &round, 0, LEN);
		look_tally__note(t, &r, 0, LEN);
	}
}

static struct proc_sample *settled(struct look_tally *t, uint32_t gils_n)
{
	struct proc_sample *s = proc_sample__new();

	cr_assert_eq(look_tally__settle(t, gils, gils_n, LEN, NULL, s), 0);
	return s;
}

static const struct thread_sample *thread(const struct proc_sample *s, uint32_t tid)
{
	for (size_t i = 0; i < s->threads_n; i++)
		if (s->threads[i].key.tid == tid)
			return &s->threads[i];
	return NULL;
}

Test(look_tally, time_is_what_looks_stand_for)
{
	struct look_tally *t = look_tally__new();
	struct proc_sample *s;

	look_each_ms(t, 3, 10, LOOK_WAITERS_UNKNOWN);
	s = settled(t, 1);
	cr_expect_eq(s->mode, GIL_MODE_LOOK);
	cr_expect_eq(s->observed_ns, LEN);
	cr_expect_eq(s->total.hold_est.ns, 300 * MS);
	cr_expect_eq(s->total.looks, 1000);
	cr_expect_eq(s->total.switches, 99, "from 7 to 106");
	cr_expect_eq(s->total.known, KNOWN_HOLD_EST, "no thread was looked at");
	cr_assert(thread(s, HOG));
	cr_expect_eq(thread(s, HOG)->m.hold_est.ns, 300 * MS);
	proc_sample__free(s);
	look_tally__free(t);
}

Test(look_tally, what_was_not_looked_at_is_not_observed)
{
	struct look_record r = {.at = MS, .weight_ns = 250 * MS, .kind = LOOK_AT_GIL, .holder = 0xa0, .holder_tid = HOG};
	struct look_tally *t = look_tally__new();
	struct proc_sample *s;

	look_tally__note(t, &r, 0, LEN);
	s = settled(t, 1);
	cr_expect_eq(s->observed_ns, 250 * MS);
	proc_sample__free(s);
	s = settled(t, 0);
	cr_expect_eq(s->observed_ns, 0);
	cr_expect_eq(s->threads_n, 0, "of the interval before");
	proc_sample__free(s);
	look_tally__free(t);
}

Test(look_tally, waits_are_parted_among_holders_and_hand_offs)
{
	struct look_tally *t = look_tally__new();
	struct proc_sample *s;

	look_each_ms(t, 5, 10, LOOK_WAITERS_UNKNOWN);
	look_at_victim(t, true);
	s = settled(t, 1);
	cr_assert(thread(s, VICTIM) && s->blame_n == 1);
	cr_expect_eq(thread(s, VICTIM)->m.wait_ns, LEN);
	cr_expect_eq(s->threads[s->blame[0].victim].key.tid, VICTIM);
	cr_expect_eq(s->threads[s->blame[0].holder].key.tid, HOG);
	cr_expect_eq(s->blame[0].ns + thread(s, VICTIM)->m.handover_ns, LEN);
	cr_expect_eq(s->blame[0].ns, LEN / 2);
	cr_expect(s->total.known & KNOWN_WAIT_EST && !(s->total.known & KNOWN_WAIT));
	cr_expect_eq(thread(s, VICTIM)->m.wait_max_ns, 49 * 20 * MS, "it never had it meanwhile");
	proc_sample__free(s);
	look_tally__free(t);
}

Test(look_tally, the_gils_own_count_of_waiters_is_believed_before_looks_at_threads)
{
	struct look_tally *t = look_tally__new();
	struct proc_sample *s;

	look_each_ms(t, 5, 10, 3);
	look_at_victim(t, true);
	s = settled(t, 1);
	cr_expect_float_eq((double)s->total.wait_ns, 3.0 * LEN, 1e3);
	cr_expect_float_eq((double)thread(s, VICTIM)->m.wait_ns, 3.0 * LEN, 1e3, "it is the only one that was seen");
	proc_sample__free(s);
	look_each_ms(t, 5, 10, 3);
	look_at_victim(t, false);
	s = settled(t, 1);
	cr_expect_null(thread(s, VICTIM), "it neither held nor queued");
	cr_expect_float_eq((double)s->total.unknown_ns, 3.0 * LEN, 1e3, "of those that no thread was seen in nobody knows more");
	proc_sample__free(s);
	look_tally__free(t);
}

/* The first 200 looks of 1,000 do not know how many wait; then `waiters` do. */
static struct proc_sample *learned_late(struct look_tally *t, uint32_t waiters)
{
	for (unsigned int i = 0; i < 1000; i++) {
		struct look_record r = {
			.at = i * MS + MS / 2, .holder = 0xa0, .holder_tid = HOG, .weight_ns = MS, .switches = 7,
			.waiters = i < 200 ? LOOK_WAITERS_UNKNOWN : waiters, .kind = LOOK_AT_GIL,
		};

		look_tally__note(t, &r, 0, LEN);
	}
	look_at_victim(t, true);
	return settled(t, 1);
}

Test(look_tally, looks_that_do_not_know_how_many_wait_are_no_part_of_what_was_observed_of_waits)
{
	struct look_tally *t = look_tally__new();
	struct proc_sample *s = learned_late(t, 1);

	cr_expect_eq(s->observed_ns, LEN);
	cr_expect_eq(proc_sample__waits_observed(s), 800 * MS);
	cr_expect_float_eq((double)s->total.wait_ns, 0.8 * LEN, 1e3);
	cr_assert(thread(s, VICTIM));
	cr_expect_float_eq((double)thread(s, VICTIM)->m.wait_ns, 0.8 * LEN, 1e3);
	cr_expect_float_eq((double)s->blame[0].ns, 0.4 * LEN, 1e3);
	cr_expect(s->total.known & KNOWN_WAIT_EST);
	proc_sample__free(s);
	look_tally__free(t);
}

/* Nobody looked at threads in it: it was too short. */
Test(look_tally, an_interval_that_says_nothing_of_waits_takes_nothing_from_the_sum)
{
	struct look_tally *t = look_tally__new();
	struct window w = {.max_threads = 8};
	struct proc_sample *s;

	look_each_ms(t, 5, 10, 3);
	s = settled(t, 1);
	cr_expect_eq(s->total.known & KNOWN_WAIT_EST, 0);
	cr_expect_eq(s->total.wait_ns, 0);
	cr_expect_eq(proc_sample__waits_observed(s), 0);
	cr_assert_eq(window__add(&w, s), 0);
	proc_sample__free(s);
	for (int i = 0; i < 2; i++) {
		s = learned_late(t, 1);
		cr_assert_eq(window__add(&w, s), 0);
		proc_sample__free(s);
	}
	look_each_ms(t, 5, 10, 3);
	s = settled(t, 1);
	cr_assert_eq(window__add(&w, s), 0);
	proc_sample__free(s);
	s = &w.sample;
	cr_expect_eq(s->observed_ns, 4 * LEN);
	cr_expect_eq(proc_sample__waits_observed(s), 1600 * MS);
	cr_expect(s->total.known & KNOWN_WAIT_EST);
	cr_assert(thread(s, VICTIM));
	cr_expect(thread(s, VICTIM)->m.known & KNOWN_WAIT_EST);
	cr_expect_float_eq((double)thread(s, VICTIM)->m.wait_ns, 1.6 * LEN, 1e4);
	window__free(&w);
	look_tally__free(t);
}

Test(look_tally, each_gil_has_its_own)
{
	struct look_tally *t = look_tally__new();
	struct look_record r = {
		.at = 5 * MS, .weight_ns = 100 * MS, .kind = LOOK_AT_GIL, .gil = 1, .holder = 0xb0, .holder_tid = 21,
	};
	struct proc_sample *s;

	look_each_ms(t, 1, 2, 0);
	look_tally__note(t, &r, 0, LEN);
	s = settled(t, 2);
	cr_assert_eq(s->gils_n, 2);
	cr_expect_eq(s->gils[1].gil, 3);
	cr_expect_eq(s->gils[1].m.hold_est.ns, LEN, "all that was seen of it");
	cr_expect_eq(thread(s, 21)->gil, 3);
	proc_sample__free(s);
	look_tally__free(t);
}

Test(look_tally, waits_that_cannot_be_seen_are_unknown_and_not_none)
{
	struct look_tally *t = look_tally__new();
	struct proc_sample *s;

	look_each_ms(t, 5, 10, LOOK_WAITERS_UNKNOWN);
	look_at_victim(t, false);
	s = settled(t, 1);
	cr_expect_eq(s->total.known & (KNOWN_WAIT_EST | KNOWN_WAIT), 0);
	proc_sample__free(s);
	look_each_ms(t, 5, 10, 0);
	look_at_victim(t, false);
	s = settled(t, 1);
	cr_expect_eq(s->total.known & KNOWN_WAIT_EST, KNOWN_WAIT_EST, "its own count says that nobody does");
	cr_expect_eq(s->total.wait_ns, 0);
	proc_sample__free(s);
	look_tally__free(t);
}

static int take_code(void *arg, struct proc_sample *s, const struct look_code *code)
{
	struct look_code *taken = arg;

	cr_assert(code->hash < 3);
	cr_expect_eq(s->threads[code->thread].key.tid, HOG);
	taken[code->hash] = *code;
	return 0;
}

Test(look_tally, holds_and_blame_are_parted_as_looks_at_code_were)
{
	struct look_tally *t = look_tally__new();
	struct proc_sample *s = proc_sample__new();
	struct look_code taken[3] = {{0}};

	look_each_ms(t, 5, 10, 1);
	look_at_victim(t, true);
	for (unsigned int i = 0; i < 10; i++) {
		struct look_record r = {
			.at = i * MS, .kind = LOOK_AT_CODE, .holder = 0xa0, .holder_tid = HOG, .hash = i < 6 ? 1 : i < 8 ? 2 : 0,
			.waiters = i < 6 ? 1 : 0,
		};

		look_tally__note(t, &r, 0, LEN);
	}
	cr_assert_eq(look_tally__settle(t, gils, 1, LEN, &(struct look_code_taker){take_code, taken}, s), 0);
	cr_expect_float_eq((double)taken[1].hold_ns, 0.6 * 500 * MS, 1e3);
	cr_expect_float_eq((double)taken[2].hold_ns, 0.2 * 500 * MS, 1e3);
	cr_expect_float_eq((double)taken[0].hold_ns, 0.2 * 500 * MS, 1e3, "of those it is not known where");
	cr_expect_float_eq((double)taken[1].blame_ns, (double)s->blame[0].ns, 1e3, "nobody waited during the others");
	cr_expect_eq(taken[2].blame_ns, 0);
	proc_sample__free(s);
	look_tally__free(t);
}

/* A hundred looks at one hold are one observation: its error is that of few holds, not of many looks. */
Test(look_tally, error_is_that_of_holds_and_not_of_looks)
{
	double many[LOOK_BLOCKS], few[LOOK_BLOCKS];
	double p = 0.4, error_many = 0, error_few = 0;
	unsigned int state = 1;

	for (int trial = 0; trial < 400; trial++) {
		memset(many, 0, sizeof(many));
		memset(few, 0, sizeof(few));
		for (int i = 0; i < 1000; i++) {
			static bool held;

			state = state * 1664525 + 1013904223;
			many[i / 50] += (state >> 8) / 16777216.0 < p;
			if (i % 100 == 0)
				held = (state >> 7) % 1000 < 1000 * p;
			few[i / 50] += held;
		}
		error_many += look_error__square(many, LOOK_BLOCKS) / 400;
		error_few += look_error__square(few, LOOK_BLOCKS) / 400;
	}
	/* Of 1000 independent looks, and of 10 independent holds of 100 looks each. */
	cr_expect_float_eq(sqrt(error_many), sqrt(1000 * p * (1 - p)), 3, "%g", sqrt(error_many));
	cr_expect(sqrt(error_few) > 0.6 * 100 * sqrt(10 * p * (1 - p)) && sqrt(error_few) < 1.2 * 100 * sqrt(10 * p * (1 - p)),
		  "%g", sqrt(error_few));
}
