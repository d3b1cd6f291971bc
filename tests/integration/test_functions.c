/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The function library (dashboards/lua) in a real server: every answer against what the test works out from the single
 * holds and waits that the history was made of, not from what was stored of them.
 */
#include <criterion/criterion.h>
#include <hiredis/hiredis.h>
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collector/redis/redis_functions.h"
#include "../support/json_lines.h"
#include "../support/private_redis.h"
#include "../support/program.h"
#include "../support/seeded.h"

TestSuite(functions, .timeout = 300);

#define LIBRARY "dashboards/lua/gilscope.lua"
#define OFF_BY (1 / 9.0 + 1e-9) /* what a stored bucket promises */

static struct private_redis redis;
static struct seeded *truth;
static redisContext *conn;
static redisReply *reply;

static void load_library(void)
{
	static char text[1 << 17];
	FILE *f = fopen(LIBRARY, "r");
	redisReply *r;

	cr_assert_not_null(f, "%s", LIBRARY);
	text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
	fclose(f);
	r = redisCommand(conn, "FUNCTION LOAD REPLACE %s", text);
	cr_assert(r && r->type != REDIS_REPLY_ERROR, "%s", r ? r->str : "no reply");
	freeReplyObject(r);
}

static void setup(void)
{
	private_redis__init(&redis, false);
	private_redis__start(&redis, true, NULL);
	conn = redisConnectUnix(redis.socket);
	cr_assert(conn && !conn->err);
	load_library();
	truth = seeded__write(&redis);
}

static void teardown(void)
{
	freeReplyObject(reply);
	redisFree(conn);
	seeded__free(truth);
	private_redis__fini(&redis);
}

