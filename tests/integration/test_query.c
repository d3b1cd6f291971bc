/* SPDX-License-Identifier: GPL-2.0-only */
/* The read side against a real server: what schema wrote comes back, and what somebody else wrote does no harm. */
#include <criterion/criterion.h>
#include <errno.h>
#include <hiredis/hiredis.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "collector/redis/query.h"
#include "collector/schema/schema_blame.h"
#include "collector/schema/schema_code.h"
#include "collector/redis/sink_redis.h"
#include "collector/sink/sink.h"
#include "../support/odd_server.h"
#include "../support/private_redis.h"

TestSuite(query, .timeout = 300);

#define ID "web1:4242:9f3a01bc"
#define KEY(what) "gil:{" ID "}:" what
#define T0 1795339305000ll

static struct private_redis redis;
static struct query *q;
static struct reason why;

static void open_query(const char *prefix)
{
	struct redis_url url;

	cr_assert_eq(redis_url__parse(redis.url, &url, &why), 0);
	cr_assert_eq(query__open(&url, prefix, &q, &why), 0, "%s", why.text);
}

static void setup(void)
{
	private_redis__init(&redis, false);
	private_redis__start(&redis, true, NULL);
	open_query(NULL);
}

static void teardown(void)
{
	query__close(q);
	private_redis__fini(&redis);
}

static void run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* A command whose words may hold anything: separated by tabs. */
static void run(const char *fmt, ...)
{
	char line[8192], *save = NULL;
	const char *argv[64];
	redisContext *c = redisConnectUnix(redis.socket);
	redisReply *reply;
	va_list args;
	int argc = 0;

	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	for (char *w = strtok_r(line, "\t", &save); w; w = strtok_r(NULL, "\t", &save))
		argv[argc++] = w;
	cr_assert(c && !c->err);
	reply = redisCommandArgv(c, argc, argv, NULL);
	cr_assert(reply && reply->type != REDIS_REPLY_ERROR, "%s: %s", argv[0], reply ? reply->str : "no reply");
	freeReplyObject(reply);
	redisFree(c);
}

/* n samples of one series, a second apart, in one script. */
static void add_samples(const char *key, long long first_ms, int n, int step_ms)
{
	run("EVAL\tfor i = 0, ARGV[2] - 1 do local t = string.format('%%.0f', ARGV[1] + i * ARGV[3]) "
	    "redis.call('ZADD', KEYS[1], t, '{\"t\":' .. t .. ',\"d\":1000000,\"hold\":' .. i .. ',\"n\":1}') end"
	    "\t1\t%s\t%lld\t%d\t%d",
	    key, first_ms, n, step_ms);
}

static size_t series(const char *name, long long since, long long until, struct schema_row **rows)
{
	struct query_range range = {.since_ms = since, .until_ms = until};
	size_t n = 0;

	*rows = NULL;
	cr_assert_eq(query__series(q, ID, name, TIER_BASE, &range, rows, &n, &why), 0, "%s", why.text);
	return n;
}

/* ---- series ---- */

Test(query, series_spans_pages_without_a_gap_or_a_double, .init = setup, .fini = teardown)
{
	struct schema_row *rows;

	add_samples(KEY("p:1s"), T0, 5003, 1000);
	cr_assert_eq(series("p", T0 - 1, T0 + 10000000, &rows), 5003);
	for (int i = 0; i < 5003; i++) {
		cr_assert_eq(rows[i].value[FIELD_T], T0 + i * 1000ll);
		cr_assert_eq(rows[i].value[FIELD_HOLD], i);
	}
	free(rows);
}

