/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Streams of events on a server that is killed, emptied, or written to by somebody else: each event stands there once, under an
 * id of its own, whoever was first; and consumers read them, as the user that the documentation proposes.
 */
#include <criterion/criterion.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "collector/redis/redis_conn.h"
#include "collector/redis/sink_redis.h"
#include "collector/schema/schema.h"
#include "collector/sink/sink.h"
#include "../support/made_up.h"
#include "../support/private_redis.h"
#include "../support/program.h"
#include "../support/tool.h"

#define USERS "dashboards/redis/users.acl"
#define WRITER "gilscope_writer_web1:CHANGE-ME-WRITER-WEB1"
#define STREAM "gil:{host:web1}:events"
#define FLUSH_MS 20000
#define WRITERS_MAX 3

/* A sink with one process of the same host before it. */
struct line {
	struct sink *sink;
	struct schema_writer *writer;
	struct event_ids host;
};

static struct private_redis redis;
static struct line lines[WRITERS_MAX];

/* As the users that are proposed; questions are the default user's. */
static void start(const char *persistence)
{
	char path[4096];
	const char *const options[] = {"--aclfile", realpath(USERS, path), "--appendonly", persistence, "--appendfsync", "always",
				       NULL};

	private_redis__start(&redis, true, options);
}

static void open_line(struct line *line, uint32_t pid)
{
	struct proc_ident who = {.host = "web1", .pid = pid, .label = "app", .interval_ms = 1000};
	struct schema_opts schema;
	struct sink_redis_opts opts = {.timeout_ms = 3000, .commands_per_batch = 200};
	struct redis_url url;
	struct reason why = {""};
	char text[256];

	snprintf(text, sizeof(text), "unix://" WRITER "@%s", redis.socket);
	cr_assert_eq(redis_url__parse(text, &url, &why), 0, "%s", why.text);
	opts.url = &url;
	cr_assert_eq(sink_redis__new(&opts, &line->sink, &why), 0, "%s", why.text);
	schema_opts__default(&schema);
	line->writer = schema_writer__new(&schema, &who);
	cr_assert_not_null(line->writer);
}

static void close_line(struct line *line)
{
	sink__close(line->sink);
	schema_writer__free(line->writer);
	*line = (struct line){0};
}

static void set_up(void)
{
	private_redis__init(&redis, false);
	start("no");
	open_line(&lines[0], 1);
}

static void tear_down(void)
{
	for (size_t i = 0; i < WRITERS_MAX; i++)
		close_line(&lines[i]);
	private_redis__fini(&redis);
}

TestSuite(events, .init = set_up, .fini = tear_down, .timeout = 300);

static struct batch *alert(struct line *line, int64_t t_ms, int number)
{
	struct batch *b = batch__new();
	struct schema_event e;
	char text[16];

	snprintf(text, sizeof(text), "%d", number);
	schema_event__begin(&e, SCHEMA_EVENT_ALERT, t_ms);
	schema_event__text(&e, "text", text);
	cr_assert_eq(schema_writer__event(line->writer, &e, &line->host, b), 0);
	return b;
}

static struct sink_stats flushed(struct line *line)
{
	struct sink_stats stats;
	int err = sink__flush(line->sink, FLUSH_MS);

	sink__stats(line->sink, &stats);
	cr_assert_eq(err, 0, "not written: %s", stats.trouble);
	return stats;
}

static long long length(void)
{
	return private_redis__int(&redis, "XLEN " STREAM);
}

/* How many different texts the stream has. */
static long distinct(void)
{
	struct program p;
	long n;

	program__run(&p, "redis-cli -s %s --raw XRANGE '" STREAM "' - + | sed -n '/^text$/{n;p}' | sort -u | wc -l",
		     redis.socket);
	n = strtol(p.out, NULL, 10);
	program__free(&p);
	return n;
}

Test(events, a_batch_that_is_sent_twice_adds_nothing)
{
	struct event_ids host = lines[0].host;
	struct schema_writer *again;

	sink__write(lines[0].sink, alert(&lines[0], 5000, 1));
	flushed(&lines[0]);
	/* The same to the letter: a writer made anew gives the same ids. */
	again = lines[0].writer;
	lines[0].writer = NULL;
	schema_writer__free(again);
	sink__close(lines[0].sink);
	open_line(&lines[0], 1);
	lines[0].host = host;
	sink__write(lines[0].sink, alert(&lines[0], 5000, 1));
	cr_expect_eq(flushed(&lines[0]).events_renumbered, 0);
	cr_expect_eq(length(), 1);
}

