/* SPDX-License-Identifier: GPL-2.0-only */
/* Windows and totals: conservation to the nanosecond, the grid, gaps, steps of the clock, bounded memory. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <malloc.h>
#include <string.h>

#include "collector/series/aggr.h"
#include "collector/series/hist.h"
#include "collector/series/window.h"
#include "../support/made_up.h"

#define SECOND 1000000000ull

static uint64_t random_state = 0x123456789abcdefull;

static uint64_t next_random(uint64_t below)
{
	random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
	return (random_state >> 33) % below;
}

/* What a tier emitted, merged again by hand. */
struct seen {
	unsigned windows, partial;
	int64_t ends[512];
	uint64_t lens[512];
	uint64_t hold, wait, handover, unknown, blame, acquires, lost, cost, len, hist;
	uint64_t thread_wait, thread_hist;
};

struct log {
	struct seen tier[TIER_COUNT];
	enum tier order[1024];
	unsigned order_n;
	int fail;
};

static void see(struct seen *seen, const struct proc_sample *s)
{
	seen->ends[seen->windows] = s->end_ms;
	seen->lens[seen->windows++] = s->len_ns;
	seen->partial += s->partial;
	seen->hold += s->total.hold_ns;
	seen->wait += s->total.wait_ns;
	seen->handover += s->total.handover_ns;
	seen->unknown += s->total.unknown_ns;
	seen->acquires += s->total.acquires;
	seen->lost += s->lost[GIL_LOSS_READ_FAULT];
	seen->cost += s->cost_ns;
	seen->len += s->len_ns;
	seen->hist += hist__total(&s->total.wait);
	for (size_t i = 0; i < s->blame_n; i++)
		seen->blame += s->blame[i].ns;
	for (size_t i = 0; i < s->threads_n; i++) {
		seen->thread_wait += s->threads[i].m.wait_ns;
		seen->thread_hist += hist__total(&s->threads[i].m.wait);
	}
}

static int record(void *arg, enum tier tier, const struct proc_sample *s)
{
	struct log *log = arg;

	see(&log->tier[tier], s);
	log->order[log->order_n++] = tier;
	return log->fail;
}

static struct proc_sample *sample_at(int64_t end_ms, uint64_t len_ns)
{
	struct proc_sample *s = proc_sample__new();

	s->end_ms = end_ms;
	s->len_ns = len_ns;
	s->observed_ns = len_ns;
	s->mode = GIL_MODE_FULL;
	s->cpu_ns = 1000;
	return s;
}

static struct thread_sample *add_thread(struct proc_sample *s, uint32_t tid, uint64_t start, uint64_t wait)
{
	struct thread_sample *t = proc_sample__add_thread(s);

	t->key = (struct thread_key){.tid = tid, .start_ticks = start};
	snprintf(t->name, sizeof(t->name), "thread-%u", tid);
	t->m.known = KNOWN_ALL;
	t->m.wait_ns = wait;
	t->m.hold_ns = wait / 3;
	t->m.acquires = 1;
	t->m.wait_max_ns = wait;
	hist__count(&t->m.wait, wait);
	metrics__sum(&s->total, &t->m);
	return t;
}

/* A busy process: random waits, blamed on the next thread, on handover and on nobody. */
static void fill(struct proc_sample *s, unsigned threads)
{
	for (uint32_t i = 0; i < threads; i++)
		add_thread(s, 100 + i, 1, 0);
	for (uint32_t i = 0; i < threads; i++) {
		struct metrics *m = &s->threads[i].m;
		struct blame_cell *c = proc_sample__add_blame(s);

		*c = (struct blame_cell){i, (i + 1 + (uint32_t)next_random(3)) % threads, next_random(1000000)};
		m->handover_ns = next_random(1000);
		m->unknown_ns = next_random(10);
		m->wait_ns = c->ns + m->handover_ns + m->unknown_ns;
		s->total.wait_ns += m->wait_ns;
		s->total.handover_ns += m->handover_ns;
		s->total.unknown_ns += m->unknown_ns;
	}
	s->lost[GIL_LOSS_READ_FAULT] = 1;
	s->cost_ns = 7;
}

static struct aggr *aggr_for(uint64_t interval_ns, size_t max_threads)
{
	struct aggr_opts opts = {.interval_ns = interval_ns, .max_threads = max_threads};

	return aggr__new(&opts);
}

struct base_case {
	uint64_t interval_ms;
};

