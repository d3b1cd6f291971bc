/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The sink against a server that is away, dies, hangs, is full, read-only, loading or refuses: whatever was buffered
 * arrives exactly once, what was dropped is counted, and nothing waits for ever.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "collector/redis/redis_conn.h"
#include "collector/redis/sink_redis.h"
#include "collector/sink/sink.h"
#include "../support/odd_server.h"
#include "../support/private_redis.h"

TestSuite(redis_sink, .timeout = 300);

#define FLUSH_MS 20000

static struct private_redis redis;
static struct sink *sink;

static void open_sink(const char *text, struct sink_redis_opts opts)
{
	struct reason why = {""};
	struct redis_url url;

	cr_assert_eq(redis_url__parse(text, &url, &why), 0, "%s", why.text);
	opts.url = &url;
	if (!opts.timeout_ms)
		opts.timeout_ms = 3000; /* this machine may be busy with something else */
	cr_assert_eq(sink_redis__new(&opts, &sink, &why), 0, "%s", why.text);
}

static void setup(void)
{
	private_redis__init(&redis, false);
}

static void setup_running(void)
{
	setup();
	private_redis__start(&redis, true, NULL);
	open_sink(redis.url, (struct sink_redis_opts){.timeout_ms = 0});
}

static void teardown(void)
{
	sink__close(sink);
	sink = NULL;
	private_redis__fini(&redis);
}

/* `n` samples of series `key`, from score `from` on, as one batch. */
static struct batch *samples(const char *key, int from, int n)
{
	struct batch *b = batch__new();

	for (int i = from; i < from + n; i++) {
		batch__command(b, "ZADD");
		batch__arg(b, key);
		batch__arg_int(b, i);
		batch__arg_fmt(b, "{\"t\":%d}", i);
	}
	batch__set_points(b, (uint32_t)n, (int64_t)time(NULL) * 1000);
	return b;
}

static struct batch *one_command(const char *words)
{
	struct batch *b = batch__new();
	char copy[256], *save = NULL;

	snprintf(copy, sizeof(copy), "%s", words);
	batch__command(b, strtok_r(copy, " ", &save));
	for (char *w = strtok_r(NULL, " ", &save); w; w = strtok_r(NULL, " ", &save))
		batch__arg(b, w);
	return b;
}

static struct sink_stats stats(void)
{
	struct sink_stats s;

	sink__stats(sink, &s);
	return s;
}

static bool in_trouble(void *word)
{
	return strstr(stats().trouble, word) != NULL;
}

static void expect_trouble(const char *word)
{
	cr_assert(eventually(in_trouble, (void *)word, 60000), "trouble is \"%s\", not %s", stats().trouble, word);
}

static void flush(void)
{
	cr_assert_eq(sink__flush(sink, FLUSH_MS), 0, "not written: %s", stats().trouble);
}

static bool something_written(void *arg)
{
	return stats().batches_written > 0;
}

Test(redis_sink, writes_what_it_is_given, .init = setup_running, .fini = teardown)
{
	for (int i = 0; i < 50; i++)
		cr_expect_eq(sink__write(sink, samples("s", i * 30, 30)), 0);
	flush();
	cr_expect_eq(private_redis__int(&redis, "ZCARD s"), 1500);
	cr_expect_eq(stats().batches_written, 50);
	cr_expect_eq(stats().commands_written, 1500);
	cr_expect_eq(stats().points_written, 1500);
	cr_expect_eq(stats().queued_bytes, 0);
	cr_expect_str_eq(stats().trouble, "");
	cr_expect(stats().connected);
}

Test(redis_sink, one_batch_may_exceed_the_pipeline, .init = setup_running, .fini = teardown)
{
	cr_expect_eq(sink__write(sink, samples("s", 0, 12345)), 0);
	flush();
	cr_expect_eq(private_redis__int(&redis, "ZCARD s"), 12345);
	cr_expect_eq(stats().commands_written, 12345);
}

