/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See query_reply.h. Nothing here asks for anything: a reply comes in, checked and bounded rows go out. Next: schema.h decodes
 * the members.
 */
#include "query_reply.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hiredis/hiredis.h>

#include "collector/base/text.h"

#define MAX_MEMBERS 400000       /* of one series in one query; a row takes 2 kB */
#define MAX_ROWS 100000
#define MAX_VALUE 4096           /* bytes of a hash's value that are shown */

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

/* Member and score, alternating: the number of pairs, or -EPROTO, also if they are more than were asked for. */
static long pair_count(const struct redisReply *r, size_t asked)
{
	if (!r || r->type != REDIS_REPLY_ARRAY || r->elements % 2 != 0 || r->elements / 2 > asked)
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
	long pairs = pair_count(r, QUERY_MAX_PROCS);
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
	"keep_proc_s", "keep_thread_s", "cpus", "parent", "root", "runtime",
	"holding",
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
	take_text(r->element[16], p->runtime, sizeof(p->runtime));
	take_text(r->element[17], p->holding, sizeof(p->holding));
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
	long pairs = pair_count(r, QUERY_MAX_THREADS);
	struct query_thread *threads = pairs < 0 ? NULL : calloc((size_t)pairs + 1, sizeof(*threads));
	size_t n = 0;

	if (!threads)
		return pairs < 0 ? -EPROTO : -ENOMEM;
	for (long i = 0; i < pairs; i++) {
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

int query_reply__marks(const struct redisReply *r, struct schema_mark **list, size_t *n, uint64_t *skipped)
{
	long pairs = pair_count(r, SCHEMA_MARKS_MAX);
	struct schema_mark *more = pairs < 0 ? NULL : reallocarray(*list, *n + (size_t)pairs + 1, sizeof(*more));

	if (!more)
		return pairs < 0 ? -EPROTO : -ENOMEM;
	*list = more;
	for (long i = 0; i < pairs; i++) {
		const struct redisReply *member = r->element[2 * i];
		double score;

		if (member->type != REDIS_REPLY_STRING || !read_number(r->element[2 * i + 1], &score) ||
		    schema_mark__decode(member->str, member->len, score, &more[*n]))
			++*skipped;
		else
			++*n;
	}
	return 0;
}

int query_reply__board(const struct redisReply *r, struct query_score **ret, size_t *ret_n, uint64_t *skipped)
{
	long pairs = pair_count(r, QUERY_MAX_BOARD);
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
	long pairs = pair_count(r, SIZE_MAX);
	size_t words, size;
	char **table, *text;

	if (pairs < 0)
		return -EPROTO;
	words = 2 * (size_t)(pairs < QUERY_MAX_HASH ? pairs : QUERY_MAX_HASH);
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

/* ---- events ---- */

static const struct redisReply *element(const struct redisReply *r, size_t i)
{
	return r && r->type == REDIS_REPLY_ARRAY && i < r->elements ? r->element[i] : NULL;
}

/* An id that is none ends the reading: what follows could not be asked for. */
static int take_event(const struct redisReply *entry, struct query_stream *stream, query_event_fn *each, void *arg,
		      uint64_t *skipped)
{
	const struct redisReply *id = element(entry, 0), *fields = element(entry, 1);
	char next[EVENT_ID_SIZE], **pairs = NULL;
	size_t n = 0;
	int err;

	if (!id || id->type != REDIS_REPLY_STRING || id->len >= EVENT_ID_SIZE || !schema_event__next_id(id->str, 1, next))
		return -EPROTO;
	memcpy(stream->last, id->str, id->len + 1);
	err = fields ? query_reply__hash(fields, &pairs, &n) : -EPROTO;
	if (err == -EPROTO) {
		++*skipped;
		return 0;
	}
	err = err ?: each(arg, stream, pairs, n);
	free(pairs);
	return err;
}

int query_reply__events(const struct redisReply *r, struct query_stream *stream, query_event_fn *each, void *arg, bool *ret_full,
			uint64_t *skipped)
{
	const struct redisReply *entries = element(element(r, 0), 1);
	int err = 0;

	if (r->type == REDIS_REPLY_NIL)
		return 0;
	if (!entries || entries->type != REDIS_REPLY_ARRAY || entries->elements > QUERY_EVENTS)
		return -EPROTO;
	*ret_full |= entries->elements == QUERY_EVENTS;
	for (size_t i = 0; i < entries->elements && !err; i++)
		err = take_event(entries->element[i], stream, each, arg, skipped);
	return err;
}

/* Of an <id>; as it may stand in a key. */
static bool take_host(const struct redisReply *id, char ret[65])
{
	const char *colon = is_text(id) ? memchr(id->str, ':', id->len) : NULL;
	char raw[65];

	if (!colon || colon - id->str >= (long)sizeof(raw))
		return false;
	snprintf(raw, sizeof(raw), "%.*s", (int)(colon - id->str), id->str);
	schema__clean_host(ret, raw);
	return strcmp(raw, ret) == 0;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(a, b);
}

int query_reply__hosts(const struct redisReply *r, char **ret_names, size_t *ret_n, uint64_t *skipped)
{
	char (*names)[65], *end;
	size_t n = 0;

	if (r->type != REDIS_REPLY_ARRAY || r->elements > QUERY_MAX_HOSTED)
		return -EPROTO;
	names = calloc(r->elements + 1, sizeof(*names));
	if (!names)
		return -ENOMEM;
	for (size_t i = 0; i < r->elements; i++)
		if (take_host(r->element[i], names[n]))
			n++;
		else
			++*skipped;
	qsort(names, n, sizeof(*names), by_text);
	*ret_names = end = (char *)names;
	*ret_n = 0;
	for (size_t i = 0; i < n; i++)
		if (i + 1 == n || strcmp(names[i], names[i + 1]) != 0) {
			size_t size = strlen(names[i]) + 1;

			memmove(end, names[i], size);
			end += size;
			++*ret_n;
		}
	return 0;
}

/* ---- rows ---- */

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

static int add_sum(struct query_rows *rows, const struct redisReply *member, uint64_t *skipped)
{
	int err = -EBADMSG;

	if (is_text(member) && rows->blame)
		err = blame_sum__add(rows->blame, member->str, member->len);
	else if (is_text(member))
		err = rows->code ? code_sum__add(rows->code, member->str, member->len) :
				   stacks_sum__add(rows->stacks, member->str, member->len);

	*skipped += err == -EBADMSG;
	return err == -EBADMSG ? 0 : err;
}

static bool is_in_range(const struct query_range *range, double score)
{
	return !range || (score > (double)range->since_ms && score <= (double)range->until_ms);
}

/* One member of whatever it is a series of. */
static int take_member(struct query_rows *rows, const struct redisReply *member, double score, uint64_t *skipped)
{
	if (!is_in_range(rows->range, score)) {
		++*skipped;
		return 0;
	}
	if (rows->blame || rows->code || rows->stacks)
		return add_sum(rows, member, skipped);
	return add_member(rows, member, score, skipped);
}

int query_reply__page(const struct redisReply *r, struct query_rows *rows, uint64_t *skipped)
{
	long pairs = pair_count(r, QUERY_PAGE);

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
		err = take_member(rows, r->element[2 * i], score, skipped);
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
