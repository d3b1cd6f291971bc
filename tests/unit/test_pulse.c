/* SPDX-License-Identifier: GPL-2.0-only */
/* A loop that says nothing: when it is lost, and when it is only busy. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "collector/base/clock.h"
#include "collector/process/pulse.h"

enum { BURN, SLEEP, BEAT };

static int to_do;
static bool is_over;

static void *loop(void *arg)
{
	pulse__begin();
	while (!__atomic_load_n(&is_over, __ATOMIC_SEQ_CST)) {
		int what = __atomic_load_n(&to_do, __ATOMIC_SEQ_CST);

		if (what == BEAT)
			pulse__beat();
		if (what != BURN)
			usleep(10000);
	}
	pulse__end();
	return arg;
}

/* Looks that many times; whether it was lost at one of them. */
static bool look(int times)
{
	bool lost = false;

	for (int i = 0; i < times && !lost; i++) {
		usleep(PULSE_LOOK_MS * 1000);
		lost = pulse__is_lost(clock__mono_ns());
	}
	return lost;
}

static void *block(void *arg)
{
	pulse__begin();
	while (!__atomic_load_n(&is_over, __ATOMIC_SEQ_CST))
		pause();
	return arg;
}

static pthread_t start(void *(*run)(void *))
{
	pthread_t thread;

	is_over = false;
	cr_assert_eq(pulse__prepare(), 0);
	cr_assert_eq(pthread_create(&thread, NULL, run, NULL), 0);
	while (!pulse__is_expected())
		usleep(1000);
	return thread;
}

Test(pulse, is_felt_while_the_loop_computes_or_beats, .timeout = 60)
{
	pthread_t thread;

	to_do = BURN;
	thread = start(loop);
	cr_expect_not(look(8));
	to_do = BEAT;
	cr_expect_not(look(8));
	is_over = true;
	pthread_join(thread, NULL);
	cr_expect_not(pulse__is_expected());
}

Test(pulse, is_lost_once_when_the_loop_waits_and_felt_again_with_the_next_beat, .timeout = 60)
{
	uint64_t at;

	start(block);
	cr_expect(look(240));
	cr_expect_not(pulse__is_known_lost());
	pulse__note_lost(clock__mono_ns());
	cr_expect(pulse__is_known_lost());
	cr_expect_eq(pulse__times_lost(&at), 1);
	cr_expect_not(look(8), "it is known");
	pulse__begin(); /* another thread's */
	cr_expect_not(pulse__is_known_lost());
	cr_expect_not(look(1));
	pulse__end();
}

Test(pulse, is_not_lost_while_the_machine_itself_stood_still, .timeout = 60)
{
	const uint64_t step = PULSE_LOOK_MS * 1000000ull;
	uint64_t now = clock__mono_ns();
	bool lost = false;

	start(block);
	cr_expect_not(pulse__is_lost(now += step));
	cr_expect_not(pulse__is_lost(now += step));
	cr_expect_not(pulse__is_lost(now += 60000000000ull), "nobody looked for a minute");
	for (int i = 0; i < 240 && !lost; i++) {
		usleep(10000);
		lost = pulse__is_lost(now += step);
	}
	cr_expect(lost, "it still says nothing");
}

/* A GIL that moves without an event means nothing from the moment on that the first probe is lifted. */
Test(pulse, nothing_is_proven_from_the_beginning_of_a_lifting_until_it_is_minded)
{
	uint64_t at;
	uint32_t known;

	cr_assert_eq(pulse__prepare(), 0);
	known = pulse__times_lost(&at);
	cr_expect_not(pulse__is_lifted_since(known));
	pulse__note_lifting();
	cr_expect(pulse__is_lifted_since(known), "it is being done");
	cr_expect_eq(pulse__times_lost(&at), known, "and not done yet");
	pulse__note_lost(clock__mono_ns());
	cr_expect(pulse__is_lifted_since(known));
	cr_expect_not(pulse__is_lifted_since(pulse__times_lost(&at)), "minded");
}
