/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Three masters and three replicas, as the users that the documentation proposes: every batch reaches the masters of its slots,
 * once, while slots move from one to another, and when a master dies.
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "collector/redis/redis_cluster.h"
#include "collector/redis/sink_cluster.h"
#include "collector/schema/schema.h"
#include "collector/sink/sink.h"
#include "../support/made_up.h"
#include "../support/private_redis.h"
#include "../support/program.h"

#define MASTERS 3
#define NODES (2 * MASTERS)
#define FLUSH_MS 60000
#define WRITER_NAME "gilscope_writer_web1"
#define WRITER_PASSWORD "CHANGE-ME-WRITER-WEB1"
#define WRITER WRITER_NAME ":" WRITER_PASSWORD
#define READER "gilscope_reader"
#define PROCESSES 20

static struct private_redis nodes[NODES]; /* the first three are the masters at first, i + 3 the replica of i */
static int bus[NODES];
static char ids[NODES][64];
static struct sink *sink;
static long sent;

/* ---- the cluster ---- */

static void start_node(int i)
{
	char path[4096], port[16];
	const char *const options[] = {
		"--aclfile", realpath("dashboards/redis/users.acl", path), "--cluster-enabled", "yes", "--cluster-port", port,
		"--cluster-node-timeout", "60000", "--cluster-require-full-coverage", "no", "--repl-diskless-sync-delay", "0",
		NULL,
	};

	private_redis__init(&nodes[i], true);
	bus[i] = free_port();
	snprintf(port, sizeof(port), "%d", bus[i]);
	private_redis__start(&nodes[i], true, options);
	snprintf(ids[i], sizeof(ids[i]), "%s", private_redis__ask(&nodes[i], "CLUSTER MYID"));
}

static bool all_know_all(void *arg)
{
	for (int i = 0; i < NODES; i++)
		if (!nodes[i].pid || !strstr(private_redis__ask(&nodes[i], "CLUSTER INFO"), "cluster_known_nodes:6"))
			return false;
	return true;
}

static bool all_serve(void *arg)
{
	for (int i = 0; i < NODES; i++)
		if (!strstr(private_redis__ask(&nodes[i], "CLUSTER INFO"), "cluster_state:ok") ||
		    (i >= MASTERS && !strstr(private_redis__ask(&nodes[i], "INFO replication"), "master_link_status:up")))
			return false;
	return true;
}

/* As redis-cli asks before it moves slots: what each node has heard of the others. */
static bool all_agree(void *arg)
{
	struct program p;
	bool agree;

	program__run(&p, "redis-cli --cluster check 127.0.0.1:%d", nodes[0].port);
	agree = p.status == 0;
	program__free(&p);
	return agree;
}

static const char *url_as(const char *user)
{
	static char url[256];

	snprintf(url, sizeof(url), "redis+cluster://%s@127.0.0.1:%d,127.0.0.1:%d", user, nodes[0].port, nodes[1].port);
	return url;
}

static void open_sink(void)
{
	struct sink_redis_opts opts = {.timeout_ms = 3000};
	struct redis_url url;
	struct reason why = {""};

	cr_assert_eq(redis_url__parse(url_as(WRITER), &url, &why), 0, "%s", why.text);
	opts.url = &url;
	cr_assert_eq(sink_cluster__new(&opts, &sink, &why), 0, "%s", why.text);
}

static void set_up(void)
{
	for (int i = 0; i < NODES; i++)
		start_node(i);
	for (int i = 0; i < MASTERS; i++)
		private_redis__ask(&nodes[i], "CLUSTER ADDSLOTSRANGE %d %d", i * 16384 / MASTERS, (i + 1) * 16384 / MASTERS - 1);
	for (int i = 1; i < NODES; i++)
		private_redis__ask(&nodes[0], "CLUSTER MEET 127.0.0.1 %d %d", nodes[i].port, bus[i]);
	cr_assert(eventually(all_know_all, NULL, 60000));
	for (int i = MASTERS; i < NODES; i++)
		private_redis__ask(&nodes[i], "CLUSTER REPLICATE %s", ids[i - MASTERS]);
	cr_assert(eventually(all_serve, NULL, 60000));
	cr_assert(eventually(all_agree, NULL, 60000));
	open_sink();
}