/* FCALL_RO of a function on a series of the process, with the words of `fmt` behind it. */
static void call(const char *function, const char *series, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static void call(const char *function, const char *series, const char *fmt, ...)
{
	char key[160], words[512], *save = NULL;
	const char *argv[32] = {"FCALL_RO", function, "1", key};
	int argc = 4;
	va_list args;

	snprintf(key, sizeof(key), "gil:{%s}:%s", truth->id, series);
	va_start(args, fmt);
	vsnprintf(words, sizeof(words), fmt, args);
	va_end(args);
	for (char *w = strtok_r(words, " ", &save); w; w = strtok_r(NULL, " ", &save))
		argv[argc++] = w;
	freeReplyObject(reply);
	reply = redisCommandArgv(conn, argc, argv, NULL);
	cr_assert_not_null(reply);
}

static size_t rows_n(void)
{
	cr_assert_eq(reply->type, REDIS_REPLY_ARRAY, "%s", reply->str);
	return reply->elements;
}

/* Row i of the answer; json_decref() it. */
static json_t *row_at(size_t i)
{
	json_error_t error;
	json_t *row;

	cr_assert_lt(i, rows_n());
	row = json_loads(reply->element[i]->str, JSON_REJECT_DUPLICATES, &error);
	cr_assert_not_null(row, "%s: %s", error.text, reply->element[i]->str);
	return row;
}

static double number(const json_t *row, const char *field)
{
	const json_t *v = json_object_get(row, field);

	cr_assert(json_is_number(v), "no number %s", field);
	return json_number_value(v);
}

static void expect_error(const char *words)
{
	cr_assert_eq(reply->type, REDIS_REPLY_ERROR, "type %d", reply->type);
	cr_expect(strncmp(reply->str, "ERR gilscope: ", 14) == 0 && strstr(reply->str, words), "%s", reply->str);
}

/* ---- the truth ---- */

/* Of one thread, or of all (-1), over (from, to]. Microseconds of the parts are rounded down where they are stored. */
struct sums {
	double hold_us, wait_us, handover_us, hold_max_us, wait_max_us, observed_us;
	double hold_off_us[GIL_OFF_KINDS];
	double n, c, forced;
	unsigned int rows; /* of the finest tier that may have been summed: each rounds by less than 1 us */
};

static struct sums sum_up(int thread, int64_t from, int64_t to)
{
	struct sums sum = {0};

	for (uint32_t i = 0; i < SEEDED_SECONDS; i++) {
		if (!seeded__in(truth, i, from, to))
			continue;
		sum.observed_us += 1e6;
		for (int k = 0; k < SEEDED_THREADS; k++) {
			const struct seeded_cell *cell = &truth->cells[i][k];

			if (thread >= 0 && k != thread)
				continue;
			sum.hold_us += cell->hold_ns / 1e3;
			sum.wait_us += cell->wait_ns / 1e3;
			sum.handover_us += cell->handover_ns / 1e3;
			for (int part = 0; part < GIL_OFF_KINDS; part++)
				sum.hold_off_us[part] += cell->hold_off_ns[part] / 1e3;
			sum.hold_max_us = fmax(sum.hold_max_us, floor(cell->hold_max_ns / 1e3));
			sum.wait_max_us = fmax(sum.wait_max_us, floor(cell->wait_max_ns / 1e3));
			sum.n += cell->n;
			sum.c += cell->c;
			sum.forced += cell->forced;
		}
		sum.rows++;
	}
	return sum;
}

static int up(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* The exact quantile of all holds or waits in (from, to], in us; *ret_n how many there were. */
static double exact_quantile(int thread, bool wait, double q, int64_t from, int64_t to, size_t *ret_n)
{
	double *values = calloc(truth->events_n + 1, sizeof(*values)), value;
	size_t n = 0, rank;

	for (size_t i = 0; i < truth->events_n; i++) {
		const struct seeded_event *e = &truth->events[i];

		if (e->wait == wait && (thread < 0 || e->thread == thread) && seeded__in(truth, e->second, from, to))
			values[n++] = (double)e->ns / 1e3;
	}
	qsort(values, n, sizeof(*values), up);
	rank = (size_t)ceil(q * (double)n);
	value = n ? values[rank > 0 ? rank - 1 : 0] : NAN;
	free(values);
	*ret_n = n;
	return value;
}

static int64_t at(int second)
{
	return truth->start_ms + second * 1000ll;
}

/* Sums are exact but for the microsecond that each stored row rounds down. */
static void expect_sum(const json_t *row, const char *field, double truth_us, unsigned int rows)
{
	double v = number(row, field);

	cr_expect(v <= truth_us + 1e-6 && v >= truth_us - rows - 1, "%s: %.0f instead of %.3f", field, v, truth_us);
}

/* What hardly ever happens is left out where it is zero. */
static void expect_rare(const json_t *row, const char *field, double truth_us, unsigned int rows)
{
	if (json_object_get(row, field))
		expect_sum(row, field, truth_us, rows);
	else
		cr_expect_lt(truth_us, rows + 1.0, "%f us of %s are missing", truth_us, field);
}

/* Known where there was a hold. */
static void expect_parts(const json_t *row, const struct sums *sum)
{
	if (sum->hold_us < 1)
		return;
	expect_sum(row, "hold_blocked", sum->hold_off_us[GIL_OFF_BLOCKED], sum->rows);
	expect_sum(row, "hold_preempted", sum->hold_off_us[GIL_OFF_PREEMPTED], sum->rows);
	expect_rare(row, "hold_unseen", sum->hold_off_us[GIL_OFF_UNSEEN], sum->rows);
	expect_rare(row, "hold_stopped", sum->hold_off_us[GIL_OFF_STOPPED], sum->rows);
}

static void expect_sums(const json_t *row, const struct sums *sum)
{
	expect_sum(row, "hold", sum->hold_us, sum->rows);
	expect_sum(row, "wait", sum->wait_us, sum->rows);
	expect_parts(row, sum);
	cr_expect_eq(number(row, "n"), sum->n);
	cr_expect_eq(number(row, "c"), sum->c);
	cr_expect_eq(number(row, "forced"), sum->forced);
	cr_expect_eq(number(row, "hold_max"), sum->hold_max_us);
	cr_expect_eq(number(row, "wait_max"), sum->wait_max_us);
}

/* ---- ranges as one row ---- */

struct range {
	int from, to; /* seconds since the beginning; beyond its end too */
};

/* Aligned and not, within a tier's step, over the gap, to the last second, and everything. */
static const struct range ranges[] = {
	{0, 1200}, {60, 600}, {3, 1177}, {7, 9}, {61, 119}, {295, 352}, {1139, 1200}, {-500, 5000}, {599, 601}, {1195, 1300},
};

#define RANGES (sizeof(ranges) / sizeof(ranges[0]))

Test(functions, range_is_one_exact_row, .init = setup, .fini = teardown)
{
	for (size_t i = 0; i < RANGES; i++) {
		int64_t from = at(ranges[i].from), to = at(ranges[i].to);
		struct sums sum = sum_up(-1, from, to);
		json_t *row;

		call("gil_rows", "p", "%lld %lld", (long long)from, (long long)to);
		cr_assert_eq(rows_n(), 1);
		row = row_at(0);
		expect_sums(row, &sum);
		expect_sum(row, "handover", sum.handover_us, sum.rows);
		cr_expect_eq(number(row, "d"), sum.observed_us, "%d..%d", ranges[i].from, ranges[i].to);
		cr_expect_float_eq(number(row, "util"), sum.hold_us / sum.observed_us, 1e-5);
		cr_expect_float_eq(number(row, "waiters"), sum.wait_us / sum.observed_us, 1e-4);
		cr_expect_eq(number(row, "cov"), 1);
		cr_expect_eq(number(row, "threads"), SEEDED_THREADS + 1);
		json_decref(row);
	}
}

/* Few members, whatever the length: twenty minutes would be 1155 of the base tier. */
Test(functions, long_range_is_read_from_coarse_tiers, .init = setup, .fini = teardown)
{
	private_redis__ask(&redis, "CONFIG RESETSTAT");
	call("gil_rows", "p", "%lld %lld", (long long)at(0), (long long)at(1200));
	cr_expect_eq(rows_n(), 1);
	private_redis__ask(&redis, "DEL gil:{%s}:p:1s", truth->id);
	call("gil_rows", "p", "%lld %lld", (long long)at(0), (long long)at(1200));
	cr_assert_eq(rows_n(), 1, "the base tier was not needed");
	cr_expect_not_null(strstr(reply->element[0]->str, "\"d\":1155000000,"), "%s", reply->element[0]->str);
}

Test(functions, thread_has_its_own_range, .init = setup, .fini = teardown)
{
	for (int k = 0; k < SEEDED_THREADS; k++) {
		int64_t from = at(33), to = at(1111);
		struct sums sum = sum_up(k, from, to);
		char series[32];
		json_t *row;

		snprintf(series, sizeof(series), "t:%u", seeded__tid(k));
		call("gil_rows", series, "%lld %lld", (long long)from, (long long)to);
		cr_assert_eq(rows_n(), 1);
		row = row_at(0);
		expect_sums(row, &sum);
		cr_expect_null(json_object_get(row, "util"), "a thread has none");
		json_decref(row);
	}
}

/* ---- down-sampling ---- */

Test(functions, steps_are_merged_and_gaps_stay_gaps, .init = setup, .fini = teardown)
{
	static const int steps[] = {1, 2, 7, 30, 60, 300};

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		double n = 0, hold = 0, t_before = 0;

		call("gil_rows", "p", "%lld %lld %d", (long long)at(200), (long long)at(1000), steps[i] * 1000);
		cr_assert_leq(rows_n(), 800u / (unsigned int)steps[i] + 2);
		for (size_t k = 0; k < rows_n(); k++) {
			json_t *row = row_at(k);
			struct sums sum;

			cr_expect_gt(number(row, "t"), t_before, "ascending");
			t_before = number(row, "t");
			cr_expect_not(t_before > (double)at(SEEDED_GAP) && t_before <= (double)at(SEEDED_GAP_END) &&
				      steps[i] <= 30, "a row in the gap, step %d", steps[i]);
			sum = sum_up(-1, (int64_t)(t_before - number(row, "d") / 1e3), (int64_t)t_before);
			if (steps[i] <= 30)
				cr_expect_eq(number(row, "n"), sum.n, "step %d, row %zu", steps[i], k);
			n += number(row, "n");
			hold += number(row, "hold");
			json_decref(row);
		}
		/* Coarse rows begin at their own stamps: the range's ends belong to whole rows. */
		if (steps[i] < 5) {
			struct sums sum = sum_up(-1, at(200), at(1000));

			cr_expect_eq(n, sum.n, "step %d", steps[i]);
			cr_expect(hold <= sum.hold_us && hold > sum.hold_us - 800);
		}
	}
}

Test(functions, merged_percentiles_keep_their_promise, .init = setup, .fini = teardown)
{
	call("gil_rows", "p", "%lld %lld 2000", (long long)at(0), (long long)at(250));
	for (size_t i = 0; i < rows_n(); i++) {
		json_t *row = row_at(i);
		int64_t to = (int64_t)number(row, "t"), from = to - (int64_t)(number(row, "d") / 1e3);
		size_t n;
		double exact = exact_quantile(-1, false, 0.5, from, to, &n), v = number(row, "hold_p50");

		cr_expect(fabs(v - exact) <= OFF_BY * exact + 1, "%zu: %.0f instead of %.1f", i, v, exact);
		json_decref(row);
	}
}

/* ---- distributions ---- */

struct asked {
	char series[12];
	int thread;
	bool wait;
	struct range range;
};

static const struct asked distributions[] = {
	{"p", -1, false, {0, 1200}}, {"p", -1, true, {0, 1200}}, {"p", -1, true, {13, 777}}, {"p", -1, false, {290, 350}},
	{"t:4250", 1, true, {0, 1200}}, {"t:4253", 4, false, {60, 660}}, {"t:4254", 5, true, {480, 720}},
	{"t:4253", 4, false, {60, 80}}, {"t:4253", 4, true, {80, 90}}, {"p", -1, true, {7, 9}},
};

Test(functions, percentiles_of_a_range_keep_their_promise, .init = setup, .fini = teardown)
{
	static const struct {
		const char *name;
		double q;
	} quantiles[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}, {"max", 1}};

	for (size_t i = 0; i < sizeof(distributions) / sizeof(distributions[0]); i++) {
		const struct asked *a = &distributions[i];
		int64_t from = at(a->range.from), to = at(a->range.to);
		json_t *row;
		size_t n;

		call("gil_percentiles", a->series, "%lld %lld %s", (long long)from, (long long)to, a->wait ? "wait" : "hold");
		row = row_at(0);
		for (size_t k = 0; k < 5; k++) {
			double exact = exact_quantile(a->thread, a->wait, quantiles[k].q, from, to, &n);
			double v = number(row, quantiles[k].name), off = quantiles[k].q == 1 ? 0 : OFF_BY * exact;

			cr_expect(fabs(v - exact) <= off + 1, "%zu %s: %.0f instead of %.1f", i, quantiles[k].name, v, exact);
		}
		cr_expect_eq(number(row, "n"), (double)n, "case %zu", i);
		call("gil_quantile", a->series, "%lld %lld %s 0.99", (long long)from, (long long)to, a->wait ? "wait" : "hold");
		cr_expect_eq(reply->type, REDIS_REPLY_STRING);
		cr_expect_eq(strtod(reply->str, NULL), number(row, "p99"));
		call("gil_quantile", a->series, "%lld %lld %s 1", (long long)from, (long long)to, a->wait ? "wait" : "hold");
		cr_expect_eq(strtod(reply->str, NULL), number(row, "max"), "the largest is known exactly");
		json_decref(row);
	}
}

