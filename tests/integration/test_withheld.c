/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Processes that keep back what an observer reads: whoever touches that waits, often so that no signal ends it. Whatever becomes
 * of such a look, gilscope ends when it is told to, and no breakpoint stays behind, neither there nor in another process.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "collector/process/errand.h"
#include "../support/bpf_env.h"
#include "../support/interpreters.h"
#include "../support/json_lines.h"
#include "../support/private_redis.h"
#include "../support/pythons.h"
#include "../support/stuck_files.h"
#include "../support/summary.h"
#include "../support/tool.h"
#include "../support/workload.h"

static struct stuck_files files;
static char dir[64];

static void set_up(void)
{
	bpf_env__require();
	temp_dir__make(dir, sizeof(dir));
	/* What the test reads itself may be kept back, too. */
	cr_assert_eq(errand__prepare(), 0);
}

static void tear_down(void)
{
	stuck_files__end(&files);
	errand__dismiss();
	temp_dir__remove(dir);
}

TestSuite(withheld, .init = set_up, .fini = tear_down, .timeout = 240);

static size_t await_none(const struct breakpoints *b)
{
	size_t n = breakpoints__now(b);

	for (int i = 0; n && i < 1500; i++) {
		usleep(20000);
		n = breakpoints__now(b);
	}
	return n;
}

/* A process that may get stuck, and another that has nothing to do with it but the file of its interpreter. */
struct pair {
	struct workload keeper, other;
	struct breakpoints in_keeper, in_other;
	struct tool t;
};

static void start_pair(struct pair *p, const char *keeper)
{
	struct interpreter stock;

	interpreter__stock(&stock);
	workload__start(&p->keeper, &stock, keeper);
	workload__start(&p->other, &stock, "release_loop.py 2003");
	breakpoints__note(&p->in_keeper, p->keeper.pid);
	breakpoints__note(&p->in_other, p->other.pid);
}

static void attach_both(struct pair *p)
{
	char words[128], armed[64];

	snprintf(words, sizeof(words), "attach %d %d --no-store", (int)p->keeper.pid, (int)p->other.pid);
	tool__start(&p->t, words);
	snprintf(armed, sizeof(armed), "(pid %d)", (int)p->other.pid);
	tool__await(&p->t, armed); /* the second */
	cr_assert_gt(breakpoints__now(&p->in_keeper), 0);
	cr_assert_gt(breakpoints__now(&p->in_other), 0);
}

static void do_word(struct workload *w, const char *word)
{
	workload__say(w, word);
	free(workload__hear(w));
}

static void expect_none(struct pair *p, const char *after)
{
	cr_expect_eq(await_none(&p->in_keeper), 0, "%s: the process that is stuck keeps breakpoints", after);
	cr_expect_eq(await_none(&p->in_other), 0, "%s: the other process keeps breakpoints", after);
}

static void end_pair(struct pair *p)
{
	tool__clear(&p->t);
	workload__kill(&p->keeper);
	workload__kill(&p->other);
}

/* gilscope gets stuck, and is told to end. */
static void tell_to_end(const char *keeper, int signal, const char *name)
{
	struct pair p = {0};
	int status;

	start_pair(&p, keeper);
	attach_both(&p);
	do_word(&p.keeper, "go");
	tool__await(&p.t, "is stuck");
	kill(p.t.pid, signal);
	status = tool__wait(&p.t, 60);
	cr_expect_eq(status, signal == SIGKILL ? 128 + SIGKILL : 0, "%s: %d", name, status);
	expect_none(&p, name);
	do_word(&p.keeper, "call"); /* and it runs */
	end_pair(&p);
}

static void tell_to_end_each(const char *keeper)
{
	tell_to_end(keeper, SIGINT, "SIGINT");
	tell_to_end(keeper, SIGTERM, "SIGTERM");
	tell_to_end(keeper, SIGKILL, "SIGKILL");
}

static void mount_files(const char *source)
{
	stuck_files__mount(&files, dir, source);
}

Test(withheld, page_of_a_file_that_nobody_serves_any_more_keeps_no_probe_planted)
{
	char command[128];

	mount_files("/bin/sh");
	stuck_files__stall(&files, 0);
	snprintf(command, sizeof(command), "keeps_back.py file %s", files.file);
	tell_to_end_each(command);
}

