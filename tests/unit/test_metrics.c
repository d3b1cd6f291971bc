/* SPDX-License-Identifier: GPL-2.0-only */
/* What --metrics serves: sums of rows, nothing of what is unknown, no more series than allowed, and which format for whom. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collector/metrics/metrics_book.h"
#include "collector/metrics/metrics_server.h"
#include "../support/made_up.h"

#define ID "web1:42:abcdef01"
#define SECOND 1000000000ull

static struct metrics_book *book;
static char *text;

static void begin(const char *id)
{
	const struct proc_ident who = {
		.host = "web1", .pid = 42, .exe = "/opt/secret/bin/python3.11", .label = "python3 /srv/app.py",
		.python = "3.11.2", .cgroup = "/system.slice/web.service",
	};

	metrics_book__begin(book, id, &who);
}

static void set_up(void)
{
	book = metrics_book__new(20000, NULL, SECOND);
	begin(ID);
}

static void tear_down(void)
{
	metrics_book__free(book);
	free(text);
}

TestSuite(metrics, .init = set_up, .fini = tear_down);

static const char *shown(enum metrics_format format)
{
	size_t len;

	free(text);
	text = metrics_book__text(book, format, NULL, &len);
	cr_assert_not_null(text);
	cr_assert_eq(strlen(text), len);
	return text;
}

/* The value of a series, as text up to the line's end; NULL: there is none. */
static const char *value(const char *series)
{
	static char buf[64];
	char line[256];
	const char *at;

	snprintf(line, sizeof(line), "\n%s ", series);
	at = strstr(shown(METRICS_TEXT), line);
	if (!at)
		return NULL;
	at += strlen(line);
	snprintf(buf, sizeof(buf), "%.*s", (int)strcspn(at, "\n"), at);
	return buf;
}

static void expect(const char *series, const char *wanted)
{
	const char *got = value(series);

	cr_assert_not_null(got, "there is no %s:\n%s", series, text);
	cr_expect_str_eq(got, wanted, "%s", series);
}

static size_t count_series(void)
{
	size_t n = 0;

	for (const char *line = shown(METRICS_TEXT); *line; line += strcspn(line, "\n") + 1)
		n += *line != '#';
	return n;
}

static void add(struct proc_sample *s)
{
	metrics_book__sample(book, ID, s);
	proc_sample__free(s);
}

/* One second with thread 7: 300.0019 ms of hold, of which a row has 300001 us. */
static struct proc_sample *second(void)
{
	struct proc_sample *s = made_up__second();

	made_up__thread(s, 7, "io \"1\"", 300, 100, 10, 5);
	s->total.hold_ns += 1900;
	s->threads[0].m.hold_ns += 1900;
	return s;
}

Test(metrics, counters_are_the_sums_of_rows_to_the_microsecond)
{
	add(second());
	add(second());
	add(second());
	expect("gilscope_hold_seconds_total{id=\"" ID "\"}", "0.900003");
	expect("gilscope_wait_seconds_total{id=\"" ID "\"}", "0.300000");
	expect("gilscope_acquires_total{id=\"" ID "\"}", "30");
	expect("gilscope_observed_seconds_total{id=\"" ID "\",what=\"hold\"}", "3.000000");
	expect("gilscope_thread_hold_seconds_total{id=\"" ID "\",thread=\"io \\\"1\\\"\",tid=\"7.1000\"}", "0.900003");
}

Test(metrics, what_is_unknown_is_withdrawn_and_goes_on_where_it_was)
{
	struct proc_sample *light = second();

	add(second());
	made_up__light(light);
	light->total.known &= ~KNOWN_HOLD_EST;
	add(light);
	cr_expect_null(value("gilscope_hold_seconds_total{id=\"" ID "\"}"), "frozen");
	cr_expect_null(value("gilscope_hold_duration_seconds_bucket{id=\"" ID "\",le=\"+Inf\"}"));
	cr_expect_null(value("gilscope_thread_acquires_total{id=\"" ID "\",thread=\"io \\\"1\\\"\",tid=\"7.1000\"}"));
	expect("gilscope_observed_seconds_total{id=\"" ID "\",what=\"hold\"}", "1.000000");
	expect("gilscope_wait_seconds_total{id=\"" ID "\"}", "0.200000");
	add(second());
	expect("gilscope_hold_seconds_total{id=\"" ID "\"}", "0.600002");
	expect("gilscope_observed_seconds_total{id=\"" ID "\",what=\"hold\"}", "2.000000");
}

