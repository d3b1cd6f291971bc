/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * attach --metrics beside a Redis: what is scraped is the sum of the rows there, scrapers' own parsers read it, and who serves it
 * has no rights, no old numbers, and no patience with slow clients.
 */
#include <criterion/criterion.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../support/bpf_env.h"
#include "../support/http.h"
#include "../support/interpreters.h"
#include "../support/json_lines.h"
#include "../support/private_redis.h"
#include "../support/program.h"
#include "../support/tool.h"
#include "../support/workload.h"

#define OPEN "application/openmetrics-text; version=1.0.0"
#define AT "serving metrics at http://127.0.0.1:"
#define SERVER "gilscope-http"
#define FIRST_MS 60000
#define PLACES 8 /* connections at once */

static struct private_redis redis;
static struct workload target;
static struct tool tool;
static int port;

static int said_port(void)
{
	char *said = tool__stderr(&tool);
	int n = atoi(strstr(said, AT) + strlen(AT));

	free(said);
	return n;
}

static bool is_served(void *path)
{
	struct http_answer a;
	bool served;

	http__ask(port, "GET", path, NULL, &a);
	served = a.status == 200;
	http_answer__free(&a);
	return served;
}

static bool is_withheld(void *path)
{
	struct http_answer a;
	bool withheld;

	http__ask(port, "GET", path, NULL, &a);
	withheld = a.status == 503;
	http_answer__free(&a);
	return withheld;
}

static void set_up(void)
{
	struct interpreter stock;
	char words[320];

	bpf_env__require();
	private_redis__init(&redis, false);
	private_redis__start(&redis, true, NULL);
	interpreter__stock(&stock);
	workload__start(&target, &stock, "spinner_io.py 600");
	workload__go(&target);
	snprintf(words, sizeof(words), "attach %d --interval 100ms --mode full --json --metrics 0 --redis %s", (int)target.pid,
		 redis.url);
	tool__start(&tool, words);
	tool__await(&tool, AT);
	tool__await(&tool, "armed in");
	port = said_port();
	cr_assert(eventually(is_served, "/metrics", FIRST_MS), "nothing is served");
}

static void tear_down(void)
{
	tool__clear(&tool);
	workload__kill(&target);
	private_redis__fini(&redis);
}

TestSuite(metrics_served, .init = set_up, .fini = tear_down, .timeout = 300);

static void end_tool(void)
{
	kill(tool.pid, SIGINT);
	cr_assert_eq(tool__wait(&tool, 60), 0, "%s", tool__stderr(&tool));
}

/* A counter of seconds in a text of one process, in microseconds. */
static long long microseconds(const char *text, const char *name, const char *label)
{
	const char *at = text, *line_end = NULL;
	long long s = 0, us = 0;
	char begin[96];

	snprintf(begin, sizeof(begin), "\n%s{", name);
	for (; (at = strstr(at, begin)); at = line_end) {
		line_end = strchr(++at, '\n');
		at = memchr(at, '}', (size_t)(line_end - at));
		if (!strncmp(at - strlen(label), label, strlen(label)))
			break;
	}
	cr_assert_not_null(at, "there is no %s %s in\n%s", name, label, text);
	cr_assert_eq(sscanf(at, "} %lld.%6lld", &s, &us), 2, "%s", at);
	return s * 1000000 + us;
}

static const struct {
	const char *series, *field;
} compared[] = {
	{"gilscope_hold_seconds_total", "hold"}, {"gilscope_wait_seconds_total", "wait"},
	{"gilscope_handover_seconds_total", "handover"}, {"gilscope_hold_preempted_seconds_total", "hold_preempted"},
	{"gilscope_hold_blocked_seconds_total", "hold_blocked"}, {"gilscope_gc_seconds_total", "gc"},
	{"gilscope_cpu_seconds_total", "cpu"}, {"gilscope_overhead_seconds_total", "cost"},
};

