/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Garbage collection, against what the program's own gc.callbacks clocked in C, and gc.get_stats() counted. Where it is sampled,
 * what is told comes with its standard error: four of them are allowed for besides the tenth that it may be off in any case.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../support/bpf_env.h"
#include "../support/interpreters.h"
#include "../support/json_lines.h"
#include "../support/tool.h"
#include "../support/workload.h"

#define OFF_BY 0.10
#define ERRORS 4

TestSuite(gc, .init = bpf_env__require, .timeout = 300);

/* A run of garbage.py beside "gilscope attach": what it says of itself, and what gilscope said, to be decref'd. */
struct run {
	struct workload w;
	json_t *lines;
	const json_t *told; /* the summary */
};

static void run_beside(struct run *r, const struct interpreter *in, const char *command)
{
	struct tool t;
	char words[96], *out;

	workload__start(&r->w, in, command);
	snprintf(words, sizeof(words), "attach %d --json --no-store --mode full", (int)r->w.pid);
	tool__start(&t, words);
	tool__await(&t, "armed in");
	workload__go(&r->w);
	workload__truth(&r->w);
	kill(t.pid, SIGINT);
	cr_assert_eq(tool__wait(&t, 60), 0, "%s: %s", words, tool__stderr(&t));
	out = tool__stdout(&t);
	r->lines = json_lines__parse(out);
	r->told = json_lines__summary(r->lines);
	free(out);
	tool__clear(&t);
}

static void end_run(struct run *r)
{
	json_decref(r->lines);
	workload__quit(&r->w);
}

static double told(const struct run *r, const char *field)
{
	const json_t *value = json_object_get(json_object_get(r->told, "process"), field);

	return value ? json_number_value(value) : NAN;
}

/* Both ends of a collection are known, by notes, calls or callbacks (collector/plan/gc_sites.h): nothing is sampled. */
static void expect_exact(const struct run *r)
{
	double longest = (double)truth__int(r->w.truth, "longest_ns") / 1e3, max = told(r, "gc_max");

	cr_expect(isnan(told(r, "gc_err")), "standard error %.0f us", told(r, "gc_err"));
	cr_expect_lt(fabs(max - longest), OFF_BY * longest, "the longest took %.0f us, it clocked %.0f", max, longest);
	cr_expect_eq(told(r, "lost"), 0);
}

static double told_error(const struct run *r)
{
	double err = told(r, "gc_err");

	return isnan(err) ? 0 : ERRORS * err;
}

static void expect_truth(const struct run *r, const char *who)
{
	double clocked = (double)truth__int(r->w.truth, "gc_ns") / 1e3, gc = told(r, "gc");

	cr_expect_lt(fabs(gc - clocked), OFF_BY * clocked + told_error(r), "%s: %.0f us, it clocked %.0f (standard error %.0f)",
		     who, gc, clocked, told(r, "gc_err"));
	for (int i = 0; i < 3; i++) {
		char field[8], told_field[8];

		snprintf(field, sizeof(field), "n%d", i);
		snprintf(told_field, sizeof(told_field), "gc_n%d", i);
		cr_expect_eq(told(r, told_field), (double)truth__int(r->w.truth, field),
			     "%s: %.0f collections of generation %d, not %lld", who, told(r, told_field), i,
			     truth__int(r->w.truth, field));
	}
	cr_expect_leq(told(r, "gc"), told(r, "hold"));
	cr_expect_leq(told(r, "gc_wait"), told(r, "wait"));
}

ParameterizedTestParameters(gc, is_what_the_programs_own_clock_says_in_every_interpreter)
{
	static struct interpreter all[INTERPRETERS_MAX];

	return cr_make_param_array(struct interpreter, all, interpreters__find(all, INTERPRETERS_MAX));
}

/* Automatic collections, of all generations. */
ParameterizedTest(struct interpreter *in, gc, is_what_the_programs_own_clock_says_in_every_interpreter)
{
	struct run r;

	run_beside(&r, in, "garbage.py 40 --rest-ms 10");
	expect_truth(&r, in->version);
	expect_exact(&r);
	end_run(&r);
}

/* The thread that collects, and the code, by name, in an interpreter that has no symbols. */
Test(gc, has_a_name_and_a_thread)
{
	struct interpreter stock;
	const json_t *worker;
	double named = 0, all = 0;
	struct run r;
	json_t *place;
	size_t i;

	interpreter__stock(&stock);
	run_beside(&r, &stock, "garbage.py 25 --explicit --objects 600000");
	expect_truth(&r, stock.version);
	expect_exact(&r);
	worker = json__thread(r.told, "worker");
	cr_assert_not_null(worker);
	cr_expect_gt(json_number_value(json_object_get(worker, "gc")), 0.7 * told(&r, "gc"));
	json_array_foreach (json_object_get(r.told, "code"), i, place) {
		const char *native = json_string_value(json_object_get(place, "native"));
		double blame = json_number_value(json_object_get(place, "blame"));

		all += blame;
		named += native && strcmp(native, "garbage collection") == 0 ? blame : 0;
	}
	cr_expect_gt(named, 0.5 * all, "%.0f us of %.0f: %s", named, all, json_dumps(json_object_get(r.told, "code"), 0));
	end_run(&r);
}

/* Each collection lets the GIL go for 40 ms: that is no part of it, though gc.collecting says so all the while. */
Test(gc, what_a_finalizer_lets_go_is_not_counted)
{
	struct interpreter stock;
	struct run r;

	interpreter__stock(&stock);
	run_beside(&r, &stock, "garbage.py 25 --explicit --let-go-ms 40");
	expect_truth(&r, stock.version);
	expect_exact(&r);
	end_run(&r);
}

static double collecting_share(pid_t pid)
{
	const json_t *share;
	char words[48];
	json_t *json;
	double ret;

	snprintf(words, sizeof(words), "dump --json %d", (int)pid);
	json = tool__json(words);
	share = json_object_get(json_array_get(json_object_get(json, "gils"), 0), "collecting");
	ret = share ? json_number_value(share) : NAN;
	json_decref(json);
	return ret;
}

ParameterizedTestParameters(gc, is_seen_by_dump_in_every_interpreter)
{
	static struct interpreter all[INTERPRETERS_MAX];

	return cr_make_param_array(struct interpreter, all, interpreters__find(all, INTERPRETERS_MAX));
}

/* One that collects nearly all the time; one that holds its GIL for long and never collects. */
ParameterizedTest(struct interpreter *in, gc, is_seen_by_dump_in_every_interpreter)
{
	struct workload w;

	workload__start(&w, in, "garbage.py 1000 --explicit --objects 600000 --rest-ms 1 --go-on");
	workload__go(&w);
	usleep(200000);
	cr_expect_gt(collecting_share(w.pid), 0.3, "%s: %f", in->version, collecting_share(w.pid));
	workload__kill(&w);
	workload__start(&w, in, "long_hold.py 60");
	workload__go(&w);
	usleep(200000);
	cr_expect_eq(collecting_share(w.pid), 0, "%s: %f", in->version, collecting_share(w.pid));
	workload__kill(&w);
}
