/* SPDX-License-Identifier: GPL-2.0-only */
/* What `top` shows and what keys do to it, on pages of every size: order, cursor, pause, light mode, crowds, the past. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/top/top_view.h"
#include "collector/base/text.h"
#include "../support/made_up.h"

#define NOW_MS 1795420800500 /* half a second behind made_up__second() */

static struct top_model m;
static struct proc_sample *s;
static struct canvas *page;

static void setup(void)
{
	setenv("TZ", "UTC", 1);
	tzset();
	top_model__init(&m);
	m.page = TOP_PAGE_PROCESS;
	s = made_up__second();
}

static void teardown(void)
{
	top_model__clear(&m);
	proc_sample__free(s);
	canvas__free(page);
}

TestSuite(top, .init = setup, .fini = teardown);

/* ---- what sources would tell ---- */

static void tell_who(const char *label, const char *mode)
{
	struct top_update u = {.kind = TOP_UPDATE_WHO, .who = {.pid = 4242}};

	snprintf(u.who.label, sizeof(u.who.label), "%s", label);
	snprintf(u.who.python, sizeof(u.who.python), "3.11.2");
	snprintf(u.who.mode, sizeof(u.who.mode), "%s", mode);
	top_model__take(&m, &u, NOW_MS);
}

static void tell_state(enum top_state state, const char *words)
{
	struct top_update u = {.kind = TOP_UPDATE_STATE, .state = state};

	snprintf(u.words, sizeof(u.words), "%s", words);
	top_model__take(&m, &u, NOW_MS);
}

/* The sample as it is now, with its point of the past. */
static void tell_sample(void)
{
	struct top_update u = {.kind = TOP_UPDATE_FRAME, .now = top_frame__of_sample(s)};
	struct top_point *point = calloc(1, sizeof(*point));

	cr_assert_not_null(u.now);
	*point = (struct top_point){u.now->end_ms, u.now->d_us, u.now->observed_us, u.now->is.hold, u.now->is.wait};
	u.points = point;
	u.points_n = 1;
	top_model__take(&m, &u, NOW_MS);
}

static void blame(uint32_t victim, uint32_t holder, uint64_t ms)
{
	struct blame_cell *cell = proc_sample__add_blame(s);

	*cell = (struct blame_cell){victim, holder, ms * 1000000};
}

/* Holds: a 100, b 500, c 212 ms; waits: a 400, b 30, c 600; b is to blame for most. */
static void three_threads(void)
{
	made_up__thread(s, 4242, "MainThread", 100, 400, 400, 390);
	made_up__thread(s, 4250, "report", 500, 30, 20, 10);
	made_up__thread(s, 4251, "ThreadPoolExecutor-0_17", 212, 600, 20, 8);
	blame(0, 1, 380);
	blame(2, 1, 410);
	blame(2, 0, 150);
	blame(0, 2, 10);
	made_up__gil(s, 0);
	tell_who("python3 app.py", "full");
	tell_sample();
	tell_state(TOP_LIVE, "");
}

static void crowd(size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char name[32];

		snprintf(name, sizeof(name), "worker-%zu", i);
		made_up__thread(s, 5000 + (uint32_t)i, name, i % 7, 1 + i % 13, 10 + i % 90, i % 10);
	}
	for (uint32_t i = 1; i < n && i < 60; i++)
		blame(i, i - 1, i % 13);
	tell_who("python3 app.py", "full");
	tell_sample();
	tell_state(TOP_LIVE, "");
}

/* ---- what is on the page ---- */

static void draw(size_t columns, size_t lines)
{
	canvas__free(page);
	page = canvas__new(columns, lines, false);
	cr_assert_not_null(page);
	top_view__draw(&m, page, NOW_MS);
}

static const char *line_text(size_t line)
{
	static char text[4][4096];
	static int next;

	next = (next + 1) % 4;
	return canvas__line(page, line, text[next], sizeof(text[next]));
}

/* The first line that contains `what`, SIZE_MAX: none. */
static size_t find(const char *what)
{
	for (size_t i = 0; i < page->lines; i++)
		if (strstr(line_text(i), what))
			return i;
	return SIZE_MAX;
}

static void expect(const char *what)
{
	if (find(what) != SIZE_MAX)
		return;
	for (size_t i = 0; i < page->lines; i++)
		fprintf(stderr, "|%s\n", line_text(i));
	cr_assert_fail("'%s' is not on the page", what);
}

static void expect_not(const char *what)
{
	cr_expect_eq(find(what), SIZE_MAX, "'%s' is on the page: %s", what, line_text(find(what)));
}