Test(functions, heat_map_counts_every_event_once, .init = setup, .fini = teardown)
{
	for (int wait = 0; wait < 2; wait++) {
		int64_t from = at(0), to = at(300); /* before the gap, on the grid of ten seconds */

		call("gil_heatmap", "t:4250", "%lld %lld 20000 %s", (long long)from, (long long)to, wait ? "wait" : "hold");
		cr_assert_eq(rows_n(), 15);
		for (size_t i = 0; i < rows_n(); i++) {
			json_t *row = row_at(i), *v;
			int64_t t = (int64_t)number(row, "t");
			double before = 0, upper, expected;
			const char *name;

			cr_assert_eq(t, from + (int64_t)(i + 1) * 20000);
			json_object_foreach(row, name, v) {
				if (strcmp(name, "t") == 0)
					continue;
				upper = strtod(name, NULL) * 1e9;
				cr_expect_gt(upper, before, "bounds ascend");
				expected = 0;
				for (size_t k = 0; k < truth->events_n; k++) {
					const struct seeded_event *e = &truth->events[k];
					double ns = (double)e->ns, slack = upper * 1e-5;

					/* Names have six digits; no made-up event lies that close to a bound. */
					expected += e->wait == (wait == 1) && e->thread == 1 && ns < upper + slack &&
						    ns >= upper / 2 + slack / 2 && seeded__in(truth, e->second, t - 20000, t);
				}
				cr_expect_eq(json_number_value(v), expected, "%zu %s", i, name);
				before = upper;
			}
			json_decref(row);
		}
	}
}

/* 7.5 s are no multiple of the ten seconds that a thread's histograms stand for. */
Test(functions, heat_map_has_cells_of_one_width, .init = setup, .fini = teardown)
{
	call("gil_heatmap", "t:4250", "%lld %lld 7500 wait", (long long)at(3), (long long)at(298));
	cr_assert_eq(rows_n(), 29);
	for (size_t i = 0; i < rows_n(); i++) {
		json_t *row = row_at(i);

		cr_expect_eq(number(row, "t"), (double)at(10 * ((int)i + 1)));
		json_decref(row);
	}
}

/* ---- threads ---- */

Test(functions, top_threads_have_exact_totals_in_order, .init = setup, .fini = teardown)
{
	for (size_t i = 0; i < RANGES; i++) {
		int64_t from = at(ranges[i].from), to = at(ranges[i].to);
		struct sums all = sum_up(-1, from, to);
		double before = INFINITY;
		size_t active = 0;

		call("gil_top", "t", "%lld %lld 50", (long long)from, (long long)to);
		for (size_t k = 0; k < rows_n(); k++) {
			json_t *row = row_at(k);
			int thread = 0;
			struct sums sum;

			while (thread < SEEDED_THREADS &&
			       seeded__tid(thread) != (uint32_t)atoi(json_string_value(json_object_get(row, "thread"))))
				thread++;
			cr_assert_lt(thread, SEEDED_THREADS);
			cr_expect_str_eq(json_string_value(json_object_get(row, "name")), seeded__name(thread));
			sum = sum_up(thread, from, to);
			expect_sum(row, "hold", sum.hold_us, sum.rows);
			expect_sum(row, "wait", sum.wait_us, sum.rows);
			expect_parts(row, &sum);
			cr_expect_eq(number(row, "n"), sum.n, "%d..%d thread %d", ranges[i].from, ranges[i].to, thread);
			cr_expect_eq(number(row, "c"), sum.c);
			cr_expect_eq(number(row, "forced"), sum.forced);
			cr_expect_float_eq(number(row, "hold_share"), sum.hold_us / all.observed_us, 1e-5);
			cr_expect_leq(number(row, "hold"), before, "largest first");
			before = number(row, "hold");
			json_decref(row);
		}
		for (int k = 0; k < SEEDED_THREADS; k++)
			active += sum_up(k, from, to).n > 0;
		cr_expect(rows_n() >= active && rows_n() <= SEEDED_THREADS, "range %zu: %zu rows", i, rows_n());
	}
}

Test(functions, top_is_as_long_as_asked_and_sorted_by_what_is_asked, .init = setup, .fini = teardown)
{
	double most = 0;
	json_t *row;

	for (int k = 0; k < SEEDED_THREADS; k++)
		most = fmax(most, sum_up(k, at(0), at(1200)).wait_max_us);
	call("gil_top", "t", "%lld %lld 2 wait_max", (long long)at(0), (long long)at(1200));
	cr_assert_eq(rows_n(), 2);
	row = row_at(0);
	cr_expect_eq(number(row, "wait_max"), most);
	json_decref(row);
}

static const char *label_of(int thread)
{
	static char label[96];

	snprintf(label, sizeof(label), "%s (%u)", seeded__name(thread), seeded__tid(thread));
	return label;
}

Test(functions, wide_rows_are_shares_of_the_observed_time, .init = setup, .fini = teardown)
{
	int64_t from = at(240), to = at(780);

	call("gil_wide", "wait", "%lld %lld 20000 %d", (long long)from, (long long)to, SEEDED_THREADS);
	cr_expect_eq(rows_n(), 25, "27 stretches of 20 s less two in the gap");
	for (size_t i = 0; i < rows_n(); i++) {
		json_t *row = row_at(i);
		int64_t end = (int64_t)ceil(number(row, "t") / 20000) * 20000;
		int64_t begin = end - 20000 > from ? end - 20000 : from;

		for (int k = 0; k < SEEDED_THREADS; k++) {
			struct sums sum = sum_up(k, begin, end);
			double v = number(row, label_of(k));

			cr_expect_float_eq(v, sum.wait_us / sum.observed_us, 0.006 * v + 1e-5, "row %zu: %s: %g instead of %g", i,
					   label_of(k), v, sum.wait_us / sum.observed_us);
		}
		cr_expect_lt(number(row, "other"), 1e-3);
		json_decref(row);
	}
}

Test(functions, wide_rows_put_the_rest_into_other, .init = setup, .fini = teardown)
{
	double shown = 0, all = 0;

	call("gil_wide", "hold", "%lld %lld 60000 2", (long long)at(0), (long long)at(300));
	cr_assert_eq(rows_n(), 5);
	for (size_t i = 0; i < rows_n(); i++) {
		json_t *row = row_at(i), *v;
		const char *name;

		cr_expect_eq(json_object_size(row), 4, "t, two threads, other");
		json_object_foreach(row, name, v)
			shown += strcmp(name, "t") ? json_number_value(v) / 5 : 0;
		json_decref(row);
	}
	for (int k = 0; k < SEEDED_THREADS; k++)
		all += sum_up(k, at(0), at(300)).hold_us / 300e6;
	cr_expect_float_eq(shown, all, 0.01 * all);
}

/* ---- blame ---- */

static double blamed_us(int victim, int holder, int64_t from, int64_t to)
{
	double us = 0;

	for (uint32_t i = 0; i < SEEDED_SECONDS; i++)
		if (seeded__in(truth, i, from, to))
			us += (double)truth->cells[i][victim].blamed_ns[holder] / 1e3;
	return us;
}

Test(functions, matrix_charges_holders_and_adds_up, .init = setup, .fini = teardown)
{
	int64_t from = at(17), to = at(1003);
	unsigned int rows = sum_up(-1, from, to).rows;

	call("gil_matrix", "blame", "%lld %lld %d", (long long)from, (long long)to, SEEDED_THREADS);
	cr_assert_eq(rows_n(), SEEDED_THREADS);
	for (size_t i = 0; i < rows_n(); i++) {
		json_t *row = row_at(i), *v;
		int victim = 0;
		double parts = 0;
		const char *name;

		while (strcmp(label_of(victim), json_string_value(json_object_get(row, "victim"))) != 0)
			cr_assert_lt(++victim, SEEDED_THREADS);
		for (int k = 0; k < SEEDED_THREADS; k++)
			expect_sum(row, label_of(k), blamed_us(victim, k, from, to), rows);
		expect_sum(row, "(nobody: handover)", sum_up(victim, from, to).handover_us, rows);
		json_object_foreach(row, name, v)
			parts += strcmp(name, "wait") && json_is_number(v) ? json_number_value(v) : 0;
		cr_expect_eq(parts, number(row, "wait"), "row %zu", i);
		expect_sum(row, "wait", sum_up(victim, from, to).wait_us, rows);
		json_decref(row);
	}
}

Test(functions, small_matrix_still_adds_up, .init = setup, .fini = teardown)
{
	call("gil_matrix", "blame", "%lld %lld 2", (long long)at(0), (long long)at(120));
	cr_assert_eq(rows_n(), 2);
	for (size_t i = 0; i < 2; i++) {
		json_t *row = row_at(i), *v;
		double parts = 0;
		const char *name;

		cr_expect_eq(json_object_size(row), 7, "victim, wait, two holders, nobody, unknown, others");
		json_object_foreach(row, name, v)
			parts += strcmp(name, "wait") && json_is_number(v) ? json_number_value(v) : 0;
		cr_expect_eq(parts, number(row, "wait"));
		json_decref(row);
	}
}

