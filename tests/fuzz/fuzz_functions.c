/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The function library of the dashboards in a redis-server of the fuzzer's own: members that are nearly those of a history, with
 * values in them that none has, and arguments that nobody means, against every function. No answer is an error of Lua's, rows are
 * JSON, and the server's memory stays small; how long it takes is libFuzzer's -timeout.
 *
 * An input is a list of steps, four bytes each: see add_member(), change_meta() and change_argument().
 */
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <hiredis/hiredis.h>
#include <jansson.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LIBRARY "dashboards/lua/gilscope.lua"
#define STEPS_MAX 48
#define SERVER_KB_MAX (256 * 1024)
#define SPAN_MS 60000 /* of the range that is asked for, before and after now */
#define ARGS_MAX 6

#define SAMPLE "\"d\":1000000,\"hold\":812345,\"util\":0.8123,\"wait\":2400000,\"handover\":31000,\"waiters\":2.4,\"n\":421," \
	"\"c\":398,\"forced\":190,\"threads\":9,\"wait_p50\":900,\"wait_p99\":5100,\"wait_max\":20100,\"hold_p50\":800," \
	"\"hold_p99\":5000,\"hold_max\":5001,\"hold_blocked\":12,\"hold_preempted\":3,\"cpu\":990000,\"rss\":10240," \
	"\"cost\":800,\"lost\":0,\"cov\":0.5,\"hh\":[100,5,120,3],\"wh\":[90,1]}"

/* As the writer makes them; # is the stamp. */
static const struct {
	const char *key, *member;
} templates[] = {
	{"gil:{fuzz}:p:1s", "{\"t\":#," SAMPLE},
	{"gil:{fuzz}:p:10s", "{\"t\":#," SAMPLE},
	{"gil:{fuzz}:p:60s", "{\"t\":#," SAMPLE},
	{"gil:{fuzz}:t:7:1s", "{\"t\":#,\"d\":1000000,\"hold\":5,\"wait\":6,\"n\":1,\"c\":1,\"forced\":0,\"ho\":[1,2,3]}"},
	{"gil:{fuzz}:t:7:10s", "{\"t\":#," SAMPLE},
	{"gil:{fuzz}:hold:1s", "{\"t\":#,\"MainThread (7)\":0.25,\"other\":0.125}"},
	{"gil:{fuzz}:wait:10s", "{\"t\":#,\"MainThread (7)\":1.5,\"worker (8)\":0.5}"},
	{"gil:{fuzz}:blame:10s", "{\"t\":#,\"d\":1000000,\"b\":[[\"7\",\"8\",90000],[\"8\",\"7\",4]],\"rest\":{\"7\":12},"
				"\"handover\":{\"7\":900},\"unknown\":{}}"},
	{"gil:{fuzz}:code:10s", "{\"t\":#,\"d\":1000000,\"c\":[[\"7\",\"parse\",\"app.py\",4,30000,60000,10],"
			       "[\"8\",\"f\",\"a.py\",5,1,1,2]],\"rest\":[1,0,1]}"},
	{"gil:{fuzz}:long", "{\"t\":#,\"thr\":\"7\",\"us\":120000,\"kind\":\"hold\"}"},
	{"gil:{fuzz}:threads", "7|MainThread"},
	{"gil:{fuzz}:threads", "8|worker"},
	{"gil:all:10s", "{\"t\":#,\"d\":10000000,\"id\":\"web1:1:2\",\"label\":\"app\",\"util\":0.5,\"waiters\":1}"},
};

static const char *const values[] = {
	"0", "-1", "1e999", "-1e999", "1e308", "0.5", "9007199254740993", "18446744073709551616", "null", "true", "[]", "{}",
	"[[]]", "\"\"", "\"7\"", "\"1e9\"", "\"x y (z)\"", "\"a\\u0000b\"", "\"t\"", "\"other\"", "[1,2,3]", "{\"a\":1}",
	"nan", "[null]", "", "\"%s%d\"", "\"\\\"\"", "[\"7\",\"8\",null]", "\"(others)\"",
};