ParameterizedTestParameters(aggr, tiers_conserve_every_nanosecond)
{
	static struct base_case cases[] = {{500}, {1000}, {5000}, {7000}, {10000}, {15000}, {60000}, {3600000}};

	return cr_make_param_array(struct base_case, cases, sizeof(cases) / sizeof(cases[0]));
}

ParameterizedTest(struct base_case *c, aggr, tiers_conserve_every_nanosecond)
{
	struct aggr *a = aggr_for(c->interval_ms * 1000000, 0);
	static struct log log;
	struct seen base = {0}, totals = {0};
	const struct seen *ten = &log.tier[TIER_10S], *sixty = &log.tier[TIER_60S];

	for (int i = 1; i <= 200; i++) {
		struct proc_sample *s = sample_at((int64_t)c->interval_ms * i, c->interval_ms * 1000000);

		fill(s, 5);
		see(&base, s);
		cr_assert_eq(aggr__add(a, s, record, &log), 0);
		proc_sample__free(s);
	}
	see(&totals, aggr__totals(a));
	cr_assert_eq(aggr__flush(a, record, &log), 0);
	cr_assert_eq(base.wait, base.blame + base.handover + base.unknown);
	for (const struct seen *t = ten;; t = t == ten ? sixty : &totals) {
		cr_assert_eq(t->wait, base.wait);
		cr_assert_eq(t->thread_wait, base.wait);
		cr_assert_eq(t->blame, base.blame);
		cr_assert_eq(t->handover, base.handover);
		cr_assert_eq(t->unknown, base.unknown);
		cr_assert_eq(t->hold, base.hold);
		cr_assert_eq(t->acquires, base.acquires);
		cr_assert_eq(t->hist, base.hist);
		cr_assert_eq(t->thread_hist, base.thread_hist);
		cr_assert_eq(t->lost, base.lost);
		cr_assert_eq(t->cost, base.cost);
		cr_assert_eq(t->len, base.len);
		if (t == &totals)
			break;
	}
	aggr__free(a);
}

static void feed(struct aggr *a, int64_t end_ms, uint64_t len_ns, struct log *log)
{
	struct proc_sample *s = sample_at(end_ms, len_ns);

	add_thread(s, 1, 1, 1000);
	cr_assert_eq(aggr__add(a, s, record, log), 0);
	proc_sample__free(s);
}

Test(aggr, windows_end_on_multiples_of_their_step)
{
	struct aggr *a = aggr_for(SECOND, 0);
	static struct log log;

	for (int64_t t = 1795339303000; t <= 1795339440000; t += 1000)
		feed(a, t, SECOND, &log);
	cr_assert_eq(log.tier[TIER_10S].windows, 14);
	cr_assert_eq(log.tier[TIER_10S].ends[0], 1795339310000);
	cr_assert_eq(log.tier[TIER_10S].lens[0], 8 * SECOND);
	cr_assert_eq(log.tier[TIER_10S].lens[1], 10 * SECOND);
	cr_assert_eq(log.tier[TIER_60S].windows, 3);
	cr_assert_eq(log.tier[TIER_60S].ends[0], 1795339320000);
	cr_assert_eq(log.tier[TIER_60S].ends[2], 1795339440000);
	cr_assert_eq(log.tier[TIER_60S].lens[2], 60 * SECOND);
	cr_assert_eq(log.tier[TIER_10S].partial + log.tier[TIER_60S].partial, 0);
	aggr__free(a);
}

Test(aggr, a_ten_second_window_comes_before_the_minute_it_completes)
{
	struct aggr *a = aggr_for(SECOND, 0);
	static struct log log;

	for (int64_t t = 51000; t <= 60000; t += 1000)
		feed(a, t, SECOND, &log);
	cr_assert_eq(log.order_n, 2);
	cr_assert_eq(log.order[0], TIER_10S);
	cr_assert_eq(log.order[1], TIER_60S);
	aggr__free(a);
}

Test(aggr, a_window_cut_by_a_gap_says_what_it_covers)
{
	struct aggr *a = aggr_for(SECOND, 0);
	static struct log log;

	feed(a, 1000, SECOND, &log);
	feed(a, 2000, SECOND, &log);
	cr_assert_eq(log.order_n, 0);
	feed(a, 3723000, SECOND, &log);
	cr_assert_eq(log.tier[TIER_10S].windows, 1);
	cr_assert_eq(log.tier[TIER_10S].ends[0], 10000);
	cr_assert_eq(log.tier[TIER_10S].lens[0], 2 * SECOND);
	cr_assert_eq(log.tier[TIER_60S].windows, 1);
	cr_assert_eq(log.tier[TIER_60S].ends[0], 60000);
	aggr__free(a);
}

