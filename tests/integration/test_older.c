/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Kernels that lack features, played on this one: GILSCOPE_LACKS says what gilscope is to do without. The form of the programs
 * for older kernels counts and blames as the other one does, and sees the same stacks; what is needed and missing is named.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collector/probes/kernel_features.h"
#include "../support/bpf_env.h"
#include "../support/exact_count.h"
#include "../support/interpreters.h"
#include "../support/observer.h"
#include "../support/program.h"
#include "../support/workload.h"

#define MASK "GILSCOPE_LACKS"

static void lack_loops(void)
{
	bpf_env__require();
	setenv(MASK, "loop,switch_state", 1);
}

TestSuite(older, .init = lack_loops, .timeout = 300);

static void start(struct workload *w, const char *command)
{
	struct interpreter stock;

	interpreter__stock(&stock);
	workload__start(w, &stock, command);
}

Test(older, every_interpreter_is_counted_exactly)
{
	struct interpreter found[INTERPRETERS_MAX];
	size_t n = interpreters__find(found, INTERPRETERS_MAX);

	for (size_t i = 0; i < n; i++) {
		exact_count__expect(&found[i], "release_loop.py 20011 --call cycle");
		exact_count__expect(&found[i], "release_loop.py 3001 32 --call read");
	}
}

/* ---- both forms at once, at the same events ---- */

static void attach_both(struct observer *newer, struct observer *older, pid_t pid, const struct stack_opts *stacks)
{
	observer__attach_stacks(older, pid, GIL_MODE_FULL, stacks);
	unsetenv(MASK);
	observer__attach_stacks(newer, pid, GIL_MODE_FULL, stacks);
	cr_assert(probes__features(older->shop.probes)->older);
	cr_assert_not(probes__features(newer->shop.probes)->older);
	cr_expect(probes__features(older->shop.probes)->off_cpu);
}

static void detach_both(struct observer *newer, struct observer *older)
{
	observer__assert_lossless(observer__totals(newer));
	observer__assert_lossless(observer__totals(older));
	observer__detach(newer);
	observer__detach(older);
}

static void expect_same_counts(struct observer *newer, struct observer *older, json_t *thread)
{
	pid_t tid = (pid_t)truth__int(thread, "tid");
	const struct thread_sample *a = observer__thread(observer__totals(newer), tid);
	const struct thread_sample *b = observer__thread(observer__totals(older), tid);

	cr_assert(a && b, "thread %d is missing", (int)tid);
	cr_expect_gt(b->m.contended, 10);
	cr_expect_eq(a->m.acquires, b->m.acquires);
	cr_expect_eq(a->m.contended, b->m.contended);
}

/* What each waits is explained to the nanosecond by whom it blames (observer.h), through many changes of holder. */
Test(older, counts_the_events_of_competing_threads_as_the_newer_form_does)
{
	const struct stack_opts none = {0};
	struct observer newer, older;
	json_t *truth, *thread;
	struct workload w;
	size_t i;

	start(&w, "cpu_threads.py 3 3");
	attach_both(&newer, &older, w.pid, &none);
	workload__go(&w);
	truth = workload__truth(&w);
	proc_sample__free(observer__interval(&newer));
	proc_sample__free(observer__interval(&older));
	json_array_foreach(json_object_get(truth, "threads"), i, thread)
		expect_same_counts(&newer, &older, thread);
	cr_expect_eq(i, 3);
	detach_both(&newer, &older);
	workload__quit(&w);
}

/* The stack with that frame in which that thread has held longest; NULL: none. */
static const char *heaviest(const struct proc_sample *s, pid_t tid, const char *frame)
{
	const struct stack_cell *best = NULL;

	for (size_t i = 0; i < s->stacks.n; i++) {
		const struct stack_cell *cell = &s->stacks.cells[i];

		if (s->threads[cell->thread].key.tid == (uint32_t)tid && strstr(cell->line, frame) &&
		    (!best || cell->w.hold_ns > best->w.hold_ns))
			best = cell;
	}
	return best ? best->line : NULL;
}