Test(functions, blame_names_pairs_largest_first, .init = setup, .fini = teardown)
{
	int64_t from = at(0), to = at(1200);
	unsigned int rows = sum_up(-1, from, to).rows;
	double before = INFINITY, shares = 0;

	call("gil_blame", "blame", "%lld %lld 100", (long long)from, (long long)to);
	cr_assert_geq(rows_n(), 3 * SEEDED_THREADS);
	for (size_t i = 0; i < rows_n(); i++) {
		json_t *row = row_at(i);

		cr_expect_leq(number(row, "wait"), before);
		before = number(row, "wait");
		shares += number(row, "share");
		json_decref(row);
	}
	cr_expect_float_eq(shares, 1, 1e-4);
	call("gil_blame", "blame", "%lld %lld 10 victim 4250", (long long)from, (long long)to);
	cr_assert_geq(rows_n(), 3);
	for (size_t i = 0; i < 2; i++) {
		json_t *row = row_at(i);

		cr_expect_str_eq(json_string_value(json_object_get(row, "victim")), "intake (4250)");
		expect_sum(row, "wait", blamed_us(1, i == 0 ? 3 : 2, from, to), rows);
		cr_expect_eq(atoi(json_string_value(json_object_get(row, "holder_thread"))), (int)seeded__tid(i == 0 ? 3 : 2));
		json_decref(row);
	}
	call("gil_blame", "blame", "%lld %lld 10 holder 4250", (long long)from, (long long)to);
	cr_assert_eq(rows_n(), 2, "it makes two wait");
}

/* ---- in pieces ---- */

/* Sum of `field` in all rows of the answer; with `name`, of those that have `value` there. */
static double sum_of(const char *field, const char *name, const char *value)
{
	double sum = 0;

	for (size_t i = 0; i < rows_n(); i++) {
		json_t *row = row_at(i);

		if (!name || strcmp(json_string_value(json_object_get(row, name)), value) == 0)
			sum += number(row, field);
		json_decref(row);
	}
	return sum;
}

static const struct {
	const char *function, *series, *by, *name, *value; /* name NULL: of all */
} asked_in_pieces[] = {
	{"gil_blame", "blame", "wait", "victim", "worker \"1\" (4251)"}, {"gil_blame", "blame", "wait", NULL, NULL},
	{"gil_code", "code", "blame", "function", SEEDED_FUNCTION}, {"gil_code", "code", "hold", "thread", "4250"},
};

/* Asks for (from, to] whole and in three pieces; *ret_answering: so many of them had rows. */
static void expect_pieces_add_up(long long from, long long to, int *ret_answering)
{
	*ret_answering = 0;
	for (size_t k = 0; k < sizeof(asked_in_pieces) / sizeof(asked_in_pieces[0]); k++) {
		const char *function = asked_in_pieces[k].function, *series = asked_in_pieces[k].series;
		const char *field = asked_in_pieces[k].by, *name = asked_in_pieces[k].name, *value = asked_in_pieces[k].value;
		const char *by = strcmp(function, "gil_code") ? "" : field;
		double whole, pieces = 0;

		call(function, series, "%lld %lld 9999 %s", from, to, by);
		whole = sum_of(field, name, value);
		for (int piece = 1; piece <= 3; piece++) {
			call(function, series, "%lld %lld 9999 %s %d/3", from, to, by, piece);
			pieces += sum_of(field, name, value);
			*ret_answering += rows_n() > 0 && k == 0;
			if (rows_n() > 0)
				cr_expect_eq(sum_of("piece", NULL, NULL), piece * (double)rows_n());
		}
		cr_expect_gt(whole, 0);
		cr_expect_eq(pieces, whole, "%lld..%lld %s %s", from, to, function, field);
	}
}

#define HOURS 3600000ll

/* However the range lies: nothing twice, nothing left out. What one call can read is in the first piece. */
Test(functions, pieces_of_a_range_add_up_to_it, .init = setup, .fini = teardown)
{
	for (size_t i = 0; i < RANGES; i++) {
		long long from = at(ranges[i].from), to = at(ranges[i].to), middle = (from + to) / 2;
		int answering;

		expect_pieces_add_up(from, to, &answering);
		cr_expect_eq(answering, 1);
		expect_pieces_add_up(to - 9 * HOURS, to, &answering);
		expect_pieces_add_up(from, from + 9 * HOURS, &answering);
		expect_pieces_add_up(middle - 6 * HOURS, middle + 3 * HOURS, &answering);
		if (ranges[i].to <= SEEDED_SECONDS && ranges[i].to - ranges[i].from > 500)
			cr_expect_eq(answering, 2, "cut in its middle");
	}
}

/* ---- code ---- */

Test(functions, code_is_summed_by_thread_and_line, .init = setup, .fini = teardown)
{
	for (size_t i = 0; i < RANGES; i++) {
		int64_t from = at(ranges[i].from), to = at(ranges[i].to);
		unsigned int rows = sum_up(-1, from, to).rows;
		double before = INFINITY, shares = 0;

		call("gil_code", "code", "%lld %lld 50", (long long)from, (long long)to);
		cr_assert_leq(rows_n(), SEEDED_THREADS, "nobody waited for the other lines");
		for (size_t k = 0; k < rows_n(); k++) {
			json_t *row = row_at(k);
			int thread = (int)number(row, "line") - SEEDED_LINE;
			double blame = 0, hold = 0;

			cr_assert(thread >= 0 && thread < SEEDED_THREADS);
			cr_expect_eq(atoi(json_string_value(json_object_get(row, "thread"))), (int)seeded__tid(thread));
			cr_expect_str_eq(json_string_value(json_object_get(row, "name")), seeded__name(thread));
			cr_expect_str_eq(json_string_value(json_object_get(row, "function")), SEEDED_FUNCTION);
			cr_expect_str_eq(json_string_value(json_object_get(row, "file")), SEEDED_FILE);
			for (uint32_t n = 0; n < SEEDED_SECONDS; n++) {
				if (!seeded__in(truth, n, from, to))
					continue;
				blame += (double)(seeded__blamed_ns(truth, n, thread) / 3) / 1e3;
				hold += (double)(truth->cells[n][thread].hold_ns / 2) / 1e3;
			}
			expect_sum(row, "blame", blame, rows);
			expect_sum(row, "hold", hold, rows);
			cr_expect_leq(number(row, "blame"), before, "the worst first");
			before = number(row, "blame");
			shares += number(row, "share");
			json_decref(row);
		}
		cr_expect_float_eq(shares, 1, 1e-4);
	}
}

Test(functions, code_of_one_thread_by_what_it_waited, .init = setup, .fini = teardown)
{
	int64_t from = at(0), to = at(1200);
	struct sums sum = sum_up(3, from, to);
	json_t *row;

	call("gil_code", "code", "%lld %lld 9 wait 4252", (long long)from, (long long)to);
	cr_assert_eq(rows_n(), 1, "it waited in one line only");
	row = row_at(0);
	cr_expect_str_eq(json_string_value(json_object_get(row, "function")), SEEDED_ODD_FUNCTION);
	cr_expect_str_eq(json_string_value(json_object_get(row, "file")), SEEDED_ODD_FILE);
	cr_expect_eq(number(row, "line"), SEEDED_ODD_LINE);
	expect_sum(row, "wait", sum.wait_us, sum.rows);
	cr_expect_lt(number(row, "share"), 0.5, "of all threads' waiting");
	json_decref(row);
	call("gil_code", "code", "%lld %lld 9 hold 4252", (long long)from, (long long)to);
	cr_assert_eq(rows_n(), 2);
	cr_expect_float_eq(sum_of("hold", NULL, NULL), sum.hold_us, 2 * sum.rows);
	call("gil_code", "code", "%lld %lld 1 hold", (long long)from, (long long)to);
	cr_expect_eq(rows_n(), 1, "as many as asked");
}

