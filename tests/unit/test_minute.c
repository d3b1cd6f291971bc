/* SPDX-License-Identifier: GPL-2.0-only */
/* The last minute against sums made by hand; bounded, whatever is born. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "collector/series/minute.h"

#define SECONDS 400

/* What a thread did in each second. */
struct done {
	uint64_t hold, wait, blamed;
};

static struct done truth[SECONDS + 1][4];

static uint64_t random_state = 0x2545f4914f6cdd1dull;

static uint64_t next_random(uint64_t below)
{
	random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
	return (random_state >> 33) % below;
}

static struct proc_sample *sample_at(int64_t end_ms)
{
	struct proc_sample *s = proc_sample__new();

	cr_assert_not_null(s);
	s->end_ms = end_ms;
	s->len_ns = 1000000000;
	return s;
}

static void add_thread(struct proc_sample *s, uint32_t tid, uint64_t hold, uint64_t wait)
{
	struct thread_sample *t = proc_sample__add_thread(s);

	t->key = (struct thread_key){.tid = tid, .start_ticks = 7};
	snprintf(t->name, sizeof(t->name), "thread-%u", tid);
	t->m.hold_ns = hold;
	t->m.wait_ns = wait;
}

/* Threads come and go by the dozen seconds; each pair of seconds somebody waits for another. */
static struct proc_sample *make_second(int second)
{
	struct proc_sample *s = sample_at(1000 * second);

	for (uint32_t i = 0; i < 4; i++) {
		struct done *d = &truth[second][i];

		if ((second / 12 + (int)i) % 4 == 0)
			continue;
		*d = (struct done){.hold = next_random(1000000), .wait = next_random(1000)};
		add_thread(s, 100 + i, d->hold, d->wait);
	}
	if (second % 2 && s->threads_n > 1) {
		*proc_sample__add_blame(s) = (struct blame_cell){.victim = 0, .holder = 1, .ns = 50};
		truth[second][s->threads[1].key.tid - 100].blamed = 50;
	}
	return s;
}

static uint64_t sum_of(const struct minute *m, uint32_t tid, enum minute_kind kind)
{
	for (size_t i = 0; i < m->threads_n; i++)
		if (m->threads[i].key.tid == tid)
			return minute__sum(&m->threads[i], kind);
	return 0;
}

/* The six cells of ten seconds up to the one that `second` is in. */
static struct done by_hand(int second, uint32_t i)
{
	struct done sum = {0};
	int end = (second + 9) / 10 * 10;

	for (int k = end > 60 ? end - 59 : 1; k <= second; k++) {
		sum.hold += truth[k][i].hold;
		sum.wait += truth[k][i].wait;
		sum.blamed += truth[k][i].blamed;
	}
	return sum;
}

Test(minute, it_is_the_sum_of_its_cells_and_says_when_something_left)
{
	struct minute m = {0};

	for (int second = 1; second <= SECONDS; second++) {
		struct proc_sample *s = make_second(second);

		cr_assert_eq(minute__add(&m, s), 0);
		cr_assert_eq(m.lost, second > 60 && second % 10 == 1, "second %d", second);
		for (uint32_t i = 0; i < 4; i++) {
			struct done expected = by_hand(second, i);

			cr_assert_eq(sum_of(&m, 100 + i, MINUTE_HOLD), expected.hold, "second %d", second);
			cr_assert_eq(sum_of(&m, 100 + i, MINUTE_WAIT), expected.wait);
			cr_assert_eq(sum_of(&m, 100 + i, MINUTE_BLAMED), expected.blamed);
		}
		proc_sample__free(s);
	}
	minute__free(&m);
}

static void feed(struct minute *m, int64_t end_ms, uint32_t tid)
{
	struct proc_sample *s = sample_at(end_ms);

	add_thread(s, tid, 10, 0);
	cr_assert_eq(minute__add(m, s), 0);
	proc_sample__free(s);
}

Test(minute, gaps_and_steps_of_the_clock_leave_nothing_of_another_minute)
{
	struct minute m = {0};

	feed(&m, 7205000, 1);
	feed(&m, 7205000 + 55000, 2);
	cr_assert_eq(sum_of(&m, 1, MINUTE_HOLD), 10);
	feed(&m, 7205000 + 500000, 3);
	cr_assert(m.lost && m.threads_n == 1 && m.threads[0].key.tid == 3, "after a gap");
	feed(&m, 3601000, 4);
	cr_assert(m.lost && m.threads_n == 1 && m.threads[0].key.tid == 4, "after a step back");
	feed(&m, 3602000, 5);
	cr_assert(!m.lost && m.threads_n == 2);
	minute__free(&m);
}

Test(minute, what_was_not_known_once_is_not_known_until_that_has_left)
{
	struct minute m = {0};
	struct proc_sample *light = sample_at(1000);

	light->total.known = KNOWN_WAIT;
	cr_assert_eq(minute__add(&m, light), 0);
	feed(&m, 2000, 1);
	cr_assert_eq(minute__known(&m), KNOWN_WAIT);
	feed(&m, 60000, 1);
	cr_assert_eq(minute__known(&m), KNOWN_WAIT);
	feed(&m, 61000, 1);
	cr_assert_eq(minute__known(&m), KNOWN_ALL);
	proc_sample__free(light);
	minute__free(&m);
}

Test(minute, the_latest_name_wins_and_a_thread_is_one_whatever_its_gils)
{
	struct minute m = {0};
	struct proc_sample *s = sample_at(1000);

	add_thread(s, 1, 5, 0);
	add_thread(s, 1, 6, 0);
	s->threads[1].gil = 3;
	cr_assert_eq(minute__add(&m, s), 0);
	strcpy(s->threads[0].name, "renamed");
	s->threads[1].name[0] = '\0';
	cr_assert_eq(minute__add(&m, s), 0);
	cr_assert_eq(m.threads_n, 1);
	cr_assert_str_eq(m.threads[0].name, "renamed");
	cr_assert_eq(sum_of(&m, 1, MINUTE_HOLD), 22);
	proc_sample__free(s);
	minute__free(&m);
}

Test(minute, births_without_end_fill_no_memory_and_lose_no_time)
{
	struct minute m = {0};
	uint64_t sum = 0, expected = 0;

	for (uint32_t i = 0; i < 50000; i++) {
		struct proc_sample *s = sample_at(1000);

		add_thread(s, 1, 1000000, 0); /* the busy one stays apart */
		add_thread(s, 2 + i, 1 + i % 100, 0);
		expected += 1000000 + 1 + i % 100;
		cr_assert_eq(minute__add(&m, s), 0);
		cr_assert_leq(m.threads_n, MINUTE_MAX_THREADS);
		proc_sample__free(s);
	}
	for (size_t i = 0; i < m.threads_n; i++)
		sum += minute__sum(&m.threads[i], MINUTE_HOLD);
	cr_assert_eq(sum, expected);
	cr_assert_eq(sum_of(&m, 1, MINUTE_HOLD), 50000ull * 1000000);
	cr_assert_gt(sum_of(&m, 0, MINUTE_HOLD), 0, "the others");
	minute__free(&m);
}
