/* SPDX-License-Identifier: GPL-2.0-only */
/* See hogs.h. */
#include "hogs.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "exact.h"
#include "json_lines.h"
#include "results.h"
#include "tool.h"

#define TOLERANCE 0.03
#define QUANTILE 0.125 /* a bucket's width: what a quantile of a histogram may be off by */

static double us_of(json_t *truth, const char *field)
{
	return (double)truth__int(truth, field) / 1000;
}

static const json_t *seen_thread(json_t *summary, pid_t tid, const char *who)
{
	const json_t *thread;
	size_t i;

	json_array_foreach(json_object_get(summary, "threads"), i, thread)
		if (json__int(thread, "tid") == tid)
			return thread;
	cr_assert_fail("%s: thread %d is missing", who, (int)tid);
	return NULL;
}

static void expect_within(const char *who, const char *what, double got, double want)
{
	cr_expect(fabs(got - want) <= TOLERANCE * want, "%s: %s: %.0f us, the program says %.0f (%+.2f %%)", who, what, got, want,
		  100 * (got / want - 1));
}

static void expect_quantile(const json_t *seen, json_t *hog, const char *field, const char *who)
{
	double got = (double)json__int(seen, field), low = us_of(hog, "hold_min_ns"), high = us_of(hog, "hold_max_ns");

	cr_expect(got >= (1 - QUANTILE) * low && got <= (1 + QUANTILE) * high,
		  "%s: %s is %.0f us, of holds of %.0f to %.0f us", who, field, got, low, high);
}

static void expect_acquires(const json_t *seen, json_t *truth, const char *who)
{
	cr_expect_eq(json__int(seen, "n"), truth__int(truth, "acquires"), "%s: %s acquired %lld times, it made %lld", who,
		     json_string_value(json_object_get(truth, "name")), (long long)json__int(seen, "n"),
		     truth__int(truth, "acquires"));
}

static void expect_hog(const json_t *seen, json_t *hog, const char *who)
{
	expect_acquires(seen, hog, who);
	expect_within(who, "the hog's holds", (double)json__int(seen, "hold"), us_of(hog, "hold_ns"));
	expect_quantile(seen, hog, "hold_p50", who);
	expect_quantile(seen, hog, "hold_p99", who);
	expect_quantile(seen, hog, "hold_max", who);
}

static json_int_t blame_of(json_t *summary, pid_t victim, pid_t holder)
{
	const json_t *cell;
	size_t i;

	json_array_foreach(json_object_get(summary, "blame"), i, cell)
		if (json__int(cell, "victim.tid") == victim && json__int(cell, "holder.tid") == holder)
			return json__int(cell, "us");
	return 0;
}

static void expect_victim(json_t *summary, const json_t *seen, json_t *victim, pid_t hog, double hold, const char *who)
{
	json_int_t wait = json__int(seen, "wait"), blame = blame_of(summary, (pid_t)json__int(seen, "tid"), hog);

	expect_acquires(seen, victim, who);
	expect_within(who, "the victim's wait", (double)wait, us_of(victim, "stall_ns"));
	/* On a busy machine it waits for a main thread without a CPU, too. */
	cr_expect_gt((double)blame, 0.9 * fmin((double)wait, hold), "%s: %lld us of %lld us are blamed on the hog", who,
		     (long long)blame, (long long)wait);
}

void hogs__expect(json_t *summary, pid_t pid, json_t *threads, const char *who)
{
	json_t *hog = json_array_get(threads, 0), *victim;
	pid_t hog_tid = exact__tid(pid, (pid_t)truth__int(hog, "tid"));
	size_t i;

	cr_assert_str_eq(json_string_value(json_object_get(hog, "name")), "hog");
	cr_assert_geq(json_array_size(threads), 2, "%s: no victim", who);
	expect_hog(seen_thread(summary, hog_tid, who), hog, who);
	for (i = 1; (victim = json_array_get(threads, i)); i++) {
		pid_t tid = exact__tid(pid, (pid_t)truth__int(victim, "tid"));

		expect_victim(summary, seen_thread(summary, tid, who), victim, hog_tid, us_of(hog, "hold_ns"), who);
	}
	cr_expect_eq(json_object_size(json_object_get(summary, "losses")), 0, "%s: something was lost", who);
}

/* Waits of all victims, by gilscope and by themselves. */
static void note(struct exact *e, const struct interpreter *in, struct workload *w, const char *what)
{
	json_t *threads = json_object_get(workload__truth(w), "threads"), *summary = exact__summary(e, w->pid), *victim;
	double seen = 0, made = 0;

	for (size_t i = 1; (victim = json_array_get(threads, i)); i++) {
		pid_t tid = exact__tid(w->pid, (pid_t)truth__int(victim, "tid"));

		seen += (double)json__int(seen_thread(summary, tid, in->version), "wait");
		made += us_of(victim, "stall_ns");
	}
	results__note_numbers(in, what, llround(seen), llround(made), json_object_size(json_object_get(summary, "losses")));
}

void hogs__expect_all(struct workload *workloads, const struct interpreter *whose, size_t n, const char *what)
{
	struct exact e;

	exact__attach(&e, workloads, n, NULL, "--no-store");
	for (size_t i = 0; i < n; i++)
		workload__go(&workloads[i]);
	for (size_t i = 0; i < n; i++)
		workload__truth(&workloads[i]);
	exact__finish(&e);
	for (size_t i = 0; i < n; i++) {
		struct workload *w = &workloads[i];
		json_t *threads = json_object_get(workload__truth(w), "threads");

		if (what)
			note(&e, &whose[i], w, what);
		hogs__expect(exact__summary(&e, w->pid), w->pid, threads, whose[i].version);
		cr_expect_eq(code__await_unchanged(w->pid), 0, "%s kept breakpoints", whose[i].version);
	}
	exact__end(&e);
}
