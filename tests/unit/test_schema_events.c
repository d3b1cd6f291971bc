/* SPDX-License-Identifier: GPL-2.0-only */
/* Events: ids that only grow, their fields in both streams, and what a reader makes of a reply. */
#include <criterion/criterion.h>
#include <errno.h>
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collector/redis/query_reply.h"
#include "collector/schema/schema.h"
#include "../support/made_up.h"

static struct schema_writer *w;
static struct event_ids host;

static void set_up(void)
{
	w = made_up__writer();
	host = (struct event_ids){0};
}

static void tear_down(void)
{
	schema_writer__free(w);
}

TestSuite(schema_events, .init = set_up, .fini = tear_down);

/* The words of the i-th XADD, joined by blanks, without its key. */
static const char *added(const struct batch *b, size_t nth)
{
	static char words[512];

	for (size_t i = 0; i < batch__commands(b); i++) {
		const char *const *argv;
		const size_t *lens;
		int argc = batch__get(b, i, &argv, &lens);

		if (strcmp(argv[0], "XADD") != 0 || nth-- > 0)
			continue;
		words[0] = '\0';
		for (int k = 2; k < argc; k++)
			snprintf(words + strlen(words), sizeof(words) - strlen(words), "%s%s", k > 2 ? " " : "", argv[k]);
		return words;
	}
	return "";
}

static struct batch *alert_at(int64_t t_ms)
{
	struct batch *b = batch__new();
	struct schema_event e;

	schema_event__begin(&e, SCHEMA_EVENT_ALERT, t_ms);
	schema_event__text(&e, "text", "look");
	cr_assert_eq(schema_writer__event(w, &e, &host, b), 0);
	return b;
}

Test(schema_events, an_event_stands_in_both_streams_and_in_that_of_the_host_with_its_process)
{
	struct batch *b = alert_at(1795339305000);
	char expected[256];

	cr_expect_str_eq(added(b, 0), "MAXLEN ~ 1000 1795339305000-0 t 1795339305000 kind alert text look");
	snprintf(expected, sizeof(expected), "MAXLEN ~ 10000 1795339305000-0 id %s t 1795339305000 kind alert text look",
		 schema_writer__id(w));
	cr_expect_str_eq(added(b, 1), expected);
	cr_expect_eq(batch__points(b), 2);
	batch__free(b);
}

static size_t expires(const struct batch *b)
{
	const char *const *argv;
	const size_t *lens;
	size_t n = 0;

	for (size_t i = 0; i < batch__commands(b); i++)
		n += batch__get(b, i, &argv, &lens) == 3 && strcmp(argv[0], "EXPIRE") == 0;
	return n;
}

Test(schema_events, both_streams_get_a_time_to_live_with_the_first_event_and_once_a_minute)
{
	static const struct {
		int64_t t_ms;
		size_t expires;
	} cases[] = {{1000, 2}, {2000, 0}, {60999, 0}, {61000, 2}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct batch *b = alert_at(cases[i].t_ms);

		cr_expect_eq(expires(b), cases[i].expires, "at %lld ms", (long long)cases[i].t_ms);
		batch__free(b);
	}
}

Test(schema_events, ids_grow_when_the_clock_steps_back_and_the_true_time_stays)
{
	static const struct {
		int64_t t_ms;
		char id[32];
	} cases[] = {{5000, "5000-0"}, {5000, "5000-1"}, {4000, "5000-2"}, {5001, "5001-0"}, {1, "5001-1"}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct batch *b = alert_at(cases[i].t_ms);
		char expected[128];

		snprintf(expected, sizeof(expected), "MAXLEN ~ 1000 %s t %lld kind alert text look", cases[i].id,
			 (long long)cases[i].t_ms);
		cr_expect_str_eq(added(b, 0), expected);
		batch__free(b);
	}
}

Test(schema_events, processes_of_a_host_share_the_ids_of_its_stream)
{
	struct batch *one = alert_at(5000), *two;
	struct schema_writer *first = w;
	char id[32] = "";

	w = made_up__writer();
	two = alert_at(5000);
	cr_expect_eq(sscanf(added(two, 1), "MAXLEN ~ 10000 %31s", id), 1);
	cr_expect_str_eq(id, "5000-1");
	batch__free(one);
	batch__free(two);
	schema_writer__free(first);
}

