/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * gilscope report on programs of known guilt: the pattern that a program was made for is found, with the right thread, and
 * patterns that it has nothing of are not. A busy machine preempts holders, so what preemption looks like is not excluded.
 */
#include <criterion/criterion.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../collector/verdict.h"
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

TestSuite(report, .init = set_up, .fini = tear_down, .timeout = 60);

static json_t *report(const char *words)
{
	struct tool t;
	json_error_t error;
	json_t *json;
	char *out;

	cr_assert_eq(tool__run(&t, words), 0, "%s: %s", words, tool__stderr(&t));
	out = tool__stdout(&t);
	json = json_loads(out, 0, &error);
	cr_assert_not_null(json, "%s: %s", error.text, out);
	free(out);
	tool__clear(&t);
	return json;
}

static json_t *finding(const json_t *json, const char *pattern)
{
	json_t *one;
	size_t i;

	json_array_foreach (json_object_get(json, "findings"), i, one)
		if (strcmp(json_string_value(json_object_get(one, "pattern")), pattern) == 0)
			return one;
	return NULL;
}

static const struct guilt {
	char command[56];
	char bound[24];     /* those of its answers that are right, joined by / */
	char pattern[16];   /* found */
	char thread[16];    /* its thread, "": not said here */
	char not_there[112]; /* patterns, joined by blanks */
} guilts[] = {
	{"cpu_threads.py 3 60", "yes", "cpu_sharing", "", "convoy one_thread fine many_threads blocked_hold"},
	{"cpu_threads.py 24 60", "yes", "many_threads", "", "convoy one_thread fine blocked_hold"},
	{"cpu_threads.py 1 60", "no", "one_thread", "cpu-0",
	 "cpu_sharing convoy long_hold fine many_threads handover blocked_hold"},
	{"spinner_io.py 60", "yes/partly", "convoy", "io-", "one_thread fine cpu_sharing many_threads blocked_hold"},
	{"hog_victim.py 500", "yes/partly", "long_hold", "hog", "cpu_sharing convoy one_thread fine many_threads"},
	{"hog_victim.py 500", "yes/partly", "blocked_hold", "hog", "cpu_sharing convoy one_thread fine many_threads"},
	{"off_cpu.py 100 --work-ms 8 --crowded --go-on", "yes/partly", "starved_holder", "worker",
	 "cpu_sharing one_thread fine many_threads blocked_hold"},
	{"condvar_idle.py 60", "no", "fine", "",
	 "cpu_sharing convoy one_thread long_hold many_threads handover blocked_hold"},
};

static void expect_none_of(const json_t *json, const char *patterns, const char *command)
{
	char copy[112], *save, *word;

	cr_assert_lt(snprintf(copy, sizeof(copy), "%s", patterns), (int)sizeof(copy));
	for (word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save))
		cr_expect_null(finding(json, word), "%s has no %s: %s", command, word,
			       json_string_value(json_object_get(finding(json, word), "evidence")));
}

/* Where CPUs are scarce the GIL goes from hand to hand slowly, and is not held all the time though threads always want it. */
static const char *right_bound(const struct guilt *g, const json_t *json)
{
	bool slow = json_number_value(json_object_get(json, "util")) < VERDICT_JAMMED_UTIL;

	return slow && strcmp(g->bound, "yes") == 0 ? "partly" : g->bound;
}

Test(report, finds_what_a_program_was_made_for_and_nothing_else)
{
	for (size_t i = 0; i < sizeof(guilts) / sizeof(guilts[0]); i++) {
		const struct guilt *g = &guilts[i];
		struct interpreter stock;
		struct workload w;
		char words[96];
		json_t *json, *one;

		interpreter__stock(&stock);
		workload__start(&w, &stock, g->command);
		workload__go(&w);
		snprintf(words, sizeof(words), "report %d --duration 2s --mode full --json", (int)w.pid);
		json = report(words);
		cr_expect_not_null(strstr(right_bound(g, json), json_string_value(json_object_get(json, "gil_bound"))), "%s: %s",
				   g->command, json_string_value(json_object_get(json, "headline")));
		one = finding(json, g->pattern);
		cr_expect_not_null(one, "%s: no %s in %s", g->command, g->pattern,
				   json_dumps(json, JSON_COMPACT));
		if (one && g->thread[0])
			cr_expect_eq(strncmp(json_string_value(json_object_get(one, "name")), g->thread, strlen(g->thread)), 0);
		expect_none_of(json, g->not_there, g->command);
		json_decref(json);
		workload__kill(&w);
	}
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
	json = report(words);
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
	json = report(words);
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
	cr_expect_eq(tool__wait(&watch, 30), 0);
	tool__clear(&watch);
	workload__kill(&w);
}