Test(redis_sink, arguments_are_binary_safe, .init = setup_running, .fini = teardown)
{
	struct batch *b = batch__new();

	batch__command(b, "SET");
	batch__arg(b, "k");
	batch__arg_mem(b, "%s\r\n\0%b", 7);
	sink__write(sink, b);
	flush();
	cr_expect_eq(private_redis__int(&redis, "STRLEN k"), 7);
}

Test(redis_sink, same_batch_twice_adds_nothing, .init = setup_running, .fini = teardown)
{
	sink__write(sink, samples("s", 0, 100));
	sink__write(sink, samples("s", 0, 100));
	flush();
	cr_expect_eq(private_redis__int(&redis, "ZCARD s"), 100);
}

Test(redis_sink, server_may_appear_later, .init = setup, .fini = teardown)
{
	open_sink(redis.url, (struct sink_redis_opts){.timeout_ms = 0});
	sink__announce(sink, "id", one_command("SET announced 1"));
	for (int i = 0; i < 50; i++)
		cr_expect_eq(sink__write(sink, samples("s", i * 10, 10)), 0);
	expect_trouble("no such socket");
	cr_expect_eq(sink__flush(sink, 50), -ETIMEDOUT);
	cr_expect_not(stats().connected);
	private_redis__start(&redis, true, NULL);
	flush();
	cr_expect_eq(private_redis__int(&redis, "ZCARD s"), 500);
	cr_expect_eq(private_redis__int(&redis, "GET announced"), 1);
	cr_expect_eq(stats().points_written, 500);
	cr_expect_eq(stats().batches_dropped, 0);
	cr_expect_eq(stats().reconnects, 0);
	cr_expect_str_eq(stats().trouble, "");
}

Test(redis_sink, killed_server_with_data_misses_and_repeats_nothing, .init = setup, .fini = teardown)
{
	static const char *const options[] = {"--appendonly", "yes", "--appendfsync", "always", NULL};

	private_redis__start(&redis, true, options);
	open_sink(redis.url, (struct sink_redis_opts){.commands_per_batch = 200});
	for (int i = 0; i < 1000; i++)
		sink__write(sink, samples("s", i * 50, 50));
	/* In the middle of it. */
	cr_assert(eventually(something_written, NULL, 60000));
	private_redis__kill(&redis);
	cr_assert_lt(stats().batches_written, 1000, "all was written before the kill");
	private_redis__start(&redis, true, options);
	flush();
	cr_expect_eq(private_redis__int(&redis, "ZCARD s"), 50000);
	cr_expect_eq(stats().points_written, 50000);
	cr_expect_eq(stats().batches_written, 1000);
	cr_expect_eq(stats().batches_dropped, 0);
	cr_expect_geq(stats().reconnects, 1);
}

Test(redis_sink, server_that_comes_back_empty_is_told_all_again, .init = setup_running, .fini = teardown)
{
	sink__announce(sink, "one", one_command("SET announced:one 1"));
	sink__announce(sink, "two", one_command("SET announced:two 1"));
	sink__announce(sink, "gone", one_command("SET announced:gone 1"));
	sink__write(sink, samples("s", 0, 100));
	flush();
	cr_expect_eq(private_redis__int(&redis, "GET announced:gone"), 1);
	sink__announce(sink, "gone", NULL);
	sink__announce(sink, "two", one_command("SET announced:two 2"));
	private_redis__kill(&redis);
	sink__write(sink, samples("s", 100, 33));
	private_redis__start(&redis, true, NULL);
	flush();
	cr_expect_eq(private_redis__int(&redis, "ZCARD s"), 33);
	cr_expect_eq(private_redis__int(&redis, "GET announced:one"), 1);
	cr_expect_eq(private_redis__int(&redis, "GET announced:two"), 2);
	cr_expect_eq(private_redis__int(&redis, "EXISTS announced:gone"), 0);
	cr_expect_geq(stats().reconnects, 1);
}

/* The announce deletes what the samples build, so it must not come after them. */
Test(redis_sink, announce_goes_first, .init = setup, .fini = teardown)
{
	open_sink(redis.url, (struct sink_redis_opts){.timeout_ms = 0});
	sink__write(sink, samples("s", 0, 10));
	sink__announce(sink, "id", one_command("DEL s"));
	private_redis__start(&redis, true, NULL);
	flush();
	cr_expect_eq(private_redis__int(&redis, "ZCARD s"), 10);
}

