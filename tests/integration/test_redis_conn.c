/* SPDX-License-Identifier: GPL-2.0-only */
/* Connections to a real server, to servers that misbehave, and to none. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "collector/redis/redis_conn.h"
#include "../support/odd_server.h"
#include "../support/private_redis.h"
#include "../support/program.h"

#define TIMEOUT_MS 200

static int open_url(const char *text, struct redisContext **ret, struct reason *why)
{
	struct redis_url url;

	cr_assert_eq(redis_url__parse(text, &url, why), 0, "%s", why->text);
	return redis_conn__open(&url, TIMEOUT_MS, ret, why);
}

static struct private_redis redis;

static void start_plain(void)
{
	private_redis__init(&redis, false);
	private_redis__start(&redis, true, NULL);
}

static void start_with_password(void)
{
	static const char *const options[] = {"--requirepass", "hush", "--user", "alice", "on", ">wonder",
					       "~*", "+@all", NULL};

	private_redis__init(&redis, true);
	private_redis__start(&redis, true, options);
}

static void stop_redis(void)
{
	private_redis__fini(&redis);
}

static int keep_text(void *arg, size_t i, const struct redisReply *reply)
{
	snprintf(arg, 64, "%s", reply->str ? reply->str : "");
	return 0;
}

Test(redis_conn, selects_the_database_and_gives_its_name, .init = start_plain, .fini = stop_redis)
{
	const char *argv[] = {"SET", "k", "v"};
	const size_t lens[] = {3, 1, 1};
	struct redisContext *c = NULL;
	struct reason why = {""};
	char url[200], text[64];

	snprintf(url, sizeof(url), "%s?db=5", redis.url);
	cr_assert_eq(open_url(url, &c, &why), 0, "%s", why.text);
	cr_expect(strstr(private_redis__ask(&redis, "CLIENT LIST"), "name=gilscope") != NULL);
	cr_assert_eq(redis_conn__append(c, 3, argv, lens), 0);
	cr_assert_eq(redis_conn__exchange(c, 1, TIMEOUT_MS, -1, keep_text, text, &why), 0);
	cr_expect_str_eq(text, "OK");
	cr_expect(strstr(private_redis__ask(&redis, "INFO keyspace"), "db5:keys=1") != NULL);
	cr_expect(fcntl(c->fd, F_GETFD) & FD_CLOEXEC);
	redis_conn__close(c);
}

Test(redis_conn, database_out_of_range_is_refused, .init = start_plain, .fini = stop_redis)
{
	struct redisContext *c = NULL;
	struct reason why = {""};
	char url[200];

	snprintf(url, sizeof(url), "%s?db=999", redis.url);
	cr_expect_eq(open_url(url, &c, &why), -EPROTO);
	cr_expect_not_null(strstr(why.text, "DB index is out of range"), "%s", why.text);
	cr_expect_null(c);
}

/* The words between "redis://" and the address. */
struct login {
	char who[64];
	int err;
	char sentence[64];
};

Test(redis_conn, credentials_are_judged, .init = start_with_password, .fini = stop_redis)
{
	static const struct login logins[] = {
		{":hush@", 0, ""},
		{"default:hush@", 0, ""},
		{"alice:wonder@", 0, ""},
		{"", -EACCES, "NOAUTH"},
		{":s3cret@", -EACCES, "WRONGPASS"},
		{"alice:s3cret@", -EACCES, "WRONGPASS"},
		{"bob:s3cret@", -EACCES, "WRONGPASS"},
	};

	for (size_t i = 0; i < sizeof(logins) / sizeof(logins[0]); i++) {
		struct redisContext *c = NULL;
		struct reason why = {""};
		char url[128];

		snprintf(url, sizeof(url), "redis://%.60s127.0.0.1:%d", logins[i].who, redis.port);
		cr_expect_eq(open_url(url, &c, &why), logins[i].err, "%s: %s", logins[i].who, why.text);
		cr_expect_not_null(strstr(why.text, logins[i].sentence), "%s: %s", logins[i].who, why.text);
		cr_expect_null(strstr(why.text, "s3cret"), "the password is shown: %s", why.text);
		redis_conn__close(c);
	}
}

Test(redis_conn, password_where_none_is_set_is_said, .init = start_plain, .fini = stop_redis)
{
	struct redisContext *c = NULL;
	struct reason why = {""};
	char url[200];

	snprintf(url, sizeof(url), "unix://:pw@%s", redis.socket);
	cr_expect_eq(open_url(url, &c, &why), -EACCES);
	cr_expect_not_null(strstr(why.text, "without any password configured"), "%s", why.text);
}

