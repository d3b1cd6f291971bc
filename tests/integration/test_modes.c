/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The modes from outside: auto gives a program its speed back when the probes cost it too much, and says so; full stays;
 * what light cannot know is absent and not zero. And what every mode has in common: an observation ends when its time is
 * over, with rows on multiples of the interval that leave no moment out.
 *
 * Speed is the program's own count of what it got done. A probed pair of release and acquire costs it some fifty times a
 * bare one, so a factor of three tells the modes apart on the busiest machine: it is no limit on a time.
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../support/bpf_env.h"
#include "../support/json_lines.h"
#include "../support/program.h"
#include "../support/pythons.h"
#include "../support/status.h"
#include "../support/tool.h"
#include "../support/workload.h"

#define FACTOR 3
#define CHANGED "changed to light mode"

TestSuite(modes, .init = bpf_env__require, .timeout = 300);

static void start(struct workload *w, const char *command)
{
	struct interpreter stock;

	interpreter__stock(&stock);
	workload__start(w, &stock, command);
}

static void attach(struct tool *t, const struct workload *w, const char *more)
{
	char words[160];

	snprintf(words, sizeof(words), "attach %d %s", (int)w->pid, more);
	tool__start(t, words);
	tool__await(t, "armed");
}

static json_t *take_lines(struct tool *t)
{
	char *text = tool__stdout(t);
	json_t *lines = json_lines__parse(text);

	free(text);
	return lines;
}

/* Ends it as Ctrl-C does; its rows. */
static json_t *detach(struct tool *t)
{
	json_t *lines;

	kill(t->pid, SIGINT);
	cr_assert_eq(tool__wait(t, 10), 0);
	lines = take_lines(t);
	tool__clear(t);
	return lines;
}

static bool said(const struct tool *t, const char *text)
{
	char *err = tool__stderr(t);
	bool yes = strstr(err, text) != NULL;

	free(err);
	return yes;
}

static bool is_mode(const json_t *row, const char *mode)
{
	return strcmp(json_string_value(json_object_get(row, "mode")), mode) == 0;
}

/* What bench_target.py measures: "pair N" is answered in ns each. */
static double ask(struct workload *w, const char *question)
{
	char *line;
	double answer;

	workload__say(w, question);
	line = workload__hear(w);
	answer = strtod(line, NULL);
	cr_assert_gt(answer, 0, "%s: %s", question, line);
	free(line);
	return answer;
}

/* Releases and acquires per second that it gets done. */
static double speed_of(struct workload *w)
{
	return 1e9 / ask(w, "pair 100000");
}

/* ---- auto, full, light ---- */

/* Nothing that only a probe at acquires or releases could tell. */
static void expect_holds_unknown(const json_t *row)
{
	static const char fields[][16] = {"hold", "util", "n", "hold_p50", "hold_p99", "hold_max"};
	const json_t *thread, *process = json_object_get(row, "process");
	size_t i;

	for (size_t f = 0; f < sizeof(fields) / sizeof(fields[0]); f++) {
		cr_expect_null(json_object_get(process, fields[f]), "%s is known in light mode", fields[f]);
		json_array_foreach (json_object_get(row, "threads"), i, thread)
			cr_expect_null(json_object_get(thread, fields[f]), "%s is known in light mode", fields[f]);
	}
	cr_expect(json_is_integer(json_object_get(process, "wait")), "waits stay known");
	cr_expect(json_is_true(json_object_get(row, "blame_sampled")));
}

/* Rows in full mode first, then rows in light mode, then the summary of both. */
static void expect_full_then_light(const json_t *lines)
{
	size_t rows = json_array_size(lines) - 1, light = 0;

	for (size_t i = 0; i < rows; i++) {
		const json_t *row = json_array_get(lines, i);

		cr_expect(is_mode(row, "light") || (light == 0 && is_mode(row, "full")), "row %zu of %zu", i, rows);
		if (!is_mode(row, "light"))
			continue;
		expect_holds_unknown(row);
		light++;
	}
	cr_expect_gt(light, 0);
	cr_expect_lt(light, rows, "it began in full mode");
	cr_expect(is_mode(json_lines__summary(lines), "mixed"));
}

/* The mode in the process's meta while it is observed. */
static void expect_mode_in_store(const json_t *lines, const char *mode)
{
	const char *id = json_string_value(json_object_get(json_array_get(lines, 0), "id"));
	char words[200], *out;
	struct tool cli;

	snprintf(words, sizeof(words), "store cli --raw HGET gil:{%s}:meta mode", id);
	cr_expect_eq(tool__run(&cli, words), 0);
	out = tool__stdout(&cli);
	cr_expect_eq(strncmp(out, mode, strlen(mode)), 0, "meta says %s", out);
	free(out);
	tool__clear(&cli);
}

/* Until the row after the change has been written. */
static void await_light_row(const struct tool *t)
{
	bool there = false;

	for (int i = 0; i < 6000 && !there; i++) {
		char *out = tool__stdout(t);

		usleep(10000);
		there = strstr(out, "\"mode\":\"light\"") != NULL;
		free(out);
	}
	cr_assert(there, "no row in light mode");
}

