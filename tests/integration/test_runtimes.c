/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Several Pythons in one process: the one that has an interpreter is observed, of several the busiest, and it is said. The
 * threads' names come from inside: pN-0 is one of the N-th Python's that the program loaded.
 */
#include <criterion/criterion.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../support/bpf_env.h"
#include "../support/exact.h"
#include "../support/json_lines.h"
#include "../support/program.h"
#include "../support/pythons.h"
#include "../support/summary.h"
#include "../support/tool.h"
#include "../support/workload.h"

#define PATIENCE_S 60

TestSuite(runtimes, .init = bpf_env__require, .timeout = 300);

/* ---- the libraries ---- */

/* The distribution's libpython. */
static const char *stock_library(void)
{
	static char path[PATH_MAX];
	FILE *f;

	if (path[0])
		return path;
	f = popen("/usr/bin/python3 -c \"import sysconfig as s; print(s.get_config_var('LIBDIR') + '/' + "
		  "s.get_config_var('INSTSONAME'))\"", "r");
	cr_assert(f && fgets(path, sizeof(path), f), "the distribution has no libpython");
	pclose(f);
	path[strcspn(path, "\n")] = '\0';
	return path;
}

/* A libpython of another version, or the same where there is none. */
static const char *other_library(void)
{
	static struct python pythons[PYTHONS_MAX];
	static char path[PATH_MAX];
	size_t n = pythons__find(pythons, PYTHONS_MAX, 8);
	int newest = 0;

	for (size_t i = 0; i < n; i++)
		if (strcmp(pythons[i].exe, pythons[i].image) != 0 && pythons[i].minor != 11 && pythons[i].minor > newest) {
			newest = pythons[i].minor;
			cr_assert_not_null(realpath(pythons[i].image, path));
		}
	return newest ? path : stock_library();
}

/* ---- the program ---- */

static void load(struct workload *w, const char *const files[], size_t n)
{
	char program[PATH_MAX], *argv[8] = {program};

	snprintf(program, sizeof(program), "%.200s/workloads/pythons", getenv("GILSCOPE_OUTPUT"));
	for (size_t i = 0; i < n; i++)
		argv[i + 1] = (char *)files[i];
	workload__spawn_program(w, 0, argv, NULL, NULL);
	workload__await_ready(w);
}

static void tell(struct workload *w, const char *line)
{
	char *heard;

	workload__say(w, line);
	heard = workload__hear(w);
	cr_assert_str_eq(heard, "done", "%s: %s", line, heard);
	free(heard);
}

static void attach(struct tool *t, pid_t pid)
{
	char words[128];

	snprintf(words, sizeof(words), "attach %d --no-store --json --mode full --interval 200ms", (int)pid);
	tool__start(t, words);
	tool__await(t, "armed");
}

/* Waits until an interval names that thread. */
static void await_thread(struct tool *t, const char *name)
{
	for (int i = 0; i < PATIENCE_S * 20; i++) {
		char *out = tool__stdout(t);
		bool there = strstr(out, name) != NULL;

		free(out);
		if (there)
			return;
		usleep(50000);
	}
	cr_assert_fail("%s was never seen: %s", name, tool__stderr(t));
}

/* Ends it; all threads that it saw are of the Python whose threads are called like that. */
static void expect_only(struct tool *t, pid_t pid, const char *prefix)
{
	json_t *summary, *thread;
	char *out;
	size_t i, named = 0;

	kill(t->pid, SIGINT);
	cr_assert_eq(tool__wait(t, PATIENCE_S), 0);
	out = tool__stdout(t);
	summary = summary__of(out, pid);
	json_array_foreach(json_object_get(summary, "threads"), i, thread) {
		const char *name = json_string_value(json_object_get(thread, "name"));

		named += strncmp(name, prefix, strlen(prefix)) == 0;
		cr_expect(strncmp(name, prefix, strlen(prefix)) == 0 || name[0] != 'p' || name[1] < '0' || name[1] > '9',
			  "%s is seen beside %s", name, prefix);
	}
	cr_expect_eq(named, 2, "%zu threads called %s", named, prefix);
	json_decref(summary);
	free(out);
	tool__clear(t);
}

