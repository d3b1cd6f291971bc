/* SPDX-License-Identifier: GPL-2.0-only */
/* The page of a made-up report, read by a strict parser (page.py): what is on it, and what names from outside can't do to it. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "cli/report_html.h"
#include "../support/pythons.h"

#define HOSTILE "</title><script>alert(1)</script>&amp;\"' onload=x"

static struct report report;
static struct verdict_load threads[3];
static char names[3][REPORT_NAME_SIZE], thrs[3][BLAME_THR_SIZE];
static struct verdict_place places[2];
static struct function_time functions[3];
static struct verdict_pair pairs[3];
static struct report_point points[10];
static char dir[64];

static void set_up(void)
{
	static const char *const thread_names[3] = {"report", HOSTILE, "worker-\xc3\xa4"};

	temp_dir__make(dir, sizeof(dir));
	memset(&report, 0, sizeof(report));
	strcpy(report.id, "web1:4242:9f3a01bc");
	strcpy(report.label, "python3 <b>&app.py");
	strcpy(report.python, "3.11.2");
	strcpy(report.when, "10 s just now");
	for (size_t i = 0; i < 3; i++) {
		strcpy(names[i], thread_names[i]);
		threads[i] = (struct verdict_load){
			.name = names[i], .hold_us = 3000000 / (i + 1.0), .wait_us = 1000000 * (double)i, .n = 1000, .c = 100,
			.forced = 3, .hold_p50 = 20, .hold_p99 = 90000, .hold_max = 107000, .wait_p50 = 100, .wait_p99 = 60000,
			.wait_max = 108000,
		};
	}
	threads[2].hold_max = NAN;
	pairs[0] = (struct verdict_pair){1, 0, 900000.5};
	pairs[1] = (struct verdict_pair){2, 0, 700000};
	pairs[2] = (struct verdict_pair){2, 1, 100};
	for (size_t i = 0; i < 10; i++)
		points[i] = (struct report_point){
			.t_ms = 1795339305000 + 1000.0 * (double)i, .d_us = 1000000, .util = i == 4 ? NAN : 0.1 * (double)i,
			.waiters = 0.3 * (double)i,
		};
	report.threads = threads;
	report.names = names;
	report.thrs = thrs;
	places[0] = (struct verdict_place){
		.thread = 0, .code = "<lambda> (a&b.py:3) -> <b>.so", .function = "lambda", .blame_us = {700000},
	};
	places[1] = (struct verdict_place){.thread = 2, .code = "search (app.py:12)", .function = "search", .blame_us = {1000}};
	functions[0] = (struct function_time){.place = "<lambda> (a&b.py:3)", .who = "2 threads", .blame_us = 700000};
	functions[1] = (struct function_time){.place = "search (app.py:12)", .who = HOSTILE, .blame_us = 1000};
	functions[2] = (struct function_time){.place = "idle (app.py:12)"};
	report.functions = functions;
	report.functions_n = 3;
	report.pairs = pairs;
	report.points = points;
	report.points_n = 10;
	report.all.has = 1ull << FIELD_COST | 1ull << FIELD_WAITERS;
	report.all.value[FIELD_WAITERS] = 0.3;
	report.all.value[FIELD_COST] = 3000; /* "<0.1%" */
	report.in = (struct verdict_input){
		.observed_us = 10000000, .cov = 1, .all = {.hold_us = 5500000, .wait_us = 3000000, .n = 3000, .c = 300},
		.util = 0.55, .handover_us = 200000, .unknown_us = 0, .cpu_us = 6000000, .cpus = 2, .gils = 1,
		.threads = threads, .threads_n = 3, .pairs = pairs, .pairs_n = 3,
		.places = places, .places_n = 2,
	};
	verdict__reach(&report.in, &report.verdict);
}

static void tear_down(void)
{
	temp_dir__remove(dir);
}

TestSuite(report_html, .init = set_up, .fini = tear_down);

/* What page.py finds on it. */
static json_t *read_page(void)
{
	char path[96], out[96], *text;
	json_error_t error;
	json_t *page;
	size_t len;
	FILE *to;

	snprintf(path, sizeof(path), "%s/report.html", dir);
	snprintf(out, sizeof(out), "%s/found.json", dir);
	to = fopen(path, "we");
	cr_assert_not_null(to);
	report_html__write(&report, to);
	cr_assert_eq(fclose(to), 0);
	must_run("python3 tests/support/page.py %s > %s", path, out);
	text = must_read(out, &len);
	page = json_loads(text, 0, &error);
	cr_assert_not_null(page, "%s", error.text);
	free(text);
	return page;
}

