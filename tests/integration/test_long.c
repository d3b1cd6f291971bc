/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * gil:{<id>}:long from a program's long hold to a Redis of the test's own: thread, function, line, length and who waited, against
 * what the program says of itself.
 */
#include <criterion/criterion.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../support/bpf_env.h"
#include "../support/interpreters.h"
#include "../support/private_redis.h"
#include "../support/tool.h"
#include "../support/watched.h"
#include "../support/workload.h"

#define ALERT_US 60000

static struct private_redis redis;
static struct workload w;

static void set_up(void)
{
	bpf_env__require();
	private_redis__init(&redis, false);
	private_redis__start(&redis, true, NULL);
}

static void tear_down(void)
{
	private_redis__fini(&redis);
}

TestSuite(long_holds, .init = set_up, .fini = tear_down, .timeout = 300);

/* One hold of 300 ms, and what there is in `long` of it: an array. */
static json_t *observe_hold(void)
{
	struct interpreter stock;
	char words[256], *members, *rest, *line;
	json_t *all = json_array();

	interpreter__stock(&stock);
	workload__start(&w, &stock, "long_hold.py 0.3");
	snprintf(words, sizeof(words), "attach %d --redis %s --alert-hold 60ms --stacks 5ms --interval 200ms", (int)w.pid,
		 redis.url);
	watched__run(&w, words);
	snprintf(words, sizeof(words), "%s", private_redis__ask(&redis, "ZRANGE gil:procs 0 0"));
	rest = members = strdup(private_redis__ask(&redis, "ZRANGE gil:{%s}:long 0 -1", words));
	while ((line = strsep(&rest, "\n")))
		cr_assert_eq(json_array_append_new(all, json_loads(line, 0, NULL)), 0, "%s", line);
	free(members);
	return all;
}

static const char *text(const json_t *member, const char *name)
{
	const char *value = json_string_value(json_object_get(member, name));

	cr_assert_not_null(value, "no %s in %s", name, json_dumps(member, 0));
	return value;
}

static json_int_t number(const json_t *member, const char *name)
{
	cr_assert(json_is_integer(json_object_get(member, name)), "no %s in %s", name, json_dumps(member, 0));
	return json_integer_value(json_object_get(member, name));
}

/* What is the same of a hold that lasts and of one that is over. */
static void expect_hold(const json_t *member, json_t *hog)
{
	char frame[64];

	cr_expect_str_eq(text(member, "name"), "hog");
	cr_expect_str_eq(text(member, "function"), json_string_value(json_object_get(hog, "function")));
	cr_expect_eq(number(member, "line"), truth__int(hog, "line"));
	cr_expect_not_null(strstr(text(member, "file"), "long_hold.py"));
	snprintf(frame, sizeof(frame), ";%s (workloads/long_hold.py:%d)", json_string_value(json_object_get(hog, "function")),
		 (int)truth__int(hog, "line"));
	cr_assert_gt(strlen(text(member, "stack")), strlen(frame));
	cr_expect_str_eq(text(member, "stack") + strlen(text(member, "stack")) - strlen(frame), frame, "%s",
			 text(member, "stack"));
	cr_expect_geq(number(member, "us"), ALERT_US);
	/* Since when, and when that was known: milliseconds. */
	cr_expect_leq(llabs(number(member, "t") - number(member, "since") - number(member, "us") / 1000), 1);
}

static void expect_lasting(const json_t *member)
{
	cr_expect_eq(number(member, "waiters"), 1);
	cr_expect_str_eq(text(member, "victims"), "victim");
}

/* It is longer than the program's clocks say that stand within it, and shorter than those around it; one other waited in it. */
static void expect_ended(const json_t *member, json_t *hog, json_t *victim)
{
	long long us = number(member, "us"), others = number(member, "others");

	cr_expect_geq(us, truth__int(hog, "hold_ns") / 1000);
	cr_expect_leq(us, (truth__int(w.truth, "end_ns") - truth__int(w.truth, "begin_ns")) / 1000);
	cr_expect_gt(others, 0);
	cr_expect_leq(others, us, "one victim waited %lld us in a hold of %lld", others, us);
	cr_expect_leq(others, truth__int(victim, "stall_ns") / 1000 + 1);
}

