/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Time goes to the code that spent it: functions that clock themselves (workloads/shares.py) against what is told of each.
 *
 * What is told rests on ticks, so it may be off by chance: as many standard errors as are allowed here no run of any length
 * exceeds more often than once in a million. The truth is the program's; how busy the machine is changes neither side alone.
 */
#include <criterion/criterion.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collector/probes/ticks.h"
#include "../support/json_lines.h"
#include "../support/observer.h"
#include "../support/tool.h"
#include "../support/workload.h"

TestSuite(shares, .timeout = 300);

#define ERRORS 5.5
#define POINT 0.01
#define LETS_GO "lets_go"
#define LETS_GO_MOST 0.005 /* what a line that only lets go may have */

static const char *const functions[] = {
	"c_shortest", "c_short", "c_longest", "python_short", "asleep_short", "c_middle", "python_long", "c_then_asleep",
	"asleep_long", "c_long",
};

#define FUNCTIONS (sizeof(functions) / sizeof(functions[0]))

/* What was told of the worker; the last one is lets_go's. */
struct told {
	double hold[FUNCTIONS + 1], blame[FUNCTIONS + 1];
	double all_hold, all_blame;
	double ticks;
	struct hold_estimate estimate;
};

/* Which function a stack is in; FUNCTIONS + 1: none. */
static size_t function_of(const char *line)
{
	char call[64];

	for (size_t i = 0; i <= FUNCTIONS; i++) {
		snprintf(call, sizeof(call), "%s (", i < FUNCTIONS ? functions[i] : LETS_GO);
		if (strstr(line, call))
			return i;
	}
	return FUNCTIONS + 1;
}

static void tell(struct told *told, const char *line, double hold, double blame)
{
	size_t which = function_of(line);

	told->all_hold += hold;
	told->all_blame += blame;
	if (which > FUNCTIONS)
		return;
	told->hold[which] += hold;
	told->blame[which] += blame;
}

/* ---- the truth ---- */

static double truth_of(json_t *truth, const char *what, size_t which)
{
	return (double)json_integer_value(json_object_get(json_object_get(truth, what), functions[which]));
}

static double truth_of_all(json_t *truth, const char *what)
{
	double sum = 0;

	for (size_t i = 0; i < FUNCTIONS; i++)
		sum += truth_of(truth, what, i);
	return sum;
}

static double error_of(double share, double ticks)
{
	return sqrt(share * (1 - share) / ticks);
}

/* Numbers of waiters differ from tick to tick, at most by as many as there are: a few times the error of counting. */
static void expect_shares(const char *what, const double *told, double told_all, double ticks, json_t *truth, const char *clocked,
			  double errors)
{
	double all = truth_of_all(truth, clocked);

	cr_assert_gt(ticks, 100);
	for (size_t i = 0; i < FUNCTIONS; i++) {
		double right = truth_of(truth, clocked, i) / all, share = told[i] / told_all;

		cr_expect_leq(fabs(share - right), errors * error_of(right, ticks) + POINT / 2,
			      "%s of %s: %.2f %%, its own clock says %.2f %% (%.0f ticks)", what, functions[i], 100 * share,
			      100 * right, ticks);
	}
	cr_expect_leq(told[FUNCTIONS] / told_all, LETS_GO_MOST + errors * error_of(LETS_GO_MOST, ticks), "%s of %s: %.2f %%",
		      what, LETS_GO, 100 * told[FUNCTIONS] / told_all);
}

/* ---- the reader's samples ---- */

static void read_sample(struct told *told, const struct proc_sample *s, const char *name)
{
	for (size_t i = 0; i < s->stacks.n; i++) {
		const struct stack_cell *cell = &s->stacks.cells[i];

		if (strcmp(s->threads[cell->thread].name, name) == 0)
			tell(told, cell->line, (double)cell->w.hold_ns, (double)cell->w.blame_ns);
	}
	for (size_t i = 0; i < s->code_n; i++)
		if (strcmp(s->threads[s->code[i].thread].name, name) == 0)
			told->ticks += (double)s->code[i].ticks;
}

/* What is told of the worker itself: an estimate only where nothing exact is known. */
static void read_estimate(struct told *told, const struct proc_sample *s)
{
	for (size_t i = 0; i < s->threads_n; i++)
		if (strcmp(s->threads[i].name, "worker") == 0)
			told->estimate = s->threads[i].m.hold_est;
	cr_assert_eq(s->total.known & (KNOWN_HOLD | KNOWN_HOLD_EST),
		     s->mode == GIL_MODE_LIGHT ? KNOWN_HOLD_EST : KNOWN_HOLD | KNOWN_HOLD_EST);
}

static void observe(const char *command, enum gil_mode mode, struct told *told, json_t **ret_truth, struct workload *w)
{
	const struct stack_opts stacks = {.on = true, .threshold_ns = 5000000, .tick_ns = TICKS_FINE_NS};
	struct interpreter in;
	struct proc_sample *s;
	struct observer o;

	interpreter__stock(&in);
	workload__start(w, &in, command);
	observer__attach_stacks(&o, w->pid, mode, &stacks);
	workload__go(w);
	*ret_truth = workload__truth(w);
	s = observer__interval(&o);
	observer__assert_lossless(s);
	read_sample(told, s, "worker");
	read_estimate(told, s);
	proc_sample__free(s);
	observer__detach(&o);
}