/* ---- long holds ---- */

Test(functions, long_holds_come_newest_first_of_one_thread_if_asked, .init = setup, .fini = teardown)
{
	double before = INFINITY;
	size_t expected = 0;

	call("gil_long", "long", "%lld %lld", (long long)at(400), (long long)at(900));
	for (uint32_t i = 400; i < 900; i++)
		expected += seeded__long_us(i) ? 2 : 0;
	cr_assert_eq(rows_n(), expected);
	for (size_t i = 0; i < rows_n(); i++) {
		json_t *row = row_at(i);
		uint32_t second = (uint32_t)((number(row, "t") - (double)at(0)) / 1000);
		double us = (double)seeded__long_us(second) * (i % 2 ? 1 : 2);

		cr_expect_lt(number(row, "t"), before);
		before = number(row, "t");
		cr_expect_eq(number(row, "us"), us);
		cr_expect_eq(number(row, "others"), 3 * us);
		cr_expect_eq(json_is_true(json_object_get(row, "open")), i % 2 == 1);
		cr_expect_str_eq(json_string_value(json_object_get(row, "function")), SEEDED_ODD_FUNCTION);
		cr_expect_eq(atoi(json_string_value(json_object_get(row, "thr"))),
			     (int)seeded__tid((int)(second / SEEDED_LONG_STEP) % SEEDED_THREADS));
		json_decref(row);
	}
	call("gil_long", "long", "%lld %lld 3", (long long)at(400), (long long)at(900));
	cr_expect_eq(rows_n(), 3);
	call("gil_long", "long", "%lld %lld 99 4250", (long long)at(0), (long long)at(1200));
	expected = 0;
	for (uint32_t i = 0; i < SEEDED_SECONDS; i++)
		expected += seeded__long_us(i) && i / SEEDED_LONG_STEP % SEEDED_THREADS == 1 ? 2 : 0;
	cr_assert_eq(rows_n(), expected);
	call("gil_long", "long", "%lld %lld 99 425", (long long)at(0), (long long)at(1200));
	cr_expect_eq(rows_n(), 0, "no part of an id");
}

/* ---- what the holder did ---- */

Test(functions, parts_of_holds_are_shares_of_the_observed_time, .init = setup, .fini = teardown)
{
	static const char *const names[] = {"asleep", "no_cpu", "unseen", "stopped"};
	static const int steps[] = {0, 1, 10, 60};

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		int64_t from = at(60), to = at(240);

		call("gil_holder", "p", "%lld %lld %d", (long long)from, (long long)to, 1000 * steps[i]);
		cr_assert_eq(rows_n(), steps[i] ? 180u / (unsigned int)steps[i] : 1);
		for (size_t k = 0; k < rows_n(); k++) {
			json_t *row = row_at(k);
			int64_t end = (int64_t)number(row, "t");
			struct sums sum = sum_up(-1, steps[i] ? end - 1000 * steps[i] : from, end);
			double all = number(row, "on_cpu");

			for (int part = 0; part < GIL_OFF_KINDS; part++) {
				double v = number(row, names[part]);

				cr_expect_float_eq(v, sum.hold_off_us[part] / sum.observed_us, 3e-6 * (1 + v), "step %d %s: %g",
						   steps[i], names[part], v);
				all += v;
			}
			cr_expect_float_eq(all, sum.hold_us / sum.observed_us, 1e-5 * (1 + all));
			json_decref(row);
		}
	}
}

/* ---- what is asked wrongly, and bounds ---- */

Test(functions, empty_ranges_are_empty, .init = setup, .fini = teardown)
{
	static const char *const asked[][2] = {{"gil_rows", "p"}, {"gil_rows", "t:99999"}, {"gil_top", "t"},
					       {"gil_blame", "blame"}, {"gil_matrix", "blame"}, {"gil_code", "code"},
					       {"gil_long", "long"}, {"gil_holder", "p"}};

	for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
		call(asked[i][0], asked[i][1], "1000 2000");
		cr_expect_eq(rows_n(), 0, "%s", asked[i][0]);
	}
	call("gil_wide", "hold", "1000 2000 10");
	cr_expect_eq(rows_n(), 0);
	call("gil_percentiles", "p", "1000 2000 wait");
	cr_expect_eq(rows_n(), 0);
	call("gil_heatmap", "p", "1000 2000 10 wait");
	cr_expect_eq(rows_n(), 0);
	call("gil_quantile", "p", "1000 2000 wait 0.5");
	cr_expect_str_eq(reply->str, "nan");
}

Test(functions, nonsense_is_one_clear_error, .init = setup, .fini = teardown)
{
	call("gil_rows", "p", "x 2000");
	expect_error("FROM (ms) is missing or no number");
	call("gil_rows", "p", "2000 1000");
	expect_error("FROM is not before TO");
	call("gil_heatmap", "p", "1000 2000 10 both");
	expect_error("\"hold\" or \"wait\"");
	call("gil_blame", "blame", "1000 2000 10 nobody 1");
	expect_error("\"victim\" or \"holder\"");
	call("gil_blame", "blame", "1000 2000 10 3/2");
	expect_error("piece 3 of 2");
	call("gil_blame", "blame", "1000 2000 10 0/2");
	expect_error("piece 0 of 2");
	call("gil_blame", "blame", "2000 1000 10 1/2");
	expect_error("FROM is not before TO");
	call("gil_code", "code", "1000 2000 10 nothing");
	expect_error("\"blame\", \"hold\" or \"wait\"");
	freeReplyObject(reply);
	reply = redisCommand(conn, "FCALL_RO gil_rows 1 gil:all:10s 1 2");
	expect_error("not of one process");
	freeReplyObject(reply);
	reply = redisCommand(conn, "FCALL_RO gil_rows 0 1 2");
	expect_error("one key");
	freeReplyObject(reply);
	reply = redisCommand(conn, "SET gil:{%s}:p:60s x", truth->id);
	call("gil_rows", "p:60s", "1 2000");
	cr_expect(reply->type == REDIS_REPLY_ERROR && strstr(reply->str, "WRONGTYPE"), "%s", reply->str);
}

static void add_to(const char *series, const char *member)
{
	freeReplyObject(reply);
	reply = redisCommand(conn, "ZADD gil:{x}:%s 5000 %s", series, member);
	cr_assert(reply && reply->type == REDIS_REPLY_INTEGER);
}

static void add_member(const char *member)
{
	add_to("p:1s", member);
}

/* The only row that a function answers of a series of theirs. */
static const char *one_row_of(const char *function, const char *series)
{
	freeReplyObject(reply);
	reply = redisCommand(conn, "FCALL_RO %s 1 gil:{x}:%s 1 9000", function, series);
	cr_assert_eq(rows_n(), 1, "%s", function);
	return reply->element[0]->str;
}

static const char *one_row_of_step(const char *function, const char *series)
{
	freeReplyObject(reply);
	reply = redisCommand(conn, "FCALL_RO %s 1 gil:{x}:%s 1 9000 1000", function, series);
	cr_assert_eq(rows_n(), 1, "%s", function);
	return reply->element[0]->str;
}

static const char *one_row(void)
{
	return one_row_of("gil_rows", "p:1s");
}

