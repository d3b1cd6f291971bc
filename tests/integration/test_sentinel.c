/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A master, its replica and three sentinels, all real, as the users that the documentation proposes: who the master is follows
 * their majority, and samples wait here until there is one.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "collector/redis/redis_conn.h"
#include "collector/redis/sink_redis.h"
#include "collector/sink/sink.h"
#include "../support/private_redis.h"
#include "../support/program.h"

#define SENTINELS 3
#define FLUSH_MS 60000
#define KEY "gil:{web1:1:x}:p:1s"
#define WRITER "gilscope_writer_web1:CHANGE-ME-WRITER-WEB1"

struct sentinel {
	int port;
	pid_t pid;
};

static struct private_redis servers[2]; /* the master at first, and its replica */
static struct sentinel sentinels[SENTINELS];
static struct sink *sink;
static uint64_t max_bytes; /* 0: the default */
static char users[4096], sentinel_users[4096], url[512];

static void start_server(struct private_redis *r, int master_port)
{
	char port[16];
	const char *const options[] = {"--aclfile", users, "--repl-diskless-sync-delay", "0", master_port ? "--replicaof" : NULL,
				       "127.0.0.1", port, NULL};

	snprintf(port, sizeof(port), "%d", master_port);
	private_redis__init(r, true);
	private_redis__start(r, true, options);
}

/* Its file, which it writes itself, is the server's directory's. */
static void start_sentinel(struct sentinel *s, int number)
{
	char path[128], port[16];
	FILE *f;

	s->port = s->port ? s->port : free_port();
	snprintf(port, sizeof(port), "%d", s->port);
	snprintf(path, sizeof(path), "%s/sentinel%d.conf", servers[0].dir, number);
	f = fopen(path, "w");
	cr_assert_not_null(f);
	fprintf(f, "port %s\nbind 127.0.0.1\ndir %s\nlogfile %s.log\naclfile %s\nsentinel monitor mymaster 127.0.0.1 %d 2\n"
		"sentinel down-after-milliseconds mymaster 60000\nsentinel failover-timeout mymaster 60000\n",
		port, servers[0].dir, path, sentinel_users, servers[0].port);
	cr_assert_eq(fclose(f), 0);
	s->pid = fork();
	cr_assert_geq(s->pid, 0);
	if (s->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execlp("redis-server", "redis-server", path, "--sentinel", (char *)NULL);
		_exit(127);
	}
}

static void stop_sentinel(struct sentinel *s)
{
	if (!s->pid)
		return;
	kill(s->pid, SIGKILL);
	waitpid(s->pid, NULL, 0);
	s->pid = 0;
}

/* What a sentinel answers, one word. */
static char *ask_sentinel(const struct sentinel *s, const char *question)
{
	struct program p;
	char *answer;

	program__run(&p, "redis-cli -h 127.0.0.1 -p %d --raw %s | tail -n 1", s->port, question);
	answer = strdup(p.out);
	answer[strcspn(answer, "\n")] = '\0';
	program__free(&p);
	return answer;
}

static bool sentinel_says(const struct sentinel *s, const char *question, const char *expected)
{
	char *answer = ask_sentinel(s, question);
	bool same = strcmp(answer, expected) == 0;

	free(answer);
	return same;
}

static bool failover_begins(void *arg)
{
	return sentinel_says(&sentinels[0], "SENTINEL FAILOVER mymaster", "OK");
}

/* At once, and not when they have missed the master for long enough: that is a matter of time. */
static void order_failover(void)
{
	cr_assert(eventually(failover_begins, NULL, 60000));
}

/* All know each other and the replica: then they can fail over. */
static bool sentinels_agree(void *arg)
{
	for (size_t i = 0; i < SENTINELS; i++)
		if (!sentinel_says(&sentinels[i], "SENTINEL CKQUORUM mymaster",
				   "OK 3 usable Sentinels. Quorum and failover authorization can be reached") ||
		    !sentinel_says(&sentinels[i], "SENTINEL REPLICAS mymaster | grep -x -A1 flags", "slave"))
			return false;
	return true;
}

static bool replica_is_linked(void *arg)
{
	return strstr(private_redis__ask(&servers[1], "INFO replication"), "master_link_status:up") != NULL;
}

static void set_up(void)
{
	cr_assert_not_null(realpath("dashboards/redis/users.acl", users));
	cr_assert_not_null(realpath("dashboards/redis/sentinel.acl", sentinel_users));
	start_server(&servers[0], 0);
	start_server(&servers[1], servers[0].port);
	cr_assert(eventually(replica_is_linked, NULL, 60000));
	for (int i = 0; i < SENTINELS; i++)
		start_sentinel(&sentinels[i], i);
	snprintf(url, sizeof(url), "redis+sentinel://" WRITER "@127.0.0.1:%d,127.0.0.1:%d,127.0.0.1:%d/mymaster"
		 "?sentinel_user=gilscope",
		 sentinels[0].port, sentinels[1].port, sentinels[2].port);
}