/* Lines in which the names begin the line, in this order. */
static void expect_order(const char *first, const char *second, const char *third)
{
	const char *names[] = {first, second, third};
	size_t at[3] = {SIZE_MAX, SIZE_MAX, SIZE_MAX}, table = find("THREAD ");

	cr_assert_neq(table, SIZE_MAX);
	for (size_t i = table; i < page->lines && !strstr(line_text(i), "WHO WAITED"); i++)
		for (int n = 0; n < 3; n++)
			if (at[n] == SIZE_MAX && strncmp(line_text(i), names[n], strlen(names[n])) == 0)
				at[n] = i;
	cr_expect(at[0] < at[1] && at[1] < at[2] && at[2] < page->lines, "%s, %s, %s: lines %zu, %zu, %zu", first, second,
		  third, at[0], at[1], at[2]);
}

static void keys(const char *text)
{
	for (; *text; text++)
		top_model__key(&m, *text);
}

/* No line is wider than the page, and no character is cut in half. */
static void expect_whole(void)
{
	for (size_t i = 0; i < page->lines; i++) {
		char clean[4096];
		const char *text = line_text(i);

		cr_expect_leq(text__columns(text), page->columns, "line %zu: %s", i, text);
		text__clean(clean, sizeof(clean), text, strlen(text));
		cr_expect_str_eq(clean, text);
	}
}

/* ---- the page of a process ---- */

Test(top, shows_what_an_engineer_asks_first_on_80x24)
{
	three_threads();
	draw(80, 24);
	expect("python3 app.py  pid 4242  CPython 3.11.2  full mode");
	expect("GIL busy  81.2%");
	expect("Waiting    1.03");
	expect("440 acquires/s");
	expect("lost 0");
	expect("report                 4250   50.0%    3.0%    79.0%");
	expect("H Hold  W Wait  B Blame  p Pause");
	expect("l List");
	expect("q Quit");
	cr_expect_eq(find("H Hold"), 23);
	expect_whole();
}

Test(top, orders_by_hold_wait_or_blame)
{
	three_threads();
	draw(80, 24);
	expect("▼HOLD");
	expect_order("report", "ThreadPo", "MainThread");
	keys("W");
	draw(80, 24);
	expect("▼WAIT");
	expect_order("ThreadPo", "MainThread", "report");
	keys("B");
	draw(80, 24);
	expect("▼BLAME");
	expect_order("report", "MainThread", "ThreadPo");
	keys("<");
	draw(80, 24);
	expect("▼WAIT");
	keys("H");
	draw(80, 24);
	expect_order("report", "ThreadPo", "MainThread");
}

Test(top, says_who_waits_for_whom_largest_first)
{
	size_t at;

	three_threads();
	draw(80, 30);
	at = find("WHO WAITED");
	cr_assert_lt(at, page->lines);
	cr_expect_not_null(strstr(line_text(at + 1), "report"), "%s", line_text(at + 1));
	cr_expect_not_null(strstr(line_text(at + 1), "41.0%"), "%s", line_text(at + 1));
	cr_expect_not_null(strstr(line_text(at + 2), "38.0%"), "%s", line_text(at + 2));
	/* 1.03 in all, 0.95 of it pairs, a hundredth handover. */
	cr_expect_not_null(strstr(line_text(find("(nobody: handover)")), "1.0%"), "%s", line_text(find("(nobody: handover)")));
	cr_expect_not_null(strstr(line_text(find("(all other pairs)")), "7.0%"), "%s", line_text(find("(all other pairs)")));
	cr_expect_float_eq(top_model__frame(&m)->pairs[0].share, 0.41, 1e-9);
}

Test(top, blame_of_a_thread_is_what_others_waited_for_it)
{
	const struct top_frame *f;

	three_threads();
	f = top_model__frame(&m);
	cr_expect_float_eq(f->threads[1].blame, 0.79, 1e-9);
	cr_expect_float_eq(f->threads[0].blame, 0.15, 1e-9);
	cr_expect_float_eq(f->threads[2].blame, 0.01, 1e-9);
}