Test(query, range_is_open_below_and_closed_above, .init = setup, .fini = teardown)
{
	struct schema_row *rows;

	add_samples(KEY("p:1s"), T0, 10, 1000);
	cr_assert_eq(series("p", T0 + 2000, T0 + 5000, &rows), 3);
	cr_expect_eq(rows[0].value[FIELD_T], T0 + 3000);
	cr_expect_eq(rows[2].value[FIELD_T], T0 + 5000);
	free(rows);
	cr_expect_eq(series("p", T0 + 60000, T0 + 70000, &rows), 0);
	free(rows);
	cr_expect_eq(series("t:77", T0, T0 + 70000, &rows), 0, "a series that does not exist is empty");
	free(rows);
}

Test(query, members_of_one_stamp_are_one_row, .init = setup, .fini = teardown)
{
	struct schema_row *rows;

	for (int i = 0; i < 3; i++)
		run("ZADD\t" KEY("p:1s") "\t%lld\t{\"t\":%lld,\"d\":300000,\"hold\":%d,\"n\":2}", T0, T0, 100 + i);
	cr_assert_eq(series("p", T0 - 1, T0, &rows), 1);
	cr_expect_eq(rows[0].value[FIELD_D], 900000);
	cr_expect_eq(rows[0].value[FIELD_HOLD], 303);
	cr_expect_eq(rows[0].value[FIELD_N], 6);
	free(rows);
}

/* No interval takes less than nothing, or hours: whoever wrote that is no gilscope, whatever else stands there. */
Test(query, member_that_cannot_be_is_left_out_and_counted, .init = setup, .fini = teardown)
{
	static const char *const lengths[] = {"-1", "7200000001", "1e300", "\"1\"", "null", "[1]"};
	static const struct query_range range = {.since_ms = T0 - 1, .until_ms = T0};
	const size_t n = sizeof(lengths) / sizeof(lengths[0]);
	struct schema_row *rows;
	struct blame_sum blame;
	struct code_sum code;

	for (size_t i = 0; i < n; i++) {
		run("ZADD\t" KEY("p:1s") "\t%lld\t{\"t\":%lld,\"d\":%s,\"hold\":5}", T0, T0, lengths[i]);
		run("ZADD\t" KEY("blame:1s") "\t%lld\t{\"t\":%lld,\"d\":%s,\"b\":[[\"1\",\"2\",5]]}", T0, T0, lengths[i]);
		run("ZADD\t" KEY("code:1s") "\t%lld\t{\"t\":%lld,\"d\":%s,\"c\":[]}", T0, T0, lengths[i]);
	}
	run("ZADD\t" KEY("p:1s") "\t%lld\t{\"t\":%lld,\"d\":1000000,\"hold\":7}", T0, T0);
	cr_assert_eq(series("p", T0 - 1, T0, &rows), 1);
	cr_expect_eq(rows[0].value[FIELD_HOLD], 7);
	cr_expect_eq(query__skipped(q), n);
	cr_expect_eq(query__blame(q, ID, TIER_BASE, &range, &blame, &why), 0);
	cr_expect_eq(blame.pairs_n, 0);
	cr_expect_eq(query__skipped(q), 2 * n);
	cr_expect_eq(query__code(q, ID, TIER_BASE, &range, &code, &why), 0);
	cr_expect_eq(query__skipped(q), 3 * n);
	free(rows);
}

/* 4,100 members of one stamp: pages begin and end within it. */
Test(query, one_stamp_may_fill_pages, .init = setup, .fini = teardown)
{
	struct schema_row *rows;

	run("EVAL\tfor i = 1, 4100 do redis.call('ZADD', KEYS[1], '%lld', "
	    "'{\"t\":%lld,\"d\":1,\"hold\":1,\"x\":' .. i .. '}') end"
	    "\t1\t" KEY("p:1s"), T0, T0);
	add_samples(KEY("p:1s"), T0 + 1000, 5, 1000);
	cr_assert_eq(series("p", T0 - 1, T0 + 60000, &rows), 6);
	cr_expect_eq(rows[0].value[FIELD_HOLD], 4100);
	free(rows);
}