Test(aggr, a_step_backwards_closes_what_is_open_at_once)
{
	struct aggr *a = aggr_for(SECOND, 0);
	static struct log log;

	feed(a, 7205000, SECOND, &log);
	feed(a, 3601000, SECOND, &log);
	cr_assert_eq(log.tier[TIER_10S].windows, 1);
	cr_assert_eq(log.tier[TIER_60S].windows, 1);
	cr_assert_eq(log.tier[TIER_10S].ends[0], 7205000);
	cr_assert_eq(log.tier[TIER_10S].partial, 1);
	feed(a, 3602000, SECOND, &log);
	cr_assert_eq(aggr__totals(a)->len_ns, 3 * SECOND);
	aggr__free(a);
}

Test(aggr, flush_emits_what_was_begun_as_partial_and_only_once)
{
	struct aggr *a = aggr_for(SECOND, 0);
	static struct log log;

	feed(a, 13500, SECOND, &log);
	aggr__flush(a, record, &log);
	aggr__flush(a, record, &log);
	cr_assert_eq(log.order_n, 2);
	cr_assert_eq(log.tier[TIER_10S].ends[0], 13500);
	cr_assert_eq(log.tier[TIER_60S].ends[0], 13500);
	cr_assert_eq(log.tier[TIER_60S].partial, 1);
	aggr__free(a);
}

Test(aggr, base_samples_as_long_as_a_step_are_that_tier)
{
	struct aggr *a = aggr_for(10 * SECOND, 0);
	static struct log log;

	feed(a, 10000, 10 * SECOND, &log);
	feed(a, 20000, 10 * SECOND, &log);
	cr_assert_eq(log.tier[TIER_10S].windows, 2);
	cr_assert_eq(log.tier[TIER_10S].ends[1], 20000);
	cr_assert_eq(log.tier[TIER_60S].windows, 0);
	aggr__free(a);
	a = aggr_for(90 * SECOND, 0);
	memset(&log, 0, sizeof(log));
	feed(a, 90000, 90 * SECOND, &log);
	cr_assert_eq(log.tier[TIER_10S].windows, 1);
	cr_assert_eq(log.tier[TIER_60S].windows, 1);
	cr_assert_eq(log.tier[TIER_60S].ends[0], 90000);
	aggr__free(a);
}

Test(aggr, an_error_of_the_receiver_comes_back_and_nothing_is_emitted_twice)
{
	struct aggr *a = aggr_for(SECOND, 0);
	static struct log log = {.fail = -5};
	struct proc_sample *s = sample_at(10000, SECOND);

	cr_assert_eq(aggr__add(a, s, record, &log), -5);
	cr_assert_eq(log.tier[TIER_10S].windows, 1);
	log.fail = 0;
	s->end_ms = 20000;
	cr_assert_eq(aggr__add(a, s, record, &log), 0);
	cr_assert_eq(log.tier[TIER_10S].windows, 2);
	proc_sample__free(s);
	aggr__free(a);
}

Test(aggr, threads_are_told_apart_by_start_and_gil_and_the_latest_name_wins)
{
	struct aggr *a = aggr_for(SECOND, 0);
	struct proc_sample *s = sample_at(1000, SECOND);
	const struct proc_sample *t;

	add_thread(s, 7, 1, 10);
	add_thread(s, 7, 2, 20);
	add_thread(s, 7, 2, 40)->gil = 1;
	aggr__add(a, s, NULL, NULL);
	s->end_ms = 2000;
	strcpy(s->threads[0].name, "renamed");
	s->threads[1].name[0] = '\0';
	aggr__add(a, s, NULL, NULL);
	t = aggr__totals(a);
	cr_assert_eq(t->threads_n, 3);
	cr_assert_eq(t->threads[0].m.wait_ns, 20);
	cr_assert_eq(t->threads[1].m.wait_ns, 40);
	cr_assert_eq(t->threads[2].m.wait_ns, 80);
	cr_assert_str_eq(t->threads[0].name, "renamed");
	cr_assert_str_eq(t->threads[1].name, "thread-7");
	proc_sample__free(s);
	aggr__free(a);
}