Test(top, light_mode_shows_what_it_does_not_know_as_unknown)
{
	made_up__thread(s, 4242, "MainThread", 0, 400, 400, 390);
	made_up__thread(s, 4250, "worker-0", 0, 600, 20, 10);
	made_up__light(s);
	s->blame_sampled = true;
	blame(1, 0, 500);
	tell_who("python3 app.py", "light");
	tell_sample();
	draw(100, 24);
	expect("light mode");
	expect("(light mode sees only who queues)");
	cr_expect_not_null(strstr(line_text(find("GIL busy")), " -"), "%s", line_text(find("GIL busy")));
	cr_expect_null(strstr(line_text(find("GIL busy")), "0.0%"));
	expect("▼WAIT");
	cr_expect_not_null(strstr(line_text(find("worker-0")), "     -   60.0%"), "%s", line_text(find("worker-0")));
	expect("~TIME");
	expect("FOR WHOM (SAMPLED)");
	expect_not("acquires/s");
}

/* A quarter of all holds asleep, an eighth without a CPU; of report's half asleep. */
static void put_off_cpu(void)
{
	s->total.hold_off.ns[GIL_OFF_BLOCKED] = s->total.hold_ns / 4;
	s->total.hold_off.ns[GIL_OFF_PREEMPTED] = s->total.hold_ns / 8;
	s->threads[1].m.hold_off.ns[GIL_OFF_BLOCKED] = s->threads[1].m.hold_ns / 2;
	s->threads[1].m.hold_off.ns[GIL_OFF_UNSEEN] = s->threads[1].m.hold_ns / 10;
	s->threads[1].m.wait_off.ns[GIL_OFF_PREEMPTED] = s->threads[1].m.wait_ns / 5;
}

Test(top, holders_off_the_cpu_are_said_where_there_is_something_to_say)
{
	three_threads();
	draw(80, 24);
	expect_not("held:");
	put_off_cpu();
	tell_sample();
	draw(80, 24);
	expect("held: 62.5% on CPU, 25.0% asleep, 12.5% without CPU");
	expect("WHO WAITED");
	m.page = TOP_PAGE_THREAD;
	snprintf(m.thr, sizeof(m.thr), "%s", top_model__frame(&m)->threads[1].thr);
	draw(80, 24);
	expect("Holds the GIL    50.0%: 40.0% on CPU, 50.0% asleep, 10.0% not known");
	expect("Waits for it      3.0%, holders 80.0% on CPU, 20.0% without CPU");
	expect_whole();
}

Test(top, holders_of_which_nothing_is_known_are_said_to_run_nowhere)
{
	three_threads();
	put_off_cpu();
	s->total.known &= ~(uint32_t)KNOWN_OFF_CPU;
	s->threads[1].m.known &= ~(uint32_t)KNOWN_OFF_CPU;
	tell_sample();
	draw(80, 24);
	expect_not("held:");
	m.page = TOP_PAGE_THREAD;
	snprintf(m.thr, sizeof(m.thr), "%s", top_model__frame(&m)->threads[1].thr);
	draw(80, 24);
	expect("Holds the GIL    50.0% of the time");
	expect("Waits for it      3.0% of the time");
}

/* A fifth of all holds; sampled, then exact. */
Test(top, garbage_collection_is_said_where_there_is_some)
{
	three_threads();
	draw(100, 24);
	expect_not("garbage");
	s->total.gc.hold_ns = s->total.hold_ns / 5;
	s->total.gc.max_ns = 31000000;
	s->total.known &= ~(uint32_t)KNOWN_GC_EXACT;
	tell_sample();
	draw(100, 24);
	expect("garbage collection 16.2%, longest over 31.0 ms");
	s->total.known |= KNOWN_GC_EXACT;
	tell_sample();
	draw(100, 24);
	expect("garbage collection 16.2%, longest 31.0 ms");
	s->total.known &= ~(uint32_t)KNOWN_GC;
	tell_sample();
	draw(100, 24);
	expect_not("garbage");
}

/* As rows out of Redis have them. */
Test(top, parts_are_known_if_the_first_is_there_and_nothing_of_nothing)
{
	static const struct {
		char row[80];
		char words[64];
		double asleep; /* us; -1: not known */
	} cases[] = {
		{"{\"t\":1,\"hold\":1000,\"hold_blocked\":300,\"hold_preempted\":100,\"hold_unseen\":100}",
		 "50.0% on CPU, 30.0% asleep, 10.0% without CPU, 10.0% not known", 300},
		{"{\"t\":1,\"hold\":1000,\"ho\":[300,100]}", "60.0% on CPU, 30.0% asleep, 10.0% without CPU", 300},
		{"{\"t\":1,\"hold\":1000,\"hold_blocked\":0}", "100.0% on CPU", 0},
		{"{\"t\":1,\"hold\":1000,\"hold_blocked\":1000}", "100.0% asleep", 1000},
		{"{\"t\":1,\"hold\":1000}", "", -1},
		{"{\"t\":1,\"hold\":1000,\"hold_preempted\":10}", "", -1},
		{"{\"t\":1,\"hold\":0}", "", 0},
		{"{\"t\":1}", "", -1},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct off_shares off;
		struct schema_row row;
		char words[128];
		double us;

		cr_assert_eq(schema_row__decode(cases[i].row, strlen(cases[i].row), &row), 0);
		off = rows__off(&row, FIELD_HOLD);
		us = rows__off_us(&row, FIELD_HOLD_BLOCKED);
		cr_expect_str_eq(rows__off_words(&off, words, sizeof(words)), cases[i].words, "%s: %s", cases[i].row, words);
		cr_expect(cases[i].asleep < 0 ? isnan(us) : us == cases[i].asleep, "%s: %f", cases[i].row, us);
	}
}

