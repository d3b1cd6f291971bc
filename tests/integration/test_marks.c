/* SPDX-License-Identifier: GPL-2.0-only */
/* gilscope mark, and where marks are shown. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "../support/private_redis.h"
#include "../support/program.h"
#include "../support/seeded.h"

static struct private_redis redis;
static struct program p;

static void set_up(void)
{
	private_redis__init(&redis, false);
	private_redis__start(&redis, true, NULL);
}

static void tear_down(void)
{
	program__free(&p);
	private_redis__fini(&redis);
}

TestSuite(marks, .init = set_up, .fini = tear_down, .timeout = 120);

/* Runs gilscope with that Redis; what it wrote as JSON, if it is any. */
static json_t *run(const char *words)
{
	program__free(&p);
	program__run(&p, "\"$GILSCOPE\" %s --redis %s", words, redis.url);
	return json_loads(p.out, 0, NULL);
}

static const char *text_of(const json_t *marks, size_t i)
{
	const char *text = json_string_value(json_object_get(json_array_get(marks, i), "text"));

	return text ? text : "(none)";
}

Test(marks, are_written_and_listed_in_the_order_of_time)
{
	json_t *list;

	json_decref(run("mark 'release 1.4.2' --count requests=120000"));
	cr_assert_eq(p.status, 0, "%s", p.err);
	json_decref(run("mark 'before that' --time 5m"));
	cr_assert_eq(p.status, 0, "%s", p.err);
	list = run("mark --json");
	cr_assert_eq(p.status, 0, "%s", p.err);
	cr_assert_eq(json_array_size(list), 2, "%s", p.out);
	cr_expect_str_eq(text_of(list, 0), "before that");
	cr_expect_str_eq(text_of(list, 1), "release 1.4.2");
	cr_expect(strstr(p.out, "{\"requests\": 120000}") || strstr(p.out, "\"requests\": 120000"), "%s", p.out);
	cr_expect(private_redis__int(&redis, "TTL gil:marks") > 0);
	json_decref(list);
	json_decref(run("mark --since 1m"));
	cr_expect(strstr(p.out, "release 1.4.2") && !strstr(p.out, "before that"), "%s", p.out);
}

Test(marks, wrong_usage_writes_nothing)
{
	static const struct {
		const char *words, *part;
	} cases[] = {
		{"mark ''", "1 to 200 bytes"},
		{"mark a --count 5", "is not NAME=N"},
		{"mark a --count n=-5", "is not a whole number"},
		{"mark a --time soon", "is not a time"},
		{"mark a --json", "without a text"},
		{"mark --time 5m", "which text?"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		json_decref(run(cases[i].words));
		cr_expect_eq(p.status, 2, "%s: %d %s", cases[i].words, p.status, p.err);
		cr_expect(strstr(p.err, cases[i].part), "%s: %s", cases[i].words, p.err);
	}
	json_decref(run("mark a --process nobody-of-that-name"));
	cr_expect_eq(p.status, 1, "%s", p.err);
	cr_expect_eq(private_redis__int(&redis, "EXISTS gil:marks"), 0);
}

Test(marks, of_its_range_are_shown_by_report_and_query)
{
	static const char *const verbs[] = {"report", "query"};
	struct seeded *s = seeded__write(&redis);
	char words[400];

	private_redis__ask(&redis, "ZADD gil:marks %lld by-hand\x1b[31m", (long long)seeded__end_ms(s, 1000));
	private_redis__ask(&redis, "ZADD gil:marks %lld too-late", (long long)seeded__end_ms(s, 1100));
	snprintf(words, sizeof(words), "mark 'of its own' --process %s --time @%lld", s->id, (long long)seeded__end_ms(s, 900));
	json_decref(run(words));
	cr_assert_eq(p.status, 0, "%s", p.err);
	for (size_t i = 0; i < 2; i++) {
		json_t *json, *marks;

		snprintf(words, sizeof(words), "%s %s --json --since @%lld --until @%lld", verbs[i], s->id,
			 (long long)seeded__end_ms(s, 800), (long long)seeded__end_ms(s, 1050));
		json = run(words);
		marks = json_object_get(json, "marks");
		cr_assert_eq(json_array_size(marks), 2, "%s: %s", words, p.err);
		cr_expect_str_eq(text_of(marks, 0), "of its own");
		cr_expect_str_eq(text_of(marks, 1), "by-hand?[31m");
		json_decref(json);
		strcpy(strstr(words, "--json"), "");
		snprintf(words + strlen(words), sizeof(words) - strlen(words), "--since @%lld --until @%lld",
			 (long long)seeded__end_ms(s, 800), (long long)seeded__end_ms(s, 1050));
		json_decref(run(words));
		cr_expect(strstr(p.out, "of its own\n"), "%s", p.out);
		cr_expect(strstr(p.out, "by-hand?[31m  (all processes)\n"), "%s", p.out);
	}
	seeded__free(s);
}

Test(marks, a_writer_of_one_host_may_write_them)
{
	char path[4096];
	const char *options[] = {"--aclfile", realpath("dashboards/redis/users.acl", path), NULL};

	private_redis__stop(&redis);
	private_redis__start(&redis, true, options);
	program__run(&p, "GILSCOPE_REDIS_PASSWORD=CHANGE-ME-WRITER-WEB1 \"$GILSCOPE\" mark release --redis "
		     "'unix://gilscope_writer_web1@%s'", redis.socket);
	cr_expect_eq(p.status, 0, "%s", p.err);
	cr_expect_eq(private_redis__int(&redis, "ZCARD gil:marks"), 1, "%s", p.err);
}