Test(long_holds, are_in_redis_as_the_program_tells_of_them)
{
	json_t *all = observe_hold(), *hog = workload__thread(&w, "hog"), *victim = workload__thread(&w, "victim"), *member;
	size_t i, ended = 0, lasting = 0;
	char tid[16];

	snprintf(tid, sizeof(tid), "%lld", truth__int(hog, "tid"));
	json_array_foreach (all, i, member) {
		/* On a busy machine others may be kept from letting go. */
		if (strcmp(text(member, "kind"), "hold") != 0 || strcmp(text(member, "thr"), tid) != 0)
			continue;
		expect_hold(member, hog);
		if (json_is_true(json_object_get(member, "open"))) {
			expect_lasting(member);
			lasting++;
		} else {
			expect_ended(member, hog, victim);
			ended++;
		}
	}
	cr_expect_eq(ended, 1, "%s", json_dumps(all, 0));
	cr_expect_leq(lasting, 1, "%s", json_dumps(all, 0));
	json_decref(all);
	workload__quit(&w);
}

/* How many "N wait: a, b and M more" counts, and how many it names. */
static void read_alert(const char *line, size_t *ret_counted, size_t *ret_named)
{
	const char *at = strstr(line, " and goes on"), *names, *more;

	cr_assert(at && (at = strstr(at, "; ")), "%s", line);
	*ret_counted = strtoul(at + 2, NULL, 10);
	names = strstr(at, ": ");
	*ret_named = names != NULL;
	for (; names && (names = strstr(names, ", ")); names += 2)
		++*ret_named;
	more = strstr(at, " and ");
	*ret_named += more ? strtoul(more + strlen(" and "), NULL, 10) : 0;
}

/* Each hold is hardly longer than the threshold: while the alert is made, the next ones have it already. */
Test(long_holds, alerts_count_as_many_as_they_name)
{
	struct interpreter stock;
	struct tool tool;
	char words[256], *said, *rest, *line;
	size_t alerts = 0, counted, named;

	interpreter__stock(&stock);
	workload__start(&w, &stock, "hog_victim.py 80 --hold-ms 21 --victims 5");
	snprintf(words, sizeof(words), "attach %d --no-store --alert-hold 20ms --stacks 5ms", (int)w.pid);
	tool__start(&tool, words);
	tool__await(&tool, "armed");
	workload__go(&w);
	workload__truth(&w);
	kill(tool.pid, SIGINT);
	cr_assert_eq(tool__wait(&tool, 60), 0);
	rest = said = tool__stderr(&tool);
	while ((line = strsep(&rest, "\n"))) {
		if (!strstr(line, " and goes on"))
			continue;
		read_alert(line, &counted, &named);
		cr_expect(!named || counted == named, "%s", line);
		alerts += named > 0;
	}
	cr_expect_gt(alerts, 10, "%s", tool__stderr(&tool));
	free(said);
	tool__clear(&tool);
	workload__quit(&w);
}

/* What `gilscope events` has of that process, or of all hosts: an array of its lines. */
static json_t *events_of(const char *process)
{
	json_t *all = json_array();
	char words[256], *out, *rest, *line;
	struct tool t;

	snprintf(words, sizeof(words), "events --json --since 1h --redis %s %s", redis.url, process);
	cr_assert_eq(tool__run(&t, words), 0);
	rest = out = tool__stdout(&t);
	while ((line = strsep(&rest, "\n")))
		if (*line)
			cr_assert_eq(json_array_append_new(all, json_loads(line, 0, NULL)), 0, "%s", line);
	free(out);
	tool__clear(&t);
	return all;
}

static bool is_long(const json_t *event)
{
	return strcmp(text(event, "kind"), "hold") == 0 || strcmp(text(event, "kind"), "wait") == 0;
}

/* Its holds and waits are the members of `long`, to the letter; the first is the beginning, the last the end. */
static void expect_events(const char *process, const json_t *members)
{
	json_t *events = events_of(process), *event;
	size_t i, n = json_array_size(events), found = 0;

	cr_assert_geq(n, 3, "%s", json_dumps(events, 0));
	cr_expect_str_eq(text(json_array_get(events, 0), "kind"), "begin");
	cr_expect_eq(number(json_array_get(events, 0), "pid"), w.pid);
	cr_expect_str_eq(text(json_array_get(events, n - 1), "kind"), "end");
	json_array_foreach (events, i, event) {
		cr_expect_neq(strchr(text(event, "id"), ':'), NULL);
		json_object_del(event, "id");
		if (!is_long(event))
			continue;
		cr_expect(json_equal(event, json_array_get(members, found)), "%s\n%s", json_dumps(event, 0),
			  json_dumps(members, 0));
		found++;
	}
	cr_expect_eq(found, json_array_size(members));
	json_decref(events);
}

Test(long_holds, are_events_of_their_process_and_its_host)
{
	json_t *members = observe_hold();

	expect_events(private_redis__ask(&redis, "ZRANGE gil:procs 0 0"), members);
	expect_events("", members);
	json_decref(members);
	workload__quit(&w);
}