Test(top, what_hangs_or_stands_still_is_said)
{
	three_threads();
	draw(80, 24);
	expect_not("stopped by a signal");
	s->holding = (struct holding){.standstill = STANDSTILL_STOPPED};
	tell_sample();
	draw(80, 24);
	expect("the process is stopped by a signal (SIGSTOP)");
	expect_whole();
	s->holding = (struct holding){.by = HOLDER_LEFT_BY_FORK, .name = "worker"};
	tell_sample();
	draw(80, 24);
	expect("left behind by fork (worker)");
	expect_whole();
}

Test(top, losses_and_gaps_are_said_by_name)
{
	three_threads();
	s->lost[0] = 12;
	s->observed_ns = s->len_ns / 2;
	tell_sample();
	draw(80, 24);
	expect("lost 12 (");
	expect("observed 50.0% of it");
}

Test(top, a_process_without_a_gil_is_no_row_of_zeros)
{
	s->no_gil = true;
	s->observed_ns = 0;
	tell_who("python3.13t app.py", "full");
	tell_sample();
	draw(80, 24);
	expect("The GIL is disabled in this process");
	expect_not("0.0%");
	expect("q Quit");
}

Test(top, fits_every_size)
{
	static const size_t sizes[][2] = {{80, 24}, {40, 10}, {200, 60}, {80, 5}, {20, 3}, {10, 2}, {1, 1}, {3, 60}, {500, 4}};

	crowd(500);
	for (int round = 0; round < 5; round++) {
		static const enum top_page pages[] = {TOP_PAGE_PROCESS, TOP_PAGE_PROCESS, TOP_PAGE_THREAD, TOP_PAGE_LIST,
						      TOP_PAGE_PROCESS};

		m.page = pages[round];
		if (round == 1)
			tell_state(TOP_ENDED, "The process has ended. What is shown is the last of it; l lists others, q quits.");
		if (round == 4)
			m.help = true;
		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			draw(sizes[i][0], sizes[i][1]);
			expect_whole();
		}
	}
}

Test(top, rows_that_look_the_same_do_not_change_places)
{
	made_up__thread(s, 1, "a", 100, 10, 10, 1);
	made_up__thread(s, 2, "b", 100, 10, 10, 1)->m.hold_ns += 200000;
	made_up__thread(s, 3, "c", 101, 10, 10, 1);
	tell_sample();
	draw(80, 24);
	expect_order("c ", "a ", "b ");
}

Test(top, of_500_threads_the_first_have_room_and_the_others_are_summed_up)
{
	crowd(500);
	draw(80, 24);
	expect("of 500; the others together: hold ");
	draw(40, 10);
	expect("GIL busy");
	expect("HOLD");
	expect("q Quit");
	draw(200, 60);
	expect("FORCED");
	expect("1-");
}

Test(top, the_cursor_scrolls_and_stays_on_its_thread)
{
	size_t n, first;
	const size_t *order;
	char name[TOP_NAME_SIZE];

	crowd(500);
	draw(80, 24);
	cr_expect_eq(top_model__cursor(&m), SIZE_MAX, "nothing is chosen at first");
	keys("j");
	cr_expect_eq(top_model__cursor(&m), 0);
	top_model__key(&m, TOP_KEY_PAGE_DOWN);
	top_model__key(&m, TOP_KEY_PAGE_DOWN);
	draw(80, 24);
	first = m.first_row;
	cr_expect_gt(first, 0);
	order = top_model__order(&m, &n);
	snprintf(name, sizeof(name), "%s", top_model__frame(&m)->threads[order[top_model__cursor(&m)]].name);
	expect(name);
	keys("W");
	order = top_model__order(&m, &n);
	cr_expect_str_eq(top_model__frame(&m)->threads[order[top_model__cursor(&m)]].name, name);
	draw(80, 24);
	expect(name);
	top_model__key(&m, TOP_KEY_END);
	cr_expect_eq(top_model__cursor(&m), n - 1);
	top_model__key(&m, TOP_KEY_HOME);
	cr_expect_eq(top_model__cursor(&m), 0);
	draw(80, 24);
	cr_expect_eq(m.first_row, 0);
}

