/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A process that leaves the code with the probes while it is observed: that it goes on unseen is said at once, and counts as not
 * observed. Nobody else is ever said to, however busy.
 */
#include <criterion/criterion.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../support/bpf_env.h"
#include "../support/interpreters.h"
#include "../support/json_lines.h"
#include "../support/summary.h"
#include "../support/tool.h"
#include "../support/workload.h"

#define PATIENCE_S 60
#define LOST "takes its GIL where no probe is"

TestSuite(sight, .init = bpf_env__require, .timeout = 300);

static void start(struct workload *w, const char *command)
{
	struct interpreter stock;

	interpreter__stock(&stock);
	workload__start(w, &stock, command);
}

static void attach(struct tool *t, pid_t pid, const char *options)
{
	char words[192];

	snprintf(words, sizeof(words), "attach %d --no-store --json --interval 200ms %s", (int)pid, options);
	tool__start(t, words);
	tool__await(t, "armed");
}

/* Intervals that it has written so far, in which not all was observed. */
static size_t count_unobserved(const struct tool *t)
{
	char *out = tool__stdout(t), *end = strrchr(out, '\n');
	json_t *lines, *line;
	size_t i, n = 0;

	if (end)
		end[1] = '\0';
	lines = json_lines__parse(end ? out : "");
	json_array_foreach(lines, i, line) {
		json_t *cov = json_object_get(json_object_get(line, "process"), "cov");

		n += json_is_number(cov) && json_number_value(cov) == 0;
	}
	json_decref(lines);
	free(out);
	return n;
}

static void await_unobserved(const struct tool *t, size_t more_than)
{
	for (int i = 0; i < PATIENCE_S * 20; i++) {
		if (count_unobserved(t) > more_than)
			return;
		usleep(50000);
	}
	cr_assert_fail("no interval counts as not observed: %s", tool__stdout(t));
}

static long long unseen(json_t *summary)
{
	return json_integer_value(json_object_get(json_object_get(summary, "losses"), "moved_unseen"));
}

static void expect_noticed(const char *mode)
{
	struct workload w;
	struct tool t;
	char library[256], options[64], *out;
	json_t *summary;

	snprintf(library, sizeof(library), "%.200s/workloads/libmovetext.so", getenv("GILSCOPE_OUTPUT"));
	snprintf(options, sizeof(options), "--mode %s", mode);
	setenv("LD_PRELOAD", library, 1);
	setenv("MOVE_TEXT", "python3", 1);
	setenv("MOVE_TEXT_LATER", "1", 1);
	start(&w, "cpu_threads.py 3 300");
	unsetenv("LD_PRELOAD");
	workload__go(&w);
	attach(&t, w.pid, options);
	cr_expect_eq(kill(w.pid, SIGUSR1), 0);
	tool__await(&t, LOST);
	await_unobserved(&t, count_unobserved(&t) + 1);
	cr_expect_eq(kill(w.pid, SIGUSR2), 0);
	tool__await(&t, "again");
	kill(t.pid, SIGINT);
	cr_expect_eq(tool__wait(&t, PATIENCE_S), 0);
	out = tool__stdout(&t);
	summary = summary__of(out, w.pid);
	cr_expect_gt(unseen(summary), 0, "%s", out);
	json_decref(summary);
	free(out);
	tool__clear(&t);
	cr_expect_eq(breakpoints__await_none(w.pid), 0);
	workload__kill(&w);
}

Test(sight, a_gil_that_moves_without_an_event_is_said_and_not_observed)
{
	expect_noticed("full");
}

Test(sight, waiters_without_an_event_are_said_in_light_mode)
{
	expect_noticed("light");
}

/* ---- those that are seen ---- */