/* A writer leaves out parts that are zero, and all of them where there is nothing to part; else they are not known. */
Test(functions, parts_off_the_cpu_are_known_by_the_first_of_them, .init = setup, .fini = teardown)
{
	add_member("{\"t\":5000,\"d\":1000,\"hold\":700,\"hold_blocked\":200,\"n\":1}");
	cr_expect_str_eq(one_row(), "{\"t\":5000,\"d\":1000,\"hold\":700,\"n\":1,\"hold_blocked\":200,\"hold_preempted\":0}");
	add_member("{\"t\":5000,\"d\":1000,\"hold\":0,\"n\":0}");
	add_member("{\"t\":5000,\"d\":1000,\"hold\":100,\"hold_blocked\":0,\"hold_preempted\":30,\"hold_unseen\":20,\"n\":1}");
	cr_expect_str_eq(one_row(), "{\"t\":5000,\"d\":3000,\"hold\":800,\"n\":2,\"hold_blocked\":200,\"hold_preempted\":30,"
				    "\"hold_unseen\":20}");
	cr_expect_str_eq(one_row_of("gil_holder", "p:1s"),
			 "{\"t\":5000,\"on_cpu\":0.183333,\"asleep\":0.0666667,\"no_cpu\":0.01,\"unseen\":0.00666667,"
			 "\"stopped\":0}");
	add_member("{\"t\":5000,\"d\":1000,\"hold\":400,\"n\":1}");
	cr_expect_str_eq(one_row(), "{\"t\":5000,\"d\":4000,\"hold\":1200,\"n\":3}");
	cr_expect_str_eq(one_row_of("gil_holder", "p:1s"),
			 "{\"t\":5000,\"on_cpu\":0.1375,\"asleep\":0.05,\"no_cpu\":0.0075,\"unseen\":0.105,\"stopped\":0}");
	add_member("{\"t\":5000,\"d\":1000,\"wait\":1,\"n\":1}");
	cr_expect_str_eq(one_row_of("gil_holder", "p:1s"), "{\"t\":5000}", "holds are not known");
}

Test(functions, table_of_threads_knows_parts_as_rows_do, .init = setup, .fini = teardown)
{
	add_member("{\"t\":5000,\"d\":1000000}");
	add_to("threads", "7|worker");
	add_to("t:7:1s", "{\"t\":5000,\"d\":1000000,\"hold\":500000,\"wait\":0,\"n\":2,\"c\":0,\"ho\":[1000,0]}");
	cr_expect_str_eq(one_row_of("gil_top", "t:1s"),
			 "{\"name\":\"worker\",\"thread\":\"7\",\"hold_share\":0.5,\"wait_share\":0,"
			 "\"hold\":500000,\"wait\":0,\"n\":2,\"c\":0,\"hold_blocked\":1000,\"hold_preempted\":0}");
	cr_expect_str_eq(one_row_of("gil_rows", "t:7:1s"), "{\"t\":5000,\"d\":1000000,\"hold\":500000,\"wait\":0,\"n\":2,\"c\":0,"
			 "\"hold_blocked\":1000,\"hold_preempted\":0}");
	add_to("t:7:1s", "{\"t\":5000,\"d\":1000000,\"hold\":300,\"wait\":0,\"n\":1,\"c\":0,\"ho\":[0,0,0,200]}");
	cr_expect_str_eq(one_row_of("gil_rows", "t:7:1s"), "{\"t\":5000,\"d\":2000000,\"hold\":500300,\"wait\":0,\"n\":3,\"c\":0,"
			 "\"hold_blocked\":1000,\"hold_preempted\":0,\"hold_stopped\":200}");
	add_to("t:7:1s", "{\"t\":5000,\"d\":1000000,\"wait\":10,\"n\":1,\"c\":1,\"hold\":5}");
	cr_expect_str_eq(one_row_of("gil_top", "t:1s"), "{\"name\":\"worker\",\"thread\":\"7\",\"hold_share\":0.500305,"
			 "\"wait_share\":1e-05,\"hold\":500305,\"wait\":10,\"n\":4,\"c\":1}");
}

/* As the writer's table says: sums of estimates, errors by their squares, waits of the time in which looks told of them. */
Test(functions, rows_that_rest_on_looks_add_up_with_their_errors, .init = setup, .fini = teardown)
{
	add_member("{\"t\":5000,\"d\":100,\"cov\":1,\"hold_est\":50,\"hold_err\":3,\"util_est\":0.5,\"looks\":10,"
		   "\"switches\":7}");
	cr_expect_str_eq(one_row(), "{\"t\":5000,\"d\":100,\"cov\":1,\"hold_est\":50,\"hold_err\":3,\"util_est\":0.5,"
				    "\"looks\":10,\"switches\":7}");
	add_member("{\"t\":5000,\"d\":400,\"cov\":1,\"wait\":200,\"handover\":20,\"waiters\":0.5,\"hold_est\":200,"
		   "\"hold_err\":4,\"util_est\":0.5,\"looks\":40,\"wait_err\":6,\"wait_max\":44}");
	cr_expect_str_eq(one_row(), "{\"t\":5000,\"d\":500,\"wait\":200,\"handover\":20,\"waiters\":0.5,\"wait_max\":44,"
				    "\"cov\":1,\"hold_est\":250,\"hold_err\":5,\"util_est\":0.5,\"looks\":50,\"wait_err\":6,"
				    "\"switches\":7,\"wait_cov\":0.8}");
	cr_expect_str_eq(one_row_of("gil_holder", "p:1s"),
			 "{\"t\":5000,\"on_cpu\":0,\"asleep\":0,\"no_cpu\":0,\"unseen\":0.5,\"stopped\":0}");
	add_member("{\"t\":5000,\"d\":500,\"cov\":1,\"hold\":100,\"util\":0.2,\"wait\":100,\"handover\":0,"
		   "\"waiters\":0.2,\"n\":3}");
	cr_expect_str_eq(one_row(), "{\"t\":5000,\"d\":1000,\"cov\":1,\"hold_est\":350,\"hold_err\":5,\"util_est\":0.35,"
				    "\"looks\":50,\"switches\":7}", "what looks did not tell is unknown beside what is exact");
}

Test(functions, table_of_threads_knows_estimates, .init = setup, .fini = teardown)
{
	add_member("{\"t\":5000,\"d\":1000000}");
	add_to("threads", "7|worker");
	add_to("t:7:1s", "{\"t\":5000,\"d\":1000000,\"hold_est\":500000,\"hold_err\":3000,\"wait\":0,"
				"\"looks\":900,\"wait_err\":0}");
	add_to("t:7:1s", "{\"t\":5000,\"d\":1000000,\"hold_est\":100000,\"hold_err\":4000,\"looks\":100}");
	cr_expect_str_eq(one_row_of("gil_top", "t:1s"),
			 "{\"name\":\"worker\",\"thread\":\"7\",\"hold_share\":0.6,\"wait_share\":0,\"wait\":0,"
			 "\"hold_est\":600000,\"hold_err\":5000,\"looks\":1000,\"wait_err\":0}");
}

/* Of a row that is none, nothing of use is lost and nobody else's. */
Test(functions, odd_rows_of_blame_and_code_do_no_harm, .init = setup, .fini = teardown)
{
	static const char *const odd[] = {"not json", "[]", "{}", "{\"t\":5000}", "{\"t\":5000,\"b\":7,\"c\":7}",
					  "{\"t\":5000,\"b\":[7],\"c\":[7]}", "{\"t\":5000,\"b\":[[]],\"c\":[[]]}",
					  "{\"t\":5000,\"b\":[[\"1\",\"2\",\"x\"]],\"c\":[[\"1\",\"f\",\"g\",1,\"x\",2,3]]}",
					  "{\"t\":5000,\"b\":[[{},[],1]],\"c\":[[{},[],1,1,1,1,1]],\"rest\":7}",
					  "{\"t\":5000,\"b\":[[\"3\",\"2\",1e999]],\"c\":[[\"3\",\"f\",\"g\",1e999,2,3,4]]}",
					  "{\"t\":5000,\"b\":null,\"c\":null,\"rest\":{\"3\":-1e999}}"};

	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		add_to("blame:1s", odd[i]);
		add_to("code:1s", odd[i]);
	}
	add_to("blame:1s", "{\"t\":5000,\"b\":[[\"1\",\"2\",40]],\"rest\":{},\"handover\":{},\"unknown\":{}}");
	add_to("code:1s", "{\"t\":5000,\"c\":[[\"1\",\"f\",\"g\",1,2,3,4]],\"rest\":[0,1,0]}");
	cr_expect_str_eq(one_row_of("gil_blame", "blame:1s"), "{\"victim\":\"thread (1)\",\"victim_thread\":\"1\","
			 "\"holder\":\"thread (2)\",\"holder_thread\":\"2\",\"wait\":40,\"share\":1}");
	cr_expect_str_eq(one_row_of("gil_code", "code:1s"), "{\"name\":\"\",\"thread\":\"1\",\"function\":\"f\",\"file\":\"g\","
			 "\"line\":1,\"blame\":3,\"hold\":2,\"wait\":4,\"share\":0.75}");
}

