/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Asking for what query.h promises; what comes of a reply is query_reply.c's.
 *
 * Everything is asked with bounded ranges, so that neither a long history nor a hostile server decides how much memory
 * is taken. A connection that broke is made again by the next question.
 */
#include "query.h"
#include "query_reply.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hiredis/hiredis.h>

#include "collector/base/clock.h"
#include "redis_cluster.h"

#define TIMEOUT_MS 5000
#define QUESTION_MS 30000        /* all pages of a series */
#define THREADS_AT_ONCE 200      /* whose series come in one exchange */
#define THREAD_ROWS "1000"       /* of each, at most */

/* ---- asking ---- */

/* A connection, and which of the exchange's questions go over it. */
struct link {
	struct redis_node node;    /* of a cluster */
	struct redisContext *conn;
	size_t *asked;
	size_t asked_n, room;
};

struct query {
	struct redis_url url;
	char where[300];
	char prefix[64];
	struct link *links;        /* to the server, or to nodes of a cluster */
	size_t links_n;
	size_t asked;              /* questions of the exchange that is being made up */
	struct cluster_map *map;   /* of a cluster; NULL: not known (any more) */
	int wake_fd;               /* readable: no answer is awaited any more; -1: never */
	bool no_byscore;           /* ZRANGE has no BYSCORE: before 6.2 */
	uint64_t skipped;
};

/* What one exchange is about: the decoder of its i-th reply, and what came of it. */
struct asking {
	struct query *q;
	int (*decode)(struct asking *a, size_t i, const struct redisReply *r);
	void *out;
	size_t *out_n;
	const struct query_range *range; /* of a series */
	bool skip_foreign;      /* a key of another type is counted, not an error */
	enum redis_class refused;
	struct reason *why;
};

static int64_t mono_ms(void)
{
	return (int64_t)(clock__mono_ns() / 1000000);
}

static int class_errno(enum redis_class cls)
{
	switch (cls) {
	case REDIS_CLASS_CREDENTIALS:
		return -EACCES;
	case REDIS_CLASS_TRANSIENT:
	case REDIS_CLASS_CAPACITY:
		return -EAGAIN;
	default:
		return -EPROTO;
	}
}

/* What an exchange over one link hands to its replies. */
struct hearing {
	struct asking *a;
	const struct link *link;
};

static int on_reply(void *arg, size_t nth, const struct redisReply *r)
{
	const struct hearing *h = arg;
	struct asking *a = h->a;
	size_t i = h->link->asked[nth];
	int err;

	if (r->type == REDIS_REPLY_ERROR) {
		a->refused = redis_class__of(r->str);
		if (a->skip_foreign && a->refused == REDIS_CLASS_KEY) {
			a->q->skipped++;
			return 0;
		}
		return reason__set(a->why, class_errno(a->refused), "%s answers \"%.200s\"", a->q->where, r->str);
	}
	err = a->decode(a, i, r);
	if (err == -E2BIG)
		return reason__set(a->why, err, "too many samples for one question: choose a larger --step, or a shorter range");
	if (err)
		reason__set(a->why, err, "%s: %s", a->q->where, err == -ENOMEM ? "out of memory" :
			    "the reply is not what gilscope's schema says");
	return err;
}

/* ---- links ---- */

static void hang_up(struct query *q)
{
	for (size_t i = 0; i < q->links_n; i++) {
		redis_conn__close(q->links[i].conn);
		free(q->links[i].asked);
	}
	free(q->links);
	q->links = NULL;
	q->links_n = 0;
	q->asked = 0;
	free(q->map);
	q->map = NULL;
}

static int find_map(struct query *q, struct reason *why)
{
	struct cluster_map *map = malloc(sizeof(*map));
	int err = map ? cluster_map__find(&q->url, NULL, TIMEOUT_MS, q->wake_fd, map, why)
		      : reason__set(why, -ENOMEM, "out of memory");

	if (err) {
		free(map);
		return err;
	}
	q->map = map;
	return 0;
}