Test(withheld, page_that_nobody_fills_in_keeps_no_probe_planted)
{
	tell_to_end_each("keeps_back.py fault");
}

/* The others are observed on, and so is the one that was stuck when its page is there. */
Test(withheld, page_that_nobody_fills_in_is_told_of_and_holds_up_nobody_else)
{
	struct pair p = {0};
	char *err;

	start_pair(&p, "keeps_back.py fault");
	attach_both(&p);
	do_word(&p.keeper, "go");
	tool__await(&p.t, "is stuck: a look at its memory or files does not come to its end");
	workload__go(&p.other);
	workload__truth(&p.other);
	do_word(&p.keeper, "back");
	tool__await(&p.t, "can be read again");
	kill(p.t.pid, SIGINT);
	cr_expect_eq(tool__wait(&p.t, 60), 0);
	err = tool__stderr(&p.t);
	cr_expect_not_null(strstr(err, "were given up"), "%s", err);
	free(err);
	expect_none(&p, "SIGINT");
	end_pair(&p);
}

/* ---- a gilscope that stands still ---- */

static void await_some(const struct breakpoints *b)
{
	for (int i = 0; !breakpoints__now(b) && i < 1500; i++)
		usleep(20000);
	cr_expect_gt(breakpoints__now(b), 0);
}

Test(withheld, gilscope_that_is_stopped_has_its_probes_lifted_and_plants_them_again)
{
	struct pair p = {0};

	start_pair(&p, "release_loop.py 2003");
	attach_both(&p);
	kill(p.t.pid, SIGSTOP);
	expect_none(&p, "SIGSTOP");
	kill(p.t.pid, SIGCONT);
	tool__await(&p.t, "gilscope stood still");
	await_some(&p.in_keeper);
	await_some(&p.in_other);
	kill(p.t.pid, SIGINT);
	cr_expect_eq(tool__wait(&p.t, 60), 0);
	expect_none(&p, "SIGINT");
	end_pair(&p);
}

static void keep_line(json_t *losses, const json_t *line)
{
	const char *name;
	json_t *n;

	json_object_foreach(json_object_get(line, "losses"), name, n)
		json_object_set(losses, name, n);
}

/* The probes go one after the other: what those tell that are left is not taken for what happens. */
Test(withheld, gilscope_that_is_stopped_counts_nothing_of_what_half_of_its_probes_tell)
{
	struct interpreter stock;
	struct breakpoints b;
	struct workload w;
	struct tool t;
	char words[96], *out;
	json_t *lines, *line, *losses = json_object();
	size_t i;

	interpreter__stock(&stock);
	workload__start(&w, &stock, "release_loop.py 100000000 4 --start-early");
	breakpoints__note(&b, w.pid);
	snprintf(words, sizeof(words), "attach %d --no-store --json --mode full", (int)w.pid);
	tool__start(&t, words);
	tool__await(&t, "armed");
	for (int turn = 0; turn < 3; turn++) {
		await_some(&b);
		kill(t.pid, SIGSTOP);
		cr_expect_eq(await_none(&b), 0);
		kill(t.pid, SIGCONT);
	}
	await_some(&b);
	kill(t.pid, SIGINT);
	cr_expect_eq(tool__wait(&t, 60), 0);
	out = tool__stdout(&t);
	lines = json_lines__parse(out);
	json_array_foreach(lines, i, line)
		keep_line(losses, line);
	cr_expect_eq(json_object_size(losses), 0, "%s", json_dumps(losses, JSON_COMPACT));
	json_decref(losses);
	json_decref(lines);
	free(out);
	tool__clear(&t);
	workload__kill(&w);
}