Test(aggr, blame_follows_its_threads_whatever_their_order)
{
	struct aggr *a = aggr_for(SECOND, 0);
	struct proc_sample *s = sample_at(1000, SECOND), *r = sample_at(2000, SECOND);
	const struct proc_sample *t;

	add_thread(s, 1, 1, 10);
	add_thread(s, 2, 1, 0);
	*proc_sample__add_blame(s) = (struct blame_cell){0, 1, 10};
	add_thread(r, 2, 1, 0);
	add_thread(r, 3, 1, 0);
	add_thread(r, 1, 1, 5);
	*proc_sample__add_blame(r) = (struct blame_cell){2, 0, 4};
	*proc_sample__add_blame(r) = (struct blame_cell){2, 1, 1};
	*proc_sample__add_blame(r) = (struct blame_cell){2, 77, 1000}; /* no such thread: ignored */
	aggr__add(a, s, NULL, NULL);
	aggr__add(a, r, NULL, NULL);
	t = aggr__totals(a);
	cr_assert_eq(t->blame_n, 2);
	cr_assert_eq(t->threads[t->blame[0].victim].key.tid, 1);
	cr_assert_eq(t->threads[t->blame[0].holder].key.tid, 2);
	cr_assert_eq(t->blame[0].ns, 14);
	cr_assert_eq(t->threads[t->blame[1].holder].key.tid, 3);
	cr_assert_eq(t->blame[1].ns, 1);
	proc_sample__free(s);
	proc_sample__free(r);
	aggr__free(a);
}

Test(aggr, what_was_open_counts_only_while_it_is_open)
{
	struct aggr *a = aggr_for(SECOND, 0);
	struct proc_sample *s = sample_at(1000, SECOND);
	struct thread_sample *t = add_thread(s, 1, 1, 10);

	t->m.waiting = 1;
	hist__count(&t->m.wait_open, SECOND);
	s->total.waiting = 1;
	aggr__add(a, s, NULL, NULL);
	cr_assert_eq(hist__total(&aggr__totals(a)->threads[0].m.wait_open), 1);
	hist__clear(&t->m.wait_open);
	hist__count(&t->m.wait_open, 2 * SECOND);
	s->end_ms = 2000;
	aggr__add(a, s, NULL, NULL);
	cr_assert_eq(hist__total(&aggr__totals(a)->threads[0].m.wait_open), 1);
	cr_assert_eq(aggr__totals(a)->threads[0].m.waiting, 1);
	made_up__keep_threads(s, 0);
	s->total.waiting = 0;
	s->end_ms = 3000;
	aggr__add(a, s, NULL, NULL);
	cr_assert_eq(hist__total(&aggr__totals(a)->threads[0].m.wait_open), 0);
	cr_assert_eq(aggr__totals(a)->threads[0].m.waiting, 0);
	cr_assert_eq(aggr__totals(a)->total.waiting, 0);
	proc_sample__free(s);
	aggr__free(a);
}

Test(aggr, known_is_what_was_known_all_the_time_for_absent_threads_too)
{
	struct aggr *a = aggr_for(SECOND, 0);
	struct proc_sample *s = sample_at(1000, SECOND), *light = sample_at(2000, SECOND);

	add_thread(s, 1, 1, 10);
	light->mode = GIL_MODE_LIGHT;
	light->blame_sampled = true;
	light->cpu_ns = UINT64_MAX;
	light->total.known = KNOWN_WAIT;
	aggr__add(a, s, NULL, NULL);
	cr_assert_eq(aggr__totals(a)->mode, GIL_MODE_FULL);
	cr_assert_eq(aggr__totals(a)->cpu_ns, 1000);
	aggr__add(a, light, NULL, NULL);
	cr_assert_eq(aggr__totals(a)->total.known, KNOWN_WAIT);
	cr_assert_eq(aggr__totals(a)->threads[0].m.known, KNOWN_WAIT);
	cr_assert_eq(aggr__totals(a)->mode, GIL_MODE_OFF);
	cr_assert(aggr__totals(a)->blame_sampled);
	cr_assert_eq(aggr__totals(a)->cpu_ns, UINT64_MAX);
	s->end_ms = 3000;
	s->threads[0].key.tid = 2;
	aggr__add(a, s, NULL, NULL);
	cr_assert_eq(aggr__totals(a)->threads[1].m.known, KNOWN_WAIT);
	proc_sample__free(s);
	proc_sample__free(light);
	aggr__free(a);
}