Test(shares, are_the_functions_own_where_nobody_waits)
{
	struct told told = {0};
	struct workload w;
	json_t *truth;

	observe("shares.py 3", GIL_MODE_FULL, &told, &truth, &w);
	expect_shares("hold", told.hold, told.all_hold, told.ticks, truth, "spent_ns", ERRORS);
	workload__quit(&w);
}

Test(shares, are_the_functions_own_where_others_wait)
{
	struct told told = {0};
	struct workload w;
	json_t *truth;

	observe("shares.py 3 3 --shuffle", GIL_MODE_FULL, &told, &truth, &w);
	expect_shares("hold", told.hold, told.all_hold, told.ticks, truth, "spent_ns", ERRORS);
	expect_shares("blame", told.blame, told.all_blame, told.ticks, truth, "waited_ns", 2 * ERRORS);
	workload__quit(&w);
}

/* No probe is at a take or a drop: what is told of holds rests on ticks that ask the GIL itself, and on switches. */
Test(shares, are_the_functions_own_in_light_mode_and_the_hold_is_an_estimate)
{
	struct told told = {0};
	struct workload w;
	json_t *truth;
	double all;

	observe("shares.py 3 2 --shuffle", GIL_MODE_LIGHT, &told, &truth, &w);
	expect_shares("hold", told.hold, told.all_hold, told.ticks, truth, "spent_ns", ERRORS);
	all = truth_of_all(truth, "spent_ns");
	cr_expect_gt(told.estimate.err2, 0);
	cr_expect_leq(fabs((double)told.estimate.ns - all), ERRORS * sqrt(told.estimate.err2) + POINT * all,
		      "%.1f ms held, give or take %.1f, by its own clock %.1f", (double)told.estimate.ns / 1e6,
		      sqrt(told.estimate.err2) / 1e6, all / 1e6);
	workload__quit(&w);
}

/* ---- the program's ---- */

/* "worker;...;function (file:1) MICROSECONDS": a line each. */
static void read_folded(struct told *told, char *text)
{
	char *save = NULL;

	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *value = strrchr(line, ' ');

		if (value && strncmp(line, "worker", 6) == 0)
			tell(told, line, strtod(value, NULL), 0);
	}
}

Test(shares, are_drawn_by_flame_and_told_by_attach_with_their_ticks)
{
	struct told drawn = {0}, told = {0};
	struct interpreter in;
	struct tool flame, attach;
	json_t *truth, *lines, *row;
	struct workload w;
	char words[96], *text;
	size_t i;

	interpreter__stock(&in);
	workload__start(&w, &in, "shares.py 3");
	snprintf(words, sizeof(words), "flame %d --weight hold --folded --duration 2m", (int)w.pid);
	tool__start(&flame, words);
	tool__await(&flame, "armed");
	snprintf(words, sizeof(words), "attach %d --json --no-store --mode full", (int)w.pid);
	tool__start(&attach, words);
	tool__await(&attach, "armed");
	workload__go(&w);
	truth = json_incref(workload__truth(&w));
	workload__quit(&w);
	cr_assert_eq(tool__wait(&flame, 60), 0);
	cr_assert_eq(tool__wait(&attach, 60), 0);

	text = tool__stdout(&flame);
	read_folded(&drawn, text);
	free(text);
	expect_shares("drawn hold", drawn.hold, drawn.all_hold, truth_of_all(truth, "spent_ns") / 2 / TICKS_FINE_NS, truth,
		      "spent_ns", ERRORS);

	text = tool__stdout(&attach);
	lines = json_lines__parse(text);
	json_array_foreach(json_object_get(json_lines__summary(lines), "code"), i, row) {
		double hold = (double)json_integer_value(json_object_get(row, "hold"));
		double ticks = (double)json_integer_value(json_object_get(row, "ticks"));
		const char *function = json_string_value(json_object_get(row, "function"));

		if (strcmp(json_string_value(json_object_get(row, "name")), "worker") != 0)
			continue;
		told.all_hold += hold;
		told.ticks += ticks;
		for (size_t f = 0; f <= FUNCTIONS; f++)
			if (strcmp(function, f < FUNCTIONS ? functions[f] : LETS_GO) == 0)
				told.hold[f] += hold;
		/* Its error is that of counting, of who was seen asleep only as well: nobody shows less than there is. */
		if (hold > 0)
			cr_expect_gt(json_real_value(json_object_get(row, "error")), 0, "%s", function);
	}
	cr_assert_gt(told.ticks, 100);
	for (i = 0; i < FUNCTIONS; i++) {
		double right = truth_of(truth, "spent_ns", i) / truth_of_all(truth, "spent_ns");

		if (strncmp(functions[i], "python", 6) == 0) /* the innermost frame is count_up's */
			continue;
		cr_expect_leq(fabs(told.hold[i] / told.all_hold - right), ERRORS * error_of(right, told.ticks) + POINT / 2,
			      "%s: %.2f %%, not %.2f %%", functions[i], 100 * told.hold[i] / told.all_hold, 100 * right);
	}
	cr_expect_leq(told.hold[FUNCTIONS] / told.all_hold, LETS_GO_MOST + ERRORS * error_of(LETS_GO_MOST, told.ticks));
	free(text);
	json_decref(lines);
	json_decref(truth);
	tool__clear(&flame);
	tool__clear(&attach);
}