Test(query, what_is_no_sample_is_left_out_and_counted, .init = setup, .fini = teardown)
{
	static const char *const odd[] = {
		"not json", "[]", "{}", "{\"d\":1}", "{\"t\":\"x\"}", "{\"t\":1}" /* not its score */,
		"{\"t\":1795339305000", "\x80\xff",
	};
	struct schema_row *rows;

	add_samples(KEY("p:1s"), T0 + 1000, 5, 1000);
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
		run("ZADD\t" KEY("p:1s") "\t%lld\t%s", T0, odd[i]);
	cr_expect_eq(series("p", T0 - 1, T0 + 60000, &rows), 5);
	cr_expect_eq(query__skipped(q), sizeof(odd) / sizeof(odd[0]));
	free(rows);
}

Test(query, key_of_another_type_is_said, .init = setup, .fini = teardown)
{
	struct query_range range = {.since_ms = 0, .until_ms = T0};
	struct schema_row *rows = NULL;
	size_t n;

	run("SET\t" KEY("p:1s") "\tx");
	cr_expect_eq(query__series(q, ID, "p", TIER_BASE, &range, &rows, &n, &why), -EPROTO);
	cr_expect_not_null(strstr(why.text, "WRONGTYPE"), "%s", why.text);
	cr_expect_not_null(strstr(why.text, redis.url), "%s", why.text);
	cr_expect_null(rows);
	run("DEL\t" KEY("p:1s"));
	cr_expect_eq(series("p", 0, T0, &rows), 0, "the connection is still good");
	free(rows);
}

Test(query, server_without_byscore_is_asked_the_old_way)
{
	static const char *const old[] = {"--rename-command", "ZRANGE", "", NULL};
	struct schema_row *rows;

	private_redis__init(&redis, false);
	private_redis__start(&redis, true, old);
	open_query(NULL);
	add_samples(KEY("p:1s"), T0, 2500, 1000);
	cr_expect_eq(series("p", T0 - 1, T0 + 10000000, &rows), 2500);
	free(rows);
	teardown();
}

Test(query, connection_is_made_again, .init = setup, .fini = teardown)
{
	struct schema_row *rows = NULL;
	struct query_range range = {.since_ms = 0, .until_ms = T0};
	size_t n;

	private_redis__kill(&redis);
	cr_expect_lt(query__series(q, ID, "p", TIER_BASE, &range, &rows, &n, &why), 0);
	cr_expect_not_null(strstr(why.text, redis.url), "%s", why.text);
	private_redis__start(&redis, true, NULL);
	add_samples(KEY("p:1s"), T0, 5, 1000);
	cr_expect_eq(series("p", T0 - 1, T0 + 10000, &rows), 5);
	free(rows);
}

/* ---- processes ---- */

static long long now_ms(void)
{
	int64_t now = 0;

	cr_assert_eq(query__now(q, &now, &why), 0, "%s", why.text);
	cr_assert_lt(llabs(now - (long long)time(NULL) * 1000), 60000);
	return now;
}

static void add_process(const char *id, const char *label, long long last_ms, const char *more)
{
	run("ZADD\tgil:procs\t%lld\t%s", last_ms, id);
	run("HSET\tgil:{%s}:meta\tlabel\t%s\tpython\t3.11.2\tgil\tgil\tmode\tfull\texe\t/usr/bin/python3\tinterval_ms\t1000"
	    "\tstarted_ms\t%lld%s", id, label, last_ms - 60000, more);
}