Test(metrics, where_nothing_was_observed_nothing_of_the_gil_is_shown)
{
	struct proc_sample *s = made_up__second();

	s->observed_ns = 0;
	add(second());
	add(s);
	cr_expect_null(value("gilscope_hold_seconds_total{id=\"" ID "\"}"));
	cr_expect_null(value("gilscope_wait_seconds_total{id=\"" ID "\"}"));
	expect("gilscope_coverage_ratio{id=\"" ID "\"}", "0");
	expect("gilscope_cpu_seconds_total{id=\"" ID "\"}", "1.980000");
}

Test(metrics, unknown_cpu_time_is_withdrawn_too)
{
	struct proc_sample *s = second();

	s->cpu_ns = UINT64_MAX;
	s->rss_kib = UINT64_MAX;
	add(s);
	cr_expect_null(value("gilscope_cpu_seconds_total{id=\"" ID "\"}"));
	cr_expect_null(value("gilscope_resident_memory_bytes{id=\"" ID "\"}"));
	cr_expect_not_null(value("gilscope_overhead_seconds_total{id=\"" ID "\"}"));
}

/* A hold of 30 ms lies between 2^24 and 2^25 ns. */
Test(metrics, a_histogram_has_16_edges_and_counts_what_is_shorter)
{
	const char *at;
	size_t edges = 0;

	add(second());
	expect("gilscope_hold_duration_seconds_bucket{id=\"" ID "\",le=\"0.016777216\"}", "0");
	expect("gilscope_hold_duration_seconds_bucket{id=\"" ID "\",le=\"0.033554432\"}", "10");
	expect("gilscope_hold_duration_seconds_bucket{id=\"" ID "\",le=\"+Inf\"}", "10");
	for (at = text; (at = strstr(at, "gilscope_hold_duration_seconds_bucket{")); at++)
		edges++;
	cr_expect_eq(edges, 17);
}

Test(metrics, no_command_line_and_no_path_is_a_label)
{
	add(second());
	shown(METRICS_OPEN);
	cr_expect_null(strstr(text, "/opt"), "%s", text);
	cr_expect_null(strstr(text, "app.py"));
	cr_expect_null(strstr(text, "/system.slice"));
	cr_expect_not_null(strstr(text, "program=\"python3.11\",unit=\"web.service\""));
}

static double sum_of(const char *name)
{
	char begin[64];
	double sum = 0;

	snprintf(begin, sizeof(begin), "\n%s{", name);
	for (const char *at = shown(METRICS_TEXT); (at = strstr(at, begin)); at++)
		sum += strtod(strchr(at, '}') + 1, NULL);
	return sum;
}

Test(metrics, series_beyond_the_limit_are_folded_and_no_sum_is_lost)
{
	char id[32];

	metrics_book__free(book);
	book = metrics_book__new(1000, NULL, SECOND);
	for (int i = 0; i < 20; i++) {
		struct proc_sample *s = made_up__second();

		snprintf(id, sizeof(id), "web1:%d:0", i);
		begin(id);
		for (uint32_t t = 0; t < 50; t++)
			made_up__thread(s, 100 + t, "t", 10, 1, 1, 1);
		metrics_book__sample(book, id, s);
		proc_sample__free(s);
	}
	cr_expect_leq(count_series(), 1000);
	cr_expect_not_null(value("gilscope_hold_seconds_total{id=\"other\"}"));
	cr_expect_not_null(value("gilscope_thread_hold_seconds_total{id=\"web1:2:0\",thread=\"other\"}"));
	cr_expect_str_neq(value("gilscope_folded_processes_total"), "0");
	cr_expect_float_eq(sum_of("gilscope_hold_seconds_total"), 20 * 50 * 0.010, 1e-9);
	cr_expect_float_eq(sum_of("gilscope_thread_hold_seconds_total"), 20 * 50 * 0.010, 1e-9);
}