static void set_up_all(void)
{
	set_up();
	cr_assert(eventually(sentinels_agree, NULL, 60000));
}

static void tear_down(void)
{
	sink__close(sink);
	for (size_t i = 0; i < SENTINELS; i++)
		stop_sentinel(&sentinels[i]);
	private_redis__fini(&servers[1]);
	private_redis__fini(&servers[0]);
}

TestSuite(sentinel, .timeout = 300);

static void open_sink(const char *sentinel_password)
{
	struct sink_redis_opts opts = {.timeout_ms = 3000, .max_bytes = max_bytes};
	struct redis_url parsed;
	struct reason why = {""};

	setenv("GILSCOPE_SENTINEL_PASSWORD", sentinel_password, 1);
	cr_assert_eq(redis_url__parse(url, &parsed, &why), 0, "%s", why.text);
	cr_assert_eq(redis_url__find_sentinel_password(&parsed, NULL, &why), 0, "%s", why.text);
	opts.url = &parsed;
	cr_assert_eq(sink_redis__new(&opts, &sink, &why), 0, "%s", why.text);
}

static void write_samples(int from, int n)
{
	for (int i = from; i < from + n; i++) {
		struct batch *b = batch__new();

		batch__command(b, "ZADD");
		batch__arg(b, KEY);
		batch__arg_int(b, i);
		batch__arg_fmt(b, "{\"t\":%d}", i);
		batch__set_points(b, 1, i);
		cr_assert_eq(sink__write(sink, b), 0);
	}
}

static struct sink_stats stats(void)
{
	struct sink_stats s;

	sink__stats(sink, &s);
	return s;
}

static void flush(void)
{
	cr_assert_eq(sink__flush(sink, FLUSH_MS), 0, "not written: %s", stats().trouble);
}

static bool in_trouble(void *word)
{
	return strstr(stats().trouble, word) != NULL;
}

static bool has_a_hundred(void *server)
{
	return private_redis__int(server, "ZCARD " KEY) == 100;
}

Test(sentinel, a_master_that_dies_is_followed_and_nothing_is_missing, .init = set_up_all, .fini = tear_down)
{
	open_sink("CHANGE-ME-SENTINEL");
	write_samples(0, 100);
	flush();
	cr_assert(eventually(has_a_hundred, &servers[1], 60000), "the replica has them");
	private_redis__kill(&servers[0]);
	order_failover();
	write_samples(100, 200);
	flush();
	cr_expect_eq(private_redis__int(&servers[1], "ZCARD " KEY), 300);
	cr_expect_eq(stats().points_written, 300);
	cr_expect_eq(stats().points_dropped, 0);
	cr_expect_geq(stats().reconnects, 1);
	cr_expect_str_eq(stats().trouble, "");
}

/* The replica gets nothing more, and will not know that there was anything. */
static void cut_off_replica(void)
{
	private_redis__pause(&servers[1]);
	cr_assert_eq(private_redis__int(&servers[0], "CLIENT KILL TYPE replica"), 1);
}

static void fail_over(void)
{
	private_redis__kill(&servers[0]);
	private_redis__resume(&servers[1]);
	order_failover();
}

Test(sentinel, what_only_the_dead_master_had_is_sent_again, .init = set_up_all, .fini = tear_down)
{
	open_sink("CHANGE-ME-SENTINEL");
	write_samples(0, 100);
	flush();
	cr_assert(eventually(has_a_hundred, &servers[1], 60000), "the replica has them");
	cut_off_replica();
	write_samples(100, 200);
	flush();
	cr_assert_eq(private_redis__int(&servers[0], "ZCARD " KEY), 300);
	fail_over();
	write_samples(300, 1);
	flush();
	cr_expect_eq(private_redis__int(&servers[1], "ZCARD " KEY), 301);
	cr_expect_eq(stats().points_written, 301, "each is counted once");
	cr_expect_eq(stats().points_dropped, 0);
	cr_expect_eq(stats().points_unsure, 0);
}

Test(sentinel, what_there_is_no_room_to_keep_for_that_is_counted, .init = set_up_all, .fini = tear_down)
{
	long long present;

	max_bytes = 400000; /* of which a quarter is for that */
	open_sink("CHANGE-ME-SENTINEL");
	write_samples(0, 100);
	flush();
	cr_assert(eventually(has_a_hundred, &servers[1], 60000), "the replica has them");
	cut_off_replica();
	for (int i = 100; i < 300; i += 20) {
		write_samples(i, 20);
		flush();
	}
	fail_over();
	write_samples(300, 1);
	flush();
	present = private_redis__int(&servers[1], "ZCARD " KEY);
	cr_expect_lt(present, 301);
	cr_expect_geq(present + (long long)stats().points_unsure, 301, "%lld present, %lld unsure", present,
		      (long long)stats().points_unsure);
	cr_expect_eq(stats().points_dropped, 0);
	cr_expect_eq(stats().points_written, 301);
}