static void tear_down(void)
{
	sink__close(sink);
	for (int i = 0; i < NODES; i++)
		private_redis__fini(&nodes[i]);
}

TestSuite(cluster, .init = set_up, .fini = tear_down, .timeout = 300);

/* ---- what is written ---- */

static void key_of(int process, char key[64])
{
	snprintf(key, 64, "gil:{web1:%d:x}:p:1s", process);
}

static int master_of(int process)
{
	char key[64];

	key_of(process, key);
	return (int)(cluster_slot__of(key, strlen(key)) / (16384.0 / MASTERS));
}

/* One sample of a process: a transaction, a row, and a row that all share, as ever. */
static void write_sample(int process, int t)
{
	struct batch *b = batch__new();
	char key[64], last[64];

	key_of(process, key);
	snprintf(last, sizeof(last), "gil:{web1:%d:x}:last", process);
	batch__command(b, "ZADD");
	batch__arg(b, key);
	batch__arg_int(b, t);
	batch__arg_fmt(b, "{\"t\":%d}", t);
	batch__mark_point(b);
	batch__command(b, "MULTI");
	batch__command(b, "DEL");
	batch__arg(b, last);
	batch__command(b, "HSET");
	batch__arg(b, last);
	batch__arg(b, "t");
	batch__arg_int(b, t);
	batch__command(b, "EXEC");
	batch__command(b, "ZADD");
	batch__arg(b, "gil:all:10s");
	batch__arg_int(b, t);
	batch__arg_fmt(b, "%d %d", process, t);
	batch__mark_point(b);
	batch__set_points(b, 2, t);
	cr_assert_eq(sink__write(sink, b), 0);
	sent++;
}

static void write_samples(int from, int n)
{
	for (int t = from; t < from + n; t++)
		for (int process = 0; process < PROCESSES; process++)
			write_sample(process, t);
}

static struct sink_stats stats(void)
{
	struct sink_stats s;

	sink__stats(sink, &s);
	return s;
}

static struct sink_stats flushed(void)
{
	int err = sink__flush(sink, FLUSH_MS);

	cr_assert_eq(err, 0, "not written: %s", stats().trouble);
	return stats();
}

/* An answer of whoever has the key. */
static long ask_cluster(const char *command)
{
	struct program p;
	char *line;
	long n;

	for (int i = 0; i < NODES; i++) {
		if (!nodes[i].pid)
			continue;
		program__run(&p, "redis-cli -c -h 127.0.0.1 -p %d --raw %s", nodes[i].port, command);
		line = p.out;
		n = strtol(line, NULL, 10);
		program__free(&p);
		return n;
	}
	return -1;
}

/* Members sent = present, of each series, and of what all share. */
static void expect_all_present(void)
{
	char command[96], key[64];
	long present = 0;

	for (int process = 0; process < PROCESSES; process++) {
		key_of(process, key);
		snprintf(command, sizeof(command), "ZCARD '%s'", key);
		present += ask_cluster(command);
	}
	cr_expect_eq(present, sent, "%ld of %ld", present, sent);
	cr_expect_eq(ask_cluster("ZCARD gil:all:10s"), sent);
}

Test(cluster, a_batch_reaches_the_masters_of_its_slots)
{
	struct sink_stats s;
	int used[MASTERS] = {0};

	write_samples(0, 20);
	s = flushed();
	expect_all_present();
	cr_expect_eq(s.points_written, 2 * sent);
	cr_expect_eq(s.points_dropped, 0);
	cr_expect_eq(s.commands_refused, 0);
	cr_expect_str_eq(s.trouble, "");
	cr_expect(s.connected);
	for (int process = 0; process < PROCESSES; process++)
		used[master_of(process)]++;
	for (int i = 0; i < MASTERS; i++) {
		cr_assert_gt(used[i], 0);
		cr_expect_gt(private_redis__int(&nodes[i], "FCALL_RO gil_version 0"), 0, "the functions are on each master");
	}
}