Test(aggr, gils_are_kept_apart)
{
	struct aggr *a = aggr_for(SECOND, 0);
	struct proc_sample *s = sample_at(1000, SECOND);

	for (uint32_t g = 0; g < 3; g++)
		*proc_sample__add_gil(s) = (struct gil_sample){
			.gil = g, .addr = 0x1000 * g, .m = {.known = KNOWN_ALL, .hold_ns = g + 1}};
	aggr__add(a, s, NULL, NULL);
	s->end_ms = 2000;
	aggr__add(a, s, NULL, NULL);
	cr_assert_eq(aggr__totals(a)->gils_n, 3);
	cr_assert_eq(aggr__totals(a)->gils[2].m.hold_ns, 6);
	cr_assert_eq(aggr__totals(a)->gils[2].m.known, KNOWN_ALL);
	proc_sample__free(s);
	aggr__free(a);
}

/* A program that makes interpreters for ever: the first ones stay, the rest is one. */
Test(aggr, gils_without_end_fill_no_memory)
{
	struct aggr *a = aggr_for(SECOND, 0);
	struct proc_sample *s = sample_at(1000, SECOND);
	const struct proc_sample *t;
	uint64_t sum = 0;

	*proc_sample__add_gil(s) = (struct gil_sample){.m = {.known = KNOWN_ALL, .hold_ns = 1}};
	*proc_sample__add_gil(s) = (struct gil_sample){.m = {.known = KNOWN_ALL, .hold_ns = 1}};
	proc_sample__add_thread(s)->key = (struct thread_key){.tid = 7, .start_ticks = 1};
	s->threads[0].m = s->gils[1].m;
	for (uint32_t g = 1; g <= 1000; g++) {
		s->end_ms += 1000;
		s->gils[1].gil = s->threads[0].gil = g;
		aggr__add(a, s, NULL, NULL);
	}
	t = aggr__totals(a);
	cr_expect_eq(t->gils_n, WINDOW_MAX_GILS + 1);
	cr_expect_eq(t->gils[0].m.hold_ns, 1000);
	cr_expect_eq(t->gils[1].gil, 1);
	cr_expect_eq(t->gils[WINDOW_MAX_GILS].gil, GIL_NUMBER_OTHER);
	cr_expect_eq(t->gils[WINDOW_MAX_GILS].m.hold_ns, 1000 - (WINDOW_MAX_GILS - 1));
	cr_expect_eq(t->threads_n, WINDOW_MAX_GILS);
	for (size_t i = 0; i < t->threads_n; i++)
		sum += t->threads[i].m.hold_ns;
	cr_expect_eq(sum, 1000);
	proc_sample__free(s);
	aggr__free(a);
}

Test(aggr, it_had_no_gil_only_if_it_never_had_one)
{
	struct aggr *a = aggr_for(SECOND, 0);
	struct proc_sample *s = sample_at(1000, SECOND);

	s->no_gil = true;
	aggr__add(a, s, NULL, NULL);
	cr_expect(aggr__totals(a)->no_gil);
	s->end_ms += 1000;
	s->no_gil = false;
	aggr__add(a, s, NULL, NULL);
	cr_expect_not(aggr__totals(a)->no_gil);
	s->end_ms += 1000;
	s->no_gil = true;
	aggr__add(a, s, NULL, NULL);
	cr_expect_not(aggr__totals(a)->no_gil);
	proc_sample__free(s);
	aggr__free(a);
}

/* Sum over threads and blame of the totals. */
static void check_conserved(const struct proc_sample *t, uint64_t wait)
{
	uint64_t threads = 0, blame = 0;

	for (size_t i = 0; i < t->threads_n; i++)
		threads += t->threads[i].m.wait_ns;
	for (size_t i = 0; i < t->blame_n; i++) {
		cr_assert(t->blame[i].victim < t->threads_n && t->blame[i].holder < t->threads_n);
		blame += t->blame[i].ns;
	}
	cr_assert_eq(t->total.wait_ns, wait);
	cr_assert_eq(threads, wait);
	cr_assert_eq(blame, wait);
}