Test(redis_sink, paused_server_gets_it_after_the_pause, .init = setup, .fini = teardown)
{
	private_redis__start(&redis, true, NULL);
	open_sink(redis.url, (struct sink_redis_opts){.timeout_ms = 200});
	sink__write(sink, samples("s", 0, 10));
	flush();
	private_redis__pause(&redis);
	for (int i = 1; i < 30; i++)
		cr_expect_eq(sink__write(sink, samples("s", i * 10, 10)), 0);
	expect_trouble("no answer within");
	sleep(1);
	private_redis__resume(&redis);
	flush();
	cr_expect_eq(private_redis__int(&redis, "ZCARD s"), 300);
	cr_expect_eq(stats().points_written, 300);
	cr_expect_eq(stats().batches_dropped, 0);
}

Test(redis_sink, full_server_keeps_the_samples_here, .init = setup_running, .fini = teardown)
{
	private_redis__ask(&redis, "CONFIG SET maxmemory 1");
	sink__write(sink, samples("s", 0, 10));
	expect_trouble("OOM");
	cr_expect_not_null(strstr(stats().trouble, "maxmemory"), "no advice: %s", stats().trouble);
	cr_expect_not_null(strstr(stats().trouble, redis.url), "no place: %s", stats().trouble);
	cr_expect_eq(stats().queued_batches, 1);
	private_redis__ask(&redis, "CONFIG SET maxmemory 0");
	flush();
	cr_expect_eq(private_redis__int(&redis, "ZCARD s"), 10);
	cr_expect_eq(stats().points_written, 10);
	cr_expect_eq(stats().commands_refused, 0);
	cr_expect_str_eq(stats().trouble, "");
}

Test(redis_sink, read_only_server_gets_it_once_it_is_primary_again, .init = setup_running, .fini = teardown)
{
	private_redis__ask(&redis, "REPLICAOF 127.0.0.1 %d", free_port());
	sink__write(sink, samples("s", 0, 10));
	expect_trouble("READONLY");
	private_redis__ask(&redis, "REPLICAOF NO ONE");
	flush();
	cr_expect_eq(private_redis__int(&redis, "ZCARD s"), 10);
}

static bool save_failed(void *arg)
{
	return strstr(private_redis__ask(&redis, "INFO persistence"), "rdb_last_bgsave_status:err") != NULL;
}

Test(redis_sink, unwritable_disk_is_a_matter_of_capacity, .init = setup, .fini = teardown)
{
	static const char *const saving[] = {"--save", "3600 1000000", NULL};
	char in_the_way[128];

	private_redis__start(&redis, true, saving);
	open_sink(redis.url, (struct sink_redis_opts){.timeout_ms = 0});
	snprintf(in_the_way, sizeof(in_the_way), "%s/dump.rdb", redis.dir);
	cr_assert_eq(mkdir(in_the_way, 0700), 0);
	private_redis__ask(&redis, "BGSAVE");
	cr_assert(eventually(save_failed, NULL, 60000));
	sink__write(sink, samples("s", 0, 10));
	expect_trouble("MISCONF");
	/* A connection is made all the same: PING answers MISCONF too. */
	cr_expect(stats().connected);
	cr_assert_eq(rmdir(in_the_way), 0);
	private_redis__ask(&redis, "BGSAVE");
	flush();
	cr_expect_eq(private_redis__int(&redis, "ZCARD s"), 10);
}

