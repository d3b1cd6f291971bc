/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The dashboards: what can be said of their text, and each of their queries against a server with a history. The checks
 * are Python (tests/dashboards), since what they are about is JSON and text.
 */
#include <criterion/criterion.h>
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../support/private_redis.h"
#include "../support/program.h"
#include "../support/seeded.h"

TestSuite(dashboards, .timeout = 300);

#define USERS "dashboards/redis/users.acl"
#define WRITER "gilscope_writer:CHANGE-ME-WRITER"
#define WRITER_WEB1 "gilscope_writer_web1:CHANGE-ME-WRITER-WEB1"
#define READER "gilscope_reader:CHANGE-ME-READER"

static struct private_redis redis;

static void expect_well(const char *command)
{
	struct program p;

	program__run(&p, "%s", command);
	cr_expect_eq(p.status, 0, "%s\n%s", p.out, p.err);
	program__free(&p);
}

/* A server with the users that the documentation proposes; the default one may do everything. */
static void start(const char *cluster)
{
	char path[4096], bus[16]; /* by default ten thousand above the port, which there may not be */
	const char *const options[] = {"--aclfile", realpath(USERS, path), "--cluster-enabled", cluster, "--cluster-port", bus,
				       NULL};

	snprintf(bus, sizeof(bus), "%d", free_port());
	private_redis__init(&redis, true);
	private_redis__start(&redis, true, options);
}

static void setup(void)
{
	start("no");
}

static bool cluster_serves(void *arg)
{
	return strstr(private_redis__ask(&redis, "CLUSTER INFO"), "cluster_state:ok") != NULL;
}

/* All slots on one node: enough for Redis to refuse keys of different slots in one question. */
static void setup_cluster(void)
{
	start("yes");
	cr_assert_str_eq(private_redis__ask(&redis, "CLUSTER ADDSLOTSRANGE 0 16383"), "OK");
	cr_assert(eventually(cluster_serves, NULL, 60000), "%s", private_redis__ask(&redis, "CLUSTER INFO"));
}

static void teardown(void)
{
	private_redis__fini(&redis);
}

/* History by the writer of its host, questions by the reader: with no more rights than theirs. */
static struct seeded *write_history(void)
{
	struct private_redis as_writer = redis;
	struct seeded *truth;

	snprintf(as_writer.url, sizeof(as_writer.url), "unix://" WRITER_WEB1 "@%.70s", redis.socket);
	truth = seeded__write(&as_writer);
	/* Else the newest sample expires in ten seconds, which a busy machine may take. */
	private_redis__ask(&redis, "PERSIST gil:{%s}:last", truth->id);
	return truth;
}

Test(dashboards, text_obeys_the_rules)
{
	expect_well("python3 tests/dashboards/static.py");
}

static void check_queries(void)
{
	struct seeded *truth = write_history();
	char command[512];

	/* Not on a minute: ranges are not in life either. */
	snprintf(command, sizeof(command), "READER=" READER " python3 tests/dashboards/queries.py %s %lld %lld", redis.socket,
		 (long long)seeded__end_ms(truth, 33), (long long)seeded__end_ms(truth, SEEDED_SECONDS - 1));
	expect_well(command);
	seeded__free(truth);
}

Test(dashboards, every_query_answers_as_the_program_does, .init = setup, .fini = teardown)
{
	check_queries();
}

Test(dashboards, every_query_answers_in_a_cluster, .init = setup_cluster, .fini = teardown)
{
	check_queries();
}

Test(dashboards, merged_rows_are_all_rows, .init = setup, .fini = teardown)
{
	char command[256];

	snprintf(command, sizeof(command), "python3 tests/dashboards/merged.py %s", redis.socket);
	expect_well(command);
}

/* ---- what the users may not do ---- */

static redisContext *connect_as(const char *name_and_password)
{
	char copy[64], *password;
	redisContext *c = redisConnectUnix(redis.socket);
	redisReply *reply;

	snprintf(copy, sizeof(copy), "%s", name_and_password);
	password = strchr(copy, ':');
	*password++ = '\0';
	cr_assert(c && !c->err);
	reply = redisCommand(c, "AUTH %s %s", copy, password);
	cr_assert(reply && reply->type == REDIS_REPLY_STATUS, "%s", reply ? reply->str : "no reply");
	freeReplyObject(reply);
	return c;
}