Test(events, one_that_comes_behind_anothers_gets_the_next_id_and_is_counted)
{
	struct sink_stats stats;

	private_redis__ask(&redis, "XADD " STREAM " 9000-3 id other t 9000 kind alert");
	sink__write(lines[0].sink, alert(&lines[0], 5000, 1));
	stats = flushed(&lines[0]);
	cr_expect_eq(stats.events_renumbered, 1);
	cr_expect_eq(stats.commands_refused, 0);
	cr_expect_str_eq(stats.trouble, "");
	cr_expect_eq(length(), 2);
	cr_expect_not_null(strstr(private_redis__ask(&redis, "XRANGE " STREAM " 9000-4 9000-4"), "5000"), "its time is kept");
}

Test(events, one_that_finds_its_id_taken_is_no_success)
{
	private_redis__ask(&redis, "XADD " STREAM " 5000-0 id other t 5000 kind alert text 1");
	sink__write(lines[0].sink, alert(&lines[0], 5000, 1));
	cr_expect_eq(flushed(&lines[0]).events_renumbered, 1);
	cr_expect_eq(length(), 2);
}

Test(events, a_writer_that_begins_anew_with_an_older_clock_goes_on_in_the_stream)
{
	for (int i = 0; i < 20; i++)
		sink__write(lines[0].sink, alert(&lines[0], 9000, i));
	flushed(&lines[0]);
	close_line(&lines[0]);
	open_line(&lines[0], 1);
	for (int i = 20; i < 40; i++)
		sink__write(lines[0].sink, alert(&lines[0], 1000, i));
	cr_expect_eq(flushed(&lines[0]).events_renumbered, 40, "20 in each of two streams");
	cr_expect_eq(length(), 40);
	cr_expect_eq(distinct(), 40);
}

static bool something_stands(void *arg)
{
	return length() > 50;
}

/* Three programs of one host write into its stream, and the server is killed in the middle of it. */
Test(events, killed_server_and_several_writers_miss_and_repeat_nothing)
{
	const int each = 500;
	uint64_t written = 0;

	private_redis__kill(&redis);
	start("yes");
	for (size_t i = 1; i < WRITERS_MAX; i++)
		open_line(&lines[i], (uint32_t)i + 1);
	for (int k = 0; k < each; k++)
		for (size_t i = 0; i < WRITERS_MAX; i++)
			sink__write(lines[i].sink, alert(&lines[i], 100000 + k, k * WRITERS_MAX + (int)i));
	cr_assert(eventually(something_stands, NULL, 60000));
	private_redis__kill(&redis);
	start("yes");
	for (size_t i = 0; i < WRITERS_MAX; i++) {
		struct sink_stats stats = flushed(&lines[i]);

		cr_expect_eq(stats.points_dropped, 0);
		cr_expect_eq(stats.commands_refused, 0);
		written += stats.points_written;
	}
	cr_expect_eq(written, 2 * each * WRITERS_MAX, "both streams");
	cr_expect_eq(length(), each * WRITERS_MAX);
	cr_expect_eq(distinct(), each * WRITERS_MAX);
}

Test(events, a_user_of_an_older_release_writes_all_else)
{
	struct batch *b = alert(&lines[0], 5000, 1);
	struct sink_stats stats;

	batch__command(b, "ZADD");
	batch__arg(b, "gil:{web1:1:x}:p:1s");
	batch__arg_int(b, 1);
	batch__arg(b, "{\"t\":1}");
	private_redis__ask(&redis, "ACL SETUSER gilscope_writer_web1 -xadd");
	sink__write(lines[0].sink, b);
	stats = flushed(&lines[0]);
	cr_expect_eq(stats.commands_refused, 2);
	cr_expect_not_null(strstr(stats.trouble, "NOPERM"), "%s", stats.trouble);
	cr_expect_eq(private_redis__int(&redis, "ZCARD gil:{web1:1:x}:p:1s"), 1);
}

/* ---- consumers ---- */

static void count_consumed(struct program *p, const char *command)
{
	program__run(p, "dir=$(mktemp -d); REDISCLI_AUTH=CHANGE-ME-CONSUMER timeout 5 dashboards/redis/consume-events pager one "
		     "web1 '-s %s --user gilscope_consumer' sh -c %s \"$dir/got\"; grep -c '^kind$' \"$dir/got\" || :; "
		     "rm -r \"$dir\"", redis.socket, command);
}

