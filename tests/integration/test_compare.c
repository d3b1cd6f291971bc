/* SPDX-License-Identifier: GPL-2.0-only */
/* gilscope compare: a made-up history in which one thread began to keep the GIL, and in which nothing happened. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../support/private_redis.h"
#include "../support/program.h"
#include "../support/seeded.h"

#define OBSERVED_S 600
#define BEGAN_S 240 /* ago */

static struct private_redis redis;
static struct program p;
static char id[96];

static void set_up(void)
{
	private_redis__init(&redis, false);
	private_redis__start(&redis, true, NULL);
	seeded__write_hold(&redis, OBSERVED_S, BEGAN_S, 0);
	snprintf(id, sizeof(id), "%s", private_redis__ask(&redis, "ZREVRANGE gil:procs 0 0"));
}

static void tear_down(void)
{
	program__free(&p);
	private_redis__fini(&redis);
}

TestSuite(compare, .init = set_up, .fini = tear_down, .timeout = 120);

/* When it was last sampled, and so many seconds before that. */
static long long ago_s(int seconds)
{
	return private_redis__int(&redis, "HGET gil:{%s}:meta last_ms", id) / 1000 - seconds;
}

static void run(const char *words)
{
	program__free(&p);
	program__run(&p, "\"$GILSCOPE\" compare '%s' --redis %s %s", id, redis.url, words);
}

/* Two times that far back, as JSON. */
static json_t *compared(int before, int before_end, int after, int after_end)
{
	char words[200];
	json_t *json;

	snprintf(words, sizeof(words), "--json --before @%lld..@%lld --after @%lld..@%lld", ago_s(before), ago_s(before_end),
		 ago_s(after), ago_s(after_end));
	run(words);
	cr_assert_eq(p.status, 0, "%s", p.err);
	json = json_loads(p.out, 0, NULL);
	cr_assert(json, "%s", p.out);
	return json;
}

static size_t changed(const json_t *json)
{
	const json_t *one;
	size_t n = 0, i;

	json_array_foreach(json_object_get(json, "compared"), i, one)
		n += json_is_true(json_object_get(one, "changed"));
	return n;
}

static const char *headline(const json_t *json)
{
	return json_string_value(json_object_get(json, "headline"));
}

Test(compare, what_began_is_named_with_whom_it_is_for)
{
	json_t *json = compared(550, BEGAN_S + 5, BEGAN_S - 10, 1), *one;
	bool busy = false, waits = false;
	size_t i;

	json_array_foreach(json_object_get(json, "compared"), i, one) {
		const char *metric = json_string_value(json_object_get(one, "metric"));

		if (!json_is_true(json_object_get(one, "changed")))
			continue;
		busy = busy || strcmp(metric, "util") == 0;
		waits = waits || strcmp(metric, "wait") == 0;
	}
	cr_expect(busy && waits, "%s", p.out);
	cr_expect(strstr(headline(json), " before, ") && strstr(headline(json), "95 % interval"), "%s", headline(json));
	json_decref(json);
}

Test(compare, where_nothing_happened_nothing_is_named)
{
	json_t *json = compared(590, 420, 415, BEGAN_S + 5);

	cr_expect_eq(changed(json), 0, "%s", p.out);
	cr_expect(strstr(headline(json), "No change seen beyond what it varies by itself."), "%s", headline(json));
	cr_expect(strstr(headline(json), "would most likely have been"), "%s", headline(json));
	json_decref(json);
}

Test(compare, of_a_few_seconds_nothing_can_be_told)
{
	json_t *json = compared(550, 300, 8, 1);

	cr_expect_eq(changed(json), 0, "%s", p.out);
	cr_expect(strstr(headline(json), "cannot be told"), "%s", headline(json));
	json_decref(json);
}

Test(compare, a_mark_parts_before_from_after)
{
	size_t lines = 0;

	program__run(&p, "\"$GILSCOPE\" mark 'release 1.4.2' --time @%lld --redis %s", ago_s(BEGAN_S), redis.url);
	cr_assert_eq(p.status, 0, "%s", p.err);
	run("--around 1.4.2=200s");
	cr_expect_eq(p.status, 0, "%s", p.err);
	cr_expect(strstr(p.out, "GIL busy") && strstr(p.out, " yes"), "%s", p.out);
	run("--around 1.4.2=200s --markdown");
	cr_expect(strstr(p.out, "### gilscope: before and after"), "%s", p.out);
	for (const char *c = p.out; *c; c++)
		lines += *c == '\n';
	cr_expect_leq(lines, 60, "%zu", lines);
	run("--around nothing-of-that-name");
	cr_expect_eq(p.status, 1, "%s", p.err);
	cr_expect(strstr(p.err, "there is no mark"), "%s", p.err);
}

static void reading(long long t_ms, int requests)
{
	private_redis__ask(&redis, "ZADD gil:marks %lld {\"text\":\"at-%d\",\"count\":{\"requests\":%d}}", t_ms, requests,
			   requests);
}

/* 30 units a second before, and 15 after. */
Test(compare, per_unit_of_work_where_a_counter_is_marked)
{
	long long begin = ago_s(550), at = ago_s(230);
	const json_t *one;
	json_t *json;
	size_t i, judged = 0;

	for (int k = 0; k <= 12; k++) {
		reading((begin + 10 * k) * 1000, 300 * k);
		reading((at + 10 * k) * 1000, 5000 + 150 * k);
	}
	json = compared(551, BEGAN_S + 5, BEGAN_S - 9, 1);
	json_array_foreach(json_object_get(json, "compared"), i, one) {
		double before = json_number_value(json_object_get(one, "before")), after;

		if (strcmp(json_string_value(json_object_get(one, "name")), "requests:") != 0)
			continue;
		judged += json_is_number(json_object_get(one, "p"));
		after = json_number_value(json_object_get(one, "after"));
		if (strcmp(json_string_value(json_object_get(one, "metric")), "hold_each") == 0)
			cr_expect(before > 0 && before < 1e6 / 30 && after > 0 && after <= 1.001e6 / 15, "%g %g", before, after);
	}
	cr_expect_eq(judged, 2, "%s", p.out);
	json_decref(json);
}

Test(compare, a_process_is_as_it_is)
{
	char words[200];

	snprintf(words, sizeof(words), "'%s' --since @%lld --until @%lld --json", id, ago_s(500), ago_s(300));
	run(words);
	cr_expect_eq(p.status, 0, "%s", p.err);
	cr_expect_not(strstr(p.out, "\"changed\": true"), "%s", p.out);
}

Test(compare, wrong_usage_gets_one_sentence)
{
	static const struct {
		const char *words, *part;
	} cases[] = {
		{"", "which two times?"},
		{"--before 10m..5m", "which two times?"},
		{"--before 10m..5m --after x", "is not a range"},
		{"--before 10m..5m --after 5m..", "is not a time"},
		{"--before 5m..10m --after 5m..1m", "does not begin before it ends"},
		{"--around m --before 10m..5m", "exclude each other"},
		{"other --around m", "over one range"},
		{"--around m --json --markdown", "exclude each other"},
		{"--around m --since 5m", "for two processes"},
		{"--around m --at-least 5x", "is not a share"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		run(cases[i].words);
		cr_expect_eq(p.status, 2, "%s: %d %s", cases[i].words, p.status, p.err);
		cr_expect(strstr(p.err, cases[i].part), "%s: %s", cases[i].words, p.err);
	}
}