static void expect_seen_in(const struct interpreter *in, const char *command, const char *options)
{
	struct workload w;
	struct tool t;
	char *out, *said;
	json_t *summary;

	workload__start(&w, in, command);
	attach(&t, w.pid, options);
	workload__go(&w);
	usleep(1000000);
	kill(t.pid, SIGINT);
	cr_expect_eq(tool__wait(&t, PATIENCE_S), 0);
	said = tool__stderr(&t);
	cr_expect_null(strstr(said, LOST), "%s %s: %s", command, options, said);
	out = tool__stdout(&t);
	summary = summary__of(out, w.pid);
	cr_expect_eq(unseen(summary), 0, "%s %s: %s", command, options, out);
	json_decref(summary);
	free(out);
	free(said);
	tool__clear(&t);
	workload__kill(&w);
}

static void expect_seen(const char *command, const char *options)
{
	struct interpreter stock;

	interpreter__stock(&stock);
	expect_seen_in(&stock, command, options);
}

Test(sight, busy_processes_are_never_said_to_move_unseen)
{
	static const char *const commands[] = {"release_loop.py 100000000 4", "churn.py 100000 2 --wave 8",
					       "cpu_threads.py 4 60"};

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		expect_seen(commands[i], "--mode full");
		expect_seen(commands[i], "--mode light");
	}
}

/* Sub-interpreters with GILs of their own, where there is a Python that has them. */
Test(sight, gils_of_sub_interpreters_are_seen)
{
	static struct interpreter all[INTERPRETERS_MAX];
	size_t n = interpreters__find(all, INTERPRETERS_MAX);
	const char *command = "gils.py main:2:100000000 own:2:100000000 shared:1:100000000";

	if (all[n - 1].minor < 12)
		command = "release_loop.py 100000000 4";
	expect_seen_in(&all[n - 1], command, "--mode full");
	expect_seen_in(&all[n - 1], command, "--mode light");
}

/* Children that are forked while they are observed make their GIL anew. */
Test(sight, forked_children_are_seen)
{
	struct tool t;
	char *said;

	cr_expect_eq(tool__run(&t, "run --children --no-store --mode full --interval 200ms --output /dev/null -- "
			       "/usr/bin/python3 tests/workloads/forked.py 3 200003"), 7);
	said = tool__stderr(&t);
	cr_expect_null(strstr(said, LOST), "%s", said);
	cr_expect_null(strstr(said, "moved_unseen"), "%s", said);
	free(said);
	tool__clear(&t);
}

/* Interpreters that end and begin, while daemon threads run. */
Test(sight, an_interpreter_that_is_started_again_is_seen)
{
	char program[256], *argv[] = {program, (char *)"3", NULL}, *said;
	struct workload w;
	struct tool t;

	snprintf(program, sizeof(program), "%.200s/workloads/reinit", getenv("GILSCOPE_OUTPUT"));
	workload__spawn_program(&w, 0, argv, NULL, NULL);
	workload__await_ready(&w);
	attach(&t, w.pid, "--mode full");
	for (int step = 0; step < 4; step++) {
		usleep(400000);
		workload__go(&w);
		free(workload__hear(&w));
	}
	kill(t.pid, SIGINT);
	cr_expect_eq(tool__wait(&t, PATIENCE_S), 0);
	said = tool__stderr(&t);
	cr_expect_null(strstr(said, LOST), "%s", said);
	free(said);
	tool__clear(&t);
	workload__kill(&w);
}

/* Full mode is left at once, and tried again. */
Test(sight, changes_of_mode_are_no_such_thing)
{
	expect_seen("release_loop.py 100000000 4", "--mode auto --max-overhead 0.1%");
}

/* A stopped process does nothing, whatever its threads wait for. */
Test(sight, a_stopped_process_is_none)
{
	struct workload w;
	struct tool t;
	char *said;

	start(&w, "cpu_threads.py 3 300");
	workload__go(&w);
	for (int light = 0; light < 2; light++) {
		attach(&t, w.pid, light ? "--mode light" : "--mode full");
		kill(w.pid, SIGSTOP);
		usleep(1000000);
		kill(w.pid, SIGCONT);
		usleep(300000);
		kill(t.pid, SIGINT);
		cr_expect_eq(tool__wait(&t, PATIENCE_S), 0);
		said = tool__stderr(&t);
		cr_expect_null(strstr(said, LOST), "%s", said);
		free(said);
		tool__clear(&t);
	}
	workload__kill(&w);
}
