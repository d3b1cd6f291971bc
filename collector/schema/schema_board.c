/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Leaderboards: now:* of the last minute, top:* since attach, in microseconds. Each gets the scores that changed, those of the
 * sample's threads, and is replaced as a whole where others may have lost something: now:* when ten seconds have left the
 * minute, so those who left are gone; top:* once a minute, which takes out what fell below the last place. Both heals what
 * a lost batch left behind. Replacing happens within MULTI, so readers never meet an empty key.
 */
#include "schema_writer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collector/base/text.h"

static const char *const board_names[MINUTE_KINDS] = {"hold", "wait", "blame"};

struct score {
	const struct thread_key *key;
	const char *name;
	uint64_t ns[MINUTE_KINDS];
	bool fresh; /* of a thread of the sample that is being written */
};

/* One per thread: one on several GILs is one entry. */
struct scores {
	struct score *list;
	size_t n;
	struct keymap index; /* (start_ticks, tid) -> list */
};

static struct score *find_score(const struct scores *scores, const struct thread_key *key)
{
	uint32_t at = keymap__get(&scores->index, key->start_ticks, key->tid);

	return at == KEYMAP_NONE ? NULL : &scores->list[at];
}

static struct score *get_score(struct scores *scores, const struct thread_key *key, const char *name)
{
	struct score *score = find_score(scores, key);

	if (score)
		return score;
	if (keymap__put(&scores->index, key->start_ticks, key->tid, (uint32_t)scores->n))
		return NULL;
	scores->list[scores->n] = (struct score){.key = key, .name = name};
	return &scores->list[scores->n++];
}

static int collect_totals(const struct proc_sample *totals, struct scores *ret)
{
	uint64_t *blamed = proc_sample__blamed(totals);
	int err = 0;

	ret->list = calloc(totals->threads_n + 1, sizeof(*ret->list));
	if (!ret->list || !blamed)
		err = -ENOMEM;
	for (size_t i = 0; !err && i < totals->threads_n; i++) {
		const struct thread_sample *t = &totals->threads[i];
		struct score *score = get_score(ret, &t->key, t->name);

		if (!score) {
			err = -ENOMEM;
			break;
		}
		score->ns[MINUTE_HOLD] += t->m.hold_ns;
		score->ns[MINUTE_WAIT] += t->m.wait_ns;
		score->ns[MINUTE_BLAMED] += blamed[i];
	}
	free(blamed);
	return err;
}

static int collect_minute(const struct minute *minute, struct scores *ret)
{
	ret->list = calloc(minute->threads_n + 1, sizeof(*ret->list));
	if (!ret->list)
		return -ENOMEM;
	for (size_t i = 0; i < minute->threads_n; i++) {
		const struct minute_thread *t = &minute->threads[i];
		struct score *score = get_score(ret, &t->key, t->name);

		if (!score)
			return -ENOMEM;
		for (enum minute_kind kind = 0; kind < MINUTE_KINDS; kind++)
			score->ns[kind] = minute__sum(t, kind);
	}
	return 0;
}

static void free_scores(struct scores *scores)
{
	free(scores->list);
	keymap__free(&scores->index);
}

/* Notes whose scores have changed. */
static void note_fresh(struct scores *scores, const struct proc_sample *s)
{
	for (size_t i = 0; i < s->threads_n; i++) {
		struct score *score = find_score(scores, &s->threads[i].key);

		if (score)
			score->fresh = true;
	}
}

static int best_first(const void *a, const void *b, void *arg)
{
	const struct score *x = *(const struct score *const *)a, *y = *(const struct score *const *)b;
	enum minute_kind kind = *(const enum minute_kind *)arg;
	const struct thread_key *k = x->key, *l = y->key;

	if (x->ns[kind] != y->ns[kind])
		return x->ns[kind] > y->ns[kind] ? -1 : 1;
	if (k->tid != l->tid)
		return k->tid < l->tid ? -1 : 1;
	return k->start_ticks < l->start_ticks ? -1 : k->start_ticks > l->start_ticks;
}

/* Those that a board of `max` places shows, in any order. `ret` has room for all. Returns their number. */
static size_t choose(const struct scores *scores, enum minute_kind kind, uint32_t max, const struct score **ret)
{
	size_t n = 0;

	for (size_t i = 0; i < scores->n; i++)
		if (scores->list[i].ns[kind] >= 1000)
			ret[n++] = &scores->list[i];
	if (n <= max)
		return n;
	qsort_r(ret, n, sizeof(*ret), best_first, &kind);
	return max;
}

/* ---- writing ---- */

static void put_member(struct schema_writer *w, struct batch *b, const struct score *score)
{
	char thr[THR_SIZE], name[THREAD_NAME_SIZE];

	series_table__thr(&w->series, score->key, thr);
	text__clean_member(name, sizeof(name), score->name, strnlen(score->name, sizeof(name)));
	if (score->key->tid == 0)
		strcpy(name, score->key->start_ticks == PSEUDO_UNKNOWN ? "holder" : "threads");
	batch__arg_fmt(b, "%s %s", thr, name);
}