Test(schema_events, next_id_carries_over_and_refuses_what_is_none)
{
	static const struct {
		char id[48], next[48];
	} cases[] = {
		{"1-0", "1-1"}, {"1795339305000-41", "1795339305000-42"}, {"7-18446744073709551615", "8-0"},
		{"18446744073709551615-18446744073709551615", ""}, {"", ""}, {"7", ""}, {"7-", ""}, {"7-1x", ""}, {"a-1", ""},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char next[EVENT_ID_SIZE] = "";

		cr_expect_eq(schema_event__next_id(cases[i].id, 1, next), cases[i].next[0] != '\0', "%s", cases[i].id);
		cr_expect_str_eq(next, cases[i].next);
	}
}

Test(schema_events, the_same_event_is_a_member_of_long)
{
	struct schema_event e;
	char *json;

	schema_event__begin(&e, SCHEMA_EVENT_HOLD, 12);
	schema_event__true(&e, "open");
	schema_event__number(&e, "us", 34);
	schema_event__text(&e, "name", "a \"b\"");
	json = schema_event__json(&e);
	cr_expect_str_eq(json, "{\"t\":12,\"kind\":\"hold\",\"open\":true,\"us\":34,\"name\":\"a \\\"b\\\"\"}");
	free(json);
}

/* ---- reading ---- */

static redisReply *parse(const char *text)
{
	redisReader *reader = redisReaderCreate();
	void *reply = NULL;

	redisReaderFeed(reader, text, strlen(text));
	cr_assert_eq(redisReaderGetReply(reader, &reply), REDIS_OK);
	cr_assert_not_null(reply);
	redisReaderFree(reader);
	return reply;
}

static char heard[256];

static int hear(void *arg, const struct query_stream *stream, char *const *pairs, size_t pairs_n)
{
	for (size_t i = 0; i < 2 * pairs_n; i++)
		snprintf(heard + strlen(heard), sizeof(heard) - strlen(heard), "%s,", pairs[i]);
	return 0;
}

static int read_events(const char *text, struct query_stream *stream, uint64_t *skipped)
{
	redisReply *reply = parse(text);
	bool full = false;
	int err;

	heard[0] = '\0';
	err = query_reply__events(reply, stream, hear, NULL, &full, skipped);
	freeReplyObject(reply);
	cr_expect_not(full);
	return err;
}

Test(schema_events, a_reply_is_read_to_its_last_id_and_what_is_none_is_counted)
{
	struct query_stream stream = {.of = "host:web1", .last = "0"};
	uint64_t skipped = 0;

	cr_expect_eq(read_events("*1\r\n*2\r\n$1\r\nk\r\n*3\r\n*2\r\n$3\r\n5-0\r\n*2\r\n$1\r\nt\r\n$1\r\n5\r\n"
				 "*2\r\n$3\r\n6-1\r\n*1\r\n$1\r\nx\r\n*2\r\n$3\r\n6-2\r\n*2\r\n$4\r\nkind\r\n$3\r\na\033b\r\n",
				 &stream, &skipped), 0);
	cr_expect_str_eq(stream.last, "6-2");
	cr_expect_eq(skipped, 1);
	cr_expect_eq(strncmp(heard, "t,5,kind,", 9), 0, "%s", heard);
	cr_expect_null(strchr(heard, '\033'));
	cr_expect_eq(read_events("*-1\r\n", &stream, &skipped), 0);
	cr_expect_str_eq(stream.last, "6-2");
	cr_expect_eq(read_events("*1\r\n*2\r\n$1\r\nk\r\n*1\r\n*2\r\n$3\r\n../\r\n*0\r\n", &stream, &skipped), -EPROTO);
	cr_expect_eq(read_events(":1\r\n", &stream, &skipped), -EPROTO);
}

Test(schema_events, hosts_are_those_of_the_ids_each_once)
{
	redisReply *reply = parse("*5\r\n$10\r\nweb2:7:aaa\r\n$10\r\nweb1:7:aaa\r\n$10\r\nweb2:8:bbb\r\n"
				  "$4\r\nnone\r\n$7\r\na/b:1:c\r\n");
	uint64_t skipped = 0;
	char *names = NULL;
	size_t n = 0;

	cr_assert_eq(query_reply__hosts(reply, &names, &n, &skipped), 0);
	cr_assert_eq(n, 2);
	cr_expect_str_eq(names, "web1");
	cr_expect_str_eq(names + 5, "web2");
	cr_expect_eq(skipped, 2);
	free(names);
	freeReplyObject(reply);
}
