/* SPDX-License-Identifier: GPL-2.0-only */
/* See redis_events.h. */
#include "redis_events.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <hiredis/hiredis.h>

#include "collector/schema/batch.h"
#include "collector/schema/schema_events.h"
#include "redis_conn.h"

#define RACES_MAX 20 /* other writers that are faster, in a row: each time twice as far ahead of them */

bool redis_events__is_stale(const char *error_text)
{
	return strstr(error_text, "equal or smaller than the target stream top item") != NULL;
}

/* One event that is being asked about. */
struct asked {
	const char *const *argv; /* its XADD */
	const size_t *lens;
	int argc, id_at;
	bool there, stale;
	uint64_t step;
	char next[EVENT_ID_SIZE];
	char *refusal;
};

static bool same_text(const struct redisReply *r, const char *text, size_t len)
{
	return r && r->type == REDIS_REPLY_STRING && r->len == len && memcmp(r->str, text, len) == 0;
}

/* The entry of a reply to a range that has one at most; NULL: none. */
static const struct redisReply *entry_of(const struct redisReply *range)
{
	const struct redisReply *entry = range->type == REDIS_REPLY_ARRAY && range->elements == 1 ? range->element[0] : NULL;

	return entry && entry->type == REDIS_REPLY_ARRAY && entry->elements == 2 ? entry : NULL;
}

static bool has_fields(const struct asked *q, const struct redisReply *fields)
{
	int first = q->id_at + 1;

	if (!fields || fields->type != REDIS_REPLY_ARRAY || fields->elements != (size_t)(q->argc - first))
		return false;
	for (size_t i = 0; i < fields->elements; i++)
		if (!same_text(fields->element[i], q->argv[first + (int)i], q->lens[first + (int)i]))
			return false;
	return true;
}

static void refuse(struct asked *q, const char *text)
{
	if (!q->refusal[0])
		snprintf(q->refusal, REDIS_REFUSAL_SIZE, "%s", text);
}

/* First what stands under its id, then the newest there is. */
static int take_look(void *arg, size_t i, const struct redisReply *reply)
{
	struct asked *q = arg;
	const struct redisReply *entry = entry_of(reply);

	if (reply->type == REDIS_REPLY_ERROR)
		refuse(q, reply->str);
	else if (i == 0)
		q->there = entry && has_fields(q, entry->element[1]);
	else if (!entry || !entry->element[0] || entry->element[0]->type != REDIS_REPLY_STRING ||
		 !schema_event__next_id(entry->element[0]->str, q->step, q->next))
		snprintf(q->next, sizeof(q->next), "%s", q->argv[q->id_at]); /* it has been emptied since */
	return 0;
}

static int look(struct redisContext *c, struct asked *q, int timeout_ms, int wake_fd, struct reason *why)
{
	const char *key = q->argv[1], *id = q->argv[q->id_at];
	const char *at_id[] = {"XRANGE", key, id, id}, *newest[] = {"XREVRANGE", key, "+", "-", "COUNT", "1"};
	size_t id_len = q->lens[q->id_at], key_len = q->lens[1];
	size_t at_id_lens[] = {6, key_len, id_len, id_len}, newest_lens[] = {9, key_len, 1, 1, 5, 1};

	if (redis_conn__append(c, 4, at_id, at_id_lens) || redis_conn__append(c, 6, newest, newest_lens))
		return reason__set(why, -ENOMEM, "out of memory");
	return redis_conn__exchange(c, 2, timeout_ms, wake_fd, take_look, q, why);
}

static int take_answer(void *arg, size_t i, const struct redisReply *reply)
{
	struct asked *q = arg;

	q->stale = reply->type == REDIS_REPLY_ERROR && redis_events__is_stale(reply->str);
	if (reply->type == REDIS_REPLY_ERROR && !q->stale)
		refuse(q, reply->str);
	return 0;
}

static int send_again(struct redisContext *c, struct asked *q, int timeout_ms, int wake_fd, struct reason *why)
{
	if (redis_conn__append(c, q->argc, q->argv, q->lens))
		return reason__set(why, -ENOMEM, "out of memory");
	return redis_conn__exchange(c, 1, timeout_ms, wake_fd, take_answer, q, why);
}

int redis_events__mend(struct redisContext *c, struct batch *b, size_t i, int timeout_ms, int wake_fd,
		       enum event_outcome *ret_outcome, char refusal[REDIS_REFUSAL_SIZE], struct reason *why)
{
	struct asked q = {.refusal = refusal, .stale = true, .step = 1};
	int err = 0;

	refusal[0] = '\0';
	for (int races = 0; q.stale && !err && races < RACES_MAX; races++, q.step *= 2) {
		q.argc = batch__get(b, i, &q.argv, &q.lens);
		q.id_at = schema_event__id_at(q.argc, q.argv);
		err = look(c, &q, timeout_ms, wake_fd, why);
		if (err || q.there || refusal[0])
			break;
		err = batch__replace_arg(b, i, (size_t)q.id_at, q.next);
		err = err ? reason__set(why, err, "out of memory") : send_again(c, &q, timeout_ms, wake_fd, why);
	}
	if (q.stale && !q.there)
		refuse(&q, "the stream always has a later id");
	*ret_outcome = refusal[0] ? EVENT_REFUSED : q.there ? EVENT_IS_THERE : EVENT_RENUMBERED;
	return err;
}