/* < is the range's begin and > its end. */
static const struct {
	const char *function, *key, *args[ARGS_MAX];
} calls[] = {
	{"gil_version", "gil:{fuzz}:p", {NULL}},
	{"gil_rows", "gil:{fuzz}:p", {"<", ">"}},
	{"gil_rows", "gil:{fuzz}:p", {"<", ">", "2000"}},
	{"gil_rows", "gil:{fuzz}:p:10s", {"<", ">", "0"}},
	{"gil_rows", "gil:{fuzz}:t:7", {"<", ">"}},
	{"gil_holder", "gil:{fuzz}:p", {"<", ">"}},
	{"gil_holder", "gil:{fuzz}:p", {"<", ">", "2000"}},
	{"gil_top", "gil:{fuzz}:t", {"<", ">"}},
	{"gil_top", "gil:{fuzz}:t", {"<", ">", "5", "wait"}},
	{"gil_wide", "gil:{fuzz}:hold", {"<", ">", "2000", "5"}},
	{"gil_wide", "gil:{fuzz}:wait", {"<", ">", "10000"}},
	{"gil_blame", "gil:{fuzz}:blame", {"<", ">"}},
	{"gil_blame", "gil:{fuzz}:blame", {"<", ">", "20", "victim", "7"}},
	{"gil_blame", "gil:{fuzz}:blame", {"<", ">", "20", "1/2"}},
	{"gil_matrix", "gil:{fuzz}:blame", {"<", ">", "12"}},
	{"gil_code", "gil:{fuzz}:code", {"<", ">"}},
	{"gil_code", "gil:{fuzz}:code", {"<", ">", "20", "hold", "7"}},
	{"gil_code", "gil:{fuzz}:code", {"<", ">", "20", "wait", "7", "2/2"}},
	{"gil_long", "gil:{fuzz}:long", {"<", ">", "10", "7"}},
	{"gil_percentiles", "gil:{fuzz}:p", {"<", ">", "hold"}},
	{"gil_percentiles", "gil:{fuzz}:t:7", {"<", ">", "wait"}},
	{"gil_quantile", "gil:{fuzz}:p", {"<", ">", "wait", "0.99"}},
	{"gil_heatmap", "gil:{fuzz}:p", {"<", ">", "5000", "hold"}},
	{"gil_heatmap", "gil:{fuzz}:t:7", {"<", ">", "5000", "wait"}},
	{"gil_worst", "gil:all:10s", {"util", "30"}},
	{"gil_lasting", "gil:all:10s", {"util", "30", "app"}},
};

static const char *const arguments[] = {
	"0", "-1", "nan", "inf", "-inf", "1e308", "1e-308", "9007199254740993", "", "x", "1/0", "0/0", "3/2",
	"99999999999999999999/1", "0x10", "hold", "victim", "thread", "name", "t", "id", "{}", "%s", "1/1", "1000000",
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static struct {
	char dir[64], socket[80];
	pid_t pid;
	redisContext *conn;
} server;

/* ---- the server ---- */

static void fail(const char *what, const char *detail)
{
	fprintf(stderr, "fuzz_functions: %s: %s\n", what, detail);
	abort();
}

static void remove_dir(void)
{
	unlink(server.socket);
	rmdir(server.dir);
}

static void run_server(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", server.socket, "--dir", server.dir, "--save", "",
	       "--logfile", "/dev/null", "--enable-debug-command", "no", NULL);
	_exit(127);
}

static void start_server(void)
{
	strcpy(server.dir, "/tmp/gilscope-fuzz-XXXXXX");
	if (!mkdtemp(server.dir))
		fail("mkdtemp", strerror(errno));
	snprintf(server.socket, sizeof(server.socket), "%s/sock", server.dir);
	atexit(remove_dir);
	server.pid = fork();
	if (server.pid == 0)
		run_server();
	for (int i = 0; i < 3000; i++) {
		server.conn = redisConnectUnix(server.socket);
		if (server.conn && !server.conn->err)
			return;
		redisFree(server.conn);
		usleep(10000);
	}
	fail("redis-server", "does not come up: is it installed?");
}

static void load_library(void)
{
	static char text[1 << 18];
	FILE *f = fopen(LIBRARY, "re");
	redisReply *r;

	if (!f)
		fail(LIBRARY, strerror(errno));
	text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
	fclose(f);
	r = redisCommand(server.conn, "FUNCTION LOAD REPLACE %s", text);
	if (!r || r->type == REDIS_REPLY_ERROR)
		fail("FUNCTION LOAD", r ? r->str : "no reply");
	freeReplyObject(r);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	signal(SIGPIPE, SIG_IGN);
	start_server();
	load_library();
	return 0;
}

/* The most memory that the server has had. */
static long server_kb(void)
{
	char path[64], line[128];
	long kb = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)server.pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "VmHWM: %ld", &kb);
	if (f)
		fclose(f);
	return kb;
}

/* ---- members ---- */

/* Where the `n`th value of a member begins, and how long it is; values are what follows : [ or , */
static const char *value_at(const char *member, unsigned int n, size_t *ret_len)
{
	unsigned int count = 0;

	for (const char *c = member; *c; c++)
		count += strchr(":[,", *c) != NULL;
	n = count ? n % count + 1 : 0;
	for (; n && *member; member++)
		n -= strchr(":[,", *member) != NULL;
	*ret_len = strcspn(member, ",]}");
	return member;
}

static void replace_value(char *member, size_t size, unsigned int place, const char *value)
{
	char changed[2048];
	size_t len;
	const char *at = value_at(member, place, &len);

	snprintf(changed, sizeof(changed), "%.*s%s%s", (int)(at - member), member, value, at + len);
	snprintf(member, size, "%s", changed);
}