Test(functions, what_is_no_sample_is_left_out, .init = setup, .fini = teardown)
{
	static const char *const odd[] = {"not json", "[]", "{}", "{\"t\":\"x\"}", "{\"t\":1}" /* not its score */,
					  "\xff\"t\":5000"};

	add_member("{\"t\":5000,\"d\":1000000,\"hold\":7,\"n\":1}");
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
		add_member(odd[i]);
	cr_expect_str_eq(one_row(), "{\"t\":5000,\"d\":1000000,\"hold\":7,\"n\":1}");
	add_member("{\"t\":5000,\"d\":null,\"hold\":-3,\"n\":2}");
	add_member("{\"t\":5000,\"hh\":[1,2,3,99999999999],\"n\":3,\"hold\":{\"x\":[]}}");
	cr_expect_str_eq(one_row(), "{\"t\":5000,\"n\":6}", "known in part is unknown");
}

Test(functions, too_many_members_are_refused, .init = setup, .fini = teardown)
{
	call("gil_rows", "p:1s", "1 99999999999999 60000");
	cr_assert_eq(rows_n(), 20, "1155 members are allowed");
	freeReplyObject(reply);
	reply = redisCommand(conn, "EVAL %s 1 gil:{x}:p:1s",
			     "for i = 1, 1700 do redis.call('ZADD', KEYS[1], i, '{\"t\":' .. i .. '}') end");
	freeReplyObject(reply);
	reply = redisCommand(conn, "FCALL_RO gil_rows 1 gil:{x}:p:1s 0 5000 1000");
	expect_error("1700 members would have to be read, 1600 at most: ask for a shorter range");
}

/* A fine step over a long range takes the tier that can be read, not an error. */
Test(functions, step_that_is_too_fine_is_widened, .init = setup, .fini = teardown)
{
	call("gil_rows", "p", "%lld %lld 1000", (long long)at(-1000), (long long)at(1200));
	cr_expect_eq(rows_n(), 116, "2200 s would be more than 1600 members; these are of 10 s each, gap left out");
}

/* Over many threads and a long range the wide rows have to do; the counts are then unknown. */
Test(functions, top_of_too_many_members_comes_from_wide_rows, .init = setup, .fini = teardown)
{
	int64_t from = at(0), to = at(1200);
	json_t *row;
	struct sums sum;

	/* Five thousand thread members in the sixty second tier, of a thread that has no part in the wide rows. */
	reply = redisCommand(conn, "EVAL %s 1 gil:{%s}:t:77:60s %lld",
			     "for i = 1, 5100 do local t = string.format('%.0f', ARGV[1] + i) "
			     "redis.call('ZADD', KEYS[1], t, '{\"t\":' .. t .. '}') end "
			     "redis.call('ZADD', string.gsub(KEYS[1], 't:77:60s', 'threads'), 1, '77|crowd')",
			     truth->id, (long long)from + 60000);
	cr_assert(reply && reply->type != REDIS_REPLY_ERROR, "%s", reply->str);
	call("gil_top", "t", "%lld %lld 50", (long long)from, (long long)to);
	cr_assert_eq(rows_n(), SEEDED_THREADS);
	row = row_at(0);
	cr_expect_null(json_object_get(row, "n"));
	for (int k = 0; k < SEEDED_THREADS; k++) {
		if (seeded__tid(k) != (uint32_t)atoi(json_string_value(json_object_get(row, "thread"))))
			continue;
		sum = sum_up(k, from, to);
		cr_expect_float_eq(number(row, "hold"), sum.hold_us, 0.005 * sum.hold_us);
		cr_expect_float_eq(number(row, "wait"), sum.wait_us, 0.005 * sum.wait_us);
	}
	json_decref(row);
	/* A minute in which light mode saw nothing of holds: their sum is then not known. */
	freeReplyObject(reply);
	reply = redisCommand(conn, "ZADD gil:{%s}:p:60s %lld {\"t\":%lld,\"d\":60000000,\"wait\":9,\"cov\":1}", truth->id,
			     (long long)from + 30000, (long long)from + 30000);
	cr_assert(reply && reply->type == REDIS_REPLY_INTEGER);
	call("gil_top", "t", "%lld %lld 50", (long long)from, (long long)to);
	for (size_t i = 0; i < rows_n(); i++) {
		row = row_at(i);
		cr_expect_null(json_object_get(row, "hold"));
		cr_expect_gt(number(row, "wait"), 0);
		json_decref(row);
	}
}

Test(functions, wide_rows_tell_nothing_known_from_nothing_done, .init = setup, .fini = teardown)
{
	add_member("{\"t\":5000,\"d\":1000000,\"wait\":0,\"cov\":1}");
	cr_expect_str_eq(one_row_of_step("gil_wide", "wait:1s"), "{\"t\":5000,\"other\":0}");
	freeReplyObject(reply);
	reply = redisCommand(conn, "FCALL_RO gil_wide 1 gil:{x}:hold:1s 1 9000 1000");
	cr_expect_eq(rows_n(), 0, "light mode knows no holds");
}

Test(functions, answers_do_not_change_from_call_to_call, .init = setup, .fini = teardown)
{
	static const char *const asked[][3] = {{"gil_rows", "p", "30000"}, {"gil_wide", "hold", "30000"}, {"gil_top", "t", "9"},
					       {"gil_matrix", "blame", "9"}, {"gil_blame", "blame", "99"}, {"gil_code", "code", "99"},
					       {"gil_long", "long", "99"}};

	for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
		char *first = NULL, *text;
		size_t len;

		for (int k = 0; k < 4; k++) {
			FILE *f = open_memstream(&text, &len);

			call(asked[i][0], asked[i][1], "%lld %lld %s", (long long)at(0), (long long)at(600), asked[i][2]);
			for (size_t n = 0; n < rows_n(); n++)
				fprintf(f, "%s\n", reply->element[n]->str);
			fclose(f);
			if (first)
				cr_expect_str_eq(first, text, "%s", asked[i][0]);
			else
				first = strdup(text);
			free(text);
		}
		free(first);
	}
}

/* A finer tier that is gone is not missed: what reaches back answers. */
Test(functions, tier_that_expired_is_passed_over, .init = setup, .fini = teardown)
{
	struct sums sum = sum_up(-1, at(0), at(1200));
	json_t *row;

	private_redis__ask(&redis, "DEL gil:{%s}:p:1s gil:{%s}:p:10s", truth->id, truth->id);
	call("gil_rows", "p", "%lld %lld", (long long)at(-1), (long long)at(1200));
	cr_assert_eq(rows_n(), 1);
	row = row_at(0);
	cr_expect_eq(number(row, "n"), sum.n);
	json_decref(row);
	call("gil_rows", "p", "%lld %lld 1000", (long long)at(0), (long long)at(1200));
	cr_expect_eq(rows_n(), 20);
}

/* ---- alerts ---- */

static void add_all_row(long long age_ms, const char *id, const char *fields)
{
	freeReplyObject(reply);
	reply = redisCommand(conn, "EVAL %s 1 gil:all:10s %lld %s %s",
			     "local t = redis.call('TIME') t = string.format('%.0f', t[1] * 1000 + t[2] / 1000 - ARGV[1]) "
			     "local row = '{\"t\":' .. t .. ',\"id\":\"' .. ARGV[2] .. '\",' .. ARGV[3] .. '}' "
			     "return redis.call('ZADD', KEYS[1], t, row)",
			     age_ms, id, fields);
	cr_assert(reply && reply->type == REDIS_REPLY_INTEGER, "%s", reply->str);
}

static double worst(const char *words)
{
	char command[128];

	snprintf(command, sizeof(command), "FCALL_RO gil_worst 1 gil:all:10s %s", words);
	freeReplyObject(reply);
	reply = redisCommand(conn, command);
	cr_assert(reply && reply->type == REDIS_REPLY_STRING, "%s", reply->str);
	return strtod(reply->str, NULL);
}