#define COMPARED (sizeof(compared) / sizeof(compared[0]))
#define ANY "what=\"any\""

struct scrape {
	long long any_us;           /* length of all rows that it contains */
	long long us[COMPARED];
};

static void scrape(struct scrape *ret)
{
	struct http_answer a;

	http__ask(port, "GET", "/metrics", OPEN, &a);
	cr_assert_eq(a.status, 200);
	ret->any_us = microseconds(a.body, "gilscope_observed_seconds_total", ANY);
	for (size_t i = 0; i < COMPARED; i++)
		ret->us[i] = microseconds(a.body, compared[i].series, "");
	http_answer__free(&a);
}

static bool has_more(void *arg)
{
	const struct scrape *first = arg;
	struct scrape now;

	scrape(&now);
	return now.any_us > first->any_us + 1000000;
}

/* The rows of the process, oldest first. */
static json_t *rows(void)
{
	json_t *all = json_array();
	char id[128], *text, *rest, *line;

	snprintf(id, sizeof(id), "%s", private_redis__ask(&redis, "ZRANGE gil:procs 0 0"));
	rest = text = strdup(private_redis__ask(&redis, "ZRANGE gil:{%s}:p:1s 0 -1", id));
	while ((line = strsep(&rest, "\n")))
		if (*line)
			cr_assert_eq(json_array_append_new(all, json_loads(line, 0, NULL)), 0, "%s", line);
	free(text);
	return all;
}

/* What a scrape says is the sum of the first rows that together are as long. */
static void expect_sums(const struct scrape *s, const json_t *all)
{
	long long any_us = 0, sums[COMPARED] = {0};
	const json_t *row;
	size_t i;

	json_array_foreach (all, i, row) {
		if (any_us >= s->any_us)
			break;
		any_us += json_integer_value(json_object_get(row, "d"));
		for (size_t f = 0; f < COMPARED; f++)
			sums[f] += json_integer_value(json_object_get(row, compared[f].field));
	}
	cr_assert_eq(any_us, s->any_us, "no number of rows is that long");
	for (size_t f = 0; f < COMPARED; f++)
		cr_expect_eq(s->us[f], sums[f], "%s: %lld us, rows have %lld", compared[f].series, s->us[f], sums[f]);
}

Test(metrics_served, differences_between_scrapes_are_the_sums_of_the_rows_in_redis)
{
	struct scrape first, second;
	json_t *all;

	scrape(&first);
	cr_assert(eventually(has_more, &first, FIRST_MS));
	scrape(&second);
	end_tool();
	all = rows();
	expect_sums(&first, all);
	expect_sums(&second, all);
	cr_expect_gt(second.us[0], first.us[0], "it held all the time");
	json_decref(all);
}

Test(metrics_served, parsers_of_scrapers_read_both_formats)
{
	struct program p;

	program__run(&p, "/usr/bin/python3 - <<'EOF' | promtool check metrics\n"
			 "import sys, urllib.request\n"
			 "from prometheus_client.openmetrics.parser import text_string_to_metric_families\n"
			 "url = 'http://127.0.0.1:%d/metrics'\n"
			 "ask = lambda **headers: urllib.request.urlopen(urllib.request.Request(url, headers=headers))\n"
			 "answer = ask(Accept='" OPEN "')\n"
			 "assert answer.headers['Content-Type'].startswith('" OPEN "'), answer.headers\n"
			 "families = list(text_string_to_metric_families(answer.read().decode()))\n"
			 "assert {'gilscope_hold_seconds', 'gilscope_process'} <= {f.name for f in families}, families\n"
			 "assert all(s.value >= 0 for f in families for s in f.samples)\n"
			 "answer = ask(Accept='text/plain')\n"
			 "assert answer.headers['Content-Type'].startswith('text/plain; version=0.0.4'), answer.headers\n"
			 "sys.stdout.write(answer.read().decode())\n"
			 "EOF\n", port);
	cr_expect_eq(p.status, 0, "%s%s", p.out, p.err);
	cr_expect_str_empty(p.err, "%s", p.err);
	program__free(&p);
}

