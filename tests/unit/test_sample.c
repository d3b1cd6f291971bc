/* SPDX-License-Identifier: GPL-2.0-only */
/* Samples: growth, look-up, and what merging over time and summing over threads mean. Also keymap. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "collector/base/keymap.h"
#include "collector/series/hist.h"
#include "collector/series/sample.h"

Test(sample, a_new_one_knows_nothing_of_cpu_and_is_neutral_to_sums)
{
	struct proc_sample *s = proc_sample__new();
	struct metrics m = {.known = KNOWN_WAIT | KNOWN_FORCED, .wait_ns = 5};

	cr_assert_eq(s->cpu_ns, UINT64_MAX);
	cr_assert_eq(s->rss_kib, UINT64_MAX);
	metrics__sum(&s->total, &m);
	cr_assert_eq(s->total.known, KNOWN_WAIT | KNOWN_FORCED);
	cr_assert_eq(s->total.wait_ns, 5);
	proc_sample__free(s);
	proc_sample__free(NULL);
}

Test(sample, arrays_grow_zeroed_and_keep_what_they_hold)
{
	struct proc_sample *s = proc_sample__new();

	for (uint32_t i = 0; i < 1000; i++) {
		struct thread_sample *t = proc_sample__add_thread(s);
		struct blame_cell *c = proc_sample__add_blame(s);
		struct gil_sample *g = proc_sample__add_gil(s);

		cr_assert(t->key.tid == 0 && t->m.hold_ns == 0 && t->m.wait_open.n == 0);
		t->key.tid = i + 1;
		t->m.wait_ns = i;
		hist__count(&t->m.hold, i);
		c->ns = i;
		g->addr = i;
	}
	for (uint32_t i = 0; i < 1000; i++)
		cr_assert(s->threads[i].key.tid == i + 1 && s->threads[i].m.hold.n == 1 && s->blame[i].ns == i &&
			  s->gils[i].addr == i);
	proc_sample__free(s);
}

Test(sample, what_was_not_seen_is_taken_back)
{
	struct proc_sample *s = proc_sample__new();
	struct thread_sample *t = proc_sample__add_thread(s);

	t->m.hold_ns = 5;
	hist__count(&t->m.hold, 5);
	proc_sample__add_gil(s)->gil = 3;
	s->gils[0].m.hold_ns = 5;
	proc_sample__add_blame(s)->ns = 2;
	s->total = (struct metrics){.known = KNOWN_WAIT, .hold_ns = 5, .wait_ns = 2};
	s->len_ns = s->observed_ns = 9;
	s->cost_ns = 1;
	s->lost[GIL_LOSS_MOVED_UNSEEN] = 4;
	proc_sample__withhold(s);
	cr_expect_eq(s->observed_ns, 0);
	cr_expect_eq(s->threads_n + s->blame_n + s->total.hold_ns + s->total.wait_ns + s->gils[0].m.hold_ns, 0);
	cr_expect(s->gils_n == 1 && s->gils[0].gil == 3 && s->total.known == KNOWN_WAIT);
	cr_expect(s->len_ns == 9 && s->cost_ns == 1 && s->lost[GIL_LOSS_MOVED_UNSEEN] == 4);
	proc_sample__free(s);
}

/* Of each pair there is one cell, in whatever order victims and holders come. */
Test(sample, a_pair_is_charged_in_one_cell)
{
	static const struct {
		uint32_t victim, holder;
	} charges[] = {
		{0, 1}, {0, 2}, {0, 1}, {1, 2}, {1, 0}, {1, 2}, {2, 0}, {0, 2}, {0, 1}, {0, 300}, {1, 2}, {2, 0}, {0, 300}, {2, 1},
	};
	struct blame_places places = {0};

	/* What another sample left behind misleads nobody. */
	for (int round = 0; round < 3; round++) {
		struct proc_sample *s = proc_sample__new();
		uint64_t sum = 0;

		for (size_t i = round; i < sizeof(charges) / sizeof(charges[0]); i++)
			cr_assert_eq(proc_sample__charge(s, &places, charges[i].victim, charges[i].holder, 1ull << i), 0);
		for (size_t i = 0; i < s->blame_n; i++) {
			uint64_t want = 0;

			sum += s->blame[i].ns;
			for (size_t k = round; k < sizeof(charges) / sizeof(charges[0]); k++)
				if (charges[k].victim == s->blame[i].victim && charges[k].holder == s->blame[i].holder)
					want += 1ull << k;
			cr_expect_eq(s->blame[i].ns, want, "cell %zu: %u waited for %u", i, s->blame[i].victim,
				     s->blame[i].holder);
		}
		cr_expect_eq(sum, (1ull << sizeof(charges) / sizeof(charges[0])) - (1ull << round));
		cr_expect_eq(s->blame_n, 7);
		proc_sample__free(s);
	}
	blame_places__free(&places);
}