Test(query, processes_come_newest_first_with_their_state, .init = setup, .fini = teardown)
{
	long long now = now_ms();
	struct query_proc *p;
	size_t n;

	add_process("web1:1:00000001", "python3 old.py", now - 11000, "");
	add_process("web1:2:00000002", "python3 live.py", now - 5000, "");
	add_process("web1:3:00000003", "python3 over.py", now - 1000, "\tended_ms\t1");
	add_process("web1:4:00000004", "python3 slow.py", now - 25000, "\tinterval_ms\t10000");
	run("ZADD\tgil:procs\t%lld\tweb2:5:00000005", now - 2000);
	cr_assert_eq(query__procs(q, &p, &n, &why), 0, "%s", why.text);
	cr_assert_eq(n, 5);
	cr_expect_str_eq(p[0].id, "web1:3:00000003");
	cr_expect_not(p[0].live, "it has ended");
	cr_expect_str_eq(p[1].id, "web2:5:00000005");
	cr_expect_str_eq(p[1].host, "web2");
	cr_expect_eq(p[1].pid, 5);
	cr_expect_str_eq(p[1].label, "", "its meta is gone");
	cr_expect_str_eq(p[2].label, "python3 live.py");
	cr_expect(p[2].live);
	cr_expect_eq(p[2].started_ms, now - 65000);
	cr_expect_eq(p[2].interval_ms, 1000);
	cr_expect_str_eq(p[2].mode, "full");
	cr_expect_not(p[3].live, "no sample for 11 s");
	cr_expect(p[4].live, "its interval is long");
	free(p);
}

Test(query, hostile_index_does_no_harm, .init = setup, .fini = teardown)
{
	static const char *const odd[] = {
		"", "x", "::", "web1:1:0000000", "web1:1:000000001", "web1:x:00000001", ":1:00000001", "web1:4294967296:00000001",
		"we b1:1:00000001", "web1:1:0000\x1b[1m", "{x}:1:00000001", "web1:1:00000001:x",
		"web1:99999999999999999999:00000001",
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa:1:00000001", /* host too long */
	};
	struct query_proc *p;
	size_t n;

	for (size_t i = 1; i < sizeof(odd) / sizeof(odd[0]); i++)
		run("ZADD\tgil:procs\t1\t%s", odd[i]);
	run("ZADD\tgil:procs\tinf\tweb1:6:00000006");
	add_process("web1:7:00000007", "evil\x1b]0;x\x07\nname", 1000,
		    "\tinterval_ms\t-5\tended_ms\tnan\tmode\tfullfullfullfullfullfull"
		    "\tkeep_proc_s\t1,2\tkeep_thread_s\t1,-2,99999999999999999999");
	run("ZADD\tgil:procs\t1000\tweb1:8:00000008");
	run("SET\tgil:{web1:8:00000008}:meta\tnot a hash");
	cr_assert_eq(query__procs(q, &p, &n, &why), 0, "%s", why.text);
	cr_assert_eq(n, 2, "the one with a foreign key for its meta included");
	cr_expect_eq(query__skipped(q), sizeof(odd) / sizeof(odd[0]) - 1 + 1 + 1);
	cr_expect_str_eq(p[0].label[0] ? p[0].label : p[1].label, "evil?]0;x??name");
	cr_expect_eq(p[0].ended_ms, 0);
	cr_expect_eq(p[0].interval_ms + p[1].interval_ms, 0);
	for (int i = 0; i < 2; i++)
		cr_expect_eq(p[i].keeps.proc_s[TIER_BASE] + p[i].keeps.thread_s[TIER_BASE], 0);
	free(p);
}

struct ask_for {
	char proc[40];
	char id[24];    /* "": none */
	int choices;
};

Test(query, process_is_found_by_pid_id_or_label, .init = setup, .fini = teardown)
{
	static const struct ask_for cases[] = {
		{"11", "web1:11:00000001", 1},
		{"web1:12:00000002", "web1:12:00000002", 1},
		{"12", "web2:12:00000003", 2},      /* the live one before the newer one */
		{"app.py", "web2:12:00000003", 3},
		{"APP", "web2:12:00000003", 3},
		{"8000", "web1:11:00000001", 1},    /* no such PID, but part of a label */
		{"13", "", 0}, {"nothing", "", 0}, {"", "", 0}, {"web1:12:0000000", "", 0},
	};
	long long now = now_ms();

	add_process("web1:11:00000001", "python3 app.py 8000", now - 20000, "");
	add_process("web1:12:00000002", "python3 app.py", now - 1000, "\tended_ms\t1");
	add_process("web2:12:00000003", "python3 app.py", now - 2000, "");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct query_proc p = {.id = ""};
		int choices = 0, err = query__resolve(q, cases[i].proc, &p, &choices, &why);

		cr_expect_eq(err, cases[i].id[0] ? 0 : -ENOENT, "\"%s\": %d", cases[i].proc, err);
		cr_expect_str_eq(p.id, cases[i].id, "\"%s\"", cases[i].proc);
		cr_expect_eq(choices, cases[i].choices, "\"%s\"", cases[i].proc);
	}
}