/* What happened since the first probe went is no part of what it saw. */
Test(withheld, gilscope_that_is_stopped_and_told_to_end_while_its_probes_go_hides_nothing)
{
	struct interpreter stock;
	struct breakpoints b;
	struct workload w;
	struct tool t;
	json_t *summary;
	char words[96], *out, *said;
	size_t planted;

	interpreter__stock(&stock);
	workload__start(&w, &stock, "release_loop.py 100000000 4 --start-early");
	breakpoints__note(&b, w.pid);
	snprintf(words, sizeof(words), "attach %d --no-store --json --mode full", (int)w.pid);
	tool__start(&t, words);
	tool__await(&t, "armed");
	planted = breakpoints__now(&b);
	kill(t.pid, SIGSTOP);
	kill(t.pid, SIGINT);
	for (int i = 0; breakpoints__now(&b) == planted && i < 60000; i++)
		usleep(1000);
	kill(t.pid, SIGCONT);
	cr_expect_eq(tool__wait(&t, 60), 0);
	said = tool__stderr(&t);
	cr_expect_not_null(strstr(said, "gilscope stood still"), "%s", said);
	out = tool__stdout(&t);
	summary = summary__of(out, w.pid);
	cr_expect_lt(json_number_value(json_object_get(json_object_get(summary, "process"), "cov")), 1, "%s", out);
	json_decref(summary);
	free(said);
	free(out);
	tool__clear(&t);
	workload__kill(&w);
}

/* Its output goes into a pipe that nobody reads. */
Test(withheld, gilscope_that_is_stopped_by_its_reader_ends_when_it_is_told_to)
{
	struct pair p = {0};
	char words[128], script[96], fifo[96], *err;
	int fd;

	snprintf(fifo, sizeof(fifo), "%s/fifo", dir);
	snprintf(script, sizeof(script), "%s/into-fifo", dir);
	must_run("mkfifo %s && printf '#!/bin/sh\nexec \"$@\" >%s\n' >%s && chmod +x %s", fifo, fifo, script, script);
	fd = open(fifo, O_RDWR | O_CLOEXEC);
	cr_assert_geq(fd, 0);
	cr_assert_geq(fcntl(fd, F_SETPIPE_SZ, 4096), 4096);
	start_pair(&p, "release_loop.py 2003");
	snprintf(words, sizeof(words), "attach %d %d --no-store --json --interval 100ms", (int)p.keeper.pid, (int)p.other.pid);
	tool__start_under(&p.t, script, words);
	snprintf(words, sizeof(words), "(pid %d)", (int)p.other.pid);
	tool__await(&p.t, words);
	expect_none(&p, "standing still");
	kill(p.t.pid, SIGINT);
	cr_expect_eq(tool__wait(&p.t, 60), 1);
	err = tool__stderr(&p.t);
	cr_expect_not_null(strstr(err, "something keeps gilscope waiting"), "%s", err);
	free(err);
	expect_none(&p, "SIGINT");
	close(fd);
	end_pair(&p);
}

/* ---- an interpreter that nobody serves ---- */

/* The interpreter's own file: what runs it stands still as well, once its pages are gone. */
static void start_on_stuck_files(struct workload *w)
{
	struct interpreter stock;

	interpreter__stock(&stock);
	mount_files(stock.exe);
	snprintf(stock.exe, sizeof(stock.exe), "%s", files.file);
	snprintf(stock.home, sizeof(stock.home), "%s", stock.prefix);
	workload__start(w, &stock, "release_loop.py 2003");
}

Test(withheld, interpreter_that_nobody_serves_any_more_keeps_no_probe_planted)
{
	struct interpreter stock;
	struct pair p = {0};

	interpreter__stock(&stock);
	start_on_stuck_files(&p.keeper);
	workload__start(&p.other, &stock, "release_loop.py 2003");
	breakpoints__note(&p.in_keeper, p.keeper.pid);
	breakpoints__note(&p.in_other, p.other.pid);
	attach_both(&p);
	stuck_files__stall(&files, 1);
	kill(p.t.pid, SIGINT);
	cr_expect_eq(tool__wait(&p.t, 60), 0);
	expect_none(&p, "SIGINT");
	stuck_files__end(&files);
	end_pair(&p);
}

Test(withheld, interpreter_that_nobody_serves_is_refused_in_words)
{
	struct workload w;
	char words[64], *err;
	struct tool t;

	start_on_stuck_files(&w);
	stuck_files__stall(&files, 1);
	for (int i = 0; i < 2; i++) {
		snprintf(words, sizeof(words), "%s %d", i ? "attach --no-store" : "dump", (int)w.pid);
		cr_expect_eq(tool__run(&t, words), 1, "%s", words);
		err = tool__stderr(&t);
		cr_expect_not_null(strstr(err, "a file system that does not answer?"), "%s: %s", words, err);
		free(err);
		tool__clear(&t);
	}
	stuck_files__end(&files);
	workload__kill(&w);
}