Test(redis_conn, nobody_there_is_one_sentence)
{
	struct redisContext *c = NULL;
	struct reason why = {""};
	char url[64];

	snprintf(url, sizeof(url), "redis://localhost:%d", free_port());
	cr_expect_eq(open_url(url, &c, &why), -ECONNREFUSED);
	cr_expect_not_null(strstr(why.text, "is redis-server running"), "%s", why.text);
	cr_expect_eq(open_url("unix:///tmp/gilscope-no-such.sock", &c, &why), -ENOENT);
	cr_expect_not_null(strstr(why.text, "no such socket"), "%s", why.text);
	cr_expect_eq(open_url("redis://no-such-host.invalid", &c, &why), -EHOSTUNREACH);
	cr_expect_not_null(strstr(why.text, "does not resolve"), "%s", why.text);
	cr_expect_null(c);
}

/* Where hiredis has TLS there is nothing to refuse. */
#ifndef HAVE_HIREDIS_SSL
Test(redis_conn, tls_without_tls_is_refused_in_words)
{
	struct redisContext *c = NULL;
	struct reason why = {""};

	cr_expect_eq(open_url("rediss://u:s3cret@127.0.0.1", &c, &why), -EPROTONOSUPPORT);
	cr_expect_not_null(strstr(why.text, "has no TLS"), "%s", why.text);
	cr_expect_null(strstr(why.text, "s3cret"), "%s", why.text);
}
#endif

struct odd_case {
	int oddity;
	int err;
	char sentence[64];
};

static struct odd_case odd_cases[] = {
	{ODD_SILENT, -ETIMEDOUT, "no answer within"},
	{ODD_HANGS_UP, -EPIPE, "closed the connection"},
	{ODD_GARBAGE, -EPROTO, "does not speak Redis's protocol"},
	{ODD_TRICKLES, -ETIMEDOUT, "its answer has no end after"},
	{ODD_HUGE_ARRAY, -EPROTO, "its answer has more elements than"},
	{ODD_DEEP_ARRAYS, -EPROTO, "its answer has more elements than"},
	{ODD_HUGE_STRINGS, -EPROTO, "its answer is larger than 64 MiB"},
	{ODD_ENDLESS_LINE, -EPROTO, "a line of its answer is longer than 64 KiB"},
	{ODD_MANY_ELEMENTS, -EPROTO, "its answer has more elements than"},
	{ODD_FULL, -EAGAIN, "max number of clients"},
};

ParameterizedTestParameters(redis_conn, odd_server_holds_nobody)
{
	return cr_make_param_array(struct odd_case, odd_cases, sizeof(odd_cases) / sizeof(odd_cases[0]));
}

ParameterizedTest(struct odd_case *o, redis_conn, odd_server_holds_nobody)
{
	struct redisContext *c = NULL;
	struct reason why = {""};
	struct odd_server odd;
	struct rusage usage;

	odd_server__start(&odd, o->oddity);
	cr_expect_eq(open_url(odd.url, &c, &why), o->err, "%s", why.text);
	cr_expect_not_null(strstr(why.text, o->sentence), "%s", why.text);
	cr_expect_not_null(strstr(why.text, odd.url), "%s", why.text);
	cr_expect_null(c);
	getrusage(RUSAGE_SELF, &usage);
	cr_expect_lt(usage.ru_maxrss, 256 * 1024, "memory was taken on the server's word");
	odd_server__stop(&odd);
}

/* A reader that has work with each reply. */
static int dawdle(void *arg, size_t i, const struct redisReply *reply)
{
	usleep(10000);
	return 0;
}

/* There is always something to read, so that no wait ever ends by itself: the deadline does. */
Test(redis_conn, deadline_is_not_extended_by_data)
{
	struct redisContext *c = NULL;
	struct reason why = {""};
	struct odd_server odd;

	odd_server__start(&odd, ODD_GREETS | ODD_FLOODS);
	cr_assert_eq(open_url(odd.url, &c, &why), 0, "%s", why.text);
	cr_expect_eq(redis_conn__exchange(c, 1000, TIMEOUT_MS, -1, dawdle, NULL, &why), -ETIMEDOUT, "%s", why.text);
	cr_expect_not_null(strstr(why.text, "its answer has no end after"), "%s", why.text);
	redis_conn__close(c);
	odd_server__stop(&odd);
}

/* ---- the verbs that read a history ---- */

static struct odd_case odd_histories[] = {
	{ODD_GREETS | ODD_HUGE_STRINGS, 1, "its answer is larger than 64 MiB"},
	{ODD_GREETS | ODD_ENDLESS_LINE, 1, "a line of its answer is longer than 64 KiB"},
	{ODD_GREETS | ODD_MANY_ELEMENTS, 1, "its answer has more elements than"},
	{ODD_GREETS | ODD_FLOODS, 1, "the reply is not what gilscope's schema says"},
};

