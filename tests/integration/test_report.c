/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * gilscope report on programs of known guilt: the pattern that a program was made for is found, with the right thread and code,
 * and patterns that it has nothing of are not. A busy machine preempts holders, so what preemption looks like is excluded only
 * where the scheduler says that there was little of it.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "collector/analysis/verdict.h"
#include "../support/account.h"
#include "../support/bpf_env.h"
#include "../support/interpreters.h"
#include "../support/json_lines.h"
#include "../support/pythons.h"
#include "../support/tool.h"
#include "../support/workload.h"

static char dir[64];

static void set_up(void)
{
	bpf_env__require();
	temp_dir__make(dir, sizeof(dir));
	setenv("GILSCOPE_STORE_DIR", dir, 1);
}

static void tear_down(void)
{
	temp_dir__remove(dir);
}

TestSuite(report, .init = set_up, .fini = tear_down, .timeout = 300);

static json_t *finding(const json_t *json, const char *pattern)
{
	json_t *one;
	size_t i;

	json_array_foreach (json_object_get(json, "findings"), i, one)
		if (strcmp(json_string_value(json_object_get(one, "pattern")), pattern) == 0)
			return one;
	return NULL;
}

/*
 * Programs of known guilt, and of each pattern in the order of VERDICT_PATTERNS:
 *
 *   F  it is found: the program was made for it
 *   f  it is found if the kernel's account says that its threads had the CPUs they wanted; else that or starved_holder is
 *   -  it is not, whatever the machine does
 *   c  it is not if they had the CPUs they wanted
 *   l  it is not if they never lacked one for long
 *   .  it may be found, and rightly
 *
 * What is '-' follows from how the program is made: a queue of eight needs more than eight threads, most patterns need
 * somebody who waits, and `fine` is nothing else. Where times matter, they are chosen so far apart that a thread which lacks a
 * CPU for 50 ms now and then changes nothing.
 *
 * 'c' and 'l' are where a thread that lacks a CPU while it holds the GIL, or when it was woken for it, does what the pattern
 * says: it is starved; it holds for long; its waiters wait while nobody holds; C code that lacks a CPU cannot be told from
 * bytecode that does (convoy).
 *
 * '.' is where that is so, and the account is too coarse or the program always lacks CPUs. Of those that compute (cpu_threads,
 * spinner_io) one hold is long when the holder, or whoever was to ask for the GIL, had no CPU for 15 ms. 24 threads may get
 * too few in two seconds for each to count as a worker. The worker of off_cpu.py is starved for half of its holds at least
 * where the machine is the scheduler's alone (else long_hold), its victim may wait for a CPU as long as for the GIL
 * (handover), and may be taken for a convoy's.
 */
