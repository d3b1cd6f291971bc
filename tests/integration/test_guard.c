/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The guard (collector/look/guard.h) from outside: a long queue for the GIL has its probes lifted; where that makes no
 * difference, they return, and both is said. A short queue is left alone. What the modes know that it changes to.
 *
 * That probes stall a process of thousands of threads, and that lifting them helps, is a matter of times: see
 * tests/bench/bench-threads.
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../support/bpf_env.h"
#include "../support/json_lines.h"
#include "../support/observer.h"
#include "../support/tool.h"
#include "../support/workload.h"

#define LIFTED "all probes are lifted, to see whether they stall the process"
#define BACK "the probes were not the cause, and are in again"

TestSuite(guard, .init = bpf_env__require, .timeout = 300);

static void start(struct workload *w, const char *command)
{
	struct interpreter stock;

	interpreter__stock(&stock);
	workload__start(w, &stock, command);
}

static void attach(struct tool *t, const struct workload *w, const char *mode)
{
	char words[160];

	snprintf(words, sizeof(words), "attach %d --no-store --json --interval 500ms --mode %s", (int)w->pid, mode);
	tool__start(t, words);
	tool__await(t, "armed");
}

static json_t *rows_of(struct tool *t)
{
	char *text = tool__stdout(t);
	json_t *rows = json_lines__parse(text);

	free(text);
	return rows;
}

/* How many rows are of that mode, and how many of them claim to have observed anything, or to know of waits. */
static void count_rows(json_t *rows, const char *mode, size_t *ret_n, size_t *ret_claims)
{
	json_t *row;
	size_t i;

	*ret_n = *ret_claims = 0;
	json_array_foreach(rows, i, row) {
		json_t *process = json_object_get(row, "process");

		if (strcmp(json_string_value(json_object_get(row, "mode")), mode) != 0)
			continue;
		++*ret_n;
		*ret_claims += json_number_value(json_object_get(process, "cov")) > 0 || json_object_get(process, "wait") ||
			       json_object_get(process, "hold");
	}
}

/* The queue is there because the program holds the GIL: it gets no further without probes. */
static void expect_acquitted(const char *mode)
{
	size_t guarded, claims;
	struct workload w;
	struct tool t;
	json_t *rows;

	start(&w, "crowd.py 400");
	attach(&t, &w, mode);
	workload__hold(&w);
	tool__await(&t, LIFTED);
	cr_expect_eq(breakpoints__await_none(w.pid), 0, "%s: probes were left", mode);
	tool__await(&t, BACK);
	cr_expect_gt(breakpoints__count(w.pid), 0, "%s: they are not in again", mode);
	workload__go(&w);
	workload__truth(&w);
	kill(t.pid, SIGINT);
	cr_expect_eq(tool__wait(&t, 60), 0);
	cr_expect_eq(breakpoints__await_none(w.pid), 0);
	rows = rows_of(&t);
	count_rows(rows, "guarded", &guarded, &claims);
	cr_expect_gt(guarded, 0, "%s: no row says that nothing was looked at", mode);
	cr_expect_eq(claims, 0, "%s: %zu of %zu guarded rows claim to know something", mode, claims, guarded);
	json_decref(rows);
	tool__clear(&t);
	workload__quit(&w);
}

Test(guard, a_long_queue_of_the_programs_own_gets_its_probes_back)
{
	expect_acquitted("full");
	expect_acquitted("light");
}

static size_t lines_of(const struct tool *t)
{
	char *text = tool__stdout(t);
	size_t n = 0;

	for (const char *at = text; (at = strchr(at, '\n')); at++)
		n++;
	free(text);
	return n;
}

/* It stops for good, or for a while, and a hundred threads queue: nobody's probes are the cause, and nobody is asked. */
Test(guard, a_hundred_threads_that_queue_are_left_alone)
{
	struct workload w;
	struct tool t;
	char *err;

	start(&w, "crowd.py 100");
	attach(&t, &w, "auto");
	workload__hold(&w);
	while (lines_of(&t) < 5)
		usleep(100000);
	err = tool__stderr(&t);
	cr_expect_null(strstr(err, "all probes are lifted"), "%s", err);
	free(err);
	cr_expect_gt(breakpoints__count(w.pid), 0);
	kill(t.pid, SIGINT);
	cr_expect_eq(tool__wait(&t, 60), 0);
	tool__clear(&t);
	workload__go(&w);
	workload__truth(&w);
	workload__quit(&w);
}

static void change_to(struct observer *o, enum gil_mode mode)
{
	struct reason why = {{0}};

	observed__pause(&o->proc, &o->shop);
	cr_assert_eq(observed__switch(&o->proc, &o->shop, mode, &why), 0, "%s", why.text);
}

/* Threads that queue meet no probe, and all that takes and drops tell is exact. */
Test(guard, mode_holds_counts_every_acquire_and_knows_of_no_wait)
{
	struct proc_sample *s;
	struct workload w;
	struct observer o;
	json_t *thread;
	size_t i;

	start(&w, "release_loop.py 2003 4");
	observer__attach(&o, w.pid, GIL_MODE_FULL);
	proc_sample__free(observer__interval(&o));
	change_to(&o, GIL_MODE_HOLDS);
	workload__go(&w);
	workload__truth(&w);
	s = observer__interval(&o);
	cr_expect_eq(s->mode, GIL_MODE_HOLDS);
	cr_expect_eq(s->total.known & (KNOWN_WAIT | KNOWN_FORCED | KNOWN_HANDOVER), 0);
	cr_expect_eq(s->total.known & (KNOWN_HOLD | KNOWN_ACQUIRES), KNOWN_HOLD | KNOWN_ACQUIRES);
	json_array_foreach(json_object_get(w.truth, "threads"), i, thread) {
		const struct thread_sample *mine = observer__thread(s, (pid_t)truth__int(thread, "tid"));

		cr_assert_not_null(mine);
		cr_expect_eq((long long)mine->m.acquires, truth__int(thread, "acquires"));
	}
	cr_expect_eq(reader__hits(o.shop.reader, o.proc.slot, GIL_SITE_WAIT) +
		     reader__hits(o.shop.reader, o.proc.slot, GIL_SITE_HANDOFF), 0);
	observer__assert_lossless(s);
	proc_sample__free(s);
	observer__detach(&o);
	workload__quit(&w);
}

Test(guard, mode_guarded_has_no_probe_in_and_claims_nothing)
{
	struct proc_sample *s;
	struct workload w;
	struct observer o;

	start(&w, "release_loop.py 2003 2");
	observer__attach(&o, w.pid, GIL_MODE_FULL);
	proc_sample__free(observer__interval(&o));
	change_to(&o, GIL_MODE_GUARDED);
	cr_expect_eq(breakpoints__await_none(w.pid), 0);
	workload__go(&w);
	workload__truth(&w);
	s = observer__interval(&o);
	cr_expect_eq(s->mode, GIL_MODE_GUARDED);
	cr_expect_eq(s->observed_ns, 0);
	cr_expect_eq(s->total.known & ~KNOWN_OF_GC, 0, "garbage collection is looked at without a probe");
	cr_expect_eq(s->hits, 0);
	proc_sample__free(s);
	/* A window that this is part of knows what was known of the rest, for so long as that was. */
	cr_expect_eq(observer__totals(&o)->total.known & KNOWN_WAIT, KNOWN_WAIT);
	cr_expect_lt(observer__totals(&o)->observed_ns, observer__totals(&o)->len_ns);
	observer__detach(&o);
	workload__quit(&w);
}