/* `node` NULL: the server of the URL. */
static int open_link(struct query *q, const struct redis_node *node, struct link **ret, struct reason *why)
{
	struct link *grown = reallocarray(q->links, q->links_n + 1, sizeof(*grown)), *link;
	struct redis_url url = q->url;
	int err;

	if (!grown)
		return reason__set(why, -ENOMEM, "out of memory");
	q->links = grown;
	link = &q->links[q->links_n];
	*link = (struct link){.conn = NULL};
	if (node) {
		link->node = *node;
		cluster_url__of(&q->url, node, &url);
	}
	err = redis_conn__open_until(&url, TIMEOUT_MS, q->wake_fd, &link->conn, why);
	explicit_bzero(&url, sizeof(url));
	q->links_n += !err;
	*ret = link;
	return err;
}

/* The master that has the key, any where there is none. */
static const struct redis_node *node_for(const struct query *q, int argc, const char *const *argv)
{
	int at = cluster_slot__key_at(argc, argv);
	uint16_t owner = at ? q->map->owner[cluster_slot__of(argv[at], strlen(argv[at]))] : 0;

	return owner == CLUSTER_NOBODY ? NULL : &q->map->nodes[owner];
}

static int link_for(struct query *q, int argc, const char *const *argv, struct link **ret, struct reason *why)
{
	const struct redis_node *node = NULL;
	int err = q->url.cluster && !q->map ? find_map(q, why) : 0;

	if (err)
		return err;
	if (q->url.cluster && !(node = node_for(q, argc, argv)))
		return reason__set(why, -EAGAIN, "%s: nobody has the slot of %s", q->where, argv[1]);
	for (size_t i = 0; i < q->links_n; i++)
		if (!node || redis_node__same(&q->links[i].node, node)) {
			*ret = &q->links[i];
			return 0;
		}
	return open_link(q, node, ret, why);
}