/* ---- more threads than there are timers ---- */

/* The one that computes began last, so that the others have them all: it gets one of theirs. */
Test(shares, are_told_of_who_computes_among_more_threads_than_have_timers)
{
	struct interpreter in;
	struct workload w;
	struct tool t;
	json_t *lines, *row;
	double ticks = 0;
	char words[96], *text;
	size_t i;

	interpreter__stock(&in);
	snprintf(words, sizeof(words), "last_of_many.py %d", TICKS_TIMERS_MAX + 50);
	workload__start(&w, &in, words);
	snprintf(words, sizeof(words), "attach %d --json --no-store --mode full", (int)w.pid);
	tool__start(&t, words);
	tool__await(&t, "armed");
	workload__go(&w);
	workload__truth(&w);
	kill(t.pid, SIGINT);
	cr_assert_eq(tool__wait(&t, 60), 0);
	text = tool__stdout(&t);
	lines = json_lines__parse(text);
	json_array_foreach(json_object_get(json_lines__summary(lines), "code"), i, row)
		if (strcmp(json_string_value(json_object_get(row, "function")), "computes") == 0)
			ticks += (double)json_integer_value(json_object_get(row, "ticks"));
	cr_expect_gt(ticks, 50);
	free(text);
	json_decref(lines);
	tool__clear(&t);
	workload__quit(&w);
}

/* ---- a hold of which no event tells, and who gives its CPU away in one function right after it slept in another ---- */

static const char *const untold[] = {"counts", "naps", "gives_way"};

#define UNTOLD (sizeof(untold) / sizeof(untold[0]))

static void observe_untold(const char *command, const char *mode, double told[UNTOLD], double *ret_var, double truth[UNTOLD])
{
	struct interpreter in;
	struct workload w;
	struct tool t;
	json_t *spent, *lines, *row;
	char words[96], *text;
	size_t i;

	interpreter__stock(&in);
	workload__start(&w, &in, command);
	snprintf(words, sizeof(words), "attach %d --json --no-store --mode %s", (int)w.pid, mode);
	tool__start(&t, words);
	tool__await(&t, "armed");
	workload__go(&w);
	spent = json_object_get(workload__truth(&w), "spent_ns");
	kill(t.pid, SIGINT);
	cr_assert_eq(tool__wait(&t, 60), 0);
	text = tool__stdout(&t);
	lines = json_lines__parse(text);
	for (size_t f = 0; f < UNTOLD; f++) {
		truth[f] = (double)json_integer_value(json_object_get(spent, untold[f]));
		told[f] = 0;
		json_array_foreach(json_object_get(json_lines__summary(lines), "code"), i, row)
			if (strcmp(json_string_value(json_object_get(row, "function")), untold[f]) == 0) {
				told[f] += (double)json_integer_value(json_object_get(row, mode[0] == 'f' ? "hold" : "hold_est"));
				*ret_var += pow(json_real_value(json_object_get(row, "error")), 2);
			}
	}
	free(text);
	json_decref(lines);
	tool__clear(&t);
	workload__quit(&w);
}

/* The program does the same all the time: what it did before it clocked itself has the same shares. */
static void expect_untold(const char *command, const char *mode)
{
	double told[UNTOLD], truth[UNTOLD], all_told = 0, all_truth = 0, var = 0;

	observe_untold(command, mode, told, &var, truth);
	for (size_t f = 0; f < UNTOLD; f++) {
		all_told += told[f];
		all_truth += truth[f];
	}
	cr_assert_gt(all_told, 0, "%s: no code at all", mode);
	for (size_t f = 0; f < UNTOLD; f++)
		cr_expect_leq(fabs(told[f] / all_told - truth[f] / all_truth), ERRORS * sqrt(var) / all_told + 3 * POINT,
			      "%s: %s has %.1f %%, not %.1f %%, give or take %.1f", mode, untold[f], 100 * told[f] / all_told,
			      100 * truth[f] / all_truth, 100 * sqrt(var) / all_told);
}

Test(shares, of_a_hold_from_before_arming_are_told_though_no_event_tells_of_it)
{
	expect_untold("untold.py", "full");
	expect_untold("untold.py", "light");
}

Test(shares, of_who_gives_its_cpu_away_right_after_it_slept_elsewhere_are_its_own)
{
	expect_untold("untold.py --lets-go", "full");
}