static void expect_same_stack(const struct proc_sample *newer, const struct proc_sample *older, json_t *hog)
{
	const char *name = json_string_value(json_object_get(hog, "function")), *a, *b;
	char frame[64];

	/* Where it sleeps: a busy machine may keep it from a CPU between the probes of the two. */
	snprintf(frame, sizeof(frame), "%s (workloads/guilty.py:%lld)", name, truth__int(hog, "call_line"));
	a = heaviest(newer, (pid_t)truth__int(hog, "tid"), frame);
	b = heaviest(older, (pid_t)truth__int(hog, "tid"), frame);
	cr_assert(a && b, "%s has no stack", frame);
	cr_expect_str_eq(a, b);
}

/* As deep as stacks are, and deeper than frames are kept. */
static void expect_same_stacks(const char *command)
{
	const struct stack_opts every_hold = {.on = true};
	struct proc_sample *a, *b;
	struct observer newer, older;
	struct workload w;

	start(&w, command);
	attach_both(&newer, &older, w.pid, &every_hold);
	workload__go(&w);
	workload__truth(&w);
	a = observer__interval(&newer);
	b = observer__interval(&older);
	expect_same_stack(a, b, workload__thread(&w, "heavy"));
	expect_same_stack(a, b, workload__thread(&w, "modest"));
	proc_sample__free(a);
	proc_sample__free(b);
	detach_both(&newer, &older);
	workload__quit(&w);
}

Test(older, sees_the_stacks_that_the_newer_form_sees)
{
	expect_same_stacks("guilty.py 4");
	setenv(MASK, "loop", 1);
	expect_same_stacks("guilty.py 4 --depth 300");
}

/* ---- what is missing is named ---- */

static void expect_said(const char *command, const char *key, int status, const char *part)
{
	struct program p;

	program__run(&p, "export " MASK "=%s; $GILSCOPE %s", key, command);
	cr_expect_eq(p.status, status, "%s, %s: %d", command, key, p.status);
	cr_expect(strstr(p.out, part) || strstr(p.err, part), "%s, %s: not \"%s\" but: %s%s", command, key, part, p.out, p.err);
	program__free(&p);
}

/* Twice: by looks in place of probes, and where only probes will do. */
static void start_for_attach(struct workload *w, char command[64], char probes[96])
{
	unsetenv(MASK);
	start(w, "release_loop.py 1");
	snprintf(command, 64, "attach --no-store --duration 200ms %d", (int)w->pid);
	snprintf(probes, 96, "%s --mode full", command);
}

/* Each alone: doctor names it and says what for; attach, too, if it is needed, and looks, or refuses. */
Test(older, each_missing_feature_is_named)
{
	struct workload w;
	char attach[64], probes[96];

	start_for_attach(&w, attach, probes);
	for (enum kernel_feature i = 0; i < KERNEL_FEATURES; i++) {
		bool needed = kernel_feature__is_needed(i);

		expect_said("doctor --json", kernel_feature__key(i), 0, kernel_feature__name(i));
		expect_said("doctor --json", kernel_feature__key(i), 0, kernel_feature__use(i));
		expect_said(attach, kernel_feature__key(i), 0, needed ? kernel_feature__name(i) : "");
		expect_said(probes, kernel_feature__key(i), needed, needed ? kernel_feature__name(i) : "");
	}
	workload__quit(&w);
}

Test(older, all_that_is_missing_is_named_at_once)
{
	struct workload w;
	char attach[64], probes[96], what[512];

	start_for_attach(&w, attach, probes);
	snprintf(what, sizeof(what), "lacks what gilscope needs: %s, %s", kernel_feature__name(KERNEL_TASK_STORAGE),
		 kernel_feature__name(KERNEL_ATTACH_COOKIES));
	expect_said(attach, "attach_cookies,task_storage", 0, what);
	expect_said(probes, "attach_cookies,task_storage", 1, what);
	expect_said(probes, "loop,no_such", 1, "no_such");
	workload__quit(&w);
}