Test(top, a_cursor_whose_thread_is_gone_begins_where_it_stood)
{
	three_threads();
	keys("jj");
	cr_expect_eq(top_model__cursor(&m), 1);
	made_up__keep_threads(s, 1);
	s->blame_n = 0;
	tell_sample();
	cr_expect_eq(top_model__cursor(&m), SIZE_MAX);
	draw(80, 24);
	top_model__key(&m, TOP_KEY_UP);
	cr_expect_eq(top_model__cursor(&m), 0);
}

Test(top, a_pause_keeps_the_frame_and_goes_on_with_the_newest)
{
	three_threads();
	keys(" ");
	s->threads[1].m.hold_ns = 900 * 1000000ull;
	tell_sample();
	tell_sample();
	draw(80, 24);
	expect("PAUSED");
	expect("50.0%");
	expect_not("90.0%");
	expect("p Go on");
	keys("p");
	draw(80, 24);
	expect("90.0%");
	expect_not("PAUSED");
}

Test(top, the_last_minute_is_another_frame)
{
	struct top_update u = {.kind = TOP_UPDATE_FRAME};

	three_threads();
	s->threads[1].m.hold_ns = 10 * 1000000ull;
	u.minute = top_frame__of_sample(s);
	top_model__take(&m, &u, NOW_MS);
	cr_expect_eq(top_model__key(&m, 'm'), TOP_OTHER_WINDOW);
	draw(80, 24);
	cr_expect_not_null(strstr(line_text(find("report ")), "1.0%"), "%s", line_text(find("report ")));
	keys("m");
	draw(80, 24);
	expect("50.0%");
}

Test(top, states_are_said_and_what_was_last_known_stays)
{
	three_threads();
	tell_state(TOP_ENDED, "The process has ended.");
	draw(80, 24);
	expect("The process has ended.");
	expect("report ");
	tell_state(TOP_AWAY, "Redis does not answer.");
	draw(80, 24);
	expect("Redis does not answer.");
	expect("report ");
	expect_not("The process has ended.");
}

Test(top, names_from_hell_harm_nothing)
{
	made_up__thread(s, 1, "\033[2J\033]0;evil\a", 10, 10, 10, 10);
	made_up__thread(s, 2, "日本語スレッド名前がとても長い日本語スレッド名前", 20, 10, 10, 10);
	made_up__thread(s, 3, "", 30, 10, 10, 10);
	/* As the reader hands them out. */
	for (size_t i = 0; i < s->threads_n; i++) {
		char raw[THREAD_NAME_SIZE];

		memcpy(raw, s->threads[i].name, sizeof(raw));
		text__clean(s->threads[i].name, THREAD_NAME_SIZE, raw, strlen(raw));
	}
	tell_who("python3 x", "full");
	tell_sample();
	for (size_t columns = 1; columns < 90; columns++) {
		draw(columns, 24);
		expect_whole();
	}
	draw(80, 24);
	expect("?[2J?]0;evil?");
	expect("日本語");
	expect("(no name)");
	canvas__free(page);
	page = canvas__new(80, 24, true);
	top_view__draw(&m, page, NOW_MS);
	for (size_t i = 0; i < 24; i++)
		for (const char *p = line_text(i); *p; p++)
			cr_expect((unsigned char)*p < 0x80, "line %zu", i);
}

Test(top, long_names_are_cut_in_their_middle)
{
	three_threads();
	draw(64, 24);
	expect("~");
	expect("0_17");
	expect_whole();
}

Test(top, several_gils_are_listed_and_one_can_be_chosen)
{
	made_up__thread(s, 1, "MainThread", 300, 10, 10, 10);
	made_up__gil(s, 0);
	made_up__thread(s, 2, "sub", 600, 20, 10, 10)->gil = 3;
	made_up__gil(s, 3);
	tell_who("python3 x", "full");
	tell_sample();
	draw(80, 24);
	expect("[all 2]");
	expect("#3 ");
	expect("g GIL");
	keys("g");
	draw(80, 24);
	expect("[main ");
	expect("MainThread");
	expect_not("#3 sub");
	keys("g");
	draw(80, 24);
	expect("#3 sub");
	expect_not("MainThread");
	keys("g");
	draw(80, 24);
	expect("[all 2]");
}

