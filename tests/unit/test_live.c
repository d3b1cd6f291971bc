/* SPDX-License-Identifier: GPL-2.0-only */
/* The live table on 80 columns: what stands where, light mode, crowds, nobody at all, names from hell. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/live.h"
#include "collector/base/text.h"
#include "../support/made_up.h"

static const struct who who = {.id = "web1:4242:9f3a01bc", .label = "python3 app.py", .python = "3.11.2", .pid = 4242};
static const struct live_size size = {.columns = 80, .lines = 20};

static struct proc_sample *s;
static char *text;
static int heading;

static void setup(void)
{
	setenv("TZ", "UTC", 1);
	tzset();
	s = made_up__second();
}

static void teardown(void)
{
	proc_sample__free(s);
	free(text);
}

TestSuite(live, .init = setup, .fini = teardown);

static void service(void)
{
	made_up__thread(s, 4242, "MainThread", 100, 800, 400, 390);
	made_up__thread(s, 4250, "worker-0", 500, 400, 12345, 100);
	made_up__thread(s, 4251, "worker-1", 212, 600, 20, 8);
}

static const char *block(const struct who *w, const char *store, struct live_size at)
{
	size_t len;
	FILE *to = open_memstream(&text, &len);

	heading = live__block(to, w, s, store, at);
	fclose(to);
	return text;
}

static size_t count_lines(const char *p)
{
	size_t n = 0;

	for (; *p; p++)
		n += *p == '\n';
	return n;
}

static void expect_fits(size_t columns)
{
	char *copy = strdup(text), *at = copy, *line;

	while ((line = strsep(&at, "\n")))
		cr_expect_leq(text__columns(line), columns, "%zu columns: %s", text__columns(line), line);
	free(copy);
}

Test(live, a_service_in_full_mode_reads_like_this)
{
	service();
	cr_expect_str_eq(block(&who, "history on", size),
		"python3 app.py  pid 4242  CPython 3.11.2  full mode\n"
		"GIL busy  81.2%  [##########################......]  1.80 threads waiting\n"
		"12.8k acquires/s  498 contended/s  249 forced/s  handover 1.0% of waiting\n"
		"9 threads  cost 0.4% of a core  lost 0  history on\n"
		"THREAD       TID   HOLD   WAIT  ACQ/S  CONT/S  FORCED  P99 WAIT  MAX HOLD\n"
		"worker-0    4250  50.0%  40.0%  12.3k     100      50   4.00 ms     40 us\n"
		"worker-1    4251  21.2%  60.0%     20       8       4   75.0 ms   10.6 ms\n"
		"MainThread  4242  10.0%  80.0%    400     390     195   2.03 ms    250 us\n");
	cr_expect_eq(heading, 4);
	expect_fits(80);
}

Test(live, light_mode_says_what_it_does_not_see_and_sorts_by_wait)
{
	service();
	made_up__light(s);
	cr_expect_str_eq(block(&who, NULL, size),
		"python3 app.py  pid 4242  CPython 3.11.2  light mode\n"
		"GIL busy -  (light mode sees only who queues)  1.80 threads waiting\n"
		"498 contended/s  9 threads  cost 0.4% of a core  lost 0\n"
		"THREAD       TID  HOLD   WAIT  ACQ/S  CONT/S  FORCED  P99 WAIT  MAX HOLD\n"
		"MainThread  4242     -  80.0%      -     390       -   2.03 ms         -\n"
		"worker-1    4251     -  60.0%      -       8       -   75.0 ms         -\n"
		"worker-0    4250     -  40.0%      -     100       -   4.00 ms         -\n");
}

Test(live, five_hundred_threads_leave_room_for_the_rest)
{
	for (uint32_t i = 0; i < 500; i++)
		made_up__thread(s, 5000 + i, "pool", 1, 2, 3, 1);
	block(&who, NULL, size);
	cr_expect_eq(count_lines(text), size.lines);
	cr_expect(strstr(text, "and 486 more threads: hold 48.6%, wait 97.2% together\n"), "%s", text);
	expect_fits(80);
}

Test(live, a_narrow_terminal_loses_columns_not_the_ends_of_lines)
{
	service();
	cr_expect(strstr(block(&who, NULL, (struct live_size){.columns = 60, .lines = 20}), "MAX HOLD\n"), "%s", text);
	cr_expect(strstr(text, "HOLD   WAIT"), "%s", text);
	cr_expect_null(strstr(text, "ACQ/S"));
	expect_fits(60);
	free(text);
	block(&who, NULL, (struct live_size){.columns = 40, .lines = 20});
	cr_expect(strstr(text, "worker-0    4250  50.0%  40.0%"), "%s", text);
	expect_fits(40);
}

Test(live, names_of_a_pool_keep_their_numbers)
{
	made_up__thread(s, 1, "ThreadPoolExecutor-12_0", 10, 10, 10, 10);
	made_up__thread(s, 2, "ThreadPoolExecutor-12_1", 20, 10, 10, 10);
	block(&who, NULL, size);
	cr_expect(strstr(text, "12_0 ") && strstr(text, "12_1 "), "%s", text);
	expect_fits(80);
}

static void blame(uint32_t victim, uint32_t holder, uint64_t ms)
{
	struct blame_cell *cell = proc_sample__add_blame(s);

	*cell = (struct blame_cell){victim, holder, ms * 1000000};
}

Test(live, who_waits_for_whom_stands_below_the_threads)
{
	service();
	blame(0, 1, 500);
	blame(0, 1, 120);
	blame(2, 1, 300);
	blame(1, 2, 3);
	cr_expect(strstr(block(&who, NULL, size), "\nwaiting:  MainThread for worker-0 62.0%  worker-1 for worker-0 30.0%\n"),
		  "%s", text);
	cr_expect_null(strstr(text, "worker-0 for"), "what hardly counts is left out: %s", text);
	free(text);
	cr_expect_null(strstr(block(&who, NULL, (struct live_size){.columns = 80, .lines = 10}), "waiting:"), "%s", text);
	free(text);
	s->blame_sampled = true;
	cr_expect(strstr(block(&who, NULL, size), "\nwaiting, sampled:  "), "%s", text);
}

Test(live, pairs_take_their_lines_from_a_crowd)
{
	for (uint32_t i = 0; i < 500; i++)
		made_up__thread(s, 5000 + i, "ThreadPoolExecutor-0_0", 1, 2, 3, 1);
	for (uint32_t i = 0; i < 10; i++)
		blame(i, i + 1, 500 - i);
	block(&who, NULL, size);
	cr_expect_eq(count_lines(text), size.lines, "%s", text);
	expect_fits(80);
}

Test(live, a_very_low_terminal_still_shows_the_busiest_thread)
{
	service();
	block(&who, NULL, (struct live_size){.columns = 80, .lines = 1});
	cr_expect(strstr(text, "worker-0"));
	cr_expect(strstr(text, "and 2 more threads: hold 31.2%, wait 140.0% together\n"));
}

Test(live, nobody_is_said_in_words)
{
	cr_expect(strstr(block(&who, NULL, size), "No thread used the GIL in this interval.\n"));
	cr_expect_eq(heading, -1);
	made_up__light(s);
	free(text);
	cr_expect(strstr(block(&who, NULL, size), "No thread had to wait for the GIL in this interval.\n"));
}

Test(live, threads_that_did_nothing_are_left_out)
{
	service();
	made_up__thread(s, 9999, "idle", 0, 0, 0, 0);
	cr_expect_null(strstr(block(&who, NULL, size), "idle"));
}

static void several_gils(void)
{
	made_up__thread(s, 4242, "MainThread", 300, 10, 400, 390);
	made_up__thread(s, 4250, "worker", 900, 400, 12345, 100)->gil = 1;
	made_up__thread(s, 4251, "worker", 40, 600, 20, 8)->gil = 12;
	made_up__gil(s, 0);
	made_up__gil(s, 1);
	made_up__gil(s, 12);
}

Test(live, several_gils_are_shown_side_by_side)
{
	several_gils();
	block(&who, NULL, size);
	cr_expect(strstr(text, "GIL busy  90.0%"), "%s", text);
	cr_expect(strstr(text, "\nthe busiest of 3 GILs:  #1 90.0%  main 30.0%  #12 4.0%\n"), "%s", text);
	cr_expect(strstr(text, "\n#1 worker   4250"), "%s", text);
	expect_fits(80);
	cr_expect_eq(heading, 5);
	free(text);
	made_up__light(s);
	block(&who, NULL, size);
	cr_expect(strstr(text, "\nthe waits of 3 GILs:  #12 60.0%  #1 40.0%  main 1.0%\n"), "%s", text);
}

Test(live, no_gil_is_said_in_words)
{
	service();
	s->no_gil = true;
	cr_expect(strstr(block(&who, NULL, size), "The GIL is disabled"));
	cr_expect_null(strchr(text, '%'));
}

Test(live, long_and_wide_names_are_cut)
{
	struct who long_label = who;

	long_label.label = "python3 a_program_with_a_name_that_is_longer_than_any_terminal_is_wide_and_goes_on_and_on.py";
	made_up__thread(s, 4194304, "a-thread-name-that-is-forty-columns-wide", 900, 900, 999999, 999999);
	made_up__thread(s, 4194303, "日本語の名前のスレッドです日本語の名前", 90, 90, 99999, 99999);
	block(&long_label, "history: connection refused (12 waiting), 3 samples dropped", size);
	expect_fits(80);
	cr_expect(strchr(text, '~'));
}

Test(live, escape_sequences_in_names_stay_out)
{
	made_up__thread(s, 1, "\033[2J\033[Hroot#", 900, 900, 9, 9);
	cr_expect_null(strchr(block(&who, NULL, size), '\033'));
}

Test(live, losses_are_named)
{
	service();
	s->lost[GIL_LOSS_RING_LAPPED] = 10;
	s->lost[GIL_LOSS_NO_SLOT] = 2;
	cr_expect(strstr(block(&who, NULL, size), "lost 12 (no_slot 2, ring_lapped 10)"), "%s", text);
}

Test(live, a_partly_observed_interval_says_so)
{
	service();
	s->observed_ns = s->len_ns / 2;
	s->partial = true;
	block(&who, NULL, size);
	cr_expect(strstr(text, "observed 50.0% of it"));
	cr_expect(strstr(text, "(part of an interval)"));
}

static const char *line(bool say_who)
{
	size_t len;
	FILE *to = open_memstream(&text, &len);

	live__line(to, &who, s, say_who);
	fclose(to);
	return text;
}

Test(live, one_line_per_interval_where_nobody_repaints)
{
	service();
	cr_expect_str_eq(line(false), "08:00:00  busy  81.2%  waiting  1.80  acq/s 12.8k  forced/s   249  cost  0.4%\n");
	expect_fits(80);
	free(text);
	made_up__light(s);
	cr_expect_str_eq(line(true), "08:00:00  pid 4242  busy      -  waiting  1.80  acq/s     -  forced/s     -  cost  0.4%"
			 "  light mode\n");
}

Test(live, a_line_of_what_was_not_observed_says_so)
{
	service();
	s->observed_ns = 0;
	cr_expect(strstr(line(false), "busy      -  waiting     -  "), "%s", text);
}

Test(live, progress_has_elapsed_and_remaining_time)
{
	char buf[128];

	cr_expect_str_eq(live__progress(buf, sizeof(buf), 12300000000, 17700000000), "12.3 s of 30.0 s, 17.7 s left");
	cr_expect_str_eq(live__progress(buf, sizeof(buf), 125000000000, UINT64_MAX), "2:05 min, Ctrl-C ends");
	cr_expect_str_eq(live__progress(buf, sizeof(buf), 7380000000000, 3600000000000), "2:03 h of 3:03 h, 1:00 h left");
}

Test(live, what_hangs_or_stands_still_is_said)
{
	service();
	s->holding = (struct holding){.standstill = STANDSTILL_STOPPED};
	cr_expect_not_null(strstr(block(&who, "", size), "\nthe process is stopped by a signal (SIGSTOP)\n"), "%s", text);
	expect_fits(80);
	free(text);
	cr_expect_not_null(strstr(line(false), "  the process is stopped by a signal (SIGSTOP)\n"), "%s", text);
	free(text);
	s->holding = (struct holding){.by = HOLDER_ENDED, .name = "a thread with a name that is as long as names may be"};
	cr_expect_not_null(strstr(block(&who, "", size), "\nthe GIL is held by a thread that has ended"), "%s", text);
	expect_fits(80);
}