Test(functions, worst_is_the_worst_of_the_last_half_minute, .init = setup, .fini = teardown)
{
	private_redis__ask(&redis, "DEL gil:all:10s");
	cr_expect(isnan(worst("util")), "nothing is known");
	add_all_row(300000, "web1:1:00000001", "\"util\":0.99");
	cr_expect(isnan(worst("util")), "that was long ago");
	add_all_row(15000, "web1:1:00000001", "\"util\":0.25,\"wait_p99\":70000");
	add_all_row(5000, "web1:2:00000002", "\"util\":0.75,\"label\":\"python3 app.py\"");
	cr_expect_eq(worst("util"), 0.75);
	cr_expect_eq(worst("wait_p99"), 70000);
	cr_expect_eq(worst("util 30 web1:1:"), 0.25);
	cr_expect_eq(worst("util 30 app.py"), 0.75);
	cr_expect(isnan(worst("util 30 [x")), "no pattern, plain text");
	cr_expect(isnan(worst("util 10 web1:1:")), "older than 10 s");
	cr_expect_eq(worst("util 600"), 0.99);
}

static void start_server(const char *const *options)
{
	private_redis__init(&redis, false);
	private_redis__start(&redis, true, options);
	conn = redisConnectUnix(redis.socket);
	cr_assert(conn && !conn->err);
}

/* What the number of the alert rule says: `function` of `field`, as rules and one-liners in dashboards/ ask. */
static double alert(const char *function, const char *words)
{
	const char *answer = private_redis__ask(&redis, "FCALL_RO %s 1 gil:all:10s %s", function, words);

	cr_expect(strcmp(answer, "nan") == 0 || answer[0] == '-' || (answer[0] >= '0' && answer[0] <= '9'), "%s", answer);
	return strtod(answer, NULL);
}

/* Rows of all processes are written every ten seconds: the condition follows by as much. */
Test(functions, hold_of_a_minute_raises_the_alert_while_it_lasts, .fini = teardown)
{
	start_server(NULL);
	seeded__write_hold(&redis, 120, 40, 0);
	cr_expect_gt(alert("gil_worst", "util 30"), 0.9, "it lasts");
	cr_expect_gt(alert("gil_worst", "wait_p99 30"), 50000);
	private_redis__ask(&redis, "FLUSHALL");
	seeded__write_hold(&redis, 120, 110, 50);
	cr_expect_lt(alert("gil_worst", "util 30"), 0.9, "it is over");
	cr_expect_lt(alert("gil_worst", "wait_p99 30"), 50000);
	private_redis__ask(&redis, "FLUSHALL");
	seeded__write_hold(&redis, 120, 0, 0);
	cr_expect_lt(alert("gil_worst", "util 30"), 0.9, "there was none");
	cr_expect_lt(alert("gil_worst", "wait_p99 30"), 50000);
}

Test(functions, lasting_is_what_it_never_fell_below, .fini = teardown)
{
	start_server(NULL);
	seeded__write_hold(&redis, 400, 390, 0);
	cr_expect_gt(alert("gil_lasting", "util 300"), 0.9, "for longer than five minutes");
	private_redis__ask(&redis, "FLUSHALL");
	seeded__write_hold(&redis, 400, 200, 0);
	cr_expect_lt(alert("gil_lasting", "util 300"), 0.9, "not for all of them");
	cr_expect_gt(alert("gil_lasting", "util 120"), 0.9);
	private_redis__ask(&redis, "FLUSHALL");
	seeded__write_hold(&redis, 100, 100, 0);
	cr_expect(isnan(alert("gil_lasting", "util 300")), "not observed for that long");
	cr_expect_gt(alert("gil_lasting", "util 60"), 0.9);
}

/* ---- loading ---- */

static char *run_doctor(void)
{
	struct program p;
	char *out;

	program__run(&p, "$GILSCOPE doctor --redis %s", redis.url);
	out = strdup(p.out);
	program__free(&p);
	return out;
}

Test(functions, writer_brings_the_library_and_doctor_sees_it, .fini = teardown)
{
	char *out;

	start_server(NULL);
	out = run_doctor();
	cr_expect_not_null(strstr(out, "note   functions  Redis has no function library for dashboards"), "%s", out);
	cr_expect_not_null(strstr(out, "FUNCTION LOAD"), "%s", out);
	free(out);
	truth = seeded__write(&redis);
	cr_expect_eq(private_redis__int(&redis, "FCALL_RO gil_version 0"), (int)redis_functions__own_version());
	call("gil_rows", "p", "%lld %lld", (long long)at(0), (long long)at(60));
	cr_expect_eq(rows_n(), 1, "it works as loaded from the program");
	seeded__free(truth);
	truth = seeded__write(&redis);
	cr_expect_not_null(strstr(private_redis__ask(&redis, "INFO commandstats"), "cmdstat_function|load:calls=1,"),
			   "who finds it there does not load it again");
	out = run_doctor();
	cr_expect_not_null(strstr(out, "ok     functions  the function library for dashboards is loaded (version"), "%s", out);
	free(out);
}

/* A library of somebody else's: calling it would show. */
static void load_strange(const char *line)
{
	freeReplyObject(reply);
	reply = redisCommand(conn, "FUNCTION LOAD REPLACE %s%s%s", "#!lua name=gilscope\n-- not ours\n", line,
			     "\nredis.register_function{function_name='gil_version', callback=function() "
			     "return redis.error_reply('ERR called') end, flags={'no-writes'}}");
	cr_assert(reply && reply->type != REDIS_REPLY_ERROR, "%s", reply->str);
}

static void expect_not_called(void)
{
	cr_expect_null(strstr(private_redis__ask(&redis, "INFO commandstats"), "cmdstat_fcall"), "somebody called it");
}

static bool has_ours(void)
{
	size_t len;
	const char *text = redis_functions__text(&len), *there;

	there = private_redis__ask(&redis, "FUNCTION LIST LIBRARYNAME gilscope WITHCODE");
	return memmem(there, strlen(there), text, len) != NULL;
}

struct strange {
	char line[32], words[96];
	bool stays;
};

/* Replaced is only what says that it is older; nothing is called, neither by attach's sink nor by doctor. */
Test(functions, library_that_is_not_ours_is_told_and_neither_called_nor_replaced, .fini = teardown)
{
	struct strange cases[] = {
		{"local VERSION = 7777", "\"gilscope\" is version 7777", true},
		{"", "\"gilscope\" says that it is", true},
		{"local x = 1", "\"gilscope\" is somebody", true},
		{"local VERSION = 1", "Redis has an older function library", false},
	};

	snprintf(cases[1].line, sizeof(cases[1].line), "local VERSION = %u", redis_functions__own_version());
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *out;

		start_server(NULL);
		load_strange(cases[i].line);
		out = run_doctor();
		cr_expect_not_null(strstr(out, cases[i].words), "%s: %s", cases[i].line, out);
		cr_expect_not_null(strstr(out, "note   functions"), "%s", out);
		free(out);
		truth = seeded__write(&redis);
		cr_expect_eq(has_ours(), !cases[i].stays, "%s", cases[i].line);
		expect_not_called();
		if (i + 1 == sizeof(cases) / sizeof(cases[0]))
			break;
		teardown();
		reply = NULL;
	}
}

/* seeded__write() checks that everything else arrives and that no command counts as refused. */
Test(functions, server_that_forbids_them_gets_its_samples, .fini = teardown)
{
	static const char *const forbidding[] = {"--user", "default", "on", "nopass", "~*", "&*", "+@all", "-function",
						 "-fcall_ro", NULL};
	static const char *const old[] = {"--rename-command", "FUNCTION", "", "--rename-command", "FCALL_RO", "", NULL};

	start_server(forbidding);
	truth = seeded__write(&redis);
	cr_expect_not_null(strstr(private_redis__ask(&redis, "FCALL_RO gil_version 0"), "NOPERM"));
	cr_expect_gt(private_redis__int(&redis, "ZCARD gil:{%s}:p:1s", truth->id), 1000);
	teardown();
	reply = NULL;
	start_server(old);
	truth = seeded__write(&redis);
	cr_expect_gt(private_redis__int(&redis, "ZCARD gil:{%s}:p:1s", truth->id), 1000);
}