static void put_score(struct schema_writer *w, struct batch *b, const struct score *score, enum minute_kind kind)
{
	batch__arg_int(b, (long long)(score->ns[kind] / 1000));
	put_member(w, b, score);
}

/* One kind of board: its key, how long it is kept, and whether it is replaced as a whole. */
struct board {
	const char *name;
	uint32_t ttl_s;
	bool whole;
};

static void replace(struct schema_writer *w, const struct board *board, const char *what, enum minute_kind kind,
		    const struct score *const *shown, size_t n, struct batch *b)
{
	schema_put__command(w, b, "DEL", what);
	if (n == 0)
		return;
	schema_put__command(w, b, "ZADD", what);
	for (size_t i = 0; i < n; i++)
		put_score(w, b, shown[i], kind);
	schema_put__expire(w, b, what, board->ttl_s);
}

static void update(struct schema_writer *w, const struct board *board, const char *what, enum minute_kind kind,
		   const struct score *const *shown, size_t n, struct batch *b)
{
	size_t fresh = 0;

	for (size_t i = 0; i < n; i++) {
		if (!shown[i]->fresh)
			continue;
		if (fresh++ == 0)
			schema_put__command(w, b, "ZADD", what);
		put_score(w, b, shown[i], kind);
	}
	if (fresh > 0 && n == w->opts.max_board) {
		schema_put__command(w, b, "ZREMRANGEBYRANK", what);
		batch__arg_int(b, 0);
		batch__arg_int(b, -(long long)w->opts.max_board - 1);
	}
	if (fresh > 0 && fresh == n) /* it may not have been there */
		schema_put__expire(w, b, what, board->ttl_s);
}

static int write_board(struct schema_writer *w, const struct board *board, const struct scores *scores, uint32_t known,
		       struct batch *b)
{
	const struct score **shown = calloc(scores->n + 1, sizeof(struct score *));
	char what[32];

	if (!shown)
		return -ENOMEM;
	for (enum minute_kind kind = 0; kind < MINUTE_KINDS; kind++) {
		bool is_known = known & (kind == MINUTE_HOLD ? KNOWN_HOLD : KNOWN_WAIT);
		size_t n = is_known ? choose(scores, kind, w->opts.max_board, shown) : 0;

		snprintf(what, sizeof(what), "%s:%s", board->name, board_names[kind]);
		if (board->whole)
			replace(w, board, what, kind, shown, n, b);
		else
			update(w, board, what, kind, shown, n, b);
	}
	free(shown);
	return 0;
}

static int write_now(struct schema_writer *w, const struct proc_sample *s, struct batch *b)
{
	struct board board = {.name = "now", .ttl_s = schema__board_ttl_s(w)};
	uint32_t known = minute__known(&w->minute);
	struct scores scores = {0};
	int err;

	board.whole = schema_put__due(w, &w->singles[KEY_NOW], s->end_ms) || w->minute.lost || known != w->minute_known;
	w->minute_known = known;
	if (!board.whole && s->threads_n == 0)
		return 0;
	err = collect_minute(&w->minute, &scores);
	note_fresh(&scores, s);
	err = err ?: write_board(w, &board, &scores, known, b);
	free_scores(&scores);
	return err;
}

static int write_top(struct schema_writer *w, const struct proc_sample *s, const struct proc_sample *totals,
		     struct batch *b)
{
	struct board board = {.name = "top", .ttl_s = schema__ttl_s(w, schema__longest_s(w))};
	struct scores scores = {0};
	int err;

	board.whole = schema_put__due(w, &w->singles[KEY_TOP], s->end_ms);
	if (!board.whole && s->threads_n == 0)
		return 0;
	err = collect_totals(totals, &scores);
	note_fresh(&scores, s);
	err = err ?: write_board(w, &board, &scores, totals->total.known, b);
	free_scores(&scores);
	return err;
}

int schema_write__boards(struct schema_writer *w, const struct proc_sample *s, const struct proc_sample *totals,
			 struct batch *b)
{
	int err = minute__add(&w->minute, s);

	err = write_now(w, s, b) ?: err;
	return totals ? write_top(w, s, totals, b) ?: err : err;
}

void schema_write__unboard(struct schema_writer *w, const char *thr, const char *name, struct batch *b)
{
	static const char *const boards[] = {"now", "top"};
	char what[32];

	for (size_t i = 0; i < 2 * MINUTE_KINDS; i++) {
		snprintf(what, sizeof(what), "%s:%s", boards[i / MINUTE_KINDS], board_names[i % MINUTE_KINDS]);
		schema_put__command(w, b, "ZREM", what);
		batch__arg_fmt(b, "%s %s", thr, name);
	}
}