static double number(const json_t *page, const char *class, size_t i)
{
	const json_t *value = json_array_get(json_object_get(page, class), i);

	cr_assert(json_is_number(value), "there is no %s", class);
	return json_number_value(value);
}

Test(report_html, has_the_numbers_as_they_are)
{
	json_t *page = read_page();

	cr_expect_eq(number(page, "util", 0), 0.55);
	cr_expect_eq(number(page, "waiters", 0), 0.3);
	cr_expect_eq(number(page, "wait", 0), 3000000);
	cr_expect_eq(number(page, "pair", 0), 900000.5, "the victim that waited longest stands first");
	cr_expect_eq(number(page, "pair", 1), 700000);
	cr_expect_eq(json_array_size(json_object_get(page, "pair")), 3);
	cr_expect_eq(number(page, "pairs", 0), 1600100.5);
	cr_expect_eq(number(page, "handover", 0), 200000);
	cr_expect_eq(number(page, "blame-other", 0), 3000000 - 200000 - 1600100.5);
	cr_expect_eq(number(page, "code-blame", 0), 700000, "the guiltiest code stands first");
	cr_expect_eq(json_array_size(json_object_get(page, "code-blame")), 2);
	cr_expect_eq(number(page, "thread-hold", 0), 0.3, "the busiest thread stands first");
	cr_expect_eq(json_array_size(json_object_get(page, "thread-hold-max")), 2, "what is not known has no number");
	json_decref(page);
}

Test(report_html, what_light_mode_cannot_know_is_said_in_words)
{
	json_t *page;

	report.in.handover_us = NAN;
	page = read_page();
	cr_expect_not_null(strstr(json_string_value(json_object_get(page, "text")),
				  "nobody held the GIL is not known in light mode, "));
	cr_expect_null(json_object_get(page, "handover"));
	json_decref(page);
}

Test(report_html, hostile_names_are_text)
{
	json_t *page = read_page();
	const char *text = json_string_value(json_object_get(page, "text"));
	bool titled = false;
	json_t *title;
	size_t i;

	cr_expect_not_null(strstr(text, HOSTILE), "%s", text);
	cr_expect_not_null(strstr(text, "python3 <b>&app.py: GIL report"), "%s", text);
	cr_expect_not_null(strstr(text, "worker-\xc3\xa4"));
	cr_expect_not_null(strstr(text, "<0.1% of a core"));
	cr_expect_not_null(strstr(text, "<lambda> (a&b.py:3)"));
	json_array_foreach (json_object_get(page, "titles"), i, title)
		titled = titled || strcmp(json_string_value(title), HOSTILE) == 0;
	cr_expect(titled);
	json_decref(page);
}

Test(report_html, says_what_the_verdict_says)
{
	json_t *page = read_page();
	const char *text = json_string_value(json_object_get(page, "text"));

	cr_expect_gt(report.verdict.findings_n, 0);
	cr_expect_not_null(strstr(text, report.verdict.headline));
	for (size_t i = 0; i < report.verdict.findings_n; i++)
		cr_expect_not_null(strstr(text, report.verdict.findings[i].evidence));
	json_decref(page);
}

Test(report_html, of_a_process_without_gil_is_one_sentence)
{
	const char *text;
	json_t *page;

	report.gil_disabled = true;
	page = read_page();
	text = json_string_value(json_object_get(page, "text"));
	cr_expect_not_null(strstr(text, "The GIL is disabled in this process"));
	cr_expect_null(json_object_get(page, "util"));
	json_decref(page);
}

Test(report_html, stands_without_anything_known)
{
	json_t *page;

	report.in = (struct verdict_input){
		.observed_us = 10000000, .util = NAN, .handover_us = NAN, .cpu_us = NAN, .cpus = 1, .gils = 1,
		.all = {.hold_us = NAN, .n = NAN, .c = NAN}, .threads = threads, .pairs = pairs,
	};
	report.points_n = 0;
	memset(&report.verdict, 0, sizeof(report.verdict));
	verdict__reach(&report.in, &report.verdict);
	page = read_page();
	cr_expect_null(json_object_get(page, "pair"));
	json_decref(page);
}
