/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The read side, in two halves: replies to rows (query_reply.h; no socket, hostile input), and asking for them.
 *
 * Everything is asked with bounded ranges, so that neither a long history nor a hostile server decides how much memory
 * is taken. A connection that broke is made again by the next question. Next: schema.h decodes the members.
 */
#include "query.h"
#include "query_reply.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <hiredis/hiredis.h>

#include "text.h"

#define MAX_PROCS 1000
#define MAX_THREADS 10000
#define MAX_BOARD 1024
#define MAX_HASH 1024
#define MAX_VALUE 4096           /* bytes of a hash's value that are shown */
#define PAGE 2000
#define MAX_MEMBERS 400000       /* of one series in one query; a row takes 2 kB */
#define MAX_ROWS 100000
#define TIMEOUT_MS 5000

/* ---- replies to rows ---- */

static bool is_text(const struct redisReply *r)
{
	return r && (r->type == REDIS_REPLY_STRING || r->type == REDIS_REPLY_STATUS) && r->str;
}

/* A finite number that fills the whole string. */
static bool read_number(const struct redisReply *r, double *ret)
{
	char *end;
	double v;

	if (!is_text(r) || r->len == 0 || r->len > 64 || isspace((unsigned char)r->str[0]))
		return false;
	v = strtod(r->str, &end);
	if (end != r->str + r->len || !isfinite(v))
		return false;
	*ret = v;
	return true;
}

/* A number of milliseconds that an int64_t holds. */
static bool read_ms(const struct redisReply *r, int64_t *ret)
{
	double v;

	if (!read_number(r, &v) || fabs(v) > 9e15)
		return false;
	*ret = (int64_t)v;
	return true;
}

/* Member and score, alternating: the number of pairs, or -EPROTO. */
static long pair_count(const struct redisReply *r)
{
	if (!r || r->type != REDIS_REPLY_ARRAY || r->elements % 2 != 0)
		return -EPROTO;
	return (long)(r->elements / 2);
}

static bool all_of(const char *s, size_t len, const char *also)
{
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)s[i]) && !(s[i] && strchr(also, s[i])))
			return false;
	return len > 0;
}

/* "host:pid:tag" as schema spells it; the PID into *ret_pid. */
static bool is_id(const char *s, size_t len, uint32_t *ret_pid)
{
	const char *pid = memchr(s, ':', len), *tag;
	uint64_t v = 0;

	if (len >= SCHEMA_ID_SIZE || !pid || pid - s > 64 || !all_of(s, (size_t)(pid - s), "_.-"))
		return false;
	tag = memchr(pid + 1, ':', (size_t)(s + len - pid - 1));
	if (!tag || tag == pid + 1 || tag - pid > 11 || s + len - tag != 9 || !all_of(tag + 1, 8, ""))
		return false;
	for (const char *p = pid + 1; p < tag; p++) {
		if (!isdigit((unsigned char)*p))
			return false;
		v = v * 10 + (uint64_t)(*p - '0');
	}
	*ret_pid = (uint32_t)v;
	return v <= UINT32_MAX;
}

int query_reply__procs(const struct redisReply *r, struct query_proc **ret, size_t *ret_n, uint64_t *skipped)
{
	long pairs = pair_count(r);
	struct query_proc *procs = pairs < 0 ? NULL : calloc((size_t)pairs + 1, sizeof(*procs));
	size_t n = 0;

	if (!procs)
		return pairs < 0 ? -EPROTO : -ENOMEM;
	for (long i = 0; i < pairs; i++) {
		const struct redisReply *member = r->element[2 * i];
		struct query_proc *p = &procs[n];

		if (!is_text(member) || !is_id(member->str, member->len, &p->pid) ||
		    !read_ms(r->element[2 * i + 1], &p->last_ms)) {
			++*skipped;
			continue;
		}
		memcpy(p->id, member->str, member->len);
		memcpy(p->host, p->id, strcspn(p->id, ":"));
		n++;
	}
	*ret = procs;
	*ret_n = n;
	return 0;
}

const char *const query_meta_fields[QUERY_META_FIELDS] = {
	"label", "mode", "python", "gil", "exe", "interval_ms", "started_ms", "ended_ms", "last_ms", "host", "pid",
	"keep_proc_s", "keep_thread_s", "cpus", "parent", "root",
};

static void take_text(const struct redisReply *r, char *dst, size_t size)
{
	if (is_text(r))
		text__clean(dst, size, r->str, r->len);
}

/* "A,B,C" in seconds; anything else is as good as nothing. */
static void take_keeps(const struct redisReply *r, uint32_t keeps[TIER_COUNT])
{
	char text[64] = "", end;
	uint32_t s[TIER_COUNT];

	take_text(r, text, sizeof(text));
	if (sscanf(text, "%9" SCNu32 ",%9" SCNu32 ",%9" SCNu32 "%c", &s[0], &s[1], &s[2], &end) == TIER_COUNT)
		memcpy(keeps, s, sizeof(s));
}