/* A sentinel that gives a server another role closes the connections of its clients. */
static bool has_role(struct private_redis *server, const char *role)
{
	const char *answer = private_redis__try(server, "ROLE");

	return answer && strncmp(answer, role, strlen(role)) == 0;
}

static bool is_master(void *server)
{
	return has_role(server, "master");
}

static bool is_replica(void *server)
{
	return has_role(server, "slave");
}

/* What it still took before it heard of that is another matter. */
Test(sentinel, a_master_that_is_replaced_gets_nothing_more, .init = set_up_all, .fini = tear_down)
{
	open_sink("CHANGE-ME-SENTINEL");
	write_samples(0, 100);
	flush();
	cr_assert(eventually(has_a_hundred, &servers[1], 60000), "the replica has them");
	order_failover();
	cr_assert(eventually(is_master, &servers[1], 60000));
	cr_assert(eventually(is_replica, &servers[0], 60000));
	write_samples(100, 200);
	flush();
	cr_expect_eq(private_redis__int(&servers[1], "ZCARD " KEY), 300);
	cr_expect_eq(stats().points_written, 300);
}

/* Cut off from the two that replaced it, it still takes itself for the master. */
Test(sentinel, a_master_that_does_not_know_is_left_all_the_same, .init = set_up_all, .fini = tear_down)
{
	open_sink("CHANGE-ME-SENTINEL");
	write_samples(0, 100);
	flush();
	cr_assert(eventually(has_a_hundred, &servers[1], 60000), "the replica has them");
	for (size_t i = 0; i < SENTINELS; i++)
		stop_sentinel(&sentinels[i]);
	private_redis__ask(&servers[1], "REPLICAOF NO ONE");
	for (int i = 0; i < SENTINELS; i++) {
		struct private_redis was = servers[0];

		servers[0].port = servers[1].port; /* what they are told to watch from now on */
		start_sentinel(&sentinels[i], i);
		servers[0] = was;
	}
	for (int i = 100; private_redis__int(&servers[1], "ZCARD " KEY) <= 100 && i < 5000; i++) {
		write_samples(i, 1);
		flush();
		usleep(20000);
	}
	cr_expect_gt(private_redis__int(&servers[1], "ZCARD " KEY), 100);
	cr_expect(is_master(&servers[0]), "it never heard of it");
}

Test(sentinel, less_than_half_of_them_are_not_believed, .init = set_up, .fini = tear_down)
{
	stop_sentinel(&sentinels[0]);
	stop_sentinel(&sentinels[2]);
	open_sink("CHANGE-ME-SENTINEL");
	write_samples(0, 10);
	cr_assert(eventually(in_trouble, "1 of its 3 sentinels answered, which is no majority", 60000), "trouble: %s",
		  stats().trouble);
	cr_expect_eq(private_redis__int(&servers[0], "EXISTS " KEY), 0);
	start_sentinel(&sentinels[2], 2);
	flush();
	cr_expect_eq(private_redis__int(&servers[0], "ZCARD " KEY), 10);
}

Test(sentinel, their_password_is_one_of_its_own, .init = set_up, .fini = tear_down)
{
	open_sink("wrong");
	write_samples(0, 10);
	cr_assert(eventually(in_trouble, "WRONGPASS", 60000), "trouble: %s", stats().trouble);
	cr_expect_eq(private_redis__int(&servers[0], "EXISTS " KEY), 0);
}

Test(sentinel, a_name_that_they_do_not_know_is_said, .init = set_up, .fini = tear_down)
{
	char *name = strstr(url, "/mymaster");

	memcpy(name, "/nomaster", 9);
	open_sink("CHANGE-ME-SENTINEL");
	write_samples(0, 1);
	cr_assert(eventually(in_trouble, "know no master \"nomaster\"", 60000), "trouble: %s", stats().trouble);
}

static bool first_sentinel_is_up(void *arg)
{
	return sentinel_says(&sentinels[0], "PING", "PONG");
}

Test(sentinel, readers_find_the_master_too, .init = set_up, .fini = tear_down)
{
	struct program p;

	cr_assert(eventually(first_sentinel_is_up, NULL, 60000));
	private_redis__ask(&servers[0], "XADD gil:{host:web1}:events 5-0 id web1:1:x t 5 kind alert text seen");
	private_redis__ask(&servers[0], "ZADD gil:procs 99999999999999 web1:1:x");
	program__run(&p, "echo CHANGE-ME-SENTINEL >%s/pw; export GILSCOPE_REDIS_PASSWORD=CHANGE-ME-READER; "
		     "$GILSCOPE events --since @0 --json --sentinel-password-file %s/pw "
		     "--redis 'redis+sentinel://gilscope_reader@127.0.0.1:%d/mymaster"
		     "?sentinel_user=gilscope'", servers[0].dir, servers[0].dir, sentinels[0].port);
	cr_expect_eq(p.status, 0, "%s", p.err);
	cr_expect_not_null(strstr(p.out, "\"text\":\"seen\""), "%s%s", p.out, p.err);
	program__free(&p);
}