Test(top, a_thread_is_told_in_full)
{
	three_threads();
	top_model__key(&m, TOP_KEY_ENTER);
	draw(80, 24);
	expect("report  tid 4250");
	expect("Holds the GIL    50.0%: 100.0% on CPU");
	expect("Makes wait       79.0%");
	expect("FOR WHOM");
	expect_not("(nobody: handover)");
	cr_expect_eq(top_model__key(&m, 'q'), TOP_NOTHING, "back, not out");
	draw(80, 24);
	expect("THREAD ");
	cr_expect_eq(top_model__key(&m, 'q'), TOP_QUIT);
}

Test(top, help_covers_everything_and_any_key_ends_it)
{
	three_threads();
	keys("?");
	draw(80, 24);
	expect("What the numbers mean");
	expect("quit; the probes are lifted");
	cr_expect_eq(top_model__key(&m, 'q'), TOP_NOTHING);
	draw(80, 24);
	expect("THREAD ");
	keys("h");
	cr_expect(m.help);
	cr_expect_eq(top_model__key(&m, TOP_KEY_QUIT), TOP_QUIT, "Ctrl-C always ends it");
}

Test(top, a_pair_that_was_charged_in_parts_is_one)
{
	const struct top_frame *f;

	made_up__thread(s, 1, "a", 100, 400, 4, 4);
	made_up__thread(s, 2, "b", 500, 30, 2, 1);
	blame(0, 1, 300);
	blame(1, 0, 20);
	blame(0, 1, 90);
	tell_sample();
	f = top_model__frame(&m);
	cr_assert_eq(f->pairs_n, 2);
	cr_expect_float_eq(f->pairs[0].share, 0.39, 1e-9);
	cr_expect_float_eq(f->threads[1].blame, 0.39, 1e-9);
}

/* ---- which code it was ---- */

static void code(uint32_t thread, const char *function, uint32_t line, uint64_t blame_ms)
{
	struct code_cell *cells = reallocarray(s->code, s->code_n + 1, sizeof(*cells));

	cr_assert_not_null(cells);
	s->code = cells;
	cells[s->code_n] = (struct code_cell){.thread = thread, .line = line, .times = 1};
	cells[s->code_n].hold_ns = cells[s->code_n].blame_ns = blame_ms * 1000000;
	snprintf(cells[s->code_n].function, CODE_FUNCTION_SIZE, "%s", function);
	snprintf(cells[s->code_n].file, CODE_FILE_SIZE, "/srv/app/report.py");
	s->code_n++;
	s->code_known = true;
}

Test(top, code_is_shown_where_it_was_asked_for_and_nothing_where_it_was_not)
{
	three_threads();
	draw(80, 24);
	expect_not("IN THIS CODE");
	code(1, "search", 88, 700);
	code(2, "answer", 12, 90);
	code(0, "main", 3, 0);
	tell_sample();
	draw(80, 24);
	expect("IN THIS CODE");
	expect("WHO WAITED");
	expect("search (");
	cr_expect_not_null(strstr(line_text(find("IN THIS CODE") + 1), "70.0%"), "%s", line_text(find("IN THIS CODE") + 1));
	expect_not("main (");
	expect_whole();
	top_model__key(&m, TOP_KEY_ENTER);
	draw(80, 24);
	expect("search (");
	expect_not("answer (");
}

Test(top, code_that_many_threads_run_is_one_line)
{
	three_threads();
	code(0, "search", 88, 300);
	code(1, "search", 88, 250);
	code(2, "answer", 12, 400);
	code(1, "answer", 12, 0);
	tell_sample();
	draw(80, 24);
	cr_expect_not_null(strstr(line_text(find("IN THIS CODE") + 1), "2 threads"), "%s", line_text(find("IN THIS CODE") + 1));
	cr_expect_not_null(strstr(line_text(find("IN THIS CODE") + 1), "55.0%"), "%s", line_text(find("IN THIS CODE") + 1));
	/* Nobody waited for the other's. */
	cr_expect_null(strstr(line_text(find("IN THIS CODE") + 2), "threads"), "%s", line_text(find("IN THIS CODE") + 2));
	cr_expect_not_null(strstr(line_text(find("IN THIS CODE") + 2), "40.0%"), "%s", line_text(find("IN THIS CODE") + 2));
	expect_whole();
}

/* ---- the past ---- */

static void add_second(int64_t end_ms, double busy, double waiting)
{
	struct top_update u = {.kind = TOP_UPDATE_FRAME, .points = calloc(1, sizeof(struct top_point)), .points_n = 1};

	u.points[0] = (struct top_point){end_ms, 1e6, 1e6, busy, waiting};
	top_model__take(&m, &u, NOW_MS);
}

