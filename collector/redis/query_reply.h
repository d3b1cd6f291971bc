/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From a reply to rows, without a socket: what query.c does with what a server says, apart from asking. For query.c and
 * the fuzzer.
 *
 * Replies are hostile: of any type, length and content. What does not look as the schema says is left out and counted in
 * *skipped; every string that comes out is clean. All return 0, -EPROTO (not the type that was asked for, or more members than
 * were) or -ENOMEM.
 */
#ifndef GILSCOPE_QUERY_REPLY_H
#define GILSCOPE_QUERY_REPLY_H

#include "collector/schema/schema_blame.h"
#include "collector/schema/schema_code.h"
#include "collector/schema/schema_marks.h"
#include "collector/schema/schema_stacks.h"
#include "query.h"

struct redisReply;

/* Asked for at a time. */
#define QUERY_MAX_PROCS 1000
#define QUERY_MAX_THREADS 10000  /* of a process */
#define QUERY_MAX_BOARD 1024
#define QUERY_PAGE 2000          /* members of a series */

#define QUERY_MAX_HASH 1024      /* pairs of a hash; more are left out */

/* ZREVRANGE procs WITHSCORES: ids and last_ms; the rest is query_reply__meta()'s. */
int query_reply__procs(const struct redisReply *r, struct query_proc **ret, size_t *ret_n, uint64_t *skipped);

/* HMGET meta, the fields of query_meta_fields, into `proc`. */
#define QUERY_META_FIELDS 18
extern const char *const query_meta_fields[QUERY_META_FIELDS];
int query_reply__meta(const struct redisReply *r, struct query_proc *proc);

int query_reply__threads(const struct redisReply *r, struct query_thread **ret, size_t *ret_n, uint64_t *skipped);
int query_reply__board(const struct redisReply *r, struct query_score **ret, size_t *ret_n, uint64_t *skipped);
/* Appends those of one key, ZREVRANGEBYSCORE WITHSCORES. */
int query_reply__marks(const struct redisReply *r, struct schema_mark **list, size_t *n, uint64_t *skipped);
int query_reply__hash(const struct redisReply *r, char ***ret_pairs, size_t *ret_n);

/* XREAD of one stream, COUNT QUERY_EVENTS: each of its events in turn, `stream->last` moves on. Also what `each` returns. */
#define QUERY_EVENTS 1000
int query_reply__events(const struct redisReply *r, struct query_stream *stream, query_event_fn *each, void *arg, bool *ret_full,
			uint64_t *skipped);

/* ZRANGEBYSCORE procs: the hosts in its ids, sorted, each once. */
#define QUERY_MAX_HOSTED 100000
int query_reply__hosts(const struct redisReply *r, char **ret_names, size_t *ret_n, uint64_t *skipped);

/* Rows of a series, page by page. Zeroed at the start, but for range, blame, code and stacks; rows is the caller's to free. */
struct query_rows {
	const struct query_range *range; /* that was asked for; NULL: any */
	struct schema_row *rows;
	size_t n, room;
	size_t members;      /* seen so far, skipped ones included */
	double last_ms;      /* highest score seen: the next page starts there ... */
	size_t at_last;      /* ... behind this many members that have it */
	size_t page;         /* members of the last page */
	struct blame_sum *blame; /* not NULL: the members are those of blame:<tier>, and are added up here instead */
	struct code_sum *code;   /* the same of code:<tier> */
	struct stacks_sum *stacks; /* and of stacks:<tier> */
};

/* Appends a page (ZRANGE BYSCORE WITHSCORES). Also -E2BIG. */
int query_reply__page(const struct redisReply *r, struct query_rows *rows, uint64_t *skipped);

/* TIME. */
int query_reply__time(const struct redisReply *r, int64_t *ret_ms);

#endif
