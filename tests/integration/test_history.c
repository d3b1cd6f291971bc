/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From the probes to Redis through everything between, while Redis comes late, dies, and forgets: what attach said on its
 * standard output must stand in the sorted sets, each interval exactly once.
 */
#include <criterion/criterion.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "collector/redis/store.h"
#include "../support/bpf_env.h"
#include "../support/interpreters.h"
#include "../support/private_redis.h"
#include "../support/program.h"
#include "../support/pythons.h"
#include "../support/tool.h"
#include "../support/workload.h"

TestSuite(history, .init = bpf_env__require, .timeout = 300);

struct scene {
	struct workload target;
	struct private_redis redis;
	struct tool tool;
	char id[96];
};

static void attach(struct scene *s, const char *where)
{
	struct interpreter stock;
	char words[320];

	interpreter__stock(&stock);
	workload__start(&s->target, &stock, "spinner_io.py 60");
	workload__go(&s->target);
	snprintf(words, sizeof(words), "attach %d --interval 200ms --json%s", (int)s->target.pid, where);
	tool__start(&s->tool, words);
	tool__await(&s->tool, "armed");
}

static void attach_to_redis(struct scene *s)
{
	char where[160];

	snprintf(where, sizeof(where), " --redis %s", s->redis.url);
	attach(s, where);
}

static void set_up(struct scene *s, bool redis_is_there)
{
	private_redis__init(&s->redis, false);
	if (redis_is_there)
		private_redis__start(&s->redis, true, NULL);
	attach_to_redis(s);
}

static void tear_down(struct scene *s)
{
	tool__clear(&s->tool);
	private_redis__fini(&s->redis);
	workload__kill(&s->target);
}

/* Stamps of the intervals that attach wrote, later than `after_ms`; and the process's <id>. */
static size_t stamps_said(struct scene *s, long long after_ms, long long *ret, size_t max)
{
	char *out = tool__stdout(&s->tool), *rest = out, *line;
	size_t n = 0;

	while ((line = strsep(&rest, "\n")) && n < max) {
		json_t *row = json_loads(line, 0, NULL);
		const char *type = row ? json_string_value(json_object_get(row, "type")) : NULL;
		long long t = json_integer_value(json_object_get(json_object_get(row, "process"), "t"));

		if (row)
			snprintf(s->id, sizeof(s->id), "%s", json_string_value(json_object_get(row, "id")));
		if (type && !strcmp(type, "interval") && t > after_ms)
			ret[n++] = t;
		json_decref(row);
	}
	free(out);
	return n;
}

#define STAMPS_MAX 1024

/* Waits until so many intervals more have been written; the last one's stamp. */
static long long await_intervals(struct scene *s, size_t more)
{
	long long stamps[STAMPS_MAX];
	size_t n = stamps_said(s, 0, stamps, STAMPS_MAX), enough = n + more;

	for (int i = 0; n < enough && i < 600; i++) {
		usleep(100000);
		n = stamps_said(s, 0, stamps, STAMPS_MAX);
	}
	cr_assert_geq(n, enough, "only %zu intervals", n);
	return stamps[n - 1];
}

/* Redis has an interval that ended later than `after_ms`. */
static void await_stored(struct scene *s, long long after_ms)
{
	long long found = 0;

	for (int i = 0; found == 0 && i < 600; i++) {
		usleep(100000);
		found = private_redis__int(&s->redis, "ZCOUNT gil:{%s}:p:1s (%lld +inf", s->id, after_ms);
	}
	cr_assert_gt(found, 0, "nothing after %lld in Redis", after_ms);
}

static void end_run(struct scene *s)
{
	kill(s->tool.pid, SIGINT);
	cr_assert_eq(tool__wait(&s->tool, 60), 0);
}

static void expect_each_once(struct scene *s, long long after_ms)
{
	long long stamps[STAMPS_MAX];
	size_t n = stamps_said(s, after_ms, stamps, STAMPS_MAX);

	cr_assert_gt(n, 5);
	for (size_t i = 0; i < n; i++)
		cr_expect_eq(private_redis__int(&s->redis, "ZCOUNT gil:{%s}:p:1s %lld %lld", s->id, stamps[i], stamps[i]), 1,
			     "interval %lld stands %lld times", stamps[i],
			     private_redis__int(&s->redis, "ZCOUNT gil:{%s}:p:1s %lld %lld", s->id, stamps[i], stamps[i]));
}

/* What the server needs to make sense of the samples. */
static void expect_announced(struct scene *s)
{
	cr_expect_str_eq(private_redis__ask(&s->redis, "HGET gil:schema version"), "1");
	cr_expect_gt(private_redis__int(&s->redis, "ZCARD gil:procs"), 0);
	cr_expect_gt(private_redis__int(&s->redis, "ZCARD gil:menu"), 0);
	cr_expect_str_eq(private_redis__ask(&s->redis, "HGET gil:{%s}:meta mode", s->id), "full");
	cr_expect_gt(private_redis__int(&s->redis, "TTL gil:{%s}:meta", s->id), 0);
	cr_expect_gt(private_redis__int(&s->redis, "TTL gil:{%s}:p:1s", s->id), 0);
}