static const struct guilt {
	char command[56];
	char bound[16];                /* those of its answers that are right, joined by / */
	char cells[PATTERN_COUNT + 1];
	char thread[12];               /* of what is found, where a thread is named; "": any */
	char code[12];                 /* in its worst place's function; "": not asked */
} guilts[] = {
	/*
	 * sTandstill, Gone_holder, stucK_holder, gArbage_collection, fork (Y), Long_hold, Blocked_hold, stoPped_holder,
	 * Starved_holder, Cpu_sharing, conVoy, compUting, short_holds (N), Handover, Many_threads,
	 * app_lock (E), blocked_loop (Q), busy_polleR, One_thread, Fine:
	 *                                                                            TGKAYLBPSCVUNHMEQROF
	 */
	{"cpu_threads.py 3 60", "yes",                                       "-----.--cF-..c------", "cpu-", "compute ("},
	{"cpu_threads.py 24 60", "yes",                                      "-----.--..-...F-----", "", ""},
	{"cpu_threads.py 1 60", "no",                                        "--------c---------F-", "cpu-0", ""},
	{"spinner_io.py 60", "yes/partly",                                   "-----.--c-F..c------", "io-", ""},
	{"hog_victim.py 500 --hold-ms 600 --pause-ms 260", "yes/partly",     "------F-c--..-------", "hog", "play ("},
	{"hog_victim.py 1000 --hold-ms 150 --gap-ms 2", "yes/partly",        "------F-c-c..c------", "hog", "play ("},
	{"hog_victim.py 100000 --hold-ms 3 --gap-ms 2", "yes/partly",        "------F-c-c..c------", "hog", ""},
	{"native.py crc32 --heedless", "yes/partly",                         "-----f--c-c..c------", "hog", "<lambda> ("},
	{"off_cpu.py 100 --work-ms 15 --crowded 3 --go-on", "yes/partly",    "-----.--F-....------", "worker", ""},
	{"late.py 100000", "partly",                                         "-----c--c--..F------", "", ""},
	{"condvar_idle.py 60", "no",                                         "-------------------F", "", ""},
	{"elsewhere.py 60", "no",                                            "-------------------F", "", ""},
	{"stuck.py stopped --late", "unknown",                               "F-------------------", "", ""},
	{"stuck.py ended --late", "yes/partly",                              "-F---------..-------", "", ""},
	{"stuck.py mutex --late", "yes/partly",                              "--F--------..-------", "holder", "holder ("},
	{"incident.py app_lock", "no",                                       "---------------F----", "", "reserve ("},
	{"incident.py loop_sleeps", "no",                                    "----------------F---", "loop", "fetch_user"},
	{"incident.py loop_computes", "no",                                  "--------.-------F---", "loop", "render ("},
	{"incident.py json_dump", "yes/partly",                              "-----f--c-c..c------", "export", "json.dumps"},
	{"incident_second.py finditer", "yes/partly",                        "-----f--c-c..c------", "tags", "find_tags ("},
	{"incident.py ctypes_sleeps", "yes/partly",                          "------F-c-c..c------", "geo", "usleep"},
	{"incident.py sort", "yes/partly",                                   "-----f--c-c..c------", "ranking", "sorted"},
	{"incident.py poller", "no",                                         "-------------.---F--", "poller", "poll ("},
	{"incident.py healthy_loop", "no",                                   "-------------------F", "", ""},
	{"garbage.py 1000 --explicit --objects 400000 --go-on", "yes/partly",  "---F--c-.-...c------", "worker", "one_round ("},
};

#define GUILTS (sizeof(guilts) / sizeof(guilts[0]))

/* Tracers stop holders in off_cpu; what a fork costs is the machine's; the others are judged in the unit tests of the verdict. */
static bool is_proven_elsewhere(enum verdict_pattern p)
{
	return p == PATTERN_STOPPED_HOLDER || p == PATTERN_COMPUTING || p == PATTERN_SHORT_HOLDS || p == PATTERN_FORK;
}

Test(report, every_pattern_has_a_program_that_was_made_for_it)
{
	for (int p = 0; p < PATTERN_COUNT; p++) {
		size_t programs = is_proven_elsewhere((enum verdict_pattern)p);

		for (size_t i = 0; i < GUILTS; i++) {
			cr_assert_eq(strlen(guilts[i].cells), PATTERN_COUNT, "%s", guilts[i].command);
			programs += guilts[i].cells[p] == 'F' || guilts[i].cells[p] == 'f';
		}
		cr_expect_gt(programs, 0, "no program proves %s", verdict_pattern__name((enum verdict_pattern)p));
	}
}

/* A look at a program, and what the kernel says of its CPUs meanwhile, and somewhat longer. */
struct look {
	json_t *json;
	double observed_us;
	double lacked_us; /* its threads could have run, and did not, in sum */
	size_t threads;
};

static double lacked_us(struct look *l, pid_t pid)
{
	return (account__wanted_ns(pid, &l->threads) + account__taken_ns()) / 1e3;
}

static void take_look(struct look *l, pid_t pid)
{
	double before = lacked_us(l, pid);
	char words[96];

	snprintf(words, sizeof(words), "report %d --duration 2s --mode full --json", (int)pid);
	l->json = tool__json(words);
	l->lacked_us = lacked_us(l, pid) - before;
	l->observed_us = json_number_value(json_object_get(l->json, "observed"));
}

/* Less than is much (5 % of the time) came of it, even if it was the holder each time, and all others waited. */
static bool had_cpus(const struct look *l)
{
	return l->lacked_us * (double)(l->threads > 2 ? l->threads - 1 : 1) < 0.04 * l->observed_us;
}

/* A thread that always holds, or wants to, lacked a CPU for less than half of its holds. */
static bool had_its_cpu(const struct look *l)
{
	return l->lacked_us < 0.3 * l->observed_us;
}

