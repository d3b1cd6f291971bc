/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * gilscope top on a terminal: what stands on the screen is compared with what programs say of themselves, or with a history
 * that the test has made up; keys, resizes and ends of all kinds leave the terminal as it was.
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/human.h"
#include "../support/bpf_env.h"
#include "../support/interpreters.h"
#include "../support/private_redis.h"
#include "../support/program.h"
#include "../support/pythons.h"
#include "../support/seeded.h"
#include "../support/terminal.h"
#include "../support/tool.h"
#include "../support/workload.h"

static char dir[64];
static struct terminal t;
static struct private_redis redis;
static struct workload w;

static void set_up(void)
{
	temp_dir__make(dir, sizeof(dir));
	setenv("GILSCOPE_STORE_DIR", dir, 1);
}

static void tear_down(void)
{
	terminal__close(&t);
	private_redis__fini(&redis);
	if (w.pid)
		workload__kill(&w);
	temp_dir__remove(dir);
}

TestSuite(top, .init = set_up, .fini = tear_down, .timeout = 300);

/* ---- a process that it attaches to ---- */

/* Lifting takes as long as it takes on a busy machine. */
static void expect_let_go(void)
{
	size_t left = 1;

	for (int i = 0; i < 30 && left; i++)
		left = breakpoints__await_none(w.pid);
	cr_expect_eq(left, 0, "%zu breakpoints are left", left);
}

/* The hog has the GIL most of the time; the victims want it. */
static void start_hog(void)
{
	struct interpreter stock;

	bpf_env__require();
	interpreter__stock(&stock);
	workload__start(&w, &stock, "hog_victim.py 100000 --victims 2");
	workload__go(&w);
}

static void attach_to_hog(int columns, int lines, const char *env)
{
	char words[64];

	start_hog();
	snprintf(words, sizeof(words), "top %d --no-store --interval 1s", (int)w.pid);
	terminal__start(&t, columns, lines, env, words);
	terminal__await(&t, "THREAD");
	terminal__await(&t, "victim-1");
}

/* The first line of the table whose heading contains `heading`. */
static void await_first(const char *heading, const char *name)
{
	for (int tries = 0; tries < 600; tries++) {
		const char *page = terminal__look(&t), *at = strstr(page, heading);

		at = at ? strchr(at, '\n') : NULL;
		if (at && strncmp(at + 1, name, strlen(name)) == 0)
			return;
		usleep(100000);
	}
	cr_assert_fail("%s is not first below %s:\n%s", name, heading, t.page);
}

Test(top, orders_threads_by_what_they_hold_wait_and_are_to_blame_for)
{
	attach_to_hog(80, 24, NULL);
	await_first("▼HOLD", "hog ");
	terminal__type(&t, "W");
	await_first("▼WAIT", "victim-");
	terminal__type(&t, "B");
	await_first("▼BLAME", "hog ");
	/* It sleeps while it holds. */
	terminal__await(&t, "% asleep");
	await_first("WHO WAITED", "victim-");
	await_first("IN THIS CODE", "HogPlay.play (");
	terminal__type(&t, "q");
	cr_expect_eq(terminal__end(&t), 0);
	expect_let_go();
}

Test(top, pauses_shows_a_thread_and_explains_itself)
{
	attach_to_hog(80, 24, NULL);
	terminal__type(&t, "Space");
	terminal__await(&t, "PAUSED");
	terminal__type(&t, "Space");
	terminal__await_gone(&t, "PAUSED");
	terminal__type(&t, "Down");
	terminal__type(&t, "Enter");
	terminal__await(&t, "Holds the GIL");
	terminal__await(&t, "  tid ");
	terminal__type(&t, "Escape");
	terminal__await(&t, "q Quit");
	terminal__type(&t, "F1");
	terminal__await(&t, "What the numbers mean");
	terminal__type(&t, "q");
	terminal__await(&t, "q Quit");
	terminal__type(&t, "C-c");
	cr_expect_eq(terminal__end(&t), 0);
}