/* host and pid are asked for, but taken from the id, which can't contradict itself. */
int query_reply__meta(const struct redisReply *r, struct query_proc *p)
{
	int64_t interval, last, cpus;

	if (!r || r->type != REDIS_REPLY_ARRAY || r->elements != QUERY_META_FIELDS)
		return -EPROTO;
	take_text(r->element[0], p->label, sizeof(p->label));
	take_text(r->element[1], p->mode, sizeof(p->mode));
	take_text(r->element[2], p->python, sizeof(p->python));
	take_text(r->element[3], p->gil, sizeof(p->gil));
	take_text(r->element[4], p->exe, sizeof(p->exe));
	if (read_ms(r->element[5], &interval) && interval > 0 && interval <= UINT32_MAX)
		p->interval_ms = (uint32_t)interval;
	read_ms(r->element[6], &p->started_ms);
	read_ms(r->element[7], &p->ended_ms);
	if (read_ms(r->element[8], &last) && last > p->last_ms)
		p->last_ms = last;
	take_keeps(r->element[11], p->keeps.proc_s);
	take_keeps(r->element[12], p->keeps.thread_s);
	if (read_ms(r->element[13], &cpus) && cpus > 0 && cpus <= UINT16_MAX)
		p->cpus = (uint32_t)cpus;
	take_text(r->element[14], p->parent, sizeof(p->parent));
	take_text(r->element[15], p->root, sizeof(p->root));
	return 0;
}

/* Splits "<thr><mark><name>". */
static bool split_thread(const struct redisReply *r, char mark, char thr[40], char *name, size_t name_size)
{
	const char *at = is_text(r) ? memchr(r->str, mark, r->len) : NULL;
	size_t len = at ? (size_t)(at - r->str) : 0;

	if (!at || len >= 40 || !all_of(r->str, len, "._-"))
		return false;
	memcpy(thr, r->str, len);
	thr[len] = '\0';
	text__clean(name, name_size, at + 1, r->len - len - 1);
	return true;
}

static bool has_thread(const struct query_thread *threads, size_t n, const char *thr)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(threads[i].thr, thr) == 0)
			return true;
	return false;
}

/* Newest first, so of a renamed thread's names the first is the one it has. */
int query_reply__threads(const struct redisReply *r, struct query_thread **ret, size_t *ret_n, uint64_t *skipped)
{
	long pairs = pair_count(r);
	struct query_thread *threads = pairs < 0 ? NULL : calloc((size_t)pairs + 1, sizeof(*threads));
	size_t n = 0;

	if (!threads)
		return pairs < 0 ? -EPROTO : -ENOMEM;
	for (long i = 0; i < pairs && n < MAX_THREADS; i++) {
		struct query_thread *t = &threads[n];

		if (!split_thread(r->element[2 * i], '|', t->thr, t->name, sizeof(t->name)) ||
		    !read_ms(r->element[2 * i + 1], &t->last_ms))
			++*skipped;
		else if (!has_thread(threads, n, t->thr))
			n++;
	}
	*ret = threads;
	*ret_n = n;
	return 0;
}

int query_reply__board(const struct redisReply *r, struct query_score **ret, size_t *ret_n, uint64_t *skipped)
{
	long pairs = pair_count(r);
	struct query_score *scores = pairs < 0 ? NULL : calloc((size_t)pairs + 1, sizeof(*scores));
	size_t n = 0;

	if (!scores)
		return pairs < 0 ? -EPROTO : -ENOMEM;
	for (long i = 0; i < pairs; i++) {
		struct query_score *s = &scores[n];

		if (!split_thread(r->element[2 * i], ' ', s->thr, s->name, sizeof(s->name)) ||
		    !read_number(r->element[2 * i + 1], &s->us))
			++*skipped;
		else
			n++;
	}
	*ret = scores;
	*ret_n = n;
	return 0;
}

/* Bytes that element i takes as clean, terminated text, at most. */
static size_t room_for(const struct redisReply *r)
{
	size_t len = is_text(r) ? r->len : 0;

	return (len < MAX_VALUE ? len : MAX_VALUE) + 1;
}