Test(metrics_served, only_get_and_head_of_two_paths_are_answered)
{
	static const struct {
		const char *method, *path;
		int status;
		bool has_body;
	} cases[] = {
		{"GET", "/healthz", 200, true}, {"HEAD", "/metrics", 200, false}, {"HEAD", "/healthz", 200, false},
		{"GET", "/", 404, true}, {"GET", "/metrics/../etc/passwd", 404, true}, {"POST", "/metrics", 405, true},
		{"DELETE", "/healthz", 405, true}, {"GET", "/metrics?x=1", 200, true},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct http_answer a;

		http__ask(port, cases[i].method, cases[i].path, NULL, &a);
		cr_expect_eq(a.status, cases[i].status, "%s %s: %s", cases[i].method, cases[i].path, a.text);
		cr_expect_eq(a.body[0] != '\0', cases[i].has_body, "%s %s: %s", cases[i].method, cases[i].path, a.text);
		http_answer__free(&a);
	}
}

static pid_t server_pid(void)
{
	struct program p;
	pid_t pid;

	program__run(&p, "pgrep -P %d -x " SERVER, (int)tool.pid);
	pid = (pid_t)atoi(p.out);
	cr_assert_gt(pid, 0, "no process serves");
	program__free(&p);
	return pid;
}

Test(metrics_served, who_serves_has_no_right_and_is_not_root)
{
	pid_t pid = server_pid();
	struct program p;

	program__run(&p, "grep -E '^(CapEff|CapPrm|CapInh|CapAmb):' /proc/%d/status | grep -v '0000000000000000$'", (int)pid);
	cr_expect_str_empty(p.out, "%s", p.out);
	program__free(&p);
	program__run(&p, "grep '^NoNewPrivs:' /proc/%d/status; grep ^Uid: /proc/%d/status", (int)pid, (int)pid);
	cr_expect_not_null(strstr(p.out, "NoNewPrivs:\t1"), "%s", p.out);
	if (geteuid() == 0)
		cr_expect_not_null(strstr(p.out, "Uid:\t65534\t65534\t65534"), "%s", p.out);
	program__free(&p);
}

/* All places are taken by who says nothing, or a byte now and then; they are put out, and the next one is served. */
Test(metrics_served, slow_clients_keep_nobody_out)
{
	int slow[PLACES];

	for (size_t i = 0; i < PLACES; i++) {
		slow[i] = http__connect(port);
		if (i % 2)
			dprintf(slow[i], "GET /metrics HT");
	}
	cr_expect(is_served("/metrics"));
	for (size_t i = 0; i < PLACES; i++)
		http__await_end(slow[i]);
}

Test(metrics_served, old_numbers_are_not_served)
{
	tool__freeze(&tool);
	cr_expect(eventually(is_withheld, "/metrics", FIRST_MS));
	cr_expect(is_withheld("/healthz"));
	tool__thaw(&tool);
	cr_expect(eventually(is_served, "/metrics", FIRST_MS));
}

Test(metrics_served, an_end_of_who_serves_is_said_and_the_observation_goes_on)
{
	kill(server_pid(), SIGKILL);
	tool__await(&tool, "they are served no more");
	end_tool();
}

Test(metrics_served, a_taken_port_is_said_at_once)
{
	struct tool t;
	char words[64], *said;

	snprintf(words, sizeof(words), "attach %d --no-store --metrics %d", (int)target.pid, port);
	cr_expect_eq(tool__run(&t, words), 1);
	said = tool__stderr(&t);
	cr_expect_not_null(strstr(said, "metrics can't be served there: Address already in use"), "%s", said);
	free(said);
	tool__clear(&t);
}