ParameterizedTestParameters(redis_conn, odd_history_holds_no_verb)
{
	return cr_make_param_array(struct odd_case, odd_histories, sizeof(odd_histories) / sizeof(odd_histories[0]));
}

/* The limit of memory is the kernel's: what wants more is told that there is none. */
ParameterizedTest(struct odd_case *o, redis_conn, odd_history_holds_no_verb, .timeout = 120)
{
	static const char *const verbs[] = {"report", "query", "flame"};
	struct odd_server odd;

	odd_server__start(&odd, o->oddity);
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		struct program p;

		program__run(&p, "ulimit -v 700000; \"$GILSCOPE\" %s service --redis %s", verbs[i], odd.url);
		cr_expect_eq(p.status, o->err, "%s: %d", verbs[i], p.status);
		cr_expect_not_null(strstr(p.err, o->sentence), "%s: %s", verbs[i], p.err);
		cr_expect_eq(strchr(p.err, '\n'), p.err + strlen(p.err) - 1, "%s: one sentence: %s", verbs[i], p.err);
		program__free(&p);
	}
	odd_server__stop(&odd);
}

Test(redis_conn, paused_server_is_given_up_and_reached_again, .init = start_plain, .fini = stop_redis)
{
	struct redisContext *c = NULL;
	struct reason why = {""};

	private_redis__pause(&redis);
	cr_expect_eq(open_url(redis.url, &c, &why), -ETIMEDOUT, "%s", why.text);
	private_redis__resume(&redis);
	cr_expect_eq(open_url(redis.url, &c, &why), 0, "%s", why.text);
	redis_conn__close(c);
}

Test(redis_conn, wake_up_ends_the_wait)
{
	struct redisContext *c = NULL;
	struct reason why = {""};
	struct redis_url url;
	struct odd_server odd;
	int wake = eventfd(1, EFD_CLOEXEC);

	odd_server__start(&odd, ODD_SILENT);
	cr_assert_eq(redis_url__parse(odd.url, &url, NULL), 0);
	/* Were it not woken, the test's own time limit would end it. */
	cr_expect_eq(redis_conn__open_until(&url, 3600 * 1000, wake, &c, &why), -ECANCELED, "%s", why.text);
	odd_server__stop(&odd);
	close(wake);
}

/* CLIENT SETNAME is a courtesy: what does not know it, a proxy say, is talked with all the same. */
Test(redis_conn, proxy_without_setname_is_good_enough, .init = start_plain, .fini = stop_redis)
{
	static const char *const unknown[] = {"CLIENT", NULL};
	const char *argv[] = {"SET", "k", "v", NULL};
	struct redisContext *c = NULL;
	struct reason why = {""};
	struct odd_server proxy;

	odd_server__start_proxy(&proxy, &redis, unknown);
	cr_assert_eq(open_url(proxy.url, &c, &why), 0, "%s", why.text);
	cr_expect_eq(redis_conn__do(c, argv, TIMEOUT_MS, &why), 0, "%s", why.text);
	cr_expect_str_eq(private_redis__ask(&redis, "GET k"), "v");
	redis_conn__close(c);
	odd_server__stop(&proxy);
}

Test(redis_conn, command_at_which_the_server_hangs_up_is_named, .init = start_plain, .fini = stop_redis)
{
	static const char *const unknown[] = {"SELECT", "TIME", "FUNCTION", NULL};
	const char *argv[] = {"TIME", NULL}, *with_word[] = {"FUNCTION", "LIST", NULL};
	struct redisContext *c = NULL;
	struct reason why = {""};
	struct odd_server proxy;
	char url[128];

	odd_server__start_proxy(&proxy, &redis, unknown);
	snprintf(url, sizeof(url), "%s/3", proxy.url);
	cr_expect_eq(open_url(url, &c, &why), -EPIPE);
	cr_expect_not_null(strstr(why.text, "closed the connection at SELECT (as a proxy does"), "%s", why.text);
	cr_assert_eq(open_url(proxy.url, &c, &why), 0, "%s", why.text);
	cr_expect_eq(redis_conn__do(c, argv, TIMEOUT_MS, &why), -EPIPE);
	cr_expect_not_null(strstr(why.text, "closed the connection at TIME (as a proxy does"), "%s", why.text);
	redis_conn__close(c);
	cr_assert_eq(open_url(proxy.url, &c, &why), 0, "%s", why.text);
	cr_expect_eq(redis_conn__do(c, with_word, TIMEOUT_MS, &why), -EPIPE);
	cr_expect_not_null(strstr(why.text, "at FUNCTION LIST (as a proxy does"), "%s", why.text);
	redis_conn__close(c);
	odd_server__stop(&proxy);
}