/* ---- threads, boards, hashes ---- */

Test(query, threads_have_their_newest_name, .init = setup, .fini = teardown)
{
	struct query_thread *t;
	size_t n;

	run("ZADD\t" KEY("threads") "\t1000\t4250|old name\t2000\t4250|new|name\t1500\t4251.88|x\t1600\tother|"
	    "\t5\tbroken\t6\ta b|c"
	    "\t7\t1;2|x\t8\t|x");
	cr_assert_eq(query__threads(q, ID, 0, &t, &n, &why), 0, "%s", why.text);
	cr_assert_eq(n, 3);
	cr_expect_str_eq(t[0].thr, "4250");
	cr_expect_str_eq(t[0].name, "new|name");
	cr_expect_eq(t[0].last_ms, 2000);
	cr_expect_str_eq(t[1].thr, "other");
	cr_expect_str_eq(t[2].thr, "4251.88");
	cr_expect_eq(query__skipped(q), 4);
	free(t);
}

Test(query, threads_since_are_those_seen_later, .init = setup, .fini = teardown)
{
	struct query_thread *t;
	size_t n;

	run("ZADD\t" KEY("threads") "\t1000\t4250|gone\t2000\t4251|there\t2001\t4252|too");
	cr_assert_eq(query__threads(q, ID, 1999, &t, &n, &why), 0, "%s", why.text);
	cr_assert_eq(n, 2);
	cr_expect_str_eq(t[0].name, "too");
	cr_expect_str_eq(t[1].name, "there");
	free(t);
	cr_assert_eq(query__threads(q, ID, 2000, &t, &n, &why), 0);
	cr_expect_eq(n, 1);
	free(t);
}

Test(query, sums_of_threads_are_of_the_range_alone, .init = setup, .fini = teardown)
{
	static const struct query_thread threads[] = {{.thr = "1"}, {.thr = "2"}, {.thr = "3"}, {.thr = "4"}};
	const struct query_range range = {.since_ms = T0 + 1000, .until_ms = T0 + 3000};
	struct schema_row sums[4];

	for (int i = 1; i <= 4; i++)
		run("ZADD\t" KEY("t:1:1s") "\t%lld\t{\"t\":%lld,\"d\":1000000,\"hold\":%d}", T0 + i * 1000,
		    T0 + i * 1000, 100 * i);
	run("ZADD\t" KEY("t:2:1s") "\t%lld\t{\"t\":%lld,\"d\":1000000,\"hold\":7}", T0 + 3000, T0 + 3000);
	run("SET\t" KEY("t:3:1s") "\tforeign");
	cr_assert_eq(query__thread_sums(q, ID, threads, 4, TIER_BASE, &range, sums, &why), 0, "%s", why.text);
	cr_expect_eq(sums[0].value[FIELD_HOLD], 500, "of the second and third second");
	cr_expect_eq(sums[0].value[FIELD_D], 2000000);
	cr_expect_eq(sums[1].value[FIELD_HOLD], 7);
	cr_expect_eq(sums[2].has, 0);
	cr_expect_eq(sums[3].has, 0);
	cr_expect_eq(query__skipped(q), 1);
	cr_expect_eq(query__thread_sums(q, ID, threads, 0, TIER_BASE, &range, sums, &why), 0);
}