Test(top, follows_the_terminal_s_size)
{
	attach_to_hog(80, 24, NULL);
	terminal__resize(&t, 40, 10);
	terminal__await_gone(&t, "WHO WAITED");
	terminal__await(&t, "GIL busy");
	terminal__await(&t, "q Quit");
	terminal__resize(&t, 200, 60);
	terminal__await(&t, "FORCED");
	terminal__await(&t, "WHO WAITED");
	terminal__resize(&t, 12, 3);
	terminal__await_gone(&t, "WHO WAITED");
	terminal__resize(&t, 80, 24);
	terminal__await(&t, "WHO WAITED");
	terminal__type(&t, "q");
	cr_expect_eq(terminal__end(&t), 0);
}

Test(top, a_process_that_ends_stays_on_the_screen)
{
	attach_to_hog(80, 24, NULL);
	workload__kill(&w);
	terminal__await(&t, "The process has ended.");
	terminal__await(&t, "hog ");
	terminal__type(&t, "q");
	cr_expect_eq(terminal__end(&t), 0);
}

Test(top, an_old_terminal_gets_plain_characters)
{
	attach_to_hog(80, 24, "TERM=vt100");
	await_first("*HOLD", "hog ");
	for (const char *p = terminal__look(&t); *p; p++)
		cr_assert((unsigned char)*p < 0x80, "%s", t.page);
	t.one_page = true;
	terminal__type(&t, "q");
	cr_expect_eq(terminal__end(&t), 0);
	cr_expect_null(strstr(t.page, "Pause"), "the line of keys is gone:\n%s", t.page);
}

/* What colours say stands there in words and marks, too. */
Test(top, a_person_who_wants_no_colours_gets_none)
{
	attach_to_hog(80, 24, NULL);
	cr_expect(terminal__is_coloured(&t), "colours are not seen by this test:\n%s", t.page);
	terminal__type(&t, "q");
	cr_expect_eq(terminal__end(&t), 0);
	terminal__close(&t);
	workload__kill(&w);
	attach_to_hog(80, 24, "NO_COLOR=1");
	await_first("HOLD", "hog ");
	cr_expect_not(terminal__is_coloured(&t), "%s", t.page);
	terminal__type(&t, "j");
	terminal__type(&t, "Enter");
	terminal__await(&t, "Holds the GIL");
	cr_expect_not(terminal__is_coloured(&t), "%s", t.page);
	terminal__type(&t, "C-c");
	cr_expect_eq(terminal__end(&t), 0);
}

Test(top, shows_a_crowd_of_500_threads)
{
	struct interpreter stock;
	char words[64];

	bpf_env__require();
	interpreter__stock(&stock);
	workload__start(&w, &stock, "hog_victim.py 1000000 --victims 499 --pause-ms 1000 --hold-ms 1 --gap-ms 20");
	workload__go(&w);
	snprintf(words, sizeof(words), "top %d --no-store --interval 1s", (int)w.pid);
	terminal__start(&t, 80, 24, NULL, words);
	terminal__await(&t, "501 threads");
	terminal__await(&t, "; the others together: hold ");
	await_first("▼HOLD", "hog ");
	terminal__type(&t, "End");
	terminal__resize(&t, 40, 10);
	terminal__await_gone(&t, "WHO WAITED");
	terminal__await(&t, "GIL busy");
	terminal__resize(&t, 200, 60);
	terminal__await(&t, "WHO WAITED");
	terminal__type(&t, "q");
	cr_expect_eq(terminal__end(&t), 0);
}

static void end_by(int sig, int expected_status)
{
	attach_to_hog(80, 24, NULL);
	kill(terminal__pid(&t), sig);
	cr_expect_eq(terminal__end(&t), expected_status);
	expect_let_go();
}

Test(top, sigterm_ends_it_in_good_order)
{
	end_by(SIGTERM, 0);
}

Test(top, a_crash_gives_the_terminal_back_and_leaves_no_breakpoint)
{
	end_by(SIGSEGV, 128 + SIGSEGV);
}

/* Light mode estimates holds, and the screen says so. */
Test(top, light_mode_shows_holds_as_estimates)
{
	char words[80], *busy;

	start_hog();
	snprintf(words, sizeof(words), "top %d --no-store --mode light", (int)w.pid);
	terminal__start(&t, 100, 24, NULL, words);
	terminal__await(&t, "~HOLD");
	busy = strstr(t.page, "GIL busy");
	cr_expect(busy && busy[strcspn(busy, "~%")] == '~', "%s", t.page);
	terminal__type(&t, "q");
	cr_expect_eq(terminal__end(&t), 0);
}