/* ---- a slot on its way ---- */

static void move_slot(int slot, int from, int to, bool begin)
{
	if (begin) {
		private_redis__ask(&nodes[to], "CLUSTER SETSLOT %d IMPORTING %s", slot, ids[from]);
		private_redis__ask(&nodes[from], "CLUSTER SETSLOT %d MIGRATING %s", slot, ids[to]);
		return;
	}
	private_redis__ask(&nodes[to], "CLUSTER SETSLOT %d NODE %s", slot, ids[to]);
	private_redis__ask(&nodes[from], "CLUSTER SETSLOT %d NODE %s", slot, ids[to]);
}

static void migrate(int from, int to, const char *key)
{
	cr_assert_str_eq(private_redis__ask(&nodes[from], "MIGRATE 127.0.0.1 %d %s 0 5000", nodes[to].port, key), "OK");
}

Test(cluster, a_slot_on_its_way_takes_old_keys_here_and_new_ones_there)
{
	int from = master_of(0), to = (from + 1) % MASTERS;
	char key[64];
	int slot;

	key_of(0, key);
	slot = (int)cluster_slot__of(key, strlen(key));
	write_samples(0, 5);
	flushed();
	move_slot(slot, from, to, true);
	/* All its keys go, then what is written is asked for there: ASK, for the transaction, too. */
	migrate(from, to, key);
	migrate(from, to, "gil:{web1:0:x}:last");
	write_samples(5, 5);
	flushed();
	move_slot(slot, from, to, false);
	write_samples(10, 5);
	flushed();
	expect_all_present();
	cr_expect_eq(private_redis__int(&nodes[to], "ZCARD %s", key), 15);
	cr_expect_eq(stats().commands_refused, 0);
	cr_expect_eq(stats().points_dropped, 0);
}

Test(cluster, resharding_while_it_is_written_loses_and_repeats_nothing)
{
	pid_t pid;
	int t = 0, status;

	write_samples(t++, 1);
	flushed();
	pid = fork();
	if (pid == 0) {
		char command[512];

		snprintf(command, sizeof(command), "redis-cli --cluster reshard 127.0.0.1:%d --cluster-from %s --cluster-to %s "
			 "--cluster-slots 2000 --cluster-yes >/dev/null 2>&1", nodes[0].port, ids[0], ids[1]);
		execl("/bin/sh", "sh", "-c", command, (char *)NULL);
		_exit(127);
	}
	while (waitpid(pid, &status, WNOHANG) == 0) {
		write_samples(t++, 1);
		usleep(20000);
	}
	cr_assert_eq(status, 0, "the resharding failed");
	write_samples(t++, 1);
	flushed();
	expect_all_present();
	cr_expect_eq(stats().points_written, 2 * sent);
	cr_expect_eq(stats().commands_refused, 0);
}

/* ---- a master that dies ---- */

static bool replicas_have_all(void *arg)
{
	for (int i = 0; i < MASTERS; i++)
		if (private_redis__int(&nodes[i], "WAIT 1 100") < 1 ||
		    private_redis__int(&nodes[i], "DBSIZE") != private_redis__int(&nodes[i + MASTERS], "DBSIZE"))
			return false;
	return true;
}

static int elsewhere; /* a process of another master than the dead one's */

static bool elsewhere_has_ten(void *arg)
{
	char key[64];

	key_of(elsewhere, key);
	return private_redis__int(&nodes[master_of(elsewhere)], "ZCARD %s", key) == 10;
}