Test(query, one_process_is_read_anew_or_known_no_more, .init = setup, .fini = teardown)
{
	struct query_proc p;

	run("HSET\t" KEY("meta") "\tlabel\tpython3 app.py\tmode\tlight\tlast_ms\t%lld\tended_ms\t%lld", T0, T0);
	cr_assert_eq(query__proc(q, ID, &p, &why), 0, "%s", why.text);
	cr_expect_str_eq(p.id, ID);
	cr_expect_str_eq(p.host, "web1");
	cr_expect_eq(p.pid, 4242);
	cr_expect_str_eq(p.mode, "light");
	cr_expect_eq(p.last_ms, T0);
	cr_expect_not(p.live);
	cr_expect_eq(query__proc(q, "web1:1:00000000", &p, &why), -ENOENT);
}

Test(query, a_question_is_given_up_when_somebody_wakes_it, .init = setup, .fini = teardown)
{
	struct query_proc p;
	struct redis_url url;
	int fd = eventfd(1, 0);

	query__close(q);
	q = NULL;
	cr_assert_eq(redis_url__parse(redis.url, &url, &why), 0);
	private_redis__pause(&redis);
	cr_expect_eq(query__open_until(&url, NULL, fd, &q, &why), -ECANCELED);
	private_redis__resume(&redis);
	cr_assert_eq(eventfd_write(fd, 1), 0);
	close(fd);
	fd = eventfd(0, 0);
	cr_assert_eq(query__open_until(&url, NULL, fd, &q, &why), 0, "%s", why.text);
	private_redis__pause(&redis);
	cr_assert_eq(eventfd_write(fd, 1), 0);
	cr_expect_eq(query__proc(q, ID, &p, &why), -ECANCELED);
	private_redis__resume(&redis);
	close(fd);
}

Test(query, board_is_best_first, .init = setup, .fini = teardown)
{
	struct query_score *s;
	size_t n;

	run("ZADD\t" KEY("now:hold") "\t10.5\t4250 MainThread\t99\t4251 pool worker\t5\tbroken\tinf\t1 x");
	cr_assert_eq(query__board(q, ID, "now:hold", &s, &n, &why), 0, "%s", why.text);
	cr_assert_eq(n, 2);
	cr_expect_str_eq(s[0].thr, "4251");
	cr_expect_str_eq(s[0].name, "pool worker");
	cr_expect_eq(s[1].us, 10.5);
	free(s);
	cr_assert_eq(query__board(q, ID, "now:wait", &s, &n, &why), 0);
	cr_expect_eq(n, 0);
	free(s);
}

Test(query, hash_comes_as_clean_pairs, .init = setup, .fini = teardown)
{
	char long_value[6001], **pairs;
	size_t n;

	memset(long_value, 'v', 6000);
	long_value[6000] = '\0';
	run("HSET\t" KEY("last") "\tutil\t0.5\tod\x1b" "d\tb\nd\tlong\t%s", long_value);
	cr_assert_eq(query__hash(q, ID, "last", &pairs, &n, &why), 0, "%s", why.text);
	cr_assert_eq(n, 3);
	for (size_t i = 0; i < n; i++) {
		if (!strcmp(pairs[2 * i], "util"))
			cr_expect_str_eq(pairs[2 * i + 1], "0.5");
		else if (!strcmp(pairs[2 * i], "od?d"))
			cr_expect_str_eq(pairs[2 * i + 1], "b?d");
		else
			cr_expect_eq(strlen(pairs[2 * i + 1]), 4096);
	}
	free(pairs);
	cr_assert_eq(query__hash(q, ID, "meta", &pairs, &n, &why), 0);
	cr_expect_eq(n, 0);
	free(pairs);
}

Test(query, prefix_is_honoured)
{
	struct schema_row *rows;

	private_redis__init(&redis, false);
	private_redis__start(&redis, true, NULL);
	open_query("other:");
	add_samples("other:{" ID "}:p:1s", T0, 5, 1000);
	add_samples(KEY("p:1s"), T0, 7, 1000);
	cr_expect_eq(series("p", T0 - 1, T0 + 10000, &rows), 5);
	free(rows);
	teardown();
}

