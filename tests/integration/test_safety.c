/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whatever happens to gilscope or to its target, the target runs on unharmed and no breakpoint stays behind: looked up in
 * the memory of the process, byte by byte against its file.
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../support/bpf_env.h"
#include "../support/exact.h"
#include "../support/interpreters.h"
#include "../support/summary.h"
#include "../support/tool.h"
#include "../support/workload.h"

#define KILLS 100

TestSuite(safety, .init = bpf_env__require, .timeout = 900);

static void start(struct workload *w, const char *command)
{
	struct interpreter stock;

	interpreter__stock(&stock);
	workload__start(w, &stock, command);
}

static void attach(struct tool *t, pid_t pid, const char *more)
{
	char words[128];

	snprintf(words, sizeof(words), "attach %d --no-store %s", (int)pid, more);
	tool__start(t, words);
}

/* A third dies while it starts, a third while it observes, a third while it lifts its probes. */
static size_t kill_one(pid_t pid, int try)
{
	struct tool t;
	size_t planted = 0;

	attach(&t, pid, try % 3 == 2 ? "--duration 100ms" : "");
	if (try % 3 == 0) {
		usleep((useconds_t)(rand() % 150000));
	} else {
		tool__await(&t, "armed");
		usleep((useconds_t)((try % 3 == 2 ? 95000 : 0) + rand() % 60000));
		planted = breakpoints__count(pid);
	}
	kill(t.pid, SIGKILL);
	tool__wait(&t, 60); /* of the last third some end by themselves first */
	cr_assert_eq(breakpoints__await_none(pid), 0, "try %d left breakpoints", try);
	tool__clear(&t);
	return planted;
}

Test(safety, sigkill_at_any_moment_leaves_no_breakpoint)
{
	struct workload w;
	size_t planted = 0;

	start(&w, "release_loop.py 2003 4 --start-early");
	srand(20262);
	for (int i = 0; i < KILLS; i++)
		planted += kill_one(w.pid, i) > 0;
	cr_expect_gt(planted, KILLS / 5, "only %zu tries had planted anything", planted);
	workload__say(&w, "pause");
	free(workload__hear(&w));
	workload__go(&w);
	cr_expect_eq(truth__int(workload__thread(&w, "loop-0"), "calls"), 2003);
	workload__quit(&w);
}

Test(safety, forked_children_are_healed_and_run_at_full_speed)
{
	struct workload w;
	struct tool t;
	json_t *children, *child;
	size_t i;

	start(&w, "forker.py fork 3 20003");
	attach(&t, w.pid, "");
	tool__await(&t, "armed");
	workload__go(&w);
	children = json_object_get(workload__truth(&w), "children");
	cr_assert_eq(json_array_size(children), 3);
	cr_expect_gt(breakpoints__count(w.pid), 0, "the parent is observed");
	json_array_foreach(children, i, child) {
		pid_t pid = (pid_t)(json_is_object(child) ? truth__int(child, "pid") :
						json_integer_value(json_array_get(child, 0)));

		cr_expect_eq(breakpoints__await_none(pid), 0, "child %d kept breakpoints", pid);
	}
	kill(t.pid, SIGKILL);
	tool__wait(&t, 60);
	cr_expect_eq(breakpoints__await_none(w.pid), 0);
	tool__clear(&t);
	workload__quit(&w);
}

Test(safety, sigint_lifts_the_probes_and_sums_up)
{
	struct workload w;
	struct tool t;
	char *out;

	start(&w, "cpu_threads.py 2 60");
	workload__go(&w);
	attach(&t, w.pid, "");
	tool__await(&t, "armed");
	usleep(700000);
	kill(t.pid, SIGINT);
	cr_expect_eq(tool__wait(&t, 60), 0);
	cr_expect_eq(breakpoints__await_none(w.pid), 0);
	out = tool__stdout(&t);
	cr_expect_not_null(strstr(out, "GIL busy"), "no summary: %s", out);
	free(out);
	tool__clear(&t);
	workload__kill(&w);
}

/* What cannot be more than the time that passed is not. */
static void expect_no_impossible_times(json_t *summary)
{
	static const char *const parts[] = {"hold", "wait", "handover", "unknown", "hold_max", "wait_max"};
	json_t *thread;
	size_t i;

	json_array_foreach(json_object_get(summary, "threads"), i, thread)
		for (size_t p = 0; p < sizeof(parts) / sizeof(parts[0]); p++) {
			json_t *us = json_object_get(thread, parts[p]);

			cr_expect(!us || json_number_value(us) <= (double)truth__int(thread, "d"), "%s is %f us of %lld",
				  parts[p], json_number_value(us), truth__int(thread, "d"));
		}
}