Test(metrics, who_ended_can_be_scraped_for_a_while_and_makes_room_then)
{
	size_t before;

	before = count_series();
	add(second());
	metrics_book__end(book, ID);
	metrics_book__pass(book, 2 * SECOND);
	expect("gilscope_hold_seconds_total{id=\"" ID "\"}", "0.300001");
	cr_expect_null(value("gilscope_threads{id=\"" ID "\"}"), "there is none any more");
	metrics_book__pass(book, (METRICS_KEEP_MS / 1000 + 2) * SECOND);
	cr_expect_eq(count_series(), before);
}

Test(metrics, formats_differ_where_they_must)
{
	add(second());
	cr_expect_not_null(strstr(shown(METRICS_OPEN), "# TYPE gilscope_hold_seconds counter\n"
							 "# UNIT gilscope_hold_seconds seconds\n"));
	cr_expect_not_null(strstr(text, "# TYPE gilscope_process info\n"));
	cr_expect_str_eq(text + strlen(text) - 6, "# EOF\n");
	cr_expect_not_null(strstr(shown(METRICS_TEXT), "# TYPE gilscope_hold_seconds_total counter\n"));
	cr_expect_null(strstr(text, "# UNIT"));
	cr_expect_null(strstr(text, "# EOF"));
}

Test(metrics, openmetrics_is_for_those_that_ask_for_it)
{
	static const struct {
		const char *accept;
		bool open;
	} cases[] = {
		{NULL, false},
		{"", false},
		{"*/*", false},
		{"text/plain", false},
		{"application/openmetrics-text", true},
		{"APPLICATION/OpenMetrics-Text; version=1.0.0", true},
		{"application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
		 "text/plain;version=0.0.4;q=0.5,*/*;q=0.1", true},
		{"application/openmetrics-text;q=0.2, text/plain;q=0.9", false},
		{"text/plain;q=0.5 , application/openmetrics-text;q=0.6", true},
		{"application/openmetrics-text;q=0", false},
		{"application/openmetrics-textual", false},
		{";,;q=,,q=1", false},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		cr_expect_eq(metrics_accept__is_open(cases[i].accept), cases[i].open, "%s", cases[i].accept);
}

Test(metrics, a_bare_port_listens_on_loopback_only)
{
	struct metrics_address at;
	struct reason why;

	cr_assert_eq(metrics_address__parse("9464", &at, &why), 0);
	cr_expect_eq(at.v4.sin_family, AF_INET);
	cr_expect_eq(ntohl(at.v4.sin_addr.s_addr), INADDR_LOOPBACK);
	cr_expect_eq(ntohs(at.v4.sin_port), 9464);
	cr_assert_eq(metrics_address__parse("0.0.0.0:80", &at, &why), 0);
	cr_expect_eq(at.v4.sin_addr.s_addr, INADDR_ANY);
	cr_assert_eq(metrics_address__parse("[::1]:9464", &at, &why), 0);
	cr_expect_eq(at.v6.sin6_family, AF_INET6);
}

Test(metrics, what_is_no_address_is_refused)
{
	static const char *const cases[] = {"", ":", ":9464", "web1:9464", "9464:", "1.2.3:9", "65536", "-1", "9464x", "::1:9464",
					    "[::1]", "[]:1", "[1.2.3.4]:1", "1.2.3.4:123456"};
	struct metrics_address at;
	struct reason why;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		cr_expect_neq(metrics_address__parse(cases[i], &at, &why), 0, "%s", cases[i]);
}