Test(cluster, a_dead_master_delays_its_own_slots_only_until_its_replica_has_them)
{
	int dead = master_of(0);

	while (master_of(elsewhere) == dead)
		elsewhere++;
	write_samples(0, 5);
	flushed();
	cr_assert(eventually(replicas_have_all, NULL, 60000));
	private_redis__kill(&nodes[dead]);
	write_samples(5, 5);
	cr_expect(eventually(elsewhere_has_ten, NULL, 60000));
	/* At once, and not when the others have missed it for long enough: that is a matter of time. */
	cr_assert_str_eq(private_redis__ask(&nodes[dead + MASTERS], "CLUSTER FAILOVER TAKEOVER"), "OK");
	flushed();
	expect_all_present();
	cr_expect_eq(stats().points_dropped, 0);
	cr_expect_eq(stats().points_written, 2 * sent);
	cr_expect_str_eq(stats().trouble, "");
}

/* ---- announces, events and readers ---- */

static void expect_read(const char *url, const char *id)
{
	struct program p;

	setenv("GILSCOPE_REDIS_PASSWORD", "CHANGE-ME-READER", 1);
	setenv("GILSCOPE_REDIS", url, 1);
	program__run(&p, "$GILSCOPE events --since @0 --json && $GILSCOPE ls --json && $GILSCOPE query %s --threads --json", id);
	cr_expect_eq(p.status, 0, "%s: %s", url, p.err);
	cr_expect_not_null(strstr(p.out, "\"text\":\"seen\""), "%s: %s", url, p.out);
	cr_expect_not_null(strstr(p.out, "\"label\": \"app\""), "%s: %s", url, p.out);
	cr_expect_not_null(strstr(p.out, "\"worker\""), "%s: %s", url, p.out);
	program__free(&p);
}

/* By a plain URL of any master, too: it answers as a cluster. */
Test(cluster, readers_find_what_the_schema_writes)
{
	const struct proc_ident who = {.host = "web1", .pid = 4242, .label = "app", .python = "3.11.2", .interval_ms = 1000};
	struct event_ids host = {0};
	struct schema_event e;
	struct schema_opts opts;
	struct proc_sample *s = made_up__second();
	struct schema_writer *w;
	struct batch *b = batch__new();
	char plain[128];

	schema_opts__default(&opts);
	w = schema_writer__new(&opts, &who);
	made_up__thread(s, 7, "worker", 300, 200, 10, 5);
	cr_assert_eq(schema_writer__announce(w, b), 0);
	cr_assert_eq(sink__announce(sink, schema_writer__id(w), b), 0);
	b = batch__new();
	cr_assert_eq(schema_writer__sample(w, TIER_BASE, s, s, b), 0);
	schema_event__begin(&e, SCHEMA_EVENT_ALERT, s->end_ms);
	schema_event__text(&e, "text", "seen");
	cr_assert_eq(schema_writer__event(w, &e, &host, b), 0);
	cr_assert_eq(sink__write(sink, b), 0);
	cr_expect_eq(flushed().commands_refused, 0, "%s", stats().trouble);
	expect_read(url_as(READER), schema_writer__id(w));
	for (int i = 0; i < MASTERS; i++) {
		snprintf(plain, sizeof(plain), "redis://" READER "@127.0.0.1:%d", nodes[i].port);
		expect_read(plain, schema_writer__id(w));
	}
	proc_sample__free(s);
	schema_writer__free(w);
}

/* Two of the three are not who has the key. */
Test(cluster, a_plain_url_of_any_master_writes_to_the_one_that_has_the_slot)
{
	struct program p;

	setenv("GILSCOPE_REDIS_PASSWORD", WRITER_PASSWORD, 1);
	for (int i = 0; i < MASTERS; i++) {
		program__run(&p, "$GILSCOPE mark release-%d --redis redis://" WRITER_NAME "@127.0.0.1:%d", i, nodes[i].port);
		cr_expect_eq(p.status, 0, "%s", p.err);
		program__free(&p);
	}
	cr_expect_eq(ask_cluster("ZCARD gil:marks"), MASTERS);
}