/*
 * A program whose threads make the calls of a GIL all at once, without a lock, as no CPython does: it spoils its own numbers, and
 * that is counted. Its neighbour's stay exact, and nobody is harmed.
 */
Test(safety, calls_without_any_lock_spoil_nobody_elses_numbers)
{
	struct interpreter toy = {.version = "toy"};
	struct workload lawless, w;
	char words[96], *out;
	struct tool t;
	json_t *own, *spoilt;

	snprintf(toy.exe, sizeof(toy.exe), "%.200s/workloads/toy-noplt", getenv("GILSCOPE_OUTPUT"));
	snprintf(toy.image, sizeof(toy.image), "%s", toy.exe);
	workload__start(&lawless, &toy, "toy 5000 8 lawless");
	start(&w, "release_loop.py 2003 2");
	snprintf(words, sizeof(words), "attach %d %d --no-store --mode full --stacks 0 --json", (int)lawless.pid, (int)w.pid);
	tool__start(&t, words);
	snprintf(words, sizeof(words), "(pid %d)", (int)w.pid);
	tool__await(&t, words);
	workload__go(&lawless);
	workload__go(&w);
	workload__truth(&w);
	workload__truth(&lawless);
	kill(t.pid, SIGINT);
	cr_expect_eq(tool__wait(&t, 60), 0);
	out = tool__stdout(&t);
	own = summary__of(out, w.pid);
	summary__expect_exact(own, &w, "tid");
	spoilt = summary__of(out, lawless.pid);
	expect_no_impossible_times(spoilt);
	cr_expect_gt(json_object_size(json_object_get(spoilt, "losses")), 0, "no contradiction was counted: %s", out);
	cr_expect_eq(breakpoints__await_none(lawless.pid), 0);
	json_decref(own);
	json_decref(spoilt);
	free(out);
	tool__clear(&t);
	workload__quit(&lawless);
	workload__quit(&w);
}

/* Where the text of a stock python was moved to. */
static const struct moved {
	const char *align; /* what fills whole units of so many bytes */
	const char *to;    /* NULL: memory without a file */
} moves[] = {{"0x40000", NULL}, {"1", NULL}, {"1", "memfd"}};

static void start_moved(struct workload *w, const struct moved *move)
{
	char library[256];

	snprintf(library, sizeof(library), "%.200s/workloads/libmovetext.so", getenv("GILSCOPE_OUTPUT"));
	setenv("LD_PRELOAD", library, 1);
	setenv("MOVE_TEXT", "python3", 1);
	setenv("MOVE_TEXT_ALIGN", move->align, 1);
	if (move->to)
		setenv("MOVE_TEXT_TO", move->to, 1);
	start(w, "cpu_threads.py 2 60");
	unsetenv("LD_PRELOAD");
	unsetenv("MOVE_TEXT_TO");
	workload__go(w);
}

static void expect_listed_as_moved(pid_t pid)
{
	json_t *row = exact__listed(pid);
	const char *how = json_string_value(json_object_get(row, "probe"));

	cr_expect(json_is_false(json_object_get(row, "can_probe")));
	cr_expect(strstr(how, "text"), "%s", how);
	cr_expect_not_null(json_object_get(row, "python"));
	json_decref(row);
}

/* A uprobe there would never be met: nothing is planted, that is said, and what needs no probe works. */
static void expect_refused_in_words(const struct moved *move)
{
	static const char *const verbs[] = {"attach --no-store --mode full", "report --mode full", "flame --mode full"};
	static const char *const looking[] = {"attach --no-store", "flame"};
	struct workload w;
	char words[96], *said;
	struct tool t;

	start_moved(&w, move);
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		snprintf(words, sizeof(words), "%s --duration 1s %d", verbs[i], (int)w.pid);
		cr_expect_eq(tool__run(&t, words), 1);
		said = tool__stderr(&t);
		cr_expect_not_null(strstr(said, "its text was moved"), "%s: %s", words, said);
		free(said);
		tool__clear(&t);
	}
	snprintf(words, sizeof(words), "dump %d", (int)w.pid);
	cr_expect_eq(tool__run(&t, words), 0);
	said = tool__stdout(&t);
	cr_expect_not_null(strstr(said, "compute"), "%s", said);
	free(said);
	tool__clear(&t);
	expect_listed_as_moved(w.pid);
	snprintf(words, sizeof(words), "doctor %d", (int)w.pid);
	cr_expect_eq(tool__run(&t, words), 0);
	said = tool__stdout(&t);
	cr_expect_not_null(strstr(said, "its text was moved"), "%s", said);
	free(said);
	tool__clear(&t);
	for (size_t i = 0; i < sizeof(looking) / sizeof(looking[0]); i++) {
		snprintf(words, sizeof(words), "%s --duration 1s %d", looking[i], (int)w.pid);
		cr_expect_eq(tool__run(&t, words), 0, "by looks");
		said = tool__stderr(&t);
		cr_expect_not_null(strstr(said, "its text was moved"), "%s: %s", words, said);
		free(said);
		tool__clear(&t);
	}
	workload__kill(&w);
}