Test(top, the_past_is_a_mean_per_step_and_gaps_are_not_zeros)
{
	double busy[60], waiting[60];
	size_t step;

	for (int i = 1; i <= 600; i++)
		if (i <= 500 || i > 520)
			add_second(1795420000000 + i * 1000, i % 2 ? 1 : 0, 2);
	top_model__past(&m, 60, busy, waiting, &step);
	cr_expect_eq(step, 5, "%zu", step);
	for (int i = 0; i < 60; i++) {
		if (i >= 40 && i < 44)
			cr_expect(isnan(busy[i]) && isnan(waiting[i]), "step %d", i);
		else
			cr_expect_float_eq(busy[i], i % 2 ? 0.6 : 0.4, 0.21, "step %d: %g", i, busy[i]);
	}
	cr_expect_float_eq(waiting[0], 2, 1e-9);
}

Test(top, the_past_begins_with_short_steps)
{
	double busy[60], waiting[60];
	size_t step;

	for (int i = 1; i <= 20; i++)
		add_second(1795420000000 + i * 1000, 0.25, NAN);
	top_model__past(&m, 60, busy, waiting, &step);
	cr_expect_eq(step, 1);
	cr_expect_float_eq(busy[59], 0.25, 1e-9);
	cr_expect_float_eq(busy[40], 0.25, 1e-9);
	cr_expect(isnan(busy[39]));
}

Test(top, points_of_any_length_and_stamp_are_taken)
{
	static const struct top_point odd[] = {
		{5, 1e15, 1e15, 1, 1}, {9000000000000000, 1e6, 1e6, 1, 1}, {0, 1e6, 1e6, 1, 1}, {-5, 1e6, 1e6, 1, 1},
		{1795420000000, 0, 0, 1, 1}, {1795420000000, -1, 0, NAN, NAN}, {1795420000000, NAN, NAN, NAN, NAN},
		{1795420000000, 3600e6, 1800e6, 0.5, 1},
	};
	double busy[400], waiting[400];
	size_t step;

	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		struct top_update u = {.kind = TOP_UPDATE_FRAME, .points = calloc(1, sizeof(odd[0])), .points_n = 1};

		top_model__forget_process(&m);
		u.points[0] = odd[i];
		top_model__take(&m, &u, NOW_MS);
		top_model__past(&m, 400, busy, waiting, &step);
	}
	cr_expect_float_eq(busy[399], 0.5, 1e-9, "an hour's point fills what is kept");
	cr_expect_float_eq(busy[100], 0.5, 1e-9);
}

/* ---- the list ---- */

static void tell_choices(size_t n, bool with_id)
{
	struct top_update u = {.kind = TOP_UPDATE_CHOICES, .choices = calloc(n + 1, sizeof(struct top_choice)), .choices_n = n};

	for (size_t i = 0; i < n; i++) {
		struct top_choice *p = &u.choices[i];

		p->pid = 100 + (pid_t)i;
		p->busy = p->waiting = NAN;
		p->threads = 3;
		p->seen_ms_ago = -1;
		snprintf(p->label, sizeof(p->label), "python3 job-%zu.py", i);
	}
	if (n && with_id) {
		snprintf(u.choices[0].id, sizeof(u.choices[0].id), "web1:100:9f3a01bc");
		u.choices[0].observed = true;
		u.choices[0].busy = 0.93;
		u.choices[0].waiting = 2.5;
	}
	if (n > 1)
		snprintf(u.choices[1].note, sizeof(u.choices[1].note), "CPython 3.7 is too old");
	top_model__take(&m, &u, NOW_MS);
}