Test(redis_sink, loading_server_is_waited_for, .init = setup, .fini = teardown)
{
	static const char *const plain[] = {"--save", "3600 1000000", NULL};
	static const char *const slow[] = {"--key-load-delay", "2000", "--loading-process-events-interval-bytes", "1024",
					   NULL};

	private_redis__start(&redis, true, plain);
	open_sink(redis.url, (struct sink_redis_opts){.timeout_ms = 0});
	for (int i = 0; i < 500; i++) {
		struct batch *b = batch__new();

		batch__command(b, "SET");
		batch__arg_fmt(b, "key:%d", i);
		batch__arg_fmt(b, "%0100d", i);
		sink__write(sink, b);
	}
	flush();
	private_redis__ask(&redis, "SAVE");
	private_redis__kill(&redis);
	private_redis__start(&redis, false, slow);
	sink__write(sink, samples("s", 0, 10));
	expect_trouble("LOADING");
	flush();
	cr_expect_eq(private_redis__int(&redis, "ZCARD s"), 10);
	cr_expect_eq(private_redis__int(&redis, "EXISTS key:499"), 1);
}

Test(redis_sink, wrong_password_keeps_the_samples, .init = setup, .fini = teardown)
{
	char url[200];

	private_redis__start(&redis, true, NULL);
	private_redis__ask(&redis, "ACL SETUSER alice on >old ~* +@all");
	snprintf(url, sizeof(url), "unix://alice:s3cret@%s", redis.socket);
	open_sink(url, (struct sink_redis_opts){.timeout_ms = 0});
	sink__write(sink, samples("s", 0, 10));
	expect_trouble("WRONGPASS");
	cr_expect_null(strstr(stats().trouble, "s3cret"), "the password is shown: %s", stats().trouble);
	private_redis__ask(&redis, "ACL SETUSER alice >s3cret");
	flush();
	cr_expect_eq(private_redis__int(&redis, "ZCARD s"), 10);

	private_redis__ask(&redis, "ACL SETUSER alice -zadd");
	sink__write(sink, samples("s", 10, 10));
	expect_trouble("NOPERM");
	private_redis__ask(&redis, "ACL SETUSER alice +zadd");
	flush();
	cr_expect_eq(private_redis__int(&redis, "ZCARD s"), 20);
	cr_expect_eq(stats().commands_refused, 0);
}

Test(redis_sink, key_of_another_type_costs_that_key_only, .init = setup_running, .fini = teardown)
{
	struct batch *b = samples("s", 0, 10);

	private_redis__ask(&redis, "SET taken 1");
	batch__command(b, "ZADD");
	batch__arg(b, "taken");
	batch__arg_int(b, 1);
	batch__arg(b, "x");
	batch__command(b, "SET");
	batch__arg(b, "after");
	batch__arg(b, "1");
	sink__write(sink, b);
	flush();
	cr_expect_eq(private_redis__int(&redis, "ZCARD s"), 10);
	cr_expect_eq(private_redis__int(&redis, "GET after"), 1);
	cr_expect_eq(private_redis__int(&redis, "GET taken"), 1);
	cr_expect_eq(stats().commands_refused, 1);
	cr_expect_eq(stats().commands_written, 11);
	cr_expect_eq(stats().batches_written, 1);
	cr_expect_not_null(strstr(stats().trouble, "another program owns this key"), "%s", stats().trouble);
	sink__write(sink, samples("s", 10, 1));
	flush();
	cr_expect_str_eq(stats().trouble, "", "trouble that is over");
}

static struct batch *transaction(const char *key)
{
	struct batch *b = samples("before", 0, 1);

	batch__command(b, "MULTI");
	batch__command(b, "ZADD");
	batch__arg(b, key);
	batch__arg_int(b, 1);
	batch__arg(b, "x");
	batch__command(b, "SET");
	batch__arg(b, "in");
	batch__arg(b, "1");
	batch__command(b, "EXEC");
	return b;
}

Test(redis_sink, error_inside_a_transaction_is_counted, .init = setup_running, .fini = teardown)
{
	private_redis__ask(&redis, "SET taken 1");
	sink__write(sink, transaction("taken"));
	flush();
	cr_expect_eq(stats().commands_refused, 1);
	cr_expect_eq(private_redis__int(&redis, "GET in"), 1);
	cr_expect_eq(private_redis__int(&redis, "ZCARD before"), 1);
}