Test(sample, a_thread_is_its_key_and_gil)
{
	struct proc_sample *s = proc_sample__new();
	struct thread_key key = {.tid = 7, .start_ticks = 100}, other = {.tid = 7, .start_ticks = 101};

	proc_sample__add_thread(s)->key = key;
	*proc_sample__add_thread(s) = (struct thread_sample){.key = key, .gil = 1};
	cr_assert_eq(proc_sample__find_thread(s, &key, 0), 0);
	cr_assert_eq(proc_sample__find_thread(s, &key, 1), 1);
	cr_assert_eq(proc_sample__find_thread(s, &key, 2), -1);
	cr_assert_eq(proc_sample__find_thread(s, &other, 0), -1);
	proc_sample__free(s);
}

static void count(struct hist *h, uint32_t bucket, uint64_t times)
{
	while (times--)
		cr_assert_eq(hist__count(h, gil_hist_floor(bucket)), 0);
}

static uint32_t counted(const struct hist *h, uint32_t bucket)
{
	for (size_t i = 0; i < h->n; i++)
		if (h->buckets[i].index == bucket)
			return h->buckets[i].count;
	return 0;
}

static struct metrics metrics_of(uint64_t x)
{
	struct metrics m = {
		.known = KNOWN_ALL, .waiting = (uint32_t)x, .hold_ns = x, .wait_ns = 2 * x, .handover_ns = 3 * x,
		.unknown_ns = 4 * x, .acquires = 5 * x, .contended = 6 * x, .forced = 7 * x, .hold_max_ns = x,
		.wait_max_ns = 1000 - x,
		.gc = {x, 2 * x, 1000 - x, 3.0 * (double)x, {x, 2 * x, 3 * x}},
		.hold_off.ns = {8 * x, 9 * x, 10 * x, 11 * x}, .wait_off.ns = {11 * x, 12 * x, 13 * x, 14 * x},
	};

	count(&m.hold, 1, x);
	count(&m.wait, 2, x);
	count(&m.hold_open, 3, x);
	count(&m.wait_open, 4, x);
	return m;
}

static void check_ended_sum(const struct metrics *m)
{
	cr_assert_eq(m->hold_ns, 30);
	cr_assert_eq(m->wait_ns, 60);
	cr_assert_eq(m->handover_ns, 90);
	cr_assert_eq(m->unknown_ns, 120);
	cr_assert_eq(m->acquires, 150);
	cr_assert_eq(m->contended, 180);
	cr_assert_eq(m->forced, 210);
	for (int kind = 0; kind < GIL_OFF_KINDS; kind++) {
		cr_assert_eq(m->hold_off.ns[kind], 30 * (8u + (unsigned int)kind));
		cr_assert_eq(m->wait_off.ns[kind], 30 * (11u + (unsigned int)kind));
	}
	cr_assert_eq(m->hold_max_ns, 20);
	cr_assert_eq(m->wait_max_ns, 990);
	cr_assert_eq(counted(&m->hold, 1), 30);
	cr_assert_eq(counted(&m->wait, 2), 30);
	cr_assert_eq(m->gc.hold_ns, 30);
	cr_assert_eq(m->gc.wait_ns, 60);
	cr_assert_eq(m->gc.max_ns, 990);
	cr_assert_float_eq(m->gc.err2, 90, 0.001);
	for (unsigned int i = 0; i < 3; i++)
		cr_assert_eq(m->gc.n[i], 30 * (i + 1));
}

Test(sample, merging_over_time_keeps_what_is_open_of_the_later_one)
{
	struct metrics a = metrics_of(10), b = metrics_of(20);

	metrics__merge(&a, &b);
	check_ended_sum(&a);
	cr_assert_eq(a.waiting, 20);
	cr_assert_eq(counted(&a.hold_open, 3), 20);
	cr_assert_eq(counted(&a.wait_open, 4), 20);
	metrics__clear(&a);
	metrics__clear(&b);
}