/* A hold of 3 ms did not become one of 20. */
static bool never_lacked_for_long(const struct look *l)
{
	return l->lacked_us < 15000;
}

/* In the evidence of the first finding that is about that thread. */
static bool is_said(const json_t *json, const char *code)
{
	json_t *one;
	size_t i;

	json_array_foreach (json_object_get(json, "findings"), i, one)
		if (strstr(json_string_value(json_object_get(one, "evidence")), code))
			return true;
	return false;
}

static void expect_found(const struct guilt *g, const struct look *l, const char *pattern)
{
	json_t *one = finding(l->json, pattern);
	const char *code = json_string_value(json_object_get(one, "code"));

	cr_expect_not_null(one, "%s: no %s in %s", g->command, pattern, json_dumps(l->json, JSON_COMPACT));
	if (!one)
		return;
	if (g->thread[0])
		cr_expect_eq(strncmp(json_string_value(json_object_get(one, "name")), g->thread, strlen(g->thread)), 0, "%s: %s",
			     g->command, json_string_value(json_object_get(one, "evidence")));
	if (!g->code[0])
		return;
	cr_expect(code && strstr(code, g->code), "%s: %s in %s, not in %s", g->command, pattern, code, g->code);
	cr_expect(code && is_said(l->json, code), "%s is not said", code);
}

static void expect_not_there(const struct guilt *g, const json_t *one, const char *pattern)
{
	cr_expect_null(one, "%s has no %s: %s", g->command, pattern, json_string_value(json_object_get(one, "evidence")));
}

static void expect_cell(const struct guilt *g, const struct look *l, enum verdict_pattern p)
{
	const char *pattern = verdict_pattern__name(p);
	json_t *one = finding(l->json, pattern);

	switch (g->cells[p]) {
	case 'F':
		expect_found(g, l, pattern);
		break;
	case 'f':
		if (one || had_its_cpu(l) || !finding(l->json, "starved_holder"))
			expect_found(g, l, pattern);
		break;
	case 'c':
		if (had_cpus(l))
			expect_not_there(g, one, pattern);
		break;
	case 'l':
		if (never_lacked_for_long(l))
			expect_not_there(g, one, pattern);
		break;
	case '-':
		expect_not_there(g, one, pattern);
		break;
	default:
		cr_expect_eq(g->cells[p], '.');
	}
}

/* Where CPUs are scarce the GIL goes from hand to hand slowly, and is not held all the time though threads always want it. */
static const char *right_bound(const struct guilt *g, const json_t *json)
{
	bool slow = json_number_value(json_object_get(json, "util")) < VERDICT_JAMMED_UTIL;

	return slow && strcmp(g->bound, "yes") == 0 ? "partly" : g->bound;
}

ParameterizedTestParameters(report, finds_what_a_program_was_made_for_and_nothing_else)
{
	static size_t numbers[GUILTS];

	for (size_t i = 0; i < GUILTS; i++)
		numbers[i] = i;
	return cr_make_param_array(size_t, numbers, GUILTS);
}

ParameterizedTest(size_t *number, report, finds_what_a_program_was_made_for_and_nothing_else)
{
	const struct guilt *g = &guilts[*number];
	struct interpreter stock;
	struct workload w;
	struct look look;

	interpreter__stock(&stock);
	workload__start(&w, &stock, g->command);
	workload__go(&w);
	usleep(200000); /* its main thread has its part in the beginning, and lacks CPUs, too */
	take_look(&look, w.pid);
	cr_expect_not_null(strstr(right_bound(g, look.json), json_string_value(json_object_get(look.json, "gil_bound"))),
			   "%s: %s", g->command, json_string_value(json_object_get(look.json, "headline")));
	for (int p = 0; p < PATTERN_COUNT; p++)
		expect_cell(g, &look, (enum verdict_pattern)p);
	json_decref(look.json);
	workload__kill(&w);
}

/* What the table shows is all of the waiting. */
static void expect_whole_blame(const json_t *json)
{
	json_int_t sum = 0, wait = json__int(json, "wait");
	json_t *line;
	size_t i;

	json_array_foreach (json_object_get(json, "blame"), i, line)
		sum += json_integer_value(json_object_get(line, "us"));
	cr_expect_eq(sum, wait, "%lld us of %lld", (long long)sum, (long long)wait);
}