static void expect_allowed(redisContext *c, const char *command)
{
	redisReply *reply = redisCommand(c, command);

	cr_assert_not_null(reply);
	cr_expect_neq(reply->type, REDIS_REPLY_ERROR, "%s: %s", command, reply->str);
	freeReplyObject(reply);
}

/* A cluster's clients ask which node has which keys before anything else. */
Test(dashboards, reader_may_ask_a_cluster_for_its_nodes, .init = setup_cluster, .fini = teardown)
{
	redisContext *c = connect_as(READER);
	redisReply *reply = redisCommand(c, "CLUSTER SLOTS");

	cr_assert_not_null(reply);
	cr_expect_eq(reply->type, REDIS_REPLY_ARRAY, "%s", reply->str ? reply->str : "no array");
	freeReplyObject(reply);
	redisFree(c);
}

static void expect_refused(redisContext *c, const char *const *commands, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		redisReply *reply = redisCommand(c, commands[i]);

		cr_assert_not_null(reply);
		cr_expect(reply->type == REDIS_REPLY_ERROR && strstr(reply->str, "permission"), "%s: %s", commands[i],
			  reply->str ? reply->str : "allowed");
		freeReplyObject(reply);
	}
}

#define REFUSED(c, list) expect_refused(c, list, sizeof(list) / sizeof(list[0]))

Test(dashboards, reader_reads_and_no_more, .init = setup, .fini = teardown)
{
	static const char *const refused[] = {
		"ZADD gil:procs 1 x", "DEL gil:procs", "SET gil:x 1", "EXPIRE gil:procs 1", "HGET other f", "ZRANGE other 0 -1",
		"KEYS *", "SCAN 0", "FLUSHALL", "CONFIG GET *", "INFO", "CLIENT LIST", "FUNCTION LIST", "FUNCTION FLUSH",
		"CLUSTER NODES",
		"FCALL gil_version 0", "EVAL return 0", "EVAL_RO return{redis.call('GET','other')} 1 other", "ACL LIST",
		"SHUTDOWN NOSAVE", "SUBSCRIBE x",
	};
	redisContext *c;

	seeded__free(write_history());
	c = connect_as(READER);
	REFUSED(c, refused);
	redisFree(c);
}

Test(dashboards, writer_of_a_host_writes_nothing_of_another_and_deletes_nothing_shared, .init = setup, .fini = teardown)
{
	static const char *const refused[] = {
		"ZADD gil:{web2:1:x}:p:1s 1 x", "DEL gil:{web2:1:x}:p:1s", "UNLINK gil:procs", "DEL gil:all:10s",
		"DEL gil:schema",
		"ZREM gil:procs x", "HDEL gil:schema version", "ZREMRANGEBYRANK gil:menu 0 -1", "HSET gil:procs a b",
		"XADD gil:{host:web2}:events 1-1 a b", "XRANGE gil:{web2:1:x}:events - +", "ZADD gil:other 1 x",
		"ZADD gil:{web1}:x 1 x",
		"ZRANGE gil:procs 0 -1", "ZADD gil:{web11:1:x}:p:1s 1 x", "EVAL return 0 0", "FUNCTION FLUSH", "KEYS *",
	};
	redisContext *c;

	seeded__free(write_history());
	c = connect_as(WRITER_WEB1);
	REFUSED(c, refused);
	expect_allowed(c, "ZADD gil:{web1:1:x}:p:1s 1 x");
	redisFree(c);
}

Test(dashboards, writer_writes_its_keys_and_no_more, .init = setup, .fini = teardown)
{
	static const char *const refused[] = {
		"ZADD other 1 x", "ZRANGE gil:procs 0 -1", "HGETALL gil:schema", "SET gil:x 1", "KEYS *", "SCAN 0", "FLUSHALL",
		"FLUSHDB", "CONFIG GET *", "INFO", "FUNCTION FLUSH", "FUNCTION DELETE gilscope", "EVAL return 0", "ACL LIST",
		"SHUTDOWN NOSAVE", "RENAME gil:a gil:b", "PUBLISH x y",
	};
	redisContext *c;

	seeded__free(write_history());
	cr_expect_gt(private_redis__int(&redis, "FCALL_RO gil_version 0"), 0, "it may bring the function library");
	c = connect_as(WRITER);
	REFUSED(c, refused);
	redisFree(c);
}
