/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The read side: processes and series out of Redis, as rows. Uses schema to spell keys and to decode.
 *
 * Replies are hostile input: bounded, checked, every string cleaned for a terminal. Returned arrays may be NULL when they
 * are empty. A connection that breaks is made again by the next call. SIGPIPE must be ignored. Not thread-safe.
 */
#ifndef GILSCOPE_QUERY_H
#define GILSCOPE_QUERY_H

#include <stdint.h>

#include "collector/schema/schema.h"
#include "collector/schema/schema_holding.h"
#include "redis_conn.h"

struct query;

int query__open(const struct redis_url *url, const char *prefix, struct query **ret, struct reason *why);

/* The same; this and every later question is given up with -ECANCELED as soon as `wake_fd` is readable. */
int query__open_until(const struct redis_url *url, const char *prefix, int wake_fd, struct query **ret, struct reason *why);
void query__close(struct query *q);

struct query_proc {
	char id[SCHEMA_ID_SIZE];
	char label[160];
	char host[65];
	uint32_t pid;
	int64_t last_ms;    /* last sample */
	int64_t started_ms, ended_ms; /* 0: not known / still attached */
	uint32_t interval_ms;
	uint32_t cpus;      /* that it may run on, 0: not known */
	struct schema_retention keeps; /* how long its tiers are kept; zeros: not known, taken to be the default */
	bool live;          /* sampled within the last max(10 s, 3 intervals) of the server's clock and not ended */
	char mode[16], python[24], gil[24], exe[256];
	char holding[SCHEMA_HOLDING_SIZE]; /* schema_holding__decode() reads it; "": nothing is told */
	char parent[SCHEMA_ID_SIZE], root[SCHEMA_ID_SIZE]; /* ids, "": none observed; no family was followed */
	char runtime[SCHEMA_RUNTIME_SIZE]; /* which of several Pythons in the process it is; "": there is one */
};

/* Processes known to Redis, newest first. Array malloc'd, caller frees. 0 or -errno. */
int query__procs(struct query *q, struct query_proc **ret, size_t *ret_n, struct reason *why);

/* Reads the process `id` anew: mode, last sample, end. 0, or -errno (-ENOENT: it is known no more). */
int query__proc(struct query *q, const char *id, struct query_proc *ret, struct reason *why);

/*
 * Resolves PROC: a PID, an <id>, or part of a label. If several match: the live one, then the newest; *ret_choices is how
 * many matched. 0, -ENOENT.
 */
int query__resolve(struct query *q, const char *proc, struct query_proc *ret, int *ret_choices, struct reason *why);

/*
 * The processes of the family that `proc` belongs to, in the order of their beginning; itself alone if it has none. Array
 * malloc'd, caller frees. 0 or -errno.
 */
int query__family(struct query *q, const struct query_proc *proc, struct query_proc **ret, size_t *ret_n, struct reason *why);

struct query_thread {
	char thr[40];       /* <thr> as in keys: "4250", "4250.8812", "other" */
	char name[160];
	int64_t last_ms;
};

/* Threads seen after `since_ms` (0: all that are known), the last one first. Array malloc'd. 0 or -errno. */
int query__threads(struct query *q, const char *id, int64_t since_ms, struct query_thread **ret, size_t *ret_n,
		   struct reason *why);

struct query_range {
	int64_t since_ms, until_ms; /* stamps in (since, until] */
	uint32_t step_s;            /* 0: by span and age: <= 1 h and young enough: 1s; <= 24 h: 10s; else 60s */
};

enum tier query__tier(const struct query_proc *proc, const struct query_range *range, bool thread, int64_t now_ms);

/*
 * Rows of one series ("p", "t:<thr>", "g:<n>"), members of equal t merged, ordered by t; fetched in pages. Array malloc'd.
 */
int query__series(struct query *q, const char *id, const char *series, enum tier tier, const struct query_range *range,
		  struct schema_row **ret, size_t *ret_n, struct reason *why);

/*
 * What each of `n` threads adds up to in a range of at most a few minutes, into sums[i] (has 0: it has no sample there), all
 * asked for at once. 0 or -errno.
 */
int query__thread_sums(struct query *q, const char *id, const struct query_thread *threads, size_t n, enum tier tier,
		       const struct query_range *range, struct schema_row *sums, struct reason *why);

struct blame_sum;

/* Who made whom wait in the range: blame:<tier> added up, largest pairs first. Freed with blame_sum__free(). 0 or -errno. */
int query__blame(struct query *q, const char *id, enum tier tier, const struct query_range *range, struct blame_sum *ret,
		 struct reason *why);

struct code_sum;

/* Which code it was in the range: code:<tier> added up. Freed with code_sum__free(). 0 or -errno. */
int query__code(struct query *q, const char *id, enum tier tier, const struct query_range *range, struct code_sum *ret,
		struct reason *why);

struct stacks_sum;

/*
 * The whole stacks of the range: stacks:10s added up, or stacks:60s beyond what is kept of them. Freed with stacks_sum__free().
 * 0 or -errno.
 */
int query__stacks(struct query *q, const struct query_proc *proc, const struct query_range *range, int64_t now_ms,
		  struct stacks_sum *ret, struct reason *why);

struct schema_mark;

/*
 * Marks of all processes and, unless `id` is NULL, of that one, with stamps in (since, until], in the order of time; the newest
 * SCHEMA_MARKS_MAX of each. Array malloc'd, caller frees. 0 or -errno.
 */
int query__marks(struct query *q, const char *id, int64_t since_ms, int64_t until_ms, struct schema_mark **ret, size_t *ret_n,
		 struct reason *why);

struct query_score {
	char thr[40];
	char name[160];
	double us;
};

/* Leaderboard, for tests: "now:hold", "top:wait" ..., best first. */
int query__board(struct query *q, const char *id, const char *board, struct query_score **ret, size_t *ret_n,
		 struct reason *why);

/* One hash (meta, last) as name/value pairs; strings cleaned. pairs[2*i], pairs[2*i+1]; one malloc'd block. */
int query__hash(struct query *q, const char *id, const char *what, char ***ret_pairs, size_t *ret_n, struct reason *why);

/* A stream of events, and how far it has been read. */
struct query_stream {
	char of[SCHEMA_ID_SIZE]; /* an <id>, or SCHEMA_HOST_EVENTS and a host's name */
	char last[EVENT_ID_SIZE]; /* the newest id read, "0": none yet, or milliseconds */
};

/* One event: its fields as pairs[2 * i], pairs[2 * i + 1], cleaned. Not 0: reading stops, and that is returned. */
typedef int query_event_fn(void *arg, const struct query_stream *stream, char *const *pairs, size_t pairs_n);

/* The events after each stream's `last`, in its order, up to 1000 of a stream; *ret_more: one may have more. 0 or -errno. */
int query__events(struct query *q, struct query_stream *streams, size_t n, query_event_fn *each, void *arg, bool *ret_more,
		  struct reason *why);

/*
 * Hosts with a process that was sampled after `since_ms`: names, each followed by its NUL, malloc'd; the caller frees. 0 or
 * -errno.
 */
int query__hosts(struct query *q, int64_t since_ms, char **ret_names, size_t *ret_n, struct reason *why);

/* The server's clock, ms; this machine's where an ACL forbids TIME. */
int query__now(struct query *q, int64_t *ret_ms, struct reason *why);

/* Members that were left out so far because they are not what the schema says. */
uint64_t query__skipped(const struct query *q);

#endif