Test(aggr, the_smallest_ended_threads_fold_and_nothing_is_lost)
{
	struct aggr *a = aggr_for(SECOND, 16);
	uint64_t wait = 0;

	for (uint32_t round = 1; round <= 100; round++) {
		struct proc_sample *s = sample_at(1000 * round, SECOND);

		add_thread(s, 1, 1, 5);
		add_thread(s, 1000 + round, round, round == 50 ? SECOND : round)->exited = true;
		*proc_sample__add_blame(s) = (struct blame_cell){0, 1, 5};
		*proc_sample__add_blame(s) = (struct blame_cell){1, 0, s->threads[1].m.wait_ns};
		wait += s->total.wait_ns;
		cr_assert_eq(aggr__add(a, s, NULL, NULL), 0);
		proc_sample__free(s);
		cr_assert_leq(aggr__totals(a)->threads_n, 17);
		check_conserved(aggr__totals(a), wait);
	}
	cr_assert_neq(proc_sample__find_thread(aggr__totals(a), &(struct thread_key){.tid = 1050, .start_ticks = 50}, 0), -1);
	cr_assert_neq(proc_sample__find_thread(aggr__totals(a), &(struct thread_key){.tid = 1, .start_ticks = 1}, 0), -1);
	cr_assert_eq(proc_sample__find_thread(aggr__totals(a), &(struct thread_key){.tid = 1001, .start_ticks = 1}, 0), -1);
	cr_assert_eq(aggr__folded(a), 101 - (aggr__totals(a)->threads_n - 1));
	aggr__free(a);
}

Test(aggr, living_threads_beyond_the_cap_count_as_other)
{
	struct aggr *a = aggr_for(SECOND, 4);
	struct proc_sample *s = sample_at(1000, SECOND);
	const struct proc_sample *t;

	for (uint32_t i = 1; i <= 10; i++)
		add_thread(s, i, 1, 100);
	for (uint32_t i = 0; i < 10; i++)
		*proc_sample__add_blame(s) = (struct blame_cell){i, (i + 1) % 10, 100};
	aggr__add(a, s, NULL, NULL);
	t = aggr__totals(a);
	cr_assert_eq(t->threads_n, 5);
	check_conserved(t, 1000);
	cr_assert_eq(t->threads[4].key.tid, 0);
	cr_assert_eq(t->threads[4].key.start_ticks, PSEUDO_OTHER);
	cr_assert_str_eq(t->threads[4].name, "other");
	cr_assert_eq(t->threads[4].m.wait_ns, 600);
	cr_assert_eq(aggr__folded(a), 6);
	proc_sample__free(s);
	aggr__free(a);
}

/* Where sanitizers check every access, a seventh has to do: it fills and turns over every table just as well. */
#ifdef __SANITIZE_ADDRESS__
#define BIRTH_ROUNDS 150
#else
#define BIRTH_ROUNDS 1000
#endif

Test(aggr, a_million_births_do_not_grow_it)
{
	struct aggr *a = aggr_for(SECOND, 256);
	struct proc_sample *s = sample_at(0, SECOND);
	size_t before = 0;

	for (uint32_t i = 0; i < 1000; i++)
		add_thread(s, 2 + i, 0, 1 + i)->exited = true;
	for (uint32_t round = 1; round <= BIRTH_ROUNDS; round++) {
		s->end_ms += 1000;
		for (uint32_t i = 0; i < 1000; i++)
			s->threads[i].key.start_ticks = (uint64_t)round * 1000 + i;
		cr_assert_eq(aggr__add(a, s, NULL, NULL), 0);
		if (round == 130)
			before = mallinfo2().uordblks + mallinfo2().hblkhd;
	}
	cr_assert_lt(mallinfo2().uordblks + mallinfo2().hblkhd, before + 1024 * 1024);
	cr_assert_eq(aggr__totals(a)->total.wait_ns, BIRTH_ROUNDS * s->total.wait_ns);
	cr_assert_leq(aggr__totals(a)->threads_n, 257);
	proc_sample__free(s);
	aggr__free(a);
}

Test(aggr, steps_and_names_of_the_tiers)
{
	cr_assert_eq(tier__step_ns(TIER_BASE, 500000000), 500000000);
	cr_assert_eq(tier__step_ns(TIER_10S, SECOND), 10 * SECOND);
	cr_assert_eq(tier__step_ns(TIER_60S, SECOND), 60 * SECOND);
	cr_assert_eq(tier__step_ns(TIER_10S, 30 * SECOND), 30 * SECOND);
	cr_assert_str_eq(tier__name(TIER_BASE), "1s");
	cr_assert_str_eq(tier__name(TIER_60S), "60s");
	cr_assert_str_eq(tier__name(TIER_COUNT), "?");
}