/* The `number`-th Python is observed, with two threads. */
static void expect_observed(struct workload *w, int number)
{
	char prefix[8], thread[16];
	struct tool t;

	snprintf(prefix, sizeof(prefix), "p%d-", number);
	snprintf(thread, sizeof(thread), "p%d-1", number);
	attach(&t, w->pid);
	await_thread(&t, thread);
	expect_only(&t, w->pid, prefix);
}

/* ---- one that runs ---- */

/* What is loaded last lies lowest, so it was found first. */
Test(runtimes, one_that_was_never_started_is_not_taken)
{
	const char *files[] = {other_library(), stock_library()};
	struct workload w;

	load(&w, files, 2);
	tell(&w, "start 0 2");
	expect_observed(&w, 0);
	workload__kill(&w);
}

Test(runtimes, of_three_copies_the_deleted_one_that_runs_is_taken)
{
	char dir[PATH_MAX], copies[2][PATH_MAX + 32];
	const char *files[] = {copies[0], copies[1], stock_library()};
	struct workload w;

	temp_dir__make(dir, sizeof(dir));
	for (int i = 0; i < 2; i++) {
		snprintf(copies[i], sizeof(copies[i]), "%s/plugin-%d.so", dir, i);
		must_run("cp '%s' '%s'", stock_library(), copies[i]);
	}
	load(&w, files, 3);
	cr_assert_eq(unlink(copies[1]), 0);
	tell(&w, "start 1 2");
	expect_observed(&w, 1);
	workload__kill(&w);
	temp_dir__remove(dir);
}

/* The same file, mapped twice: its probes are met by both, and each has a GIL of its own. */
Test(runtimes, of_one_file_in_two_namespaces_the_one_that_runs_is_taken)
{
	char own[PATH_MAX + 8];
	const char *files[] = {other_library(), own};
	struct workload w;

	snprintf(own, sizeof(own), "own:%s", other_library());
	load(&w, files, 2);
	tell(&w, "start 0 2");
	expect_observed(&w, 0);
	tell(&w, "idle 1");
	expect_observed(&w, 0);
	workload__kill(&w);
}

Test(runtimes, one_that_was_finalized_is_not_taken)
{
	const char *files[] = {stock_library(), other_library()};
	struct workload w;

	load(&w, files, 2);
	tell(&w, "idle 1");
	tell(&w, "end 1");
	tell(&w, "start 0 2");
	expect_observed(&w, 0);
	workload__kill(&w);
}

/* ---- several that run ---- */

static void expect_says(const char *verb, pid_t pid, const char *said)
{
	cr_expect_not_null(strstr(said, "2 Python runtimes"), "%s %d: %s", verb, (int)pid, said);
	cr_expect_not_null(strstr(said, "it has an interpreter, too"), "%s %d: %s", verb, (int)pid, said);
	cr_expect(strstr(said, "libpython3.11") && strstr(said, other_library()), "%s %d: %s", verb, (int)pid, said);
}

/* Lines of people's text as one, so that a sentence can be looked for. */
static void unwrap(char *text)
{
	char *to = text;

	for (const char *at = text; *at; at++)
		if ((*at != ' ' && *at != '\n') || (to > text && to[-1] != ' '))
			*to++ = *at == '\n' ? ' ' : *at;
	*to = '\0';
}

static void expect_verbs_say(pid_t pid)
{
	static const char *const verbs[] = {"doctor %d", "dump %d", "ls -v", "ls --json", "dump --json %d",
					    "attach %d --no-store --duration 100ms", "report %d --duration 200ms",
					    "report %d --json --duration 200ms"};
	struct program p;
	char words[128];

	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		char *both;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		snprintf(words, sizeof(words), verbs[i], (int)pid);
#pragma GCC diagnostic pop
		program__run(&p, "\"$GILSCOPE\" %s", words);
		cr_assert_gt(asprintf(&both, "%s %s", p.out, p.err), 0);
		unwrap(both);
		expect_says(words, pid, both);
		free(both);
		program__free(&p);
	}
}