Test(redis_sink, full_server_inside_a_transaction_is_tried_again, .init = setup_running, .fini = teardown)
{
	private_redis__ask(&redis, "CONFIG SET maxmemory 1");
	sink__write(sink, transaction("z"));
	expect_trouble("OOM");
	private_redis__ask(&redis, "CONFIG SET maxmemory 0");
	flush();
	cr_expect_eq(private_redis__int(&redis, "GET in"), 1);
	cr_expect_eq(private_redis__int(&redis, "ZCARD z"), 1);
	cr_expect_eq(stats().commands_refused, 0);
}

Test(redis_sink, wrong_command_is_dropped_and_counted, .init = setup_running, .fini = teardown)
{
	sink__write(sink, one_command("ZADD s not-a-number x"));
	sink__write(sink, one_command("NOSUCHCOMMAND"));
	sink__write(sink, samples("s", 0, 10));
	flush();
	cr_expect_eq(private_redis__int(&redis, "ZCARD s"), 10);
	cr_expect_eq(stats().commands_refused, 2);
	cr_expect_eq(stats().batches_written, 3);
}

Test(redis_sink, full_queue_drops_the_oldest_and_counts_them, .init = setup, .fini = teardown)
{
	unsigned int refused = 0;
	struct sink_stats s;

	open_sink(redis.url, (struct sink_redis_opts){.max_bytes = 20000});
	for (int i = 0; i < 500; i++)
		refused += sink__write(sink, samples("s", i * 5, 5)) == -ENOBUFS;
	s = stats();
	cr_expect_gt(s.batches_dropped, 0);
	cr_expect_leq(s.queued_bytes, 20000);
	cr_expect_eq(refused, s.batches_dropped);
	cr_expect_eq(s.points_dropped, s.batches_dropped * 5);
	private_redis__start(&redis, true, NULL);
	flush();
	s = stats();
	cr_expect_eq(private_redis__int(&redis, "ZCARD s"), 2500 - (long long)s.points_dropped);
	cr_expect_eq(s.points_written + s.points_dropped, 2500);
	/* The first that is there follows the last that was dropped. */
	cr_expect_eq(private_redis__int(&redis, "ZCOUNT s -inf %llu", (unsigned long long)s.points_dropped - 1), 0);
	cr_expect_eq(private_redis__int(&redis, "ZCOUNT s %llu +inf", (unsigned long long)s.points_dropped),
		     2500 - (long long)s.points_dropped);
}

Test(redis_sink, batch_larger_than_the_queue_is_refused, .init = setup, .fini = teardown)
{
	open_sink(redis.url, (struct sink_redis_opts){.max_bytes = 20000});
	cr_expect_eq(sink__write(sink, samples("s", 0, 5)), 0);
	cr_expect_eq(sink__write(sink, samples("s", 5, 5000)), -ENOBUFS);
	cr_expect_eq(stats().queued_batches, 0);
	cr_expect_eq(stats().points_dropped, 5005);
}

static bool all_dropped(void *arg)
{
	return stats().queued_batches == 0;
}

Test(redis_sink, too_old_is_dropped, .init = setup, .fini = teardown)
{
	open_sink(redis.url, (struct sink_redis_opts){.max_age_s = 1});
	sink__write(sink, samples("s", 0, 7));
	cr_expect_eq(stats().queued_batches, 1);
	cr_expect(eventually(all_dropped, NULL, 60000));
	cr_expect_eq(stats().points_dropped, 7);
}

Test(redis_sink, silent_server_loses_nothing_and_stops_nobody, .init = setup, .fini = teardown)
{
	struct odd_server odd;

	odd_server__start(&odd, ODD_PONG_ONLY);
	open_sink(odd.url, (struct sink_redis_opts){.timeout_ms = 50});
	for (int i = 0; i < 10; i++)
		cr_expect_eq(sink__write(sink, samples("s", i * 10, 10)), 0);
	expect_trouble("no answer within");
	cr_expect_eq(sink__flush(sink, 100), -ETIMEDOUT);
	cr_expect_eq(stats().queued_batches, 10);
	cr_expect_eq(stats().batches_written, 0);
	odd_server__stop(&odd);
}