static void set_stamp(char *member, size_t size, int64_t stamp)
{
	char changed[2048], *at = strchr(member, '#');

	if (!at)
		return;
	snprintf(changed, sizeof(changed), "%.*s%lld%s", (int)(at - member), member, (long long)stamp, at + 1);
	snprintf(member, size, "%s", changed);
}

/* step: which member; which of its values becomes which other; low bits of the last byte: seconds, high bit: whether it does. */
static void add_member(const uint8_t *step, int64_t now, unsigned int *appended)
{
	size_t which = step[0] % COUNT(templates);
	int64_t stamp = now - step[3] % 64 * 500;
	char member[2048];

	snprintf(member, sizeof(member), "%s", templates[which].member);
	if (step[3] & 0x80)
		replace_value(member, sizeof(member), step[1], values[step[2] % COUNT(values)]);
	set_stamp(member, sizeof(member), stamp);
	redisAppendCommand(server.conn, "ZADD %s %lld %s", templates[which].key, (long long)stamp, member);
	++*appended;
}

/* What the process says of itself. step: -, which field, what it becomes. */
static void change_meta(const uint8_t *step, unsigned int *appended)
{
	static const char *const fields[] = {"keep_proc_s", "keep_thread_s", "last_ms"};

	redisAppendCommand(server.conn, "HSET gil:{fuzz}:meta %s %s", fields[step[1] % COUNT(fields)],
			   arguments[step[2] % COUNT(arguments)]);
	++*appended;
}

/* ---- calls ---- */

struct change {
	size_t call, argument;
	const char *value;
};

/* step: of which call, which argument, what it becomes. */
static void change_argument(const uint8_t *step, struct change *ret)
{
	*ret = (struct change){step[1] % COUNT(calls), step[2] % ARGS_MAX, arguments[step[3] % COUNT(arguments)]};
}

static void append_call(size_t i, int64_t now, const struct change *change)
{
	const char *argv[4 + ARGS_MAX] = {"FCALL_RO", calls[i].function, "1", calls[i].key};
	char from[32], to[32];
	int argc = 4;

	snprintf(from, sizeof(from), "%lld", (long long)now - SPAN_MS);
	snprintf(to, sizeof(to), "%lld", (long long)now + SPAN_MS);
	for (size_t a = 0; a < ARGS_MAX; a++) {
		const char *arg = change->value && change->call == i && change->argument == a ? change->value : calls[i].args[a];

		if (!arg)
			break;
		argv[argc++] = strcmp(arg, "<") == 0 ? from : strcmp(arg, ">") == 0 ? to : arg;
	}
	redisAppendCommandArgv(server.conn, argc, argv, NULL);
}

/* Errors are the library's own sentences: none tells a line of its source. */
static void check_error(const char *function, const char *error)
{
	if (strncmp(error, "ERR gilscope: ", 14) != 0 || strstr(error, "user_function") || strstr(error, "attempt to") ||
	    strstr(error, "bad argument"))
		fail(function, error);
}

static void check_row(const char *function, const redisReply *row)
{
	json_error_t error;
	json_t *json;

	if (row->type != REDIS_REPLY_STRING)
		fail(function, "a row is no text");
	json = json_loadb(row->str, row->len, JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL, &error);
	/* Texts are passed on as they are, and so is what is no UTF-8 in them. */
	if (!json && !strstr(error.text, "UTF-8") && !strstr(error.text, "decode byte") && strcmp(function, "gil_long") != 0) {
		fprintf(stderr, "%s\n", row->str);
		fail(function, error.text);
	}
	json_decref(json);
}

static void check_reply(const char *function)
{
	redisReply *r = NULL;

	if (redisGetReply(server.conn, (void **)&r) || !r)
		fail(function, "the server is gone");
	if (r->type == REDIS_REPLY_ERROR)
		check_error(function, r->str);
	for (size_t i = 0; r->type == REDIS_REPLY_ARRAY && i < r->elements; i++)
		check_row(function, r->element[i]);
	freeReplyObject(r);
}

static void skip_replies(unsigned int n)
{
	for (void *r; n > 0; n--) {
		if (redisGetReply(server.conn, &r))
			fail("redis", "the server is gone");
		freeReplyObject(r);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int64_t now = (int64_t)time(NULL) * 1000;
	struct change change = {0};
	unsigned int appended = 1;
	static unsigned int runs;

	redisAppendCommand(server.conn, "FLUSHALL");
	for (size_t at = 0; at + 4 <= size && at / 4 < STEPS_MAX; at += 4) {
		if (data[at] == 0xff)
			change_argument(data + at, &change);
		else if (data[at] == 0xfe)
			change_meta(data + at, &appended);
		else
			add_member(data + at, now, &appended);
	}
	for (size_t i = 0; i < COUNT(calls); i++)
		append_call(i, now, &change);
	skip_replies(appended);
	for (size_t i = 0; i < COUNT(calls); i++)
		check_reply(calls[i].function);
	if (++runs % 64 == 0 && server_kb() > SERVER_KB_MAX)
		fail("redis-server", "its memory has grown too much");
	return 0;
}