Test(runtimes, of_two_that_run_the_busier_is_taken_and_both_are_named)
{
	const char *files[] = {other_library(), stock_library()};
	struct workload w;

	load(&w, files, 2);
	tell(&w, "idle 1");
	tell(&w, "start 0 2");
	expect_observed(&w, 0);
	expect_verbs_say(w.pid);
	workload__kill(&w);
}

/* ---- later ---- */

/* Neither has begun: whichever of them does is observed, though probes can only be in one. */
static void expect_waits_for(int number)
{
	const char *files[] = {stock_library(), other_library()};
	char line[16], prefix[8], thread[16];
	struct workload w;
	struct tool t;

	load(&w, files, 2);
	attach(&t, w.pid);
	snprintf(line, sizeof(line), "start %d 2", number);
	snprintf(prefix, sizeof(prefix), "p%d-", number);
	snprintf(thread, sizeof(thread), "p%d-1", number);
	tell(&w, line);
	await_thread(&t, thread);
	kill(t.pid, SIGINT);
	cr_expect_eq(tool__wait(&t, PATIENCE_S), 0);
	tool__clear(&t);
	workload__kill(&w);
}

Test(runtimes, whichever_starts_later_is_observed)
{
	expect_waits_for(0);
	expect_waits_for(1);
}

Test(runtimes, a_second_one_that_starts_later_is_said)
{
	const char *files[] = {stock_library(), other_library()};
	struct workload w;
	struct tool t;

	load(&w, files, 2);
	tell(&w, "start 0 2");
	attach(&t, w.pid);
	tell(&w, "idle 1");
	tool__await(&t, "has an interpreter now");
	await_thread(&t, "p0-1");
	expect_only(&t, w.pid, "p0-");
	workload__kill(&w);
}

/* It was not there when the process was attached to. */
Test(runtimes, one_that_is_loaded_later_is_said_and_observed_where_the_first_has_ended)
{
	const char *files[] = {stock_library()};
	char line[PATH_MAX + 8];
	struct workload w;
	struct tool t;

	load(&w, files, 1);
	tell(&w, "start 0 2");
	attach(&t, w.pid);
	snprintf(line, sizeof(line), "load %s", other_library());
	tell(&w, line);
	tool__await(&t, "has loaded another Python");
	tell(&w, "start 1 2");
	tool__await(&t, "has an interpreter now");
	tell(&w, "end 0");
	await_thread(&t, "p1-1");
	kill(t.pid, SIGINT);
	cr_expect_eq(tool__wait(&t, PATIENCE_S), 0);
	tool__clear(&t);
	workload__kill(&w);
}

/* Nothing can be open where nothing has begun: each interval behind the first is covered as a whole. */
Test(runtimes, one_that_has_not_started_yet_is_covered)
{
	const char *files[] = {stock_library()};
	json_t *lines, *line;
	struct workload w;
	struct tool t;
	char *out;
	size_t i;

	load(&w, files, 1);
	attach(&t, w.pid);
	for (bool three = false; !three; usleep(50000)) {
		out = tool__stdout(&t);
		lines = json_lines__parse(out);
		three = json_array_size(lines) > 3;
		json_array_foreach(lines, i, line)
			cr_expect(i == 0 || json_number_value(json_object_get(json_object_get(line, "process"), "cov")) == 1,
				  "%s", out);
		json_decref(lines);
		free(out);
	}
	kill(t.pid, SIGINT);
	cr_expect_eq(tool__wait(&t, PATIENCE_S), 0);
	tool__clear(&t);
	workload__kill(&w);
}