/* Were close() to wait for the server, the suite's time limit would end the test. */
Test(redis_sink, close_does_not_wait_for_a_hanging_server, .init = setup, .fini = teardown)
{
	static const enum oddity oddities[] = {ODD_SILENT, ODD_PONG_ONLY, ODD_TRICKLES};
	struct odd_server odd;

	for (size_t i = 0; i < sizeof(oddities) / sizeof(oddities[0]); i++) {
		odd_server__start(&odd, oddities[i]);
		open_sink(odd.url, (struct sink_redis_opts){.timeout_ms = 3600 * 1000});
		sink__write(sink, samples("s", 0, 10));
		cr_expect_eq(sink__flush(sink, 100), -ETIMEDOUT);
		sink__close(sink);
		sink = NULL;
		odd_server__stop(&odd);
	}
}

/* Where hiredis has TLS there is nothing to refuse. */
#ifndef HAVE_HIREDIS_SSL
Test(redis_sink, tls_without_tls_is_refused_at_once)
{
	struct redis_url url = {.tls = true, .host = "127.0.0.1", .port = 1};
	struct sink_redis_opts opts = {.url = &url};
	struct reason why = {""};

	cr_expect_eq(sink_redis__new(&opts, &sink, &why), -EPROTONOSUPPORT);
	cr_expect_not_null(strstr(why.text, "has no TLS"), "%s", why.text);
}
#endif

/* ---- behind a proxy ---- */

static void setup_server(void)
{
	setup();
	private_redis__start(&redis, true, NULL);
}

Test(redis_sink, writes_through_a_proxy_that_knows_only_what_is_needed, .init = setup_server, .fini = teardown)
{
	static const char *const unknown[] = {"CLIENT", "FUNCTION", "FCALL_RO", NULL};
	struct odd_server proxy;

	odd_server__start_proxy(&proxy, &redis, unknown);
	open_sink(proxy.url, (struct sink_redis_opts){.timeout_ms = 0});
	for (int i = 0; i < 20; i++)
		cr_expect_eq(sink__write(sink, samples("s", i * 30, 30)), 0);
	flush();
	cr_expect_eq(private_redis__int(&redis, "ZCARD s"), 600);
	cr_expect_str_empty(stats().trouble);
	odd_server__stop(&proxy);
}

Test(redis_sink, names_the_command_that_a_proxy_does_not_know, .init = setup_server, .fini = teardown)
{
	static const char *const unknown[] = {"CLIENT", "FUNCTION", "FCALL_RO", "MULTI", NULL};
	struct odd_server proxy;

	odd_server__start_proxy(&proxy, &redis, unknown);
	open_sink(proxy.url, (struct sink_redis_opts){.timeout_ms = 0});
	cr_expect_eq(sink__write(sink, samples("s", 0, 30)), 0);
	cr_expect_eq(sink__write(sink, one_command("MULTI")), 0);
	expect_trouble("closed the connection at MULTI (as a proxy does at a command that it does not know");
	cr_expect_eq(stats().points_dropped, 0);
	odd_server__stop(&proxy);
}

Test(redis_sink, keys_thrown_away_are_not_known_where_the_server_can_not_tell, .init = setup_running, .fini = teardown)
{
	sink__write(sink, samples("s", 0, 30));
	flush();
	cr_expect_not(stats().keys_known, "nothing was asked");
	sink__write(sink, one_command("EXPIRE s 100 NONSENSE"));
	flush();
	cr_expect_not(stats().keys_known);
	cr_expect_eq(stats().commands_refused, 0, "%s", stats().trouble);
}

Test(redis_sink, keys_made_anew_are_counted, .init = setup_running, .fini = teardown)
{
	sink__write(sink, samples("s", 0, 30));
	sink__write(sink, one_command("EXPIRE s 100"));
	sink__write(sink, one_command("EXPIRE s 100 NX"));
	flush();
	cr_expect(stats().keys_known);
	cr_expect_eq(stats().keys_lost, 0);
	private_redis__ask(&redis, "DEL s");
	sink__write(sink, samples("s", 0, 30));
	sink__write(sink, one_command("EXPIRE s 100 NX"));
	sink__write(sink, one_command("EXPIRE s 100"));
	flush();
	cr_expect_eq(stats().keys_lost, 1);
}