Test(safety, text_in_other_memory_than_the_files_is_refused_in_words)
{
	for (size_t i = 0; i < sizeof(moves) / sizeof(moves[0]); i++)
		expect_refused_in_words(&moves[i]);
}

/* The text of a copy of the file: that is where the probes go. */
Test(safety, text_in_a_copy_of_the_file_is_counted)
{
	struct moved move = {"1", "copy"};
	struct workload w;
	char words[96], *out;
	struct tool t;
	json_t *summary;

	start_moved(&w, &move);
	snprintf(words, sizeof(words), "attach --no-store --json --duration 1s %d", (int)w.pid);
	cr_expect_eq(tool__run(&t, words), 0);
	out = tool__stdout(&t);
	summary = summary__of(out, w.pid);
	cr_expect_gt(truth__int(json_object_get(summary, "process"), "n"), 0, "%s", out);
	json_decref(summary);
	free(out);
	tool__clear(&t);
	workload__kill(&w);
}

/* Breakpoints of others are the kernel's, too: both count all of it. */
Test(safety, second_observer_of_the_same_process_counts_as_well)
{
	struct tool tools[2];
	struct workload w;

	start(&w, "release_loop.py 2003 2");
	for (int i = 0; i < 2; i++) {
		attach(&tools[i], w.pid, i ? "--json -v --mode full" : "--json --mode full");
		tool__await(&tools[i], "armed");
	}
	workload__go(&w);
	workload__truth(&w);
	for (int i = 0; i < 2; i++) {
		char *out, *said;
		json_t *summary;

		kill(tools[i].pid, SIGINT);
		cr_assert_eq(tool__wait(&tools[i], 60), 0);
		out = tool__stdout(&tools[i]);
		summary = summary__of(out, w.pid);
		summary__expect_exact(summary, &w, "tid");
		json_decref(summary);
		free(out);
		said = tool__stderr(&tools[i]);
		cr_expect(!i || strstr(said, "places already: another tracer's"), "%s", said);
		free(said);
		tool__clear(&tools[i]);
	}
	cr_expect_eq(breakpoints__await_none(w.pid), 0);
	workload__quit(&w);
}

Test(safety, target_that_is_killed_ends_the_observation)
{
	struct workload w;
	struct tool t;

	start(&w, "cpu_threads.py 2 60");
	workload__go(&w);
	attach(&t, w.pid, "");
	tool__await(&t, "armed");
	usleep(300000);
	workload__kill(&w);
	cr_expect_eq(tool__wait(&t, 60), 0);
	tool__clear(&t);
}

Test(safety, exec_of_the_same_python_is_observed_anew)
{
	struct workload w;
	struct tool t;

	start(&w, "forker.py exec-python release_loop.py 20003");
	attach(&t, w.pid, "");
	tool__await(&t, "armed");
	workload__go(&w);
	workload__await_ready(&w);
	tool__await(&t, "observed anew");
	cr_expect_gt(breakpoints__count(w.pid), 0);
	workload__go(&w);
	cr_expect_eq(truth__int(workload__thread(&w, "loop-0"), "calls"), 20003);
	kill(t.pid, SIGTERM);
	cr_expect_eq(tool__wait(&t, 60), 0);
	cr_expect_eq(breakpoints__await_none(w.pid), 0);
	tool__clear(&t);
	workload__quit(&w);
}