int query_reply__hash(const struct redisReply *r, char ***ret_pairs, size_t *ret_n)
{
	long pairs = pair_count(r);
	size_t words, size;
	char **table, *text;

	if (pairs < 0)
		return -EPROTO;
	words = 2 * (size_t)(pairs < MAX_HASH ? pairs : MAX_HASH);
	size = (words + 1) * sizeof(*table);
	for (size_t i = 0; i < words; i++)
		size += room_for(r->element[i]);
	table = calloc(1, size);
	if (!table)
		return -ENOMEM;
	text = (char *)(table + words + 1);
	for (size_t i = 0; i < words; i++) {
		table[i] = text;
		take_text(r->element[i], text, room_for(r->element[i]));
		text += room_for(r->element[i]);
	}
	*ret_pairs = table;
	*ret_n = words / 2;
	return 0;
}

static int make_room(struct query_rows *rows)
{
	size_t room = rows->room ? rows->room * 2 : 64;
	struct schema_row *grown;

	if (rows->n < rows->room)
		return 0;
	if (rows->n >= MAX_ROWS)
		return -E2BIG;
	grown = realloc(rows->rows, room * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	rows->rows = grown;
	rows->room = room;
	return 0;
}

/* One member; of equal stamps there may be several (a partial interval, a restart): one row. */
static int add_member(struct query_rows *rows, const struct redisReply *member, double score, uint64_t *skipped)
{
	struct schema_row *row, *before;
	int err = make_room(rows);

	if (err)
		return err;
	row = &rows->rows[rows->n];
	err = is_text(member) ? schema_row__decode(member->str, member->len, row) : -EBADMSG;
	if (err == -ENOMEM)
		return err;
	if (err || !(row->has & 1ull << FIELD_T) || row->value[FIELD_T] != score) {
		++*skipped;
		return 0;
	}
	before = rows->n > 0 ? row - 1 : NULL;
	if (before && before->value[FIELD_T] == score)
		schema_row__merge(before, row);
	else
		rows->n++;
	return 0;
}

static int add_blame(struct query_rows *rows, const struct redisReply *member, uint64_t *skipped)
{
	int err = is_text(member) ? blame_sum__add(rows->blame, member->str, member->len) : -EBADMSG;

	*skipped += err == -EBADMSG;
	return err == -EBADMSG ? 0 : err;
}

int query_reply__page(const struct redisReply *r, struct query_rows *rows, uint64_t *skipped)
{
	long pairs = pair_count(r);

	if (pairs < 0)
		return -EPROTO;
	rows->page = (size_t)pairs;
	for (long i = 0; i < pairs; i++) {
		double score;
		int err;

		/* Scores order the rows and lead to the next page: without a good one there is no going on. */
		if (!read_number(r->element[2 * i + 1], &score) || (rows->members > 0 && score < rows->last_ms))
			return -EPROTO;
		rows->at_last = rows->members > 0 && score == rows->last_ms ? rows->at_last + 1 : 1;
		rows->last_ms = score;
		if (++rows->members > MAX_MEMBERS)
			return -E2BIG;
		err = rows->blame ? add_blame(rows, r->element[2 * i], skipped) :
				    add_member(rows, r->element[2 * i], score, skipped);
		if (err)
			return err;
	}
	return 0;
}

int query_reply__time(const struct redisReply *r, int64_t *ret_ms)
{
	int64_t s, us;

	if (!r || r->type != REDIS_REPLY_ARRAY || r->elements != 2 || !read_ms(r->element[0], &s) ||
	    !read_ms(r->element[1], &us) || s < 0 || s > 1000000000000ll || us < 0 || us > 999999)
		return -EPROTO;
	*ret_ms = s * 1000 + us / 1000;
	return 0;
}

/* ---- asking ---- */

struct query {
	struct redis_url url;
	char where[300];
	char prefix[64];
	struct redisContext *conn; /* NULL: broken, made again when needed */
	bool no_byscore;           /* ZRANGE has no BYSCORE: before 6.2 */
	uint64_t skipped;
};

/* What one exchange is about: the decoder of its i-th reply, and what came of it. */
struct asking {
	struct query *q;
	int (*decode)(struct asking *a, size_t i, const struct redisReply *r);
	void *out;
	size_t *out_n;
	bool skip_foreign;      /* a key of another type is counted, not an error */
	enum redis_class refused;
	struct reason *why;
};

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

static int on_reply(void *arg, size_t i, const struct redisReply *r)
{
	struct asking *a = arg;
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

static void hang_up(struct query *q)
{
	redis_conn__close(q->conn);
	q->conn = NULL;
}

static int connect_again(struct query *q, struct reason *why)
{
	return q->conn ? 0 : redis_conn__open(&q->url, TIMEOUT_MS, &q->conn, why);
}

/* Sends what was appended. After a failure the rest of the replies is lost with the connection. */
static int ask(struct asking *a, size_t n)
{
	struct reason detail = {""};
	int err;

	a->refused = REDIS_CLASS_OK;
	if (a->why)
		a->why->text[0] = '\0';
	err = redis_conn__exchange(a->q->conn, n, TIMEOUT_MS, -1, on_reply, a, &detail);
	if (err == 0)
		return 0;
	/* on_reply has already said why, if it was that. */
	if (a->why && !a->why->text[0])
		reason__set(a->why, err, "%s: %s", a->q->where, detail.text);
	/* A single reply has been read whole: the connection is still good. */
	if (n > 1 || a->refused == REDIS_CLASS_OK)
		hang_up(a->q);
	return err;
}

static int append(struct query *q, int argc, const char *const *argv)
{
	size_t lens[20];

	for (int i = 0; i < argc; i++)
		lens[i] = strlen(argv[i]);
	return redis_conn__append(q->conn, argc, argv, lens);
}

/* One command, one reply. */
static int ask_one(struct asking *a, int argc, const char *const *argv)
{
	int err = connect_again(a->q, a->why);

	if (err)
		return err;
	if (append(a->q, argc, argv))
		return reason__set(a->why, -ENOMEM, "out of memory");
	return ask(a, 1);
}

int query__open(const struct redis_url *url, const char *prefix, struct query **ret, struct reason *why)
{
	struct query *q = calloc(1, sizeof(*q));
	int err;

	if (!q)
		return reason__set(why, -ENOMEM, "out of memory");
	q->url = *url;
	redis_url__text(url, q->where, sizeof(q->where));
	snprintf(q->prefix, sizeof(q->prefix), "%s", prefix ? prefix : SCHEMA_PREFIX);
	err = connect_again(q, why);
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
	struct timespec ts;

	/* A reader's ACL may lack TIME; then ours has to do. */
	if (err != -EACCES || a.refused != REDIS_CLASS_CREDENTIALS)
		return err;
	clock_gettime(CLOCK_REALTIME, &ts);
	*ret_ms = (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
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

	memcpy(&argv[2], query_meta_fields, sizeof(query_meta_fields));
	argv[1] = key;
	for (size_t i = 0; i < n; i++) {
		schema__proc_key(key, sizeof(key), q->prefix, procs[i].id, "meta");
		if (append(q, 2 + QUERY_META_FIELDS, argv)) {
			hang_up(q);
			return reason__set(why, -ENOMEM, "out of memory");
		}
	}
	return n > 0 ? ask(&a, n) : 0;
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
	const char *argv[] = {"ZREVRANGE", key, "0", score_of(max, sizeof(max), MAX_PROCS), "WITHSCORES"};
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

int query__threads(struct query *q, const char *id, struct query_thread **ret, size_t *ret_n, struct reason *why)
{
	struct asking a = {.q = q, .decode = decode_threads, .out = ret, .out_n = ret_n, .why = why};

	return ask_highest(&a, id, "threads", MAX_THREADS);
}

int query__board(struct query *q, const char *id, const char *board, struct query_score **ret, size_t *ret_n,
		 struct reason *why)
{
	struct asking a = {.q = q, .decode = decode_board, .out = ret, .out_n = ret_n, .why = why};

	return ask_highest(&a, id, board, MAX_BOARD);
}

int query__hash(struct query *q, const char *id, const char *what, char ***ret_pairs, size_t *ret_n, struct reason *why)
{
	struct asking a = {.q = q, .decode = decode_hash, .out = ret_pairs, .out_n = ret_n, .why = why};
	char key[256];
	const char *argv[] = {"HGETALL", key};

	schema__proc_key(key, sizeof(key), q->prefix, id, what);
	return ask_one(&a, 2, argv);
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
	snprintf(count, sizeof(count), "%d", PAGE);
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
	char key[256], what[96];
	int err;

	snprintf(what, sizeof(what), "%s:%s", series, tier__name(tier));
	schema__proc_key(key, sizeof(key), q->prefix, id, what);
	do {
		rows->page = 0;
		err = ask_page(&a, key, range);
	} while (!err && rows->page >= PAGE);
	return err;
}

int query__blame(struct query *q, const char *id, enum tier tier, const struct query_range *range, struct blame_sum *ret,
		 struct reason *why)
{
	struct query_rows rows = {.blame = ret};
	int err;

	*ret = (struct blame_sum){0};
	err = ask_pages(q, id, "blame", tier, range, &rows, why);
	if (err)
		blame_sum__free(ret);
	blame_sum__sort(ret);
	return err;
}

int query__series(struct query *q, const char *id, const char *series, enum tier tier, const struct query_range *range,
		  struct schema_row **ret, size_t *ret_n, struct reason *why)
{
	struct query_rows rows = {.rows = NULL};
	int err = ask_pages(q, id, series, tier, range, &rows, why);

	if (err) {
		free(rows.rows);
		return err;
	}
	*ret = rows.rows;
	*ret_n = rows.n;
	return 0;
}