/* Without ticks it knows none: they are unknown on the screen, not zero. */
Test(top, light_mode_without_ticks_shows_holds_as_unknown)
{
	char words[80];

	start_hog();
	snprintf(words, sizeof(words), "top %d --no-store --mode light --stacks off", (int)w.pid);
	terminal__start(&t, 100, 24, NULL, words);
	terminal__await(&t, "light mode sees only who queues");
	await_first("▼WAIT", "victim-");
	cr_expect_null(strstr(t.page, "0.0%  0.0%"));
	cr_expect(strstr(t.page, "~TIME"), "%s", t.page);
	terminal__type(&t, "q");
	cr_expect_eq(terminal__end(&t), 0);
}

/* Moves the cursor until it is on the hog: what is below the list says so. Other processes come and go meanwhile. */
static void choose_hog(void)
{
	char words[80];

	snprintf(words, sizeof(words), "Nobody observes process %d yet", (int)w.pid);
	terminal__await(&t, "Nobody observes process ");
	for (int i = 0; i < 600 && !strstr(terminal__look(&t), words); i++) {
		terminal__type(&t, i % 100 == 99 ? "Home" : "Down");
		usleep(50000);
	}
	terminal__await(&t, words);
}

/* Opened from the list, left for the list, and its history is there: top attaches as attach does. */
Test(top, opens_what_is_chosen_from_the_list)
{
	struct program p;

	start_hog();
	terminal__start(&t, 100, 50, NULL, "top");
	choose_hog();
	terminal__type(&t, "Enter");
	terminal__await(&t, "WHO WAITED");
	terminal__await(&t, "hog ");
	terminal__await(&t, "history on");
	terminal__type(&t, "l");
	terminal__await(&t, "Python processes");
	expect_let_go();
	terminal__type(&t, "q");
	cr_expect_eq(terminal__end(&t), 0);
	program__run(&p, "\"$GILSCOPE\" query %d --json", (int)w.pid);
	cr_expect(p.status == 0 && strstr(p.out, "\"util\""), "%s%s", p.out, p.err);
	program__free(&p);
}

/* ---- a process that somebody else observes ---- */

/* The numbers of the last second, as the test made them up. */
static void expect_thread(const struct seeded *s, int thread)
{
	const struct seeded_cell *cell = &s->cells[SEEDED_SECONDS - 1][thread];
	char hold[HUMAN_SIZE], wait[HUMAN_SIZE], shown_hold[16], shown_wait[16], tid[16];
	const char *at = strstr(t.page, seeded__name(thread));
	double blamed = 0, shown_blame;

	for (int victim = 0; victim < SEEDED_THREADS; victim++)
		blamed += (double)s->cells[SEEDED_SECONDS - 1][victim].blamed_ns[thread] / 1e9;
	human__share(hold, (double)cell->hold_ns / 1e9);
	human__share(wait, (double)cell->wait_ns / 1e9);
	snprintf(tid, sizeof(tid), " %u ", seeded__tid(thread));
	at = at ? strstr(at, tid) : NULL;
	cr_assert_not_null(at, "%s is not there:\n%s", seeded__name(thread), t.page);
	cr_assert_eq(sscanf(at + strlen(tid), "%15s %15s %lf", shown_hold, shown_wait, &shown_blame), 3, "%.100s", at);
	cr_expect_str_eq(shown_hold, hold, "%.100s", at);
	cr_expect_str_eq(shown_wait, wait, "%.100s", at);
	cr_expect_float_eq(shown_blame / 100, blamed, 0.00051, "%g: %.100s", blamed, at);
}