Test(safety, exec_of_another_program_ends_the_observation)
{
	struct workload w;
	struct tool t;
	char *err;

	start(&w, "forker.py exec-other");
	attach(&t, w.pid, "");
	tool__await(&t, "armed");
	workload__go(&w);
	workload__await_ready(&w);
	cr_expect_eq(tool__wait(&t, 60), 0);
	err = tool__stderr(&t);
	cr_expect_not_null(strstr(err, "no longer observed"), "it said: %s", err);
	free(err);
	tool__clear(&t);
	workload__quit(&w);
}

Test(safety, second_writer_is_told_who_has_it)
{
	struct workload w;
	struct tool first, second;
	char words[64], owner[32], *err;
	char dir[] = "/tmp/gilscope-store-XXXXXX", command[64];

	cr_assert_not_null(mkdtemp(dir));
	setenv("GILSCOPE_STORE_DIR", dir, 1);
	start(&w, "cpu_threads.py 2 60");
	snprintf(words, sizeof(words), "attach %d", (int)w.pid);
	tool__start(&first, words);
	tool__await(&first, "armed");
	cr_expect_eq(tool__run(&second, words), 1);
	err = tool__stderr(&second);
	snprintf(owner, sizeof(owner), "PID %d", (int)first.pid);
	cr_expect_not_null(strstr(err, owner), "it said: %s", err);
	free(err);
	tool__clear(&second);
	kill(first.pid, SIGINT);
	cr_expect_eq(tool__wait(&first, 60), 0);
	tool__clear(&first);
	workload__kill(&w);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	cr_expect_eq(system(command), 0);
}

static const struct {
	char words[48];
	char sentence[40];
	int status;
} refusals[] = {
	{"attach 4194304 --no-store", "4194304", 1},
	{"attach 999999999", "999999999", 2},
	{"attach 1 --no-store", "process 1", 1},
	{"attach abc", "abc", 2},
	{"attach", "PID", 2},
	{"attach 1 --interval 5x", "--interval", 2},
	{"attach 1 --interval -1s", "--interval", 2},
	{"attach 1 --mode fast", "--mode", 2},
	{"attach 1 --redis ftp://x", "redis://", 2},
	{"frobnicate", "frobnicate", 2},
};

Test(safety, refusals_are_one_sentence_and_the_right_status)
{
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		struct tool t;
		int status = tool__run(&t, refusals[i].words);
		char *err = tool__stderr(&t), *out = tool__stdout(&t);

		cr_expect_eq(status, refusals[i].status, "%s: status %d: %s", refusals[i].words, status, err);
		cr_expect(strstr(err, refusals[i].sentence), "%s: %s", refusals[i].words, err);
		cr_expect_eq(strncmp(err, "gilscope: ", 10), 0, "%s: %s", refusals[i].words, err);
		cr_expect_str_empty(out, "%s: %s", refusals[i].words, out);
		free(err);
		free(out);
		tool__clear(&t);
	}
}

/* Effective capabilities of each thread of the process. */
static void expect_capabilities(pid_t pid, const char *wanted)
{
	char command[160];

	snprintf(command, sizeof(command),
		 "for t in /proc/%d/task/*/status; do grep -q '^CapEff:.%s$' $t || exit 1; done", (int)pid, wanted);
	cr_expect_eq(system(command), 0, "a thread has other capabilities than %s", wanted);
}

Test(safety, rights_that_are_not_needed_are_given_up)
{
	struct workload w;
	struct tool t;

	start(&w, "cpu_threads.py 2 60");
	workload__go(&w);
	attach(&t, w.pid, "");
	tool__await(&t, "armed");
	expect_capabilities(t.pid, "000001c000080004");
	kill(t.pid, SIGINT);
	cr_expect_eq(tool__wait(&t, 60), 0);
	tool__clear(&t);
	workload__kill(&w);
}

Test(safety, killed_planter_is_an_error_that_says_so)
{
	struct workload w;
	struct tool t;
	char command[128], *err;

	start(&w, "cpu_threads.py 2 60");
	workload__go(&w);
	attach(&t, w.pid, "");
	tool__await(&t, "armed");
	snprintf(command, sizeof(command), "kill -9 $(pgrep -P %d gilscope-probes)", (int)t.pid);
	cr_assert_eq(system(command), 0);
	cr_expect_eq(tool__wait(&t, 60), 1);
	err = tool__stderr(&t);
	cr_expect_not_null(strstr(err, "nothing is observed any more"), "it said: %s", err);
	free(err);
	cr_expect_eq(breakpoints__await_none(w.pid), 0);
	tool__clear(&t);
	workload__kill(&w);
}