Test(events, the_documented_consumer_gets_each_and_again_what_it_did_not_acknowledge)
{
	struct program p;

	for (int i = 0; i < 5; i++)
		sink__write(lines[0].sink, alert(&lines[0], 5000 + i, i));
	flushed(&lines[0]);
	/* It fails at the third: that one it was given, and did not acknowledge. */
	count_consumed(&p, "'cat >>\"$0\"; [ $(grep -c \"^kind$\" \"$0\") -lt 3 ]'");
	cr_expect_str_eq(p.out, "3\n", "%s", p.err);
	program__free(&p);
	count_consumed(&p, "'cat >>\"$0\"'");
	cr_expect_str_eq(p.out, "3\n", "the third, and two more: %s", p.err);
	program__free(&p);
	cr_expect_str_eq(private_redis__ask(&redis, "XPENDING " STREAM " pager - + 10"), "", "all is acknowledged");
}

Test(events, a_consumer_may_read_events_and_nothing_else)
{
	static const char *const refused[] = {
		"ZRANGE gil:procs 0 -1", "XADD " STREAM " 1-1 a b", "DEL " STREAM,
		"XREADGROUP GROUP g c STREAMS gil:{x:1:a}:events 0",
	};
	struct program p;

	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		program__run(&p, "REDISCLI_AUTH=CHANGE-ME-CONSUMER redis-cli -s %s --user gilscope_consumer %s", redis.socket,
			     refused[i]);
		cr_expect_not_null(strstr(p.out, "NOPERM"), "%s: %s", refused[i], p.out);
		program__free(&p);
	}
}

/* ---- gilscope events ---- */

/* A host is found by its processes. */
static void index_host(const char *id)
{
	long long now_ms = private_redis__int(&redis, "EVAL return(redis.call('TIME')[1]*1000) 0");

	private_redis__ask(&redis, "ZADD gil:procs %lld %s", now_ms, id);
}

static void expect_said(struct tool *t, const char *text)
{
	char *out = NULL;

	for (int i = 0; i < 600; i++) {
		free(out);
		out = tool__stdout(t);
		if (strstr(out, text))
			break;
		usleep(100000);
	}
	cr_expect_not_null(strstr(out, text), "no %s in: %s", text, out);
	free(out);
}

static void events_words(char *buf, size_t size, const char *more)
{
	setenv("GILSCOPE_REDIS_PASSWORD", "CHANGE-ME-READER", 1);
	snprintf(buf, size, "events --redis unix://gilscope_reader@%s %s", redis.socket, more);
}

Test(events, follow_finds_a_host_that_comes_and_a_server_that_comes_back)
{
	char words[256];
	struct tool t;

	index_host("web1:1:x");
	sink__write(lines[0].sink, alert(&lines[0], 1000, 11));
	flushed(&lines[0]);
	events_words(words, sizeof(words), "--json --since @0 --follow");
	tool__start(&t, words);
	expect_said(&t, "\"text\":\"11\"");
	private_redis__ask(&redis, "XADD gil:{host:web2}:events 5-0 id web2:1:y t 5 kind alert text new");
	index_host("web2:1:y");
	expect_said(&t, "web2:1:y");
	private_redis__kill(&redis);
	tool__await(&t, "events:");
	start("no");
	private_redis__ask(&redis, "XADD gil:{host:web2}:events 6-0 id web2:1:y t 6 kind alert text back");
	expect_said(&t, "back");
	kill(t.pid, SIGINT);
	cr_expect_eq(tool__wait(&t, 60), 0);
	tool__clear(&t);
}

Test(events, are_shown_in_the_order_of_their_times)
{
	const char *first, *second;
	char words[256], *out;
	struct tool t;

	index_host("web1:1:x");
	sink__write(lines[0].sink, alert(&lines[0], 9000, 111));
	sink__write(lines[0].sink, alert(&lines[0], 8000, 222)); /* a clock that stepped back */
	flushed(&lines[0]);
	events_words(words, sizeof(words), "--since @0");
	cr_expect_eq(tool__run(&t, words), 0);
	out = tool__stdout(&t);
	first = strstr(out, "alert  222");
	second = strstr(out, "alert  111");
	cr_assert(first && second, "%s", out);
	cr_expect_lt(first, second, "%s", out);
	free(out);
	tool__clear(&t);
}