Test(history, every_interval_stands_once)
{
	struct scene s;

	set_up(&s, true);
	await_intervals(&s, 12);
	end_run(&s);
	expect_each_once(&s, 0);
	expect_announced(&s);
	tear_down(&s);
}

Test(history, redis_that_comes_late_gets_it_all)
{
	struct scene s;
	long long before;

	set_up(&s, false);
	before = await_intervals(&s, 8);
	private_redis__start(&s.redis, true, NULL);
	await_stored(&s, before);
	await_intervals(&s, 8);
	end_run(&s);
	expect_each_once(&s, 0);
	expect_announced(&s);
	tear_down(&s);
}

Test(history, redis_that_comes_back_empty_gets_all_since)
{
	struct scene s;
	long long before, killed;

	set_up(&s, true);
	before = await_intervals(&s, 8);
	private_redis__kill(&s.redis);
	private_redis__forget_data(&s.redis);
	killed = await_intervals(&s, 8);
	private_redis__start(&s.redis, true, NULL);
	await_stored(&s, killed);
	await_intervals(&s, 8);
	end_run(&s);
	expect_each_once(&s, before + 400);
	expect_announced(&s);
	tear_down(&s);
}

static bool answers(void *arg)
{
	struct scene *s = arg;
	struct program p;
	bool up;

	program__run(&p, "test \"$(redis-cli -s '%s' PING 2>&1)\" = PONG", s->redis.socket);
	up = p.status == 0;
	program__free(&p);
	return up;
}

/* The embedded store's server is gilscope's to start again. */
Test(history, killed_store_comes_back_by_itself)
{
	struct scene s = {0};
	char dir[64];
	const char *pid;
	long long before;
	struct reason why;
	struct store_paths paths;
	struct store *store;

	private_redis__init(&s.redis, false);
	private_redis__fini(&s.redis);
	temp_dir__make(dir, sizeof(dir));
	setenv("GILSCOPE_STORE_DIR", dir, 1);
	cr_assert_eq(store__paths(&paths, &why), 0);
	attach(&s, "");
	strcpy(s.redis.socket, paths.socket);
	snprintf(s.redis.secret, sizeof(s.redis.secret), "%s/secret", dir);
	await_intervals(&s, 8);
	pid = strstr(private_redis__ask(&s.redis, "INFO server"), "process_id:");
	cr_assert_not_null(pid);
	cr_assert_eq(kill((pid_t)atoi(pid + strlen("process_id:")), SIGKILL), 0);
	before = await_intervals(&s, 1);
	cr_assert(eventually(answers, &s, 60000), "the store is down");
	await_stored(&s, before);
	await_intervals(&s, 8);
	cr_assert_eq(store__open(&paths, &store, &why), 0, "%s", why.text); /* keeps it for what is asked below */
	end_run(&s);
	expect_each_once(&s, before);
	expect_announced(&s);
	store__close(store);
	tool__clear(&s.tool);
	workload__kill(&s.target);
	temp_dir__remove(dir);
}

/* Who waited for Redis would end its intervals late, each of them. */
Test(history, paused_redis_delays_nobody)
{
	struct scene s;
	long long stamps[STAMPS_MAX], paused;
	size_t n, prompt = 0;

	set_up(&s, true);
	paused = await_intervals(&s, 4);
	private_redis__pause(&s.redis);
	await_intervals(&s, 15);
	n = stamps_said(&s, paused, stamps, STAMPS_MAX);
	for (size_t i = 1; i < n; i++)
		prompt += stamps[i] - stamps[i - 1] == 200;
	cr_expect_gt(2 * prompt, n, "%zu of %zu intervals are 200 ms long", prompt, n);
	private_redis__resume(&s.redis);
	await_stored(&s, stamps[n - 1]);
	end_run(&s);
	expect_each_once(&s, 0);
	tear_down(&s);
}

/* A key that is another program's: what concerns it is refused, all else arrives. */
Test(history, what_the_server_refused_is_counted_in_meta)
{
	struct scene s;
	long long stamps[256];

	private_redis__init(&s.redis, false);
	private_redis__start(&s.redis, true, NULL);
	private_redis__ask(&s.redis, "SET gil:procs taken");
	attach_to_redis(&s);
	sleep(2);
	end_run(&s);
	cr_assert_gt(stamps_said(&s, 0, stamps, 256), 0);
	cr_expect_gt(private_redis__int(&s.redis, "HGET gil:{%s}:meta lost_sink_refused", s.id), 0);
	cr_expect_str_eq(private_redis__ask(&s.redis, "HGET gil:{%s}:meta lost_sink_points", s.id), "0");
	tear_down(&s);
}