Test(query, reader_without_the_right_to_ask_the_time_uses_its_own, .init = setup, .fini = teardown)
{
	struct redis_url url;
	struct query *r;
	char text[200];
	int64_t now = 0;

	run("ACL\tSETUSER\treader\ton\t>pw\t%%R~gil:*\t-@all\t+@read\t+ping");
	snprintf(text, sizeof(text), "unix://reader:pw@%s", redis.socket);
	cr_assert_eq(redis_url__parse(text, &url, &why), 0);
	cr_assert_eq(query__open(&url, NULL, &r, &why), 0, "%s", why.text);
	cr_expect_eq(query__now(r, &now, &why), 0, "%s", why.text);
	cr_expect_lt(llabs(now - (long long)time(NULL) * 1000), 60000);
	query__close(r);
}

/* ---- what schema writes is what is read ---- */

Test(query, reads_what_the_writer_wrote, .init = setup, .fini = teardown)
{
	struct proc_ident who = {.host = "web1", .pid = 4242, .boot_id = "b", .exe = "/usr/bin/python3",
				 .label = "python3 app.py", .python = "3.11.2",
				 .image = "i", .method = "m", .interval_ms = 1000};
	struct redis_url url;
	struct sink_redis_opts opts = {.url = &url};
	struct schema_opts schema;
	struct schema_writer *w;
	struct proc_sample *s = proc_sample__new();
	struct thread_sample *t = proc_sample__add_thread(s);
	struct batch *b = batch__new();
	struct query_range range;
	struct query_proc proc;
	struct query_thread *threads;
	struct schema_row *rows;
	struct query_score *scores;
	struct sink *sink;
	char name[64];
	int choices;
	size_t n;

	s->end_ms = now_ms();
	who.started_ms = s->end_ms - 1000;
	s->len_ns = s->observed_ns = 1000000000;
	s->mode = GIL_MODE_FULL;
	s->cpu_ns = s->rss_kib = UINT64_MAX;
	t->key.tid = 4250;
	strcpy(t->name, "worker");
	t->m.known = s->total.known = KNOWN_ALL;
	t->m.hold_ns = s->total.hold_ns = 250000000;
	t->m.acquires = s->total.acquires = 3;

	schema_opts__default(&schema);
	schema.retention = (struct schema_retention){.proc_s = {60, 120, 180}, .thread_s = {61, 121, 181}};
	w = schema_writer__new(&schema, &who);
	cr_assert_eq(redis_url__parse(redis.url, &url, &why), 0);
	cr_assert_eq(sink_redis__new(&opts, &sink, &why), 0, "%s", why.text);
	cr_assert_eq(schema_writer__announce(w, b), 0);
	sink__announce(sink, schema_writer__id(w), b);
	b = batch__new();
	cr_assert_eq(schema_writer__sample(w, TIER_BASE, s, s, b), 0);
	cr_expect_eq(sink__write(sink, b), 0);
	cr_assert_eq(sink__flush(sink, 10000), 0);

	cr_assert_eq(query__resolve(q, "4242", &proc, &choices, &why), 0, "%s", why.text);
	cr_expect_str_eq(proc.id, schema_writer__id(w));
	cr_expect_str_eq(proc.label, "python3 app.py");
	cr_expect(proc.live);
	cr_expect_eq(memcmp(&proc.keeps, &schema.retention, sizeof(proc.keeps)), 0);
	cr_assert_eq(query__threads(q, proc.id, 0, &threads, &n, &why), 0);
	cr_assert_eq(n, 1);
	cr_expect_str_eq(threads[0].name, "worker");
	snprintf(name, sizeof(name), "t:%s", threads[0].thr);
	range = (struct query_range){.since_ms = s->end_ms - 5000, .until_ms = s->end_ms};
	cr_assert_eq(query__series(q, proc.id, name, TIER_BASE, &range, &rows, &n, &why), 0);
	cr_assert_geq(n, 1);
	cr_expect_eq(rows[n - 1].value[FIELD_HOLD], 250000);
	cr_expect_eq(rows[n - 1].value[FIELD_N], 3);
	free(rows);
	cr_assert_eq(query__board(q, proc.id, "top:hold", &scores, &n, &why), 0);
	cr_assert_eq(n, 1);
	cr_expect_str_eq(scores[0].thr, threads[0].thr);
	cr_expect_eq(scores[0].us, 250000);
	cr_expect_eq(query__skipped(q), 0);
	free(scores);
	free(threads);
	sink__close(sink);
	schema_writer__free(w);
	proc_sample__free(s);
}

