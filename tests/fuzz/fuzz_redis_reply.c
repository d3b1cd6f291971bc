/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whatever a server sends: the first byte picks a decoder of the read side, the rest goes through hiredis's parser (with
 * our guard) into it. What comes out holds no control character and no more than was sent.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <hiredis/hiredis.h>

#include "collector/redis/query_reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect(int truth)
{
	if (!truth)
		abort();
}

static void expect_clean(const char *s)
{
	for (; *s; s++)
		expect((unsigned char)*s >= 0x20 && *s != 0x7f);
}

static void take_procs(const redisReply *r, uint64_t *skipped)
{
	struct query_proc *procs;
	size_t n;

	if (query_reply__procs(r, &procs, &n, skipped))
		return;
	expect(n <= r->elements / 2);
	for (size_t i = 0; i < n; i++) {
		expect_clean(procs[i].id);
		expect(strlen(procs[i].host) > 0 && strlen(procs[i].host) <= 64);
	}
	free(procs);
}

static void take_meta(const redisReply *r)
{
	struct query_proc proc = {.id = ""};

	if (query_reply__meta(r, &proc))
		return;
	expect_clean(proc.label);
	expect_clean(proc.mode);
	expect_clean(proc.exe);
}

static void take_threads(const redisReply *r, uint64_t *skipped)
{
	struct query_thread *threads;
	size_t n;

	if (query_reply__threads(r, &threads, &n, skipped))
		return;
	for (size_t i = 0; i < n; i++) {
		expect_clean(threads[i].thr);
		expect_clean(threads[i].name);
	}
	free(threads);
}

static void take_board(const redisReply *r, uint64_t *skipped)
{
	struct query_score *scores;
	size_t n;

	if (query_reply__board(r, &scores, &n, skipped))
		return;
	for (size_t i = 0; i < n; i++) {
		expect_clean(scores[i].name);
		expect(isfinite(scores[i].us));
	}
	free(scores);
}

static void take_hash(const redisReply *r)
{
	char **pairs;
	size_t n;

	if (query_reply__hash(r, &pairs, &n))
		return;
	for (size_t i = 0; i < 2 * n; i++)
		expect_clean(pairs[i]);
	free(pairs);
}

static void take_page(const redisReply *r, struct query_rows *rows, uint64_t *skipped)
{
	if (query_reply__page(r, rows, skipped))
		return;
	for (size_t i = 1; i < rows->n; i++)
		expect(rows->rows[i].value[FIELD_T] > rows->rows[i - 1].value[FIELD_T]);
}

static int expect_clean_event(void *arg, const struct query_stream *stream, char *const *pairs, size_t pairs_n)
{
	for (size_t i = 0; i < 2 * pairs_n; i++)
		expect_clean(pairs[i]);
	return 0;
}

static void take_events(const redisReply *r, uint64_t *skipped)
{
	struct query_stream stream = {.of = "host:web1", .last = "0"};
	bool full = false;

	query_reply__events(r, &stream, expect_clean_event, NULL, &full, skipped);
	expect(strlen(stream.last) < sizeof(stream.last));
}

static void take_hosts(const redisReply *r, uint64_t *skipped)
{
	char *names, *name;
	size_t n;

	if (query_reply__hosts(r, &names, &n, skipped))
		return;
	for (name = names; n > 0; n--, name += strlen(name) + 1)
		expect_clean(name);
	free(names);
}

static void take_marks(const redisReply *r, uint64_t *skipped)
{
	struct schema_mark *marks = NULL;
	size_t n = 0;

	query_reply__marks(r, &marks, &n, skipped);
	for (size_t i = 0; i < n; i++) {
		expect_clean(marks[i].text);
		expect_clean(marks[i].count_name);
	}
	free(marks);
}

static void take(uint8_t which, const redisReply *r, struct query_rows *rows)
{
	uint64_t skipped = 0;
	int64_t ms;

	switch (which % 10) {
	case 0: take_procs(r, &skipped); break;
	case 1: take_meta(r); break;
	case 2: take_threads(r, &skipped); break;
	case 3: take_board(r, &skipped); break;
	case 4: take_hash(r); break;
	case 5: take_page(r, rows, &skipped); break;
	case 6: take_events(r, &skipped); break;
	case 7: take_hosts(r, &skipped); break;
	case 9: take_marks(r, &skipped); break;
	default: query_reply__time(r, &ms); break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	redisReader *reader = redisReaderCreate();
	struct query_rows rows = {.rows = NULL};
	void *reply = NULL;

	if (size == 0 || !reader) {
		redisReaderFree(reader);
		return 0;
	}
	redis_conn__guard(reader);
	redisReaderFeed(reader, (const char *)data + 1, size - 1);
	while (redisReaderGetReply(reader, &reply) == REDIS_OK && reply) {
		take(data[0], reply, &rows);
		freeReplyObject(reply);
	}
	free(rows.rows);
	redisReaderFree(reader);
	return 0;
}