Test(modes, auto_gives_a_tight_loop_its_speed_back)
{
	struct workload w;
	struct tool t;
	double full, light;
	json_t *lines;
	char dir[256];

	temp_dir__make(dir, sizeof(dir));
	setenv("GILSCOPE_STORE_DIR", dir, 1);
	start(&w, "bench_target.py");
	attach(&t, &w, "--no-store --mode full --json");
	full = speed_of(&w);
	json_decref(detach(&t));
	attach(&t, &w, "--mode auto --interval 500ms --json");
	workload__say(&w, "pair 3000000"); /* seconds in full mode */
	tool__await(&t, CHANGED);
	free(workload__hear(&w));
	light = speed_of(&w);
	cr_expect_gt(light, FACTOR * full, "%.0f pairs/s in light mode, %.0f in full", light, full);
	await_light_row(&t);
	lines = take_lines(&t);
	expect_mode_in_store(lines, "light");
	json_decref(lines);
	lines = detach(&t);
	expect_full_then_light(lines);
	json_decref(lines);
	workload__quit(&w);
	temp_dir__remove(dir);
}

Test(modes, full_stays_full_whatever_it_costs)
{
	struct workload w;
	struct tool t;
	json_t *lines, *row;
	size_t i;

	start(&w, "bench_target.py");
	attach(&t, &w, "--no-store --mode full --interval 250ms --json");
	ask(&w, "pair 1000000"); /* two seconds at a hundred times the budget */
	cr_expect_not(said(&t, CHANGED));
	lines = detach(&t);
	json_array_foreach (lines, i, row) {
		cr_expect(is_mode(row, "full"));
		cr_expect(json_is_integer(json_object_get(json_object_get(row, "process"), "hold")));
	}
	cr_expect_geq(json__int(json_lines__summary(lines), "process.n"), 1000000);
	json_decref(lines);
	workload__quit(&w);
}

Test(modes, auto_stays_full_where_probes_cost_little)
{
	struct workload w;
	struct tool t;
	json_t *lines;

	start(&w, "cpu_threads.py 2 60");
	workload__go(&w);
	attach(&t, &w, "--no-store --mode auto --duration 2s --json");
	cr_expect_eq(tool__wait(&t, 60), 0);
	cr_expect_not(said(&t, CHANGED));
	lines = take_lines(&t);
	cr_expect(is_mode(json_lines__summary(lines), "full"));
	json_decref(lines);
	tool__clear(&t);
	workload__kill(&w);
}

/*
 * A change that does not come to its end: while the planter stands still nothing is counted, and what ends meanwhile was not
 * observed to its end.
 */
Test(modes, who_ends_while_probes_are_changed_is_not_observed_then)
{
	struct workload w;
	struct tool t;
	json_t *lines;
	pid_t planter;

	start(&w, "release_loop.py 1500000");
	attach(&t, &w, "--no-store --mode auto --max-overhead 0.1% --interval 500ms --json");
	planter = status__child(t.pid, "gilscope-probes");
	cr_assert_gt(planter, 1);
	kill(planter, SIGSTOP);
	workload__go(&w);
	workload__truth(&w);
	workload__quit(&w);
	kill(planter, SIGCONT);
	cr_expect_eq(tool__wait(&t, 60), 0);
	lines = take_lines(&t);
	cr_expect(is_mode(json_lines__summary(lines), "full"));
	cr_expect_lt(json__int(json_lines__summary(lines), "process.n"), 1500000);
	cr_expect_lt(json_number_value(json_object_get(json_object_get(json_lines__summary(lines), "process"), "cov")), 0.99);
	json_decref(lines);
	tool__clear(&t);
}

/* Attached before its first call and in the middle of them. */
static const struct {
	char program[64];
	char first_word[8];
} tight_loops[] = {
	{"release_loop.py 1 --seconds 4", "go"},
	{"release_loop.py 1 --start-early", ""},
};

Test(modes, auto_changes_whenever_the_loop_began_and_ends_with_a_summary)
{
	for (size_t i = 0; i < sizeof(tight_loops) / sizeof(tight_loops[0]); i++) {
		struct workload w;
		struct tool t;
		json_t *lines;

		start(&w, tight_loops[i].program);
		attach(&t, &w, "--no-store --duration 2s --interval 500ms --json");
		if (tight_loops[i].first_word[0])
			workload__say(&w, tight_loops[i].first_word);
		cr_expect_eq(tool__wait(&t, 60), 0, "%s", tight_loops[i].program);
		cr_expect(said(&t, CHANGED), "%s", tight_loops[i].program);
		lines = take_lines(&t);
		expect_full_then_light(lines);
		json_decref(lines);
		tool__clear(&t);
		workload__kill(&w);
	}
}

/* ---- time ---- */

#define INTERVAL_MS 500

/*
 * Each row ends on a multiple of the interval and begins where the one before ended. The last is shorter, and so are the
 * first ones, up to the moment when the probes are armed.
 */