/* ---- tiers ---- */

struct tier_case {
	long long since_s, until_s; /* before now */
	long long started_s;
	int step_s;
	bool thread;
	enum tier tier;
};

Test(query, tier_follows_span_age_and_step)
{
	static const struct tier_case cases[] = {
		{300, 0, 90000, 0, false, TIER_BASE},
		{3600, 0, 90000, 0, false, TIER_BASE},
		{3700, 0, 90000, 0, false, TIER_10S},          /* too long */
		{7200, 7000, 90000, 0, false, TIER_10S},       /* short, but too old */
		{86400, 0, 900000, 0, false, TIER_10S},
		{90000, 0, 900000, 0, false, TIER_60S},
		{86400, 0, 600, 0, false, TIER_BASE},          /* it runs for ten minutes only */
		{10000, 0, 900000, 0, true, TIER_10S},
		{18000, 0, 900000, 0, true, TIER_10S},
		{25000, 0, 900000, 0, true, TIER_60S},         /* threads are kept shorter */
		{300, 0, 90000, 1, false, TIER_BASE},
		{300, 0, 90000, 10, false, TIER_10S},
		{300, 0, 90000, 59, false, TIER_10S},
		{300, 0, 90000, 60, false, TIER_60S},
		{90000, 0, 900000, 5, false, TIER_BASE},       /* as asked */
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct tier_case *c = &cases[i];
		struct query_proc proc = {.started_ms = T0 - c->started_s * 1000, .last_ms = T0, .live = true};
		struct query_range range = {.since_ms = T0 - c->since_s * 1000, .until_ms = T0 - c->until_s * 1000,
					    .step_s = (uint32_t)c->step_s};

		cr_expect_eq(query__tier(&proc, &range, c->thread, T0), c->tier, "case %zu", i);
	}
}

Test(query, tier_is_one_that_is_kept_long_enough_for_this_process)
{
	struct query_proc proc = {.started_ms = T0 - 900000000, .last_ms = T0, .live = true,
				  .keeps = {.proc_s = {600, 7200, 604800}, .thread_s = {7200, 172800, 604800}}};
	struct query_range range = {.since_ms = T0 - 3600000, .until_ms = T0};

	cr_expect_eq(query__tier(&proc, &range, false, T0), TIER_10S);
	cr_expect_eq(query__tier(&proc, &range, true, T0), TIER_BASE);
	range.since_ms = T0 - 20000000;
	cr_expect_eq(query__tier(&proc, &range, false, T0), TIER_60S);
	cr_expect_eq(query__tier(&proc, &range, true, T0), TIER_10S);
}

Test(query, ended_process_does_not_age)
{
	struct query_proc proc = {.started_ms = T0 - 600000, .last_ms = T0, .ended_ms = T0};
	struct query_range range = {.since_ms = T0 - 300000, .until_ms = T0};

	cr_expect_eq(query__tier(&proc, &range, false, T0 + 7200000), TIER_BASE);
	proc.live = true;
	cr_expect_eq(query__tier(&proc, &range, false, T0 + 7200000), TIER_10S);
}