Test(top, the_list_shows_who_is_observed_and_opens_what_is_chosen)
{
	m.page = TOP_PAGE_LIST;
	draw(80, 24);
	expect("Looking for Python processes");
	tell_choices(3, true);
	draw(80, 24);
	expect("3 known, 1 observed now");
	expect("93.0%");
	expect("python3 job-2.py");
	cr_expect_eq(top_model__key(&m, TOP_KEY_ENTER), TOP_OPEN);
	cr_expect_eq(top_model__choice(&m)->pid, 100);
	keys("j");
	draw(80, 24);
	expect("CPython 3.7 is too old");
	cr_expect_eq(top_model__key(&m, TOP_KEY_ENTER), TOP_NOTHING, "it cannot be opened");
	keys("j");
	draw(80, 24);
	expect("Enter attaches to it");
	cr_expect_eq(top_model__key(&m, TOP_KEY_ENTER), TOP_OPEN);
	cr_expect_eq(top_model__choice(&m)->pid, 102);
	tell_choices(40, false);
	cr_expect_eq(top_model__choice(&m)->pid, 102, "the cursor stays on its process");
	tell_choices(50, false);
	tell_choices(2, false);
	cr_expect_eq(top_model__choice(&m)->pid, 100, "it is gone");
	tell_choices(50, false);
	top_model__key(&m, TOP_KEY_END);
	draw(80, 24);
	expect("job-49.py");
	expect_not("job-0.py");
	tell_choices(0, false);
	draw(80, 24);
	expect("No Python process runs here");
	cr_expect_null(top_model__choice(&m));
	cr_expect_eq(top_model__key(&m, TOP_KEY_ENTER), TOP_NOTHING);
}

/* ---- out of Redis ---- */

static struct schema_row row_of(double t, double d, double hold, double wait)
{
	struct schema_row row = {.has = 1ull << FIELD_T | 1ull << FIELD_D | 1ull << FIELD_HOLD | 1ull << FIELD_WAIT};

	row.value[FIELD_T] = t;
	row.value[FIELD_D] = d;
	row.value[FIELD_HOLD] = hold;
	row.value[FIELD_WAIT] = wait;
	return row;
}

Test(top, rows_make_the_same_frame_as_a_sample)
{
	struct schema_row all = row_of(1795420800000, 2e6, 1e6, 5e5);
	struct blame_pair pairs[] = {{"4251", "4250", 4e5}, {"4251", "gone", 1e5}};
	struct blame_sum blame_sum = {.pairs = pairs, .pairs_n = 2, .sampled = true};
	struct code_place places[] = {
		{.thr = "4250", .function = "search", .file = "report.py", .line = 88, .hold_us = 9e5, .blame_us = 4e5},
		{.thr = "gone", .function = "f", .file = "g.py", .line = 1, .hold_us = 1, .blame_us = 1, .wait_us = 1},
	};
	struct code_sum code_sum = {.places = places, .n = 2};
	struct top_row rows[] = {
		{"4250", "report", row_of(1, 2e6, 9e5, 0)}, {"4251.77", "", row_of(1, 2e6, 1e5, 5e5)},
		{"4251", "worker", row_of(1, 2e6, 0, 5e5)}, {"4252", "idle", row_of(1, 2e6, 0, 0)}, {"other", "", {.has = 0}},
	};
	struct top_frame *f = top_frame__of_rows(&all, rows, 5, NULL, 0, &blame_sum, &code_sum);

	cr_assert_not_null(f);
	cr_expect_eq(f->threads_n, 3, "who did nothing is not there: %zu", f->threads_n);
	cr_expect_float_eq(f->threads[0].is.hold, 0.45, 1e-9);
	cr_expect_float_eq(f->threads[0].blame, 0.2, 1e-9);
	cr_expect_float_eq(f->threads[2].is.wait, 0.25, 1e-9);
	cr_expect_str_eq(f->threads[1].name, "(no name)");
	cr_expect_eq(f->threads[1].tid, 4251);
	cr_expect_eq(f->pairs_n, 1, "a holder that is not there is nobody's row");
	cr_expect(isnan(f->is.n) && isnan(f->cost) && isnan(f->threads_alive));
	cr_expect(f->sampled);
	cr_assert_eq(f->code_n, 1);
	cr_expect_eq(strncmp(f->code[0].place, "search (", 8), 0, "%s", f->code[0].place);
	cr_expect_float_eq(f->code[0].blame, 0.2, 1e-9);
	top_frame__free(f);
}

Test(top, hostile_rows_are_no_harm)
{
	struct schema_row all = row_of(1e300, -5, INFINITY, NAN);
	struct blame_sum nothing = {0};
	struct code_sum no_code = {0};
	struct top_row row = {"99999999999999999999999", "x", row_of(1, 1, 1e308, 1e308)};
	struct top_frame *f;
	struct top_update u = {.kind = TOP_UPDATE_FRAME};

	row.row.has |= 1ull << FIELD_G | 1ull << FIELD_INSIDE;
	row.row.value[FIELD_G] = 1e200;
	row.row.value[FIELD_INSIDE] = -1e200;
	f = top_frame__of_rows(&all, &row, 1, NULL, 0, &nothing, &no_code);
	cr_assert_not_null(f);
	u.now = f;
	top_model__take(&m, &u, NOW_MS);
	draw(80, 24);
	expect_whole();
}
