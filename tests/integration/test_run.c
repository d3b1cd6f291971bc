/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * gilscope run: nothing of a program's beginning is missed, and to its caller it is as if gilscope were not there: the same
 * exit status, the same output.
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../support/bpf_env.h"
#include "../support/interpreters.h"
#include "../support/json_lines.h"
#include "../support/program.h"
#include "../support/pythons.h"
#include "../support/tool.h"
#include "../support/workload.h"

#define LOOPS 2003

static struct program p;
static char dir[256];

static void set_up(void)
{
	bpf_env__require();
	temp_dir__make(dir, sizeof(dir));
}

static void tear_down(void)
{
	program__free(&p);
	if (dir[0])
		temp_dir__remove(dir);
}

TestSuite(run, .init = set_up, .fini = tear_down, .timeout = 300);

#define PYTHON "/usr/bin/python3 -I -S -c "

Test(run, exit_status_is_the_programs_or_tells_whose_failure_it_was)
{
	static const struct {
		char command[100];
		int status;
		char part[48]; /* of what gilscope says; "": it observed */
	} cases[] = {
		{PYTHON "pass", 0, ""},
		{PYTHON "'raise SystemExit(3)'", 3, ""},
		{PYTHON "'raise SystemExit(255)'", 255, ""},
		{PYTHON "'import os; os.kill(os.getpid(), 15)'", 128 + SIGTERM, ""},
		{PYTHON "'import os; os.abort()'", 128 + SIGABRT, ""},
		{"sh -c 'exec " PYTHON "\"raise SystemExit(4)\"'", 4, ""},
		{"true", 0, "is not a CPython process"},
		{"false", 1, "is not a CPython process"},
		{"sh -c 'kill -9 $$'", 128 + SIGKILL, "is not a CPython process"},
		{"/nonexistent/python3", 127, "/nonexistent/python3: no such program"},
		{"no-such-program-anywhere", 127, "no such program"},
		{"/etc/passwd", 126, "Permission denied"},
		{"/", 126, "Permission denied"},
		{"--user no-such-user-here -- true", 125, "there is no user"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *dashes = cases[i].command[0] == '-' ? "" : "--";

		program__free(&p);
		program__run(&p, "\"$GILSCOPE\" run --no-store %s %s", dashes, cases[i].command);
		cr_expect_eq(p.status, cases[i].status, "%s: %d %s", cases[i].command, p.status, p.err);
		cr_expect_str_empty(p.out);
		cr_expect(strstr(p.err, cases[i].part[0] ? cases[i].part : "armed in"), "%s: %s", cases[i].command, p.err);
		cr_expect_eq(strstr(p.err, "GIL busy") != NULL, !cases[i].part[0], "%s: %s", cases[i].command, p.err);
	}
}

/* The program waits with the signal blocked: one that comes just before pause() would be waited for ever. */
Test(run, signal_for_gilscope_goes_on_to_the_program)
{
	program__run(&p, "\"$GILSCOPE\" run --no-store -- " PYTHON "'import os, signal, sys\n"
			 "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})\n"
			 "os.kill(os.getppid(), signal.SIGTERM)\n"
			 "signal.sigwait({signal.SIGTERM})\n"
			 "sys.exit(9)'");
	cr_expect_eq(p.status, 9, "%d %s", p.status, p.err);
	cr_expect(strstr(p.err, "GIL busy"), "%s", p.err);
}

Test(run, signal_for_gilscope_goes_on_to_a_program_that_never_becomes_python)
{
	program__run(&p, "\"$GILSCOPE\" run --no-store -- "
			 "sh -c 'trap \"exit 7\" TERM; kill -TERM $PPID; while :; do sleep 0.1; done'");
	cr_expect_eq(p.status, 7, "%d %s", p.status, p.err);
	cr_expect(strstr(p.err, "is not a CPython process"), "%s", p.err);
}

/* Runs what follows under observation; the lines of JSON. */
static json_t *observe(const char *before, const struct interpreter *in, const char *after)
{
	json_t *lines;
	char path[300], *text;
	size_t len;

	snprintf(path, sizeof(path), "%s/lines.json", dir);
	program__free(&p);
	program__run(&p, "%s PYTHONHOME='%s' LD_LIBRARY_PATH='%s' \"$GILSCOPE\" run --no-store --mode full --json "
			 "--output '%s' -- '%s' %s", before, in->home, in->library_path, path, in->exe, after);
	cr_assert_eq(p.status, 0, "%s: %d %s", in->exe, p.status, p.err);
	text = must_read(path, &len);
	lines = json_lines__parse(text);
	free(text);
	return lines;
}

static void expect_no_losses(const json_t *summary, const struct interpreter *in)
{
	cr_expect_eq(json_object_size(json_object_get(summary, "losses")), 0, "%s: something was lost", in->version);
	cr_expect_eq(json__int(summary, "process.lost"), 0);
}

/*
 * N + 1 acquires between the gates are what an observer sees that attaches at the start gate. The one that made it a thread
 * of Python was before.
 */
static void expect_whole_threads(const struct interpreter *in)
{
	char command[96];
	json_t *lines;
	const json_t *summary;

	snprintf(command, sizeof(command), "tests/workloads/release_loop.py %d 2", LOOPS);
	lines = observe("printf 'go\\nquit\\n' |", in, command);
	summary = json_lines__summary(lines);
	for (int i = 0; i < 2; i++) {
		char name[16];
		const json_t *thread;

		snprintf(name, sizeof(name), "loop-%d", i);
		thread = json__thread(summary, name);
		cr_assert_not_null(thread, "%s: no %s", in->version, name);
		cr_expect_eq(json__int(thread, "n"), LOOPS + 2, "%s: %s: %lld acquires", in->version, name,
			     (long long)json__int(thread, "n"));
	}
	expect_no_losses(summary, in);
	cr_expect_not_null(strstr(p.out, "\"calls\": 2003"), "its output is its own: %s", p.out);
	json_decref(lines);
}

Test(run, threads_are_counted_from_their_first_acquire_on_every_interpreter)
{
	struct interpreter found[INTERPRETERS_MAX];
	size_t n = interpreters__find(found, INTERPRETERS_MAX);

	for (size_t i = 0; i < n; i++)
		if (!found[i].free_threaded)
			expect_whole_threads(&found[i]);
}

/* Acquires of a program that starts, reads N times, and ends. */
static json_int_t acquires_of_reads(const struct interpreter *in, int reads)
{
	char command[160];
	json_t *lines;
	json_int_t n;

	snprintf(command, sizeof(command), "-I -S -c 'import os; fd = os.open(\"/dev/zero\", 0)\n"
		 "for _ in range(%d): os.read(fd, 1)'", reads);
	lines = observe("", in, command);
	expect_no_losses(json_lines__summary(lines), in);
	n = json__int(json_lines__summary(lines), "process.n");
	json_decref(lines);
	return n;
}

/* One interpreter that is an executable of its own, and one whose code is a library. */
Test(run, start_and_end_of_a_program_are_the_same_in_every_run)
{
	struct interpreter found[INTERPRETERS_MAX], chosen[2];
	size_t n = interpreters__find(found, INTERPRETERS_MAX), chosen_n = 1;

	interpreter__stock(&chosen[0]);
	for (size_t i = 0; i < n && chosen_n < 2; i++)
		if (strcmp(found[i].image, found[i].exe) != 0 && !found[i].free_threaded)
			chosen[chosen_n++] = found[i];
	for (size_t i = 0; i < chosen_n; i++) {
		json_int_t bare = acquires_of_reads(&chosen[i], 0);

		cr_expect_gt(bare, 100, "%s: start-up opens files: %lld", chosen[i].version, (long long)bare);
		cr_expect_eq(acquires_of_reads(&chosen[i], 0), bare, "%s", chosen[i].version);
		cr_expect_eq(acquires_of_reads(&chosen[i], 1009), bare + 1009, "%s", chosen[i].version);
	}
}

/* What was not observed at the beginning can only be missing. */
static json_t *attach_at_the_gate(const struct interpreter *in)
{
	char words[96], *text;
	struct workload w;
	struct tool t;
	json_t *lines;

	snprintf(words, sizeof(words), "release_loop.py %d 2", LOOPS);
	workload__start(&w, in, words);
	snprintf(words, sizeof(words), "attach %d --no-store --mode full --json", (int)w.pid);
	tool__start(&t, words);
	tool__await(&t, "armed");
	workload__go(&w);
	workload__truth(&w);
	kill(t.pid, SIGINT);
	cr_assert_eq(tool__wait(&t, 60), 0);
	text = tool__stdout(&t);
	lines = json_lines__parse(text);
	free(text);
	tool__clear(&t);
	workload__quit(&w);
	return lines;
}

Test(run, attach_sees_less_than_run_of_the_same_program)
{
	struct interpreter stock;
	const json_t *all, *later;
	json_t *run, *attach;

	interpreter__stock(&stock);
	run = observe("printf 'go\\nquit\\n' |", &stock, "tests/workloads/release_loop.py 2003 2");
	attach = attach_at_the_gate(&stock);
	all = json_lines__summary(run);
	later = json_lines__summary(attach);
	for (int i = 0; i < 2; i++) {
		const char *name = i ? "loop-1" : "loop-0";

		cr_expect_eq(json__int(json__thread(later, name), "n"), LOOPS + 1);
		cr_expect_eq(json__int(json__thread(all, name), "n"), LOOPS + 2);
	}
	cr_expect_gt(json__int(all, "process.n"), json__int(later, "process.n"));
	json_decref(attach);
	json_decref(run);
}
