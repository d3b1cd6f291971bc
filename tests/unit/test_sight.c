/* SPDX-License-Identifier: GPL-2.0-only */
/* A made-up GIL and a made-up observer of it: what is seen, what is not, and what only looks so. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "collector/look/sight.h"

/* A GIL as CPython's: a store, and later its event, if anybody sees it. At most one event is on its way. */
struct gil {
	struct gil_words words;
	uint64_t events;
	bool deaf, pending;
	uint64_t holder; /* 0: nobody */
};

static void count(struct gil *g)
{
	g->events += g->pending && !g->deaf;
	g->pending = false;
}

/* The next thing that happens to it: somebody takes it, or lets it go. */
static void step(struct gil *g, uint64_t threads)
{
	count(g);
	if (g->holder) {
		g->holder = 0;
		g->words.locked = 0;
	} else {
		g->holder = 1 + (uint64_t)rand() % threads;
		g->words.locked = 1;
		g->words.switches += g->holder != g->words.last_holder;
		g->words.last_holder = g->holder;
	}
	g->pending = true;
	if (rand() % 2)
		count(g);
}

static void steps(struct gil *g, uint64_t threads, int most)
{
	for (int n = rand() % (most + 1); n > 0; n--)
		step(g, threads);
}

/* One look, during which it goes on: no two words are of one moment. */
static struct sight_look look_at(struct gil *g, uint64_t threads, int most)
{
	struct sight_look look = {.events_before = g->events};

	steps(g, threads, most);
	look.words.locked = g->words.locked;
	steps(g, threads, most);
	look.words.last_holder = g->words.last_holder;
	steps(g, threads, most);
	look.words.switches = g->words.switches;
	steps(g, threads, most);
	look.events_after = g->events;
	return look;
}

Test(sight, a_gil_that_is_seen_is_never_called_unseen)
{
	static const int rates[] = {0, 1, 2, 3, 5, 100};

	srand(20261);
	for (size_t r = 0; r < sizeof(rates) / sizeof(rates[0]); r++)
		for (uint64_t threads = 1; threads <= 4; threads++) {
			struct gil g = {.deaf = false};
			struct sight s = {.begun = false};

			for (int i = 0; i < 20000; i++) {
				struct sight_look look = look_at(&g, threads, rates[r] / 2);

				cr_assert_neq(sight__look(&s, &look), SIGHT_BLIND, "rate %d, %llu threads, look %d", rates[r],
					      (unsigned long long)threads, i);
				steps(&g, threads, rates[r]);
			}
		}
}

Test(sight, a_gil_that_moves_unseen_is_noticed)
{
	srand(20262);
	for (uint64_t threads = 1; threads <= 4; threads++) {
		enum sight_verdict verdict = SIGHT_STILL;
		struct gil g = {.deaf = false};
		struct sight s = {.begun = false};
		struct sight_look look;
		int looks = 0;

		for (int i = 0; i < 10; i++) {
			steps(&g, threads, 100);
			look = look_at(&g, threads, 3);
			cr_assert_neq(sight__look(&s, &look), SIGHT_BLIND);
		}
		g.deaf = true;
		for (; verdict != SIGHT_BLIND && looks < 64; looks++) {
			steps(&g, threads, 100);
			look = look_at(&g, threads, 3);
			verdict = sight__look(&s, &look);
		}
		cr_expect_eq(verdict, SIGHT_BLIND, "%llu threads", (unsigned long long)threads);
		cr_expect(threads == 1 || looks <= 2, "it took %d looks", looks);
	}
}

/* It is stored and its event is on its way, for however long: its thread has no CPU, or is stopped. */
Test(sight, one_event_that_is_late_is_none_that_is_missing)
{
	struct sight s = {.begun = false};
	struct sight_look look = {.events_before = 8, .words = {.last_holder = 1, .switches = 4, .locked = 0}, .events_after = 8};

	cr_expect_eq(sight__look(&s, &look), SIGHT_STILL);
	look.words = (struct gil_words){.last_holder = 2, .switches = 5, .locked = 1};
	for (int i = 0; i < 1000; i++)
		cr_assert_eq(sight__look(&s, &look), SIGHT_STILL);
}

Test(sight, a_gil_that_was_made_anew_is_another)
{
	struct sight s = {.begun = false};
	struct sight_look look = {.words = {.last_holder = 1, .switches = 400, .locked = 1}};

	sight__look(&s, &look);
	look.words = (struct gil_words){.last_holder = 0, .switches = 0, .locked = UINT32_MAX};
	cr_expect_eq(sight__look(&s, &look), SIGHT_STILL);
	look.words = (struct gil_words){.last_holder = 9, .switches = 300, .locked = 1};
	cr_expect_eq(sight__look(&s, &look), SIGHT_STILL);
	look.words.switches = 3;
	cr_expect_eq(sight__look(&s, &look), SIGHT_STILL);
}

Test(sight, a_waiter_is_unseen_only_if_it_woke_up_and_slept_again_for_three_intervals)
{
	const struct sight_sleeper was = {.tid = 7, .at = 1000000000, .sleeps = 50, .events = 9};
	struct sight_sleeper is = {.tid = 7, .at = 1250000000, .sleeps = 99, .events = 9};

	cr_expect(sight_queue__is_blind(&was, &is, 5000));
	is.events = 10;
	cr_expect_not(sight_queue__is_blind(&was, &is, 5000), "it was seen");
	is.events = 9;
	cr_expect_not(sight_queue__is_blind(&was, &is, 100000), "it need not have tried again yet");
	is.sleeps = 51;
	cr_expect_not(sight_queue__is_blind(&was, &is, 5000), "it may be frozen");
	is.sleeps = 99;
	is.tid = 8;
	cr_expect_not(sight_queue__is_blind(&was, &is, 5000), "that is another");
}