/* How the run ended, as the summary on standard output has it; free() it. */
static char *end_said(struct scene *s)
{
	char *out = tool__stdout(&s->tool), *rest = out, *line, *end = NULL;

	while ((line = strsep(&rest, "\n"))) {
		json_t *row = json_loads(line, 0, NULL);
		const char *said = row ? json_string_value(json_object_get(row, "end")) : NULL;

		if (said) {
			free(end);
			end = strdup(said);
		}
		json_decref(row);
	}
	free(out);
	return end;
}

static void expect_end(struct scene *s, const char *end)
{
	long long stamps[256];
	char *said = end_said(s);

	stamps_said(s, 0, stamps, 256);
	cr_assert_not_null(said);
	cr_expect_str_eq(said, end);
	cr_expect_str_eq(private_redis__ask(&s->redis, "HGET gil:{%s}:meta end", s->id), end);
	free(said);
}

Test(history, an_exit_has_one_name_in_json_and_in_redis)
{
	struct scene s;

	set_up(&s, true);
	sleep(1);
	workload__kill(&s.target);
	cr_assert_eq(tool__wait(&s.tool, 30), 0);
	expect_end(&s, "exit");
	tear_down(&s);
}

Test(history, an_end_by_signal_has_one_name_in_json_and_in_redis)
{
	struct scene s;

	set_up(&s, true);
	sleep(1);
	end_run(&s);
	expect_end(&s, "signal");
	tear_down(&s);
}

/* ---- a Redis that throws keys away ---- */

static void start_evicting(struct scene *s, const char *policy)
{
	const char *const options[] = {"--maxmemory-policy", policy, NULL};

	private_redis__init(&s->redis, false);
	private_redis__start(&s->redis, true, options);
	attach_to_redis(s);
}

/* No room for more than a few samples: from here on each new one costs an old key. */
static void make_full(struct scene *s)
{
	const char *used = strstr(private_redis__ask(&s->redis, "INFO memory"), "used_memory:");

	cr_assert_not_null(used);
	cr_assert_str_eq(private_redis__ask(&s->redis, "CONFIG SET maxmemory %lld",
					    strtoll(used + strlen("used_memory:"), NULL, 10) + 20000), "OK");
}

static void expect_said(struct scene *s, const char *words, bool expected)
{
	char *said = tool__stderr(&s->tool);

	cr_expect_eq(strstr(said, words) != NULL, expected, "\"%s\" in %s", words, said);
	free(said);
}

Test(history, keys_that_redis_throws_away_are_noticed_and_counted)
{
	struct scene s;
	long long ttl;

	start_evicting(&s, "volatile-lru");
	tool__await(&s.tool, "maxmemory-policy volatile-lru");
	await_stored(&s, await_intervals(&s, 5) - 1); /* the function library is there, and keys that can be thrown away */
	make_full(&s);
	tool__await(&s.tool, "keys of the history are gone from Redis");
	private_redis__ask(&s.redis, "CONFIG SET maxmemory 0");
	await_stored(&s, await_intervals(&s, 1) - 1);
	ttl = private_redis__int(&s.redis, "TTL gil:{%s}:p:1s", s.id);
	cr_expect_gt(ttl, 0, "a key that was made anew is kept for ever: %lld", ttl);
	end_run(&s);
	expect_said(&s, "thrown away or deleted meanwhile: it is not complete", true);
	cr_expect_gt(private_redis__int(&s.redis, "HGET gil:{%s}:meta lost_sink_keys", s.id), 0);
	tear_down(&s);
}

Test(history, redis_that_keeps_its_keys_is_not_complained_of)
{
	struct scene s;

	start_evicting(&s, "noeviction");
	sleep(3);
	end_run(&s);
	expect_said(&s, "maxmemory", false);
	expect_said(&s, "thrown away", false);
	tear_down(&s);
}

Test(history, doctor_says_whether_redis_throws_keys_away)
{
	static const struct {
		char policy[16], words[64];
	} cases[] = {
		{"allkeys-lru", "may throw away any of the history"}, {"volatile-random", "may throw away any of the history"},
		{"noeviction", "refuses samples"}, {"volatile-ttl", "kept for the shortest time"},
	};
	struct private_redis redis;
	char words[200];
	struct tool t;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *const options[] = {"--maxmemory-policy", cases[i].policy, NULL};
		char *said;

		private_redis__init(&redis, false);
		private_redis__start(&redis, true, options);
		snprintf(words, sizeof(words), "doctor --json --redis %s", redis.url);
		tool__run(&t, words);
		said = tool__stdout(&t);
		cr_expect(strstr(said, cases[i].words) && strstr(said, cases[i].policy), "%s: %s", cases[i].policy, said);
		free(said);
		tool__clear(&t);
		private_redis__fini(&redis);
	}
}