Test(sample, summing_over_threads_adds_what_is_open)
{
	struct metrics a = metrics_of(10), b = metrics_of(20);

	metrics__sum(&a, &b);
	check_ended_sum(&a);
	cr_assert_eq(a.waiting, 30);
	cr_assert_eq(counted(&a.hold_open, 3), 30);
	cr_assert_eq(counted(&a.wait_open, 4), 30);
	metrics__clear(&a);
	metrics__clear(&b);
}

Test(sample, known_is_what_both_know)
{
	struct metrics a = metrics_of(1), b = metrics_of(1);

	b.known = KNOWN_WAIT;
	metrics__merge(&a, &b);
	cr_assert_eq(a.known, KNOWN_WAIT);
	b.known = KNOWN_HOLD;
	metrics__sum(&a, &b);
	cr_assert_eq(a.known, 0);
	metrics__clear(&a);
	metrics__clear(&b);
}

Test(sample, an_emptied_one_is_filled_again)
{
	struct proc_sample *s = proc_sample__new();

	for (uint32_t round = 0; round < 3; round++) {
		for (uint32_t i = 0; i < 100; i++)
			count(&proc_sample__add_thread(s)->m.wait, i, 1 + round);
		for (uint32_t i = 0; i < 100; i++)
			cr_assert(s->threads[i].m.wait.n == 1 && counted(&s->threads[i].m.wait, i) == 1 + round);
		count(&s->total.hold, 7, 1);
		proc_sample__empty(s);
		cr_assert(s->threads_n == 0 && s->total.hold.n == 0 && s->threads);
	}
	proc_sample__free(s);
}

Test(sample, blamed_is_the_sum_over_victims)
{
	struct proc_sample *s = proc_sample__new();
	uint64_t *ns;

	for (uint32_t i = 0; i < 3; i++)
		proc_sample__add_thread(s);
	*proc_sample__add_blame(s) = (struct blame_cell){0, 1, 10};
	*proc_sample__add_blame(s) = (struct blame_cell){2, 1, 5};
	*proc_sample__add_blame(s) = (struct blame_cell){1, 0, 3};
	*proc_sample__add_blame(s) = (struct blame_cell){1, 77, 1000}; /* no such thread: ignored */
	ns = proc_sample__blamed(s);
	cr_assert(ns[0] == 3 && ns[1] == 15 && ns[2] == 0);
	free(ns);
	proc_sample__free(s);
}

Test(keymap, finds_what_was_put_and_nothing_else)
{
	struct keymap map = {0};

	cr_assert_eq(keymap__get(&map, 1, 2), KEYMAP_NONE);
	for (uint32_t i = 0; i < 5000; i++)
		cr_assert_eq(keymap__put(&map, i % 70, (uint64_t)i << 32, i), 0);
	for (uint32_t i = 0; i < 5000; i++) {
		cr_assert_eq(keymap__get(&map, i % 70, (uint64_t)i << 32), i);
		cr_assert_eq(keymap__get(&map, i % 70, i + 1), KEYMAP_NONE);
	}
	cr_assert_eq(map.used, 5000);
	keymap__put(&map, 0, 0, 99);
	cr_assert_eq(keymap__get(&map, 0, 0), 99);
	cr_assert_eq(map.used, 5000);
	keymap__free(&map);
}

/* Thousands of removals in a crowded table against a plain array. */
Test(keymap, removal_loses_no_neighbour)
{
	static uint32_t truth[512];
	struct keymap map = {0};
	uint64_t seed = 12345;

	memset(truth, 0xff, sizeof(truth));
	for (uint32_t round = 0; round < 100000; round++) {
		uint32_t key;

		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		key = (uint32_t)(seed >> 33) % 512;
		if (seed >> 63) {
			keymap__put(&map, key, 1, round);
			truth[key] = round;
		} else {
			keymap__remove(&map, key, 1);
			truth[key] = KEYMAP_NONE;
		}
		if (round % 1000 == 0)
			for (uint32_t k = 0; k < 512; k++)
				cr_assert_eq(keymap__get(&map, k, 1), truth[k]);
	}
	keymap__clear(&map);
	cr_assert_eq(map.used, 0);
	cr_assert_eq(keymap__get(&map, 1, 1), KEYMAP_NONE);
	keymap__remove(&map, 1, 1);
	keymap__free(&map);
	keymap__remove(&map, 1, 1);
}