static int note_question(struct query *q, struct link *link)
{
	if (link->asked_n == link->room) {
		size_t room = link->room ? 2 * link->room : 16;
		size_t *grown = reallocarray(link->asked, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		link->asked = grown;
		link->room = room;
	}
	link->asked[link->asked_n++] = q->asked++;
	return 0;
}

/* Adds a question to the exchange, on its way to where its key is. After a failure there is none. */
static int append(struct query *q, int argc, const char *const *argv, struct reason *why)
{
	struct link *link;
	size_t lens[20];
	int err = link_for(q, argc, argv, &link, why);

	for (int i = 0; i < argc; i++)
		lens[i] = strlen(argv[i]);
	if (!err && (redis_conn__append(link->conn, argc, argv, lens) || note_question(q, link)))
		err = reason__set(why, -ENOMEM, "out of memory");
	if (err)
		hang_up(q);
	return err;
}

static int exchange(struct asking *a, struct link *link, struct reason *why)
{
	struct hearing h = {.a = a, .link = link};

	if (!link->asked_n)
		return 0;
	return redis_conn__exchange(link->conn, link->asked_n, TIMEOUT_MS, a->q->wake_fd, on_reply, &h, why);
}

/* Sends what was appended. After a failure the rest of the replies is lost with the connection. */
static int ask(struct asking *a)
{
	struct query *q = a->q;
	struct reason detail = {""};
	size_t n = q->asked;
	int err = 0;

	a->refused = REDIS_CLASS_OK;
	if (a->why)
		a->why->text[0] = '\0';
	for (size_t i = 0; i < q->links_n && !err; i++) {
		err = exchange(a, &q->links[i], &detail);
		q->links[i].asked_n = 0;
	}
	q->asked = 0;
	if (err == 0)
		return 0;
	/* on_reply has already said why, if it was that. */
	if (a->why && !a->why->text[0])
		reason__set(a->why, err, "%s: %s", q->where, detail.text);
	/* A single reply has been read whole: the connection is still good. Where slots have moved, nothing is. */
	if (n > 1 || a->refused == REDIS_CLASS_OK || a->refused == REDIS_CLASS_WRONG_NODE)
		hang_up(q);
	return err;
}

#define MOVES_MAX 50  /* a slot on its way is there in a moment */
#define MOVES_MS 100

/* One command, one reply. In a cluster it may have to be asked again, and elsewhere. */
static int ask_one(struct asking *a, int argc, const char *const *argv)
{
	int err, moves = 0;

	do {
		err = append(a->q, argc, argv, a->why);
		if (err)
			return err;
		err = ask(a);
	} while (err && a->q->url.cluster && a->refused == REDIS_CLASS_WRONG_NODE && ++moves < MOVES_MAX &&
		 poll(NULL, 0, MOVES_MS) == 0);
	return err;
}

int query__open(const struct redis_url *url, const char *prefix, struct query **ret, struct reason *why)
{
	return query__open_until(url, prefix, -1, ret, why);
}

int query__open_until(const struct redis_url *url, const char *prefix, int wake_fd, struct query **ret, struct reason *why)
{
	struct query *q = calloc(1, sizeof(*q));
	struct link *first;
	int err;

	if (!q)
		return reason__set(why, -ENOMEM, "out of memory");
	q->url = *url;
	q->wake_fd = wake_fd;
	redis_url__text(url, q->where, sizeof(q->where));
	snprintf(q->prefix, sizeof(q->prefix), "%s", prefix ? prefix : SCHEMA_PREFIX);
	err = url->cluster ? find_map(q, why) : open_link(q, NULL, &first, why);
	if (err) {
		query__close(q);
		return err;
	}
	*ret = q;
	return 0;
}

void query__close(struct query *q)
{
	if (!q)
		return;
	hang_up(q);
	explicit_bzero(&q->url, sizeof(q->url));
	free(q);
}

uint64_t query__skipped(const struct query *q)
{
	return q->skipped;
}

/* ---- the clock ---- */

static int decode_time(struct asking *a, size_t i, const struct redisReply *r)
{
	return query_reply__time(r, a->out);
}

int query__now(struct query *q, int64_t *ret_ms, struct reason *why)
{
	static const char *const argv[] = {"TIME"};
	struct asking a = {.q = q, .decode = decode_time, .out = ret_ms, .why = why};
	int err = ask_one(&a, 1, argv);

	/* A reader's ACL may lack TIME, and so may a proxy; then ours has to do. */
	if (err != -EPIPE && a.refused != REDIS_CLASS_CREDENTIALS && a.refused != REDIS_CLASS_BUG)
		return err;
	*ret_ms = clock__wall_ms();
	return 0;
}

/* ---- processes ---- */

static int decode_procs(struct asking *a, size_t i, const struct redisReply *r)
{
	return query_reply__procs(r, a->out, a->out_n, &a->q->skipped);
}

static int decode_meta(struct asking *a, size_t i, const struct redisReply *r)
{
	struct query_proc *procs = a->out;

	if (query_reply__meta(r, &procs[i]))
		a->q->skipped++;
	return 0;
}

static const char *score_of(char *buf, size_t size, int max)
{
	snprintf(buf, size, "%d", max - 1);
	return buf;
}

/* HMGET of each process's meta, in one pipeline. A process with a foreign key in meta's place is listed without it. */
static int fetch_meta(struct query *q, struct query_proc *procs, size_t n, struct reason *why)
{
	struct asking a = {.q = q, .decode = decode_meta, .out = procs, .skip_foreign = true, .why = why};
	const char *argv[2 + QUERY_META_FIELDS] = {"HMGET"};
	char key[256];
	int err = 0;

	memcpy(&argv[2], query_meta_fields, sizeof(query_meta_fields));
	argv[1] = key;
	for (size_t i = 0; i < n && !err; i++) {
		schema__proc_key(key, sizeof(key), q->prefix, procs[i].id, "meta");
		err = append(q, 2 + QUERY_META_FIELDS, argv, why);
	}
	return err ? err : ask(&a);
}

/* Sampled within max(10 s, 3 intervals) and not ended. */
static bool is_live(const struct query_proc *p, int64_t now_ms)
{
	int64_t grace = 3 * (int64_t)p->interval_ms;

	return p->ended_ms == 0 && p->last_ms >= now_ms - (grace > 10000 ? grace : 10000);
}

static int newest_first(const void *a, const void *b)
{
	const struct query_proc *p = a, *q = b;

	return (p->last_ms < q->last_ms) - (p->last_ms > q->last_ms);
}

int query__procs(struct query *q, struct query_proc **ret, size_t *ret_n, struct reason *why)
{
	char key[256], max[16];
	const char *argv[] = {"ZREVRANGE", key, "0", score_of(max, sizeof(max), QUERY_MAX_PROCS), "WITHSCORES"};
	struct query_proc *procs = NULL;
	size_t n = 0;
	struct asking a = {.q = q, .decode = decode_procs, .out = &procs, .out_n = &n, .why = why};
	int64_t now = 0;
	int err;

	schema__global_key(key, sizeof(key), q->prefix, "procs");
	err = ask_one(&a, 5, argv);
	if (!err)
		err = fetch_meta(q, procs, n, why);
	if (!err)
		err = query__now(q, &now, why);
	if (err) {
		free(procs);
		return err;
	}
	for (size_t i = 0; i < n; i++)
		procs[i].live = is_live(&procs[i], now);
	qsort(procs, n, sizeof(*procs), newest_first);
	*ret = procs;
	*ret_n = n;
	return 0;
}

/* The last sample's stamp is meta's: who asks about one process has no use for the index. */
int query__proc(struct query *q, const char *id, struct query_proc *ret, struct reason *why)
{
	struct query_proc proc = {.last_ms = 0};
	int64_t now = 0;
	int err;

	snprintf(proc.id, sizeof(proc.id), "%s", id);
	memcpy(proc.host, proc.id, strcspn(proc.id, ":"));
	proc.pid = (uint32_t)strtoul(proc.id + strcspn(proc.id, ":") + (strchr(proc.id, ':') != NULL), NULL, 10);
	err = fetch_meta(q, &proc, 1, why);
	err = err ? err : query__now(q, &now, why);
	if (!err && !proc.last_ms)
		err = reason__set(why, -ENOENT, "%s knows no process \"%s\" any more", q->where, proc.id);
	if (err)
		return err;
	proc.live = is_live(&proc, now);
	*ret = proc;
	return 0;
}

/* How well PROC names a process: 3 its id, 2 its PID, 1 part of its label, 0 not at all. */
static int match(const struct query_proc *p, const char *proc)
{
	char pid[16];

	snprintf(pid, sizeof(pid), "%" PRIu32, p->pid);
	if (strcmp(p->id, proc) == 0)
		return 3;
	if (strcmp(pid, proc) == 0)
		return 2;
	return proc[0] && strcasestr(p->label, proc) ? 1 : 0;
}

int query__resolve(struct query *q, const char *proc, struct query_proc *ret, int *ret_choices, struct reason *why)
{
	const struct query_proc *best = NULL;
	struct query_proc *procs;
	int best_match = 0, choices = 0, err;
	size_t n;

	err = query__procs(q, &procs, &n, why);
	if (err)
		return err;
	for (size_t i = 0; i < n; i++) {
		int m = match(&procs[i], proc);

		if (m == 0 || m < best_match)
			continue;
		choices = m > best_match ? 1 : choices + 1;
		/* They come newest first, so only a live one beats what is there. */
		if (m > best_match || (procs[i].live && !best->live))
			best = &procs[i];
		best_match = m;
	}
	if (best) {
		*ret = *best;
		*ret_choices = choices;
	} else {
		err = reason__set(why, -ENOENT, "%s knows no process \"%.64s\" (processes there: %zu; gilscope ls lists them)",
				  q->where, proc, n);
	}
	free(procs);
	return err;
}

static int first_begun_first(const void *a, const void *b)
{
	const struct query_proc *p = a, *q = b;

	return (p->started_ms > q->started_ms) - (p->started_ms < q->started_ms);
}

int query__family(struct query *q, const struct query_proc *proc, struct query_proc **ret, size_t *ret_n, struct reason *why)
{
	struct query_proc *procs;
	size_t n, kept = 0;
	int err = query__procs(q, &procs, &n, why);

	if (err)
		return err;
	for (size_t i = 0; i < n; i++)
		if (strcmp(procs[i].id, proc->id) == 0 || (proc->root[0] && strcmp(procs[i].root, proc->root) == 0))
			procs[kept++] = procs[i];
	qsort(procs, kept, sizeof(*procs), first_begun_first);
	*ret = procs;
	*ret_n = kept;
	return 0;
}

/* ---- what belongs to a process ---- */

static int decode_threads(struct asking *a, size_t i, const struct redisReply *r)
{
	return query_reply__threads(r, a->out, a->out_n, &a->q->skipped);
}

static int decode_board(struct asking *a, size_t i, const struct redisReply *r)
{
	return query_reply__board(r, a->out, a->out_n, &a->q->skipped);
}

static int decode_hash(struct asking *a, size_t i, const struct redisReply *r)
{
	return query_reply__hash(r, a->out, a->out_n);
}

/* The highest `max` members of a sorted set of process `id`. */
static int ask_highest(struct asking *a, const char *id, const char *what, int max)
{
	char key[256], last[16];
	const char *argv[] = {"ZREVRANGE", key, "0", score_of(last, sizeof(last), max), "WITHSCORES"};

	schema__proc_key(key, sizeof(key), a->q->prefix, id, what);
	return ask_one(a, 5, argv);
}

int query__threads(struct query *q, const char *id, int64_t since_ms, struct query_thread **ret, size_t *ret_n,
		   struct reason *why)
{
	struct asking a = {.q = q, .decode = decode_threads, .out = ret, .out_n = ret_n, .why = why};
	char key[256], min[24], max[16];
	const char *argv[] = {"ZREVRANGEBYSCORE", key, "+inf", min, "WITHSCORES", "LIMIT", "0", max};

	if (since_ms <= 0)
		return ask_highest(&a, id, "threads", QUERY_MAX_THREADS);
	schema__proc_key(key, sizeof(key), q->prefix, id, "threads");
	snprintf(min, sizeof(min), "(%" PRId64, since_ms);
	snprintf(max, sizeof(max), "%d", QUERY_MAX_THREADS);
	return ask_one(&a, 8, argv);
}

int query__board(struct query *q, const char *id, const char *board, struct query_score **ret, size_t *ret_n,
		 struct reason *why)
{
	struct asking a = {.q = q, .decode = decode_board, .out = ret, .out_n = ret_n, .why = why};

	return ask_highest(&a, id, board, QUERY_MAX_BOARD);
}

int query__hash(struct query *q, const char *id, const char *what, char ***ret_pairs, size_t *ret_n, struct reason *why)
{
	struct asking a = {.q = q, .decode = decode_hash, .out = ret_pairs, .out_n = ret_n, .why = why};
	char key[256];
	const char *argv[] = {"HGETALL", key};

	schema__proc_key(key, sizeof(key), q->prefix, id, what);
	return ask_one(&a, 2, argv);
}

/* ---- events ---- */

struct reading {
	struct query_stream *streams;
	query_event_fn *each;
	void *arg;
	bool more;
};

static int decode_events(struct asking *a, size_t i, const struct redisReply *r)
{
	struct reading *reading = a->out;

	return query_reply__events(r, &reading->streams[i], reading->each, reading->arg, &reading->more, &a->q->skipped);
}

#define STREAMS_AT_ONCE 16 /* 1000 events with stacks have megabytes */

static int read_some(struct asking *a, const struct query_stream *streams, size_t n)
{
	char key[256], count[16];
	int err = 0;

	snprintf(count, sizeof(count), "%d", QUERY_EVENTS);
	for (size_t i = 0; i < n && !err; i++) {
		const char *argv[] = {"XREAD", "COUNT", count, "STREAMS", key, streams[i].last};

		schema__proc_key(key, sizeof(key), a->q->prefix, streams[i].of, SCHEMA_EVENTS);
		err = append(a->q, 6, argv, a->why);
	}
	return err ? err : ask(a);
}

int query__events(struct query *q, struct query_stream *streams, size_t n, query_event_fn *each, void *arg, bool *ret_more,
		  struct reason *why)
{
	struct reading reading = {.each = each, .arg = arg};
	struct asking a = {.q = q, .decode = decode_events, .out = &reading, .skip_foreign = true, .why = why};
	int err = 0;

	for (size_t i = 0; i < n && !err; i += STREAMS_AT_ONCE) {
		reading.streams = streams + i;
		err = read_some(&a, streams + i, n - i < STREAMS_AT_ONCE ? n - i : STREAMS_AT_ONCE);
	}
	*ret_more = reading.more;
	return err;
}

static int decode_hosts(struct asking *a, size_t i, const struct redisReply *r)
{
	return query_reply__hosts(r, a->out, a->out_n, &a->q->skipped);
}

int query__hosts(struct query *q, int64_t since_ms, char **ret_names, size_t *ret_n, struct reason *why)
{
	struct asking a = {.q = q, .decode = decode_hosts, .out = ret_names, .out_n = ret_n, .why = why};
	char key[256], since[24], max[16];
	const char *argv[] = {"ZREVRANGEBYSCORE", key, "+inf", since, "LIMIT", "0", max};

	schema__global_key(key, sizeof(key), q->prefix, "procs");
	snprintf(since, sizeof(since), "(%" PRId64, since_ms);
	snprintf(max, sizeof(max), "%d", QUERY_MAX_HOSTED);
	return ask_one(&a, 7, argv);
}

/* Reply 0 is of all processes, 1 of one. */
static int decode_marks(struct asking *a, size_t i, const struct redisReply *r)
{
	struct schema_mark **list = a->out;
	size_t before = *a->out_n;
	int err = query_reply__marks(r, list, a->out_n, &a->q->skipped);

	for (size_t k = before; !err && k < *a->out_n; k++)
		(*list)[k].of_process = i == 1;
	return err;
}

static int earlier_first(const void *a, const void *b)
{
	const struct schema_mark *x = a, *y = b;

	return (x->t_ms > y->t_ms) - (x->t_ms < y->t_ms);
}

int query__marks(struct query *q, const char *id, int64_t since_ms, int64_t until_ms, struct schema_mark **ret, size_t *ret_n,
		 struct reason *why)
{
	struct schema_mark *list = NULL;
	size_t n = 0;
	struct asking a = {.q = q, .decode = decode_marks, .out = &list, .out_n = &n, .skip_foreign = true, .why = why};
	char key[256], min[24], max[24], count[16];
	const char *argv[] = {"ZREVRANGEBYSCORE", key, max, min, "WITHSCORES", "LIMIT", "0", count};
	int err;

	snprintf(min, sizeof(min), "(%" PRId64, since_ms);
	snprintf(max, sizeof(max), "%" PRId64, until_ms);
	snprintf(count, sizeof(count), "%d", SCHEMA_MARKS_MAX);
	schema__global_key(key, sizeof(key), q->prefix, SCHEMA_MARKS);
	err = append(q, 8, argv, why);
	if (!err && id) {
		schema__proc_key(key, sizeof(key), q->prefix, id, SCHEMA_MARKS);
		err = append(q, 8, argv, why);
	}
	err = err ? err : ask(&a);
	if (err) {
		free(list);
		return err;
	}
	qsort(list, n, sizeof(*list), earlier_first);
	*ret = list;
	*ret_n = n;
	return 0;
}

/* ---- series ---- */

enum tier query__tier(const struct query_proc *proc, const struct query_range *range, bool thread, int64_t now_ms)
{
	const uint32_t *keeps = thread ? proc->keeps.thread_s : proc->keeps.proc_s;
	struct schema_opts defaults;
	/* What is older than the first sample does not count; nothing is trimmed after the last one. */
	int64_t since = range->since_ms > proc->started_ms ? range->since_ms : proc->started_ms;
	int64_t newest = proc->live ? now_ms : proc->last_ms;
	int64_t span = (range->until_ms - since) / 1000, age = (newest - since) / 1000;

	if (range->step_s > 0)
		return range->step_s >= 60 ? TIER_60S : range->step_s >= 10 ? TIER_10S : TIER_BASE;
	schema_opts__default(&defaults);
	if (!keeps[TIER_BASE])
		keeps = thread ? defaults.retention.thread_s : defaults.retention.proc_s;
	/* A minute's grace: trimming is done about once a minute, and asking takes time. */
	if (span <= 3600 + 60 && age <= (int64_t)keeps[TIER_BASE] + 60)
		return TIER_BASE;
	if (span <= 86400 + 60 && age <= (int64_t)keeps[TIER_10S] + 60)
		return TIER_10S;
	return TIER_60S;
}

static int decode_page(struct asking *a, size_t i, const struct redisReply *r)
{
	return query_reply__page(r, a->out, &a->q->skipped);
}

/* The next page: from the last score on, behind the members that have been seen with it. */
static int ask_page(struct asking *a, const char *key, const struct query_range *range)
{
	const struct query_rows *rows = a->out;
	char min[40], max[24], offset[24], count[16];
	const char *modern[] = {"ZRANGE", key, min, max, "BYSCORE", "LIMIT", offset, count, "WITHSCORES"};
	const char *old[] = {"ZRANGEBYSCORE", key, min, max, "WITHSCORES", "LIMIT", offset, count};

	if (rows->members > 0)
		snprintf(min, sizeof(min), "%.17g", rows->last_ms);
	else
		snprintf(min, sizeof(min), "(%" PRId64, range->since_ms);
	snprintf(max, sizeof(max), "%" PRId64, range->until_ms);
	snprintf(offset, sizeof(offset), "%zu", rows->members > 0 ? rows->at_last : 0);
	snprintf(count, sizeof(count), "%d", QUERY_PAGE);
	if (!a->q->no_byscore) {
		int err = ask_one(a, 9, modern);

		if (a->refused != REDIS_CLASS_BUG)
			return err;
		a->q->no_byscore = true;
	}
	return ask_one(a, 8, old);
}

/* All pages of <series>:<tier>. */
static int ask_pages(struct query *q, const char *id, const char *series, enum tier tier, const struct query_range *range,
		     struct query_rows *rows, struct reason *why)
{
	struct asking a = {.q = q, .decode = decode_page, .out = rows, .why = why};
	int64_t until = mono_ms() + QUESTION_MS;
	char key[256], what[96];
	int err;

	snprintf(what, sizeof(what), "%s:%s", series, tier__name(tier));
	schema__proc_key(key, sizeof(key), q->prefix, id, what);
	do {
		rows->page = 0;
		err = ask_page(&a, key, range);
	} while (!err && rows->page >= QUERY_PAGE && mono_ms() < until);
	if (!err && rows->page >= QUERY_PAGE)
		err = reason__set(why, -ETIMEDOUT, "%s: its answer has no end after %d s: choose a larger --step, or a shorter "
				  "range", q->where, QUESTION_MS / 1000);
	return err;
}

/* One thread's rows, added up. */
static int decode_sum(struct asking *a, size_t i, const struct redisReply *r)
{
	struct query_rows rows = {.range = a->range};
	struct schema_row *sums = a->out;
	int err = query_reply__page(r, &rows, &a->q->skipped);

	if (!err && rows.n)
		schema_row__sum(rows.rows, rows.n, &sums[i]);
	free(rows.rows);
	return err;
}

static int append_range(struct query *q, const char *id, const char *thr, enum tier tier, const struct query_range *range,
			struct reason *why)
{
	char key[256], what[96], min[24], max[24];
	const char *argv[] = {"ZRANGEBYSCORE", key, min, max, "WITHSCORES", "LIMIT", "0", THREAD_ROWS};

	snprintf(what, sizeof(what), "t:%s:%s", thr, tier__name(tier));
	schema__proc_key(key, sizeof(key), q->prefix, id, what);
	snprintf(min, sizeof(min), "(%" PRId64, range->since_ms);
	snprintf(max, sizeof(max), "%" PRId64, range->until_ms);
	return append(q, 8, argv, why);
}

static int ask_sums(struct query *q, const char *id, const struct query_thread *threads, size_t n, enum tier tier,
		    const struct query_range *range, struct schema_row *sums, struct reason *why)
{
	struct asking a = {.q = q, .decode = decode_sum, .out = sums, .range = range, .skip_foreign = true,
			   .why = why};
	int err = 0;

	for (size_t i = 0; !err && i < n; i++)
		err = append_range(q, id, threads[i].thr, tier, range, why);
	return err ? err : ask(&a);
}

int query__thread_sums(struct query *q, const char *id, const struct query_thread *threads, size_t n, enum tier tier,
		       const struct query_range *range, struct schema_row *sums, struct reason *why)
{
	int err = 0;

	memset(sums, 0, n * sizeof(*sums));
	for (size_t at = 0; !err && at < n; at += THREADS_AT_ONCE)
		err = ask_sums(q, id, threads + at, n - at < THREADS_AT_ONCE ? n - at : THREADS_AT_ONCE, tier, range, sums + at,
			       why);
	return err;
}

int query__blame(struct query *q, const char *id, enum tier tier, const struct query_range *range, struct blame_sum *ret,
		 struct reason *why)
{
	struct query_rows rows = {.range = range, .blame = ret};
	int err;

	*ret = (struct blame_sum){0};
	err = ask_pages(q, id, "blame", tier, range, &rows, why);
	if (err)
		blame_sum__free(ret);
	blame_sum__sort(ret);
	return err;
}

int query__code(struct query *q, const char *id, enum tier tier, const struct query_range *range, struct code_sum *ret,
		struct reason *why)
{
	struct query_rows rows = {.range = range, .code = ret};
	int err;

	*ret = (struct code_sum){0};
	err = ask_pages(q, id, "code", tier, range, &rows, why);
	if (err)
		code_sum__free(ret);
	return err;
}

int query__stacks(struct query *q, const struct query_proc *proc, const struct query_range *range, int64_t now_ms,
		  struct stacks_sum *ret, struct reason *why)
{
	struct query_rows rows = {.range = range, .stacks = ret};
	enum tier tier = query__tier(proc, range, true, now_ms);
	int err;

	*ret = (struct stacks_sum){0};
	err = ask_pages(q, proc->id, "stacks", tier == TIER_BASE ? TIER_10S : tier, range, &rows, why);
	if (err)
		stacks_sum__free(ret);
	return err;
}

int query__series(struct query *q, const char *id, const char *series, enum tier tier, const struct query_range *range,
		  struct schema_row **ret, size_t *ret_n, struct reason *why)
{
	struct query_rows rows = {.range = range};
	int err = ask_pages(q, id, series, tier, range, &rows, why);

	if (err) {
		free(rows.rows);
		return err;
	}
	*ret = rows.rows;
	*ret_n = rows.n;
	return 0;
}