static json_int_t expect_gapless_rows(const json_t *lines)
{
	size_t rows = json_array_size(lines) - 1;
	json_int_t sum_us = 0, last_t = 0;
	bool armed = false;

	for (size_t i = 0; i < rows; i++) {
		const json_t *row = json_array_get(lines, i);
		json_int_t t = json__int(row, "process.t"), d = json__int(row, "process.d");

		if (i + 1 < rows)
			cr_expect_eq(t % INTERVAL_MS, 0, "row %zu ends at %lld", i, (long long)t);
		if (i > 0 && i + 1 < rows) {
			cr_expect_eq(t - last_t, INTERVAL_MS);
			cr_expect(!armed || json_is_false(json_object_get(row, "partial")), "row %zu", i);
			armed = armed || json_is_false(json_object_get(row, "partial"));
		}
		if (i > 0) /* a stamp is cut to whole milliseconds */
			cr_expect_leq(llabs((t - last_t) * 1000 - d), 1000, "row %zu: %lld us since %lld ms", i, (long long)d,
				      (long long)(t - last_t));
		sum_us += d;
		last_t = t;
	}
	return sum_us;
}

Test(modes, rows_add_up_to_the_time_observed)
{
	struct workload w;
	struct tool t;
	json_t *lines;
	json_int_t sum_us, cut_us;
	const json_t *summary;

	start(&w, "cpu_threads.py 2 60");
	workload__go(&w);
	attach(&t, &w, "--no-store --duration 2s --interval 500ms --json");
	cr_expect_eq(tool__wait(&t, 60), 0);
	lines = take_lines(&t);
	summary = json_lines__summary(lines);
	sum_us = expect_gapless_rows(lines);
	cut_us = json__int(summary, "process.d") - sum_us; /* of each row's nanoseconds */
	cr_expect(cut_us >= 0 && cut_us < (json_int_t)json_array_size(lines), "%lld us are missing", (long long)cut_us);
	cr_expect_geq(sum_us, 2000000, "it was to last 2 s: %lld us", (long long)sum_us);
	cr_expect_str_eq(json_string_value(json_object_get(summary, "end")), "duration");
	json_decref(lines);
	tool__clear(&t);
	workload__kill(&w);
}

/*
 * A boundary is collected a little after it (its waiters are charged by then). What happens in between and then ends the
 * observation belongs to it all the same: the ends here fall before, into and behind that gap.
 */
#define GAP_STEP_MS 100
#define GAP_OFFSETS 10
#define PAIRS 1000

/* The one thread beside the main one. It may be gone before its name has been read. */
static const json_t *thread_beside_main(const json_t *summary)
{
	const json_t *thread;
	size_t i;

	json_array_foreach (json_object_get(summary, "threads"), i, thread)
		if (json__int(thread, "tid") != json__int(summary, "pid"))
			return thread;
	return NULL;
}

Test(modes, what_a_program_does_in_its_last_moment_counts)
{
	struct program p = {0};
	char path[] = "/tmp/gilscope-last-XXXXXX";

	close(mkstemp(path));
	for (int offset_ms = 0; offset_ms < GAP_OFFSETS; offset_ms++) {
		const json_t *last;
		json_t *lines;
		size_t len;
		char *text;

		program__run(&p, "\"$GILSCOPE\" run --no-store --mode full --interval %dms --json --output %s -- "
				 "/usr/bin/python3 tests/workloads/last_words.py %d %d %d", GAP_STEP_MS, path, PAIRS,
			     GAP_STEP_MS, offset_ms);
		cr_assert_eq(p.status, 0, "%d %s", p.status, p.err);
		text = must_read(path, &len);
		lines = json_lines__parse(text);
		last = thread_beside_main(json_lines__summary(lines));
		cr_assert_not_null(last, "at %d ms there is no thread", offset_ms);
		cr_expect_eq(json__int(last, "n"), PAIRS + 1, "at %d ms: %lld acquires", offset_ms,
			     (long long)json__int(last, "n"));
		json_decref(lines);
		free(text);
		program__free(&p);
	}
	unlink(path);
}

static void sleep_past_boundary(long offset_ms)
{
	struct timespec now, rest = {0};

	clock_gettime(CLOCK_REALTIME, &now);
	rest.tv_nsec = (GAP_STEP_MS - now.tv_nsec / 1000000 % GAP_STEP_MS + offset_ms) * 1000000 - now.tv_nsec % 1000000;
	nanosleep(&rest, NULL);
}

Test(modes, what_happens_just_before_the_end_of_observing_counts)
{
	struct workload w;

	start(&w, "bench_target.py");
	for (int offset_ms = 0; offset_ms < GAP_OFFSETS; offset_ms++) {
		struct tool t;
		json_t *lines;

		attach(&t, &w, "--no-store --mode full --interval 100ms --json");
		sleep_past_boundary(offset_ms);
		ask(&w, "pair 500");
		lines = detach(&t);
		cr_expect_geq(json__int(json_lines__summary(lines), "process.n"), 500, "at %d ms: %lld acquires", offset_ms,
			      (long long)json__int(json_lines__summary(lines), "process.n"));
		json_decref(lines);
	}
	workload__quit(&w);
}