Test(report, of_the_stored_past_says_the_same_as_looking)
{
	struct interpreter stock;
	struct workload w;
	struct tool t;
	char words[96];
	json_t *json;

	interpreter__stock(&stock);
	workload__start(&w, &stock, "cpu_threads.py 3 60");
	workload__go(&w);
	snprintf(words, sizeof(words), "attach %d --duration 3s --mode full --json", (int)w.pid);
	cr_assert_eq(tool__run(&t, words), 0);
	tool__clear(&t);
	snprintf(words, sizeof(words), "report %d --since 1m --json", (int)w.pid);
	json = tool__json(words);
	cr_expect_str_eq(json_string_value(json_object_get(json, "gil_bound")), "yes");
	cr_expect_not_null(finding(json, "cpu_sharing"));
	cr_expect_gt(json_number_value(json_object_get(json, "util")), 0.9);
	cr_expect_eq(json__int(json, "lost"), 0);
	expect_whole_blame(json);
	json_decref(json);
	workload__kill(&w);
}

/* The page's number of that class is that of --json. */
static void expect_same(const json_t *page, const char *class, const json_t *json, const char *name)
{
	const json_t *shown = json_array_get(json_object_get(page, class), 0), *told = json_object_get(json, name);

	cr_assert(!shown == !told, "%s is in one of both only", name);
	cr_expect_eq(json_number_value(shown), json_number_value(told), "%s: %f on the page, %f in JSON", name,
		     json_number_value(shown), json_number_value(told));
}

/* Each cell of the matrix is a pair of --json. */
static void expect_same_pairs(const json_t *page, const json_t *json)
{
	json_t *cell, *line;
	size_t i, j;

	cr_expect_gt(json_array_size(json_object_get(page, "pair")), 0);
	json_array_foreach (json_object_get(page, "pair"), i, cell) {
		bool found = false;

		json_array_foreach (json_object_get(json, "blame"), j, line)
			found = found || json_number_value(json_object_get(line, "us")) == json_number_value(cell);
		cr_expect(found, "a cell of %f us is no pair", json_number_value(cell));
	}
}

Test(report, page_has_the_numbers_of_json)
{
	static const char *const same[] = {
		"util", "waiters", "wait", "n", "c", "cpu", "gain_max", "handover", "observed", "lost",
	};
	struct interpreter stock;
	struct workload w;
	char words[256], *text;
	json_t *json, *page;
	size_t len;

	interpreter__stock(&stock);
	workload__start(&w, &stock, "cpu_threads.py 3 60");
	workload__go(&w);
	snprintf(words, sizeof(words), "report %d --duration 2s --mode full --json --html %s/r.html", (int)w.pid, dir);
	json = tool__json(words);
	workload__kill(&w);
	must_run("python3 tests/support/page.py %s/r.html > %s/page.json", dir, dir);
	snprintf(words, sizeof(words), "%s/page.json", dir);
	text = must_read(words, &len);
	page = json_loads(text, 0, NULL);
	cr_assert_not_null(page);
	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++)
		expect_same(page, same[i], json, same[i]);
	expect_same_pairs(page, json);
	expect_whole_blame(json);
	cr_expect_gt(json_number_value(json_array_get(json_object_get(page, "flame"), 0)), 0);
	cr_expect_not_null(strstr(json_string_value(json_object_get(page, "text")), "cpu_threads.py"), "no frame on the page");
	cr_expect_not_null(strstr(json_string_value(json_object_get(page, "text")),
				  json_string_value(json_object_get(json, "headline"))));
	free(text);
	json_decref(page);
	json_decref(json);
}

Test(report, page_that_cannot_be_written_is_said_at_once)
{
	struct tool t;
	char *err;

	cr_expect_eq(tool__run(&t, "report 1 --html /nonexistent/r.html"), 1);
	err = tool__stderr(&t);
	cr_expect_not_null(strstr(err, "--html: /nonexistent/r.html: No such file"), "%s", err);
	free(err);
	tool__clear(&t);
}

