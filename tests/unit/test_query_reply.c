/* SPDX-License-Identifier: GPL-2.0-only */
/* Replies that no server of ours gives: more than was asked for, and members of another time. */
#include <criterion/criterion.h>
#include <errno.h>
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collector/redis/query_reply.h"

static char text[1 << 20];
static size_t len;

static void put(const char *word)
{
	len += (size_t)snprintf(text + len, sizeof(text) - len, "$%zu\r\n%s\r\n", strlen(word), word);
}

static void begin(size_t pairs)
{
	len = (size_t)snprintf(text, sizeof(text), "*%zu\r\n", 2 * pairs);
}

static redisReply *parse(void)
{
	redisReader *reader = redisReaderCreate();
	void *reply = NULL;

	redisReaderFeed(reader, text, len);
	cr_assert_eq(redisReaderGetReply(reader, &reply), REDIS_OK);
	cr_assert_not_null(reply);
	redisReaderFree(reader);
	return reply;
}

static void put_member(int t)
{
	char member[64], score[16];

	snprintf(score, sizeof(score), "%d", t);
	snprintf(member, sizeof(member), "{\"t\":%d,\"d\":1000,\"hold\":1}", t);
	put(member);
	put(score);
}

Test(query_reply, member_outside_the_range_is_left_out_and_counted)
{
	const struct query_range range = {.since_ms = 1000, .until_ms = 3000};
	struct query_rows rows = {.range = &range};
	uint64_t skipped = 0;
	redisReply *reply;

	begin(5);
	for (int i = 0; i < 5; i++)
		put_member(i * 1000);
	reply = parse();
	cr_expect_eq(query_reply__page(reply, &rows, &skipped), 0);
	cr_assert_eq(rows.n, 2);
	cr_expect_eq(rows.rows[0].value[FIELD_T], 2000);
	cr_expect_eq(skipped, 3);
	free(rows.rows);
	freeReplyObject(reply);
}

Test(query_reply, page_of_more_than_was_asked_for_is_refused)
{
	for (size_t more = 0; more < 2; more++) {
		struct query_rows rows = {.rows = NULL};
		uint64_t skipped = 0;
		redisReply *reply;

		begin(QUERY_PAGE + more);
		for (size_t i = 0; i < QUERY_PAGE + more; i++)
			put_member((int)i);
		reply = parse();
		cr_expect_eq(query_reply__page(reply, &rows, &skipped), more ? -EPROTO : 0);
		free(rows.rows);
		freeReplyObject(reply);
	}
}

Test(query_reply, list_of_more_processes_than_were_asked_for_is_refused)
{
	struct query_proc *procs;
	uint64_t skipped = 0;
	redisReply *reply;
	size_t n;

	begin(QUERY_MAX_PROCS + 1);
	for (int i = 0; i < QUERY_MAX_PROCS + 1; i++) {
		put("web1:1:00000001");
		put("1");
	}
	reply = parse();
	cr_expect_eq(query_reply__procs(reply, &procs, &n, &skipped), -EPROTO);
	freeReplyObject(reply);
}