Test(top, shows_what_redis_has_to_the_last_digit)
{
	struct seeded *s;
	char words[256];

	private_redis__init(&redis, false);
	private_redis__start(&redis, true, NULL);
	s = seeded__write(&redis);
	snprintf(words, sizeof(words), "top %s --redis %s", s->id, redis.url);
	terminal__start(&t, 120, 40, NULL, words);
	terminal__await(&t, "from Redis");
	terminal__await(&t, "WHO WAITED");
	for (int i = 0; i < SEEDED_THREADS; i++)
		expect_thread(s, i);
	/* Twenty minutes were written: five of them are in the header. */
	cr_expect(strstr(t.page, " min\n"), "%s", t.page);
	terminal__type(&t, "m");
	terminal__await(&t, "60.0 s to ");
	terminal__type(&t, "q");
	cr_expect_eq(terminal__end(&t), 0);
	seeded__free(s);
}

Test(top, redis_may_go_away_and_come_back)
{
	struct seeded *s;
	char words[256];

	private_redis__init(&redis, false);
	private_redis__start(&redis, true, NULL);
	s = seeded__write(&redis);
	snprintf(words, sizeof(words), "top %s --redis %s", s->id, redis.url);
	seeded__free(s);
	terminal__start(&t, 100, 30, NULL, words);
	terminal__await(&t, "WHO WAITED");
	private_redis__pause(&redis);
	terminal__await(&t, "trying again");
	terminal__await(&t, "WHO WAITED");
	private_redis__resume(&redis);
	terminal__await_gone(&t, "trying again");
	terminal__await(&t, "WHO WAITED");
	private_redis__stop(&redis);
	terminal__await(&t, "trying again");
	/* It comes back, but with nothing in it: that is said, too. */
	private_redis__start(&redis, true, NULL);
	terminal__await(&t, "knows no process");
	terminal__await(&t, "WHO WAITED");
	private_redis__pause(&redis);
	terminal__type(&t, "q");
	cr_expect_eq(terminal__end(&t), 0, "a server that does not answer holds nobody");
	private_redis__resume(&redis);
}

/* One observes and stores, the other looks on. */
Test(top, reads_along_with_another_gilscope)
{
	struct tool attach;
	char words[256];

	start_hog();
	private_redis__init(&redis, false);
	private_redis__start(&redis, true, NULL);
	snprintf(words, sizeof(words), "attach %d --redis %s", (int)w.pid, redis.url);
	tool__start(&attach, words);
	tool__await(&attach, "armed in");
	for (int i = 0; i < 600 && private_redis__int(&redis, "ZCARD gil:procs") < 1; i++)
		usleep(100000);
	snprintf(words, sizeof(words), "top %d --redis %s", (int)w.pid, redis.url);
	terminal__start(&t, 100, 30, NULL, words);
	terminal__await(&t, "from Redis");
	await_first("▼HOLD", "hog ");
	/* It sleeps while it holds. */
	terminal__await(&t, "% asleep");
	await_first("WHO WAITED", "victim-");
	await_first("IN THIS CODE", "HogPlay.play (");
	kill(attach.pid, SIGINT);
	tool__wait(&attach, 60);
	terminal__await(&t, "Its observation ended");
	terminal__await(&t, "hog ");
	terminal__type(&t, "q");
	cr_expect_eq(terminal__end(&t), 0);
	tool__clear(&attach);
}

/* ---- where there is nothing to show ---- */

static void expect_refusal(const char *env, const char *words, const char *sentence)
{
	terminal__start(&t, 100, 24, env, words);
	terminal__await(&t, sentence);
	cr_expect_eq(terminal__end(&t), 1);
	terminal__close(&t);
}

Test(top, refuses_in_a_sentence_before_it_takes_the_terminal)
{
	expect_refusal(NULL, "top 4194303", "there is no process 4194303");
	expect_refusal(NULL, "top no-such-program --redis unix:///nowhere/redis.sock", "matches 'no-such-program', and");
	expect_refusal("TERM=dumb", "top", "cannot move its cursor");
}

Test(top, needs_a_terminal)
{
	struct program p;

	program__run(&p, "\"$GILSCOPE\" top");
	cr_expect_eq(p.status, 1);
	cr_expect_str_empty(p.out);
	cr_expect(strstr(p.err, "it needs a terminal"), "%s", p.err);
	cr_expect_eq(strcspn(p.err, "\n"), strlen(p.err) - 1, "one sentence: %s", p.err);
	program__free(&p);
}