/* A look that fails leaves nothing of the page, and what was there before as it was. */
Test(report, page_of_a_look_that_fails_is_not_begun)
{
	struct tool t;
	char words[128], page[96], *text;
	size_t len;

	snprintf(page, sizeof(page), "%s/r.html", dir);
	snprintf(words, sizeof(words), "report no-such-program --html %s", page);
	cr_expect_eq(tool__run(&t, words), 1);
	tool__clear(&t);
	cr_expect_neq(access(page, F_OK), 0);
	must_run("echo before > %s", page);
	cr_expect_eq(tool__run(&t, words), 1);
	tool__clear(&t);
	text = must_read(page, &len);
	cr_expect_str_eq(text, "before\n");
	free(text);
	must_run("test \"$(ls %s)\" = r.html", dir);
}

Test(report, unknown_process_is_one_sentence)
{
	struct tool t;
	char *err;

	cr_expect_eq(tool__run(&t, "report no-such-program"), 1);
	err = tool__stderr(&t);
	cr_expect_not_null(strstr(err, "nothing has been stored yet"), "%s", err);
	cr_expect_eq(strchr(err, '\n'), err + strlen(err) - 1, "%s", err);
	free(err);
	tool__clear(&t);
}

/* A PID that was somebody's just now. */
Test(report, who_is_gone_and_was_never_seen_is_said_to_be_gone)
{
	pid_t pid = fork();
	char words[64], said[96], *err;
	struct tool t;

	if (pid == 0)
		_exit(0);
	cr_assert_gt(pid, 0);
	cr_assert_eq(waitpid(pid, NULL, 0), pid);
	snprintf(words, sizeof(words), "report %d", (int)pid);
	cr_expect_eq(tool__run(&t, words), 1);
	err = tool__stderr(&t);
	snprintf(said, sizeof(said), "there is no process %d, and no history of one", (int)pid);
	cr_expect_not_null(strstr(err, said), "%s", err);
	free(err);
	tool__clear(&t);
}

/* What "report PID --duration 300ms" says on standard error. */
static char *said_of(pid_t pid)
{
	char words[64], *err;
	struct tool t;

	snprintf(words, sizeof(words), "report %d --duration 300ms", (int)pid);
	cr_expect_eq(tool__run(&t, words), 0);
	err = tool__stderr(&t);
	tool__clear(&t);
	return err;
}

/* A prefork server's master is idle: who looks at it alone is told of the others. */
Test(report, children_that_are_not_looked_at_are_mentioned)
{
	struct interpreter stock;
	struct workload w;
	json_t *children;
	pid_t pids[2];
	char said[160], *err;

	interpreter__stock(&stock);
	workload__start(&w, &stock, "forker.py fork 2 3");
	err = said_of(w.pid);
	cr_expect_null(strstr(err, "below it"), "%s", err);
	free(err);
	workload__go(&w);
	children = json_object_get(workload__truth(&w), "children");
	cr_assert_eq(json_array_size(children), 2);
	for (size_t i = 0; i < 2; i++)
		pids[i] = (pid_t)json_integer_value(json_array_get(json_array_get(children, i), 0));
	err = said_of(w.pid);
	snprintf(said, sizeof(said), "process %d has 2 Python processes below it, not looked at (", (int)w.pid);
	cr_expect_not_null(strstr(err, said), "%s", err);
	for (size_t i = 0; i < 2; i++) {
		snprintf(said, sizeof(said), "%d", (int)pids[i]);
		cr_expect_not_null(strstr(err, said), "%s is not in: %s", said, err);
	}
	free(err);
	workload__quit(&w);
}

/* A look that was asked for by its length is one, whoever else observes. */
Test(report, of_so_long_is_a_look_also_where_there_is_a_history)
{
	struct interpreter stock;
	struct workload w;
	struct tool watch, t;
	char words[96], *out;

	interpreter__stock(&stock);
	workload__start(&w, &stock, "cpu_threads.py 2 60");
	workload__go(&w);
	snprintf(words, sizeof(words), "attach %d --interval 100ms", (int)w.pid);
	tool__start(&watch, words);
	tool__await(&watch, "armed in");
	snprintf(words, sizeof(words), "report %d --duration 300ms", (int)w.pid);
	cr_expect_eq(tool__run(&t, words), 0);
	out = tool__stdout(&t);
	cr_expect_not_null(strstr(out, "just now"), "%s", out);
	free(out);
	tool__clear(&t);
	kill(watch.pid, SIGINT);
	cr_expect_eq(tool__wait(&watch, 60), 0);
	tool__clear(&watch);
	workload__kill(&w);
}
