/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Leaderboards: now:* of the last minute, top:* since attach, in microseconds. now:* is replaced as a whole each
 * time, so those who left are gone; top:* gets the scores that changed, and is replaced once a minute, which
 * also takes out what fell below the last place and heals what a lost batch left behind. Replacing happens within
 * MULTI, so readers never meet an empty key.
 */
#include "schema_writer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

enum board {
	BOARD_HOLD,
	BOARD_WAIT,
	BOARD_BLAME,
	BOARDS,
};

static const char *const board_names[BOARDS] = {"hold", "wait", "blame"};

struct score {
	uint64_t ns;
	const struct thread_sample *thread; /* first of it: a thread on several GILs is one entry */
};

struct scores {
	struct score *list;
	size_t n;
};

static uint64_t key_word(const struct thread_key *key)
{
	return key->tid;
}

static int best_first(const void *a, const void *b)
{
	const struct score *x = a, *y = b;
	const struct thread_key *k = &x->thread->key, *l = &y->thread->key;

	if (x->ns != y->ns)
		return x->ns > y->ns ? -1 : 1;
	if (k->tid != l->tid)
		return k->tid < l->tid ? -1 : 1;
	return k->start_ticks < l->start_ticks ? -1 : k->start_ticks > l->start_ticks;
}

/* How long others waited for each thread of the sample, or NULL. */
static uint64_t *blamed_ns(const struct proc_sample *s)
{
	uint64_t *ns = calloc(s->threads_n + 1, sizeof(*ns));

	for (size_t i = 0; ns && i < s->blame_n; i++)
		if (s->blame[i].holder < s->threads_n)
			ns[s->blame[i].holder] += s->blame[i].ns;
	return ns;
}

static int add_score(struct scores *scores, struct keymap *index, const struct thread_sample *t, uint64_t ns)
{
	uint32_t at = keymap__get(index, t->key.start_ticks, key_word(&t->key));

	if (ns == 0)
		return 0;
	if (at != KEYMAP_NONE) {
		scores->list[at].ns += ns;
		return 0;
	}
	scores->list[scores->n] = (struct score){ns, t};
	return keymap__put(index, t->key.start_ticks, key_word(&t->key), (uint32_t)scores->n++);
}

static uint64_t score_ns(const struct thread_sample *t, enum board board, uint64_t blamed)
{
	return board == BOARD_HOLD ? t->m.hold_ns : board == BOARD_WAIT ? t->m.wait_ns : blamed;
}

static size_t count_shown(const struct scores *scores, uint32_t max)
{
	size_t n = scores->n < max ? scores->n : max;

	while (n > 0 && scores->list[n - 1].ns < 1000)
		n--;
	return n;
}

/* The best of a board, in order. `ret->list` is the caller's to free. */
static int rank(const struct proc_sample *s, enum board board, uint32_t max, struct scores *ret)
{
	uint64_t *blamed = blamed_ns(s);
	struct keymap index = {0};
	int err = 0;

	*ret = (struct scores){.list = calloc(s->threads_n + 1, sizeof(*ret->list))};
	if (!ret->list || !blamed)
		err = -ENOMEM;
	for (size_t i = 0; err == 0 && i < s->threads_n; i++)
		err = add_score(ret, &index, &s->threads[i], score_ns(&s->threads[i], board, blamed[i]));
	keymap__free(&index);
	free(blamed);
	if (err != 0)
		return err;
	qsort(ret->list, ret->n, sizeof(*ret->list), best_first);
	ret->n = count_shown(ret, max);
	return 0;
}

/* ---- writing ---- */

static void put_member(struct schema_writer *w, struct batch *b, const struct thread_sample *t)
{
	char thr[THR_SIZE], name[THREAD_NAME_SIZE];

	series_table__thr(&w->series, &t->key, thr);
	text__clean_member(name, sizeof(name), t->name, strnlen(t->name, sizeof(t->name)));
	if (t->key.tid == 0)
		strcpy(name, t->key.start_ticks == PSEUDO_UNKNOWN ? "holder" : "threads");
	batch__arg_fmt(b, "%s %s", thr, name);
}

static void put_score(struct schema_writer *w, struct batch *b, const struct score *score)
{
	batch__arg_int(b, (long long)(score->ns / 1000));
	put_member(w, b, score->thread);
}

static void replace(struct schema_writer *w, const char *what, const struct scores *scores, uint32_t ttl_s,
		    struct batch *b)
{
	schema_put__command(w, b, "DEL", what);
	if (scores->n == 0)
		return;
	schema_put__command(w, b, "ZADD", what);
	for (size_t i = 0; i < scores->n; i++)
		put_score(w, b, &scores->list[i]);
	schema_put__expire(w, b, what, ttl_s);
}

/* Only threads of this sample can have a new score. */
static void update(struct schema_writer *w, const char *what, const struct scores *scores,
		   const struct keymap *present, struct batch *b)
{
	bool begun = false;

	for (size_t i = 0; i < scores->n; i++) {
		const struct thread_key *key = &scores->list[i].thread->key;

		if (keymap__get(present, key->start_ticks, key_word(key)) == KEYMAP_NONE)
			continue;
		if (!begun)
			schema_put__command(w, b, "ZADD", what);
		begun = true;
		put_score(w, b, &scores->list[i]);
	}
	if (!begun || scores->n < w->opts.max_board)
		return;
	schema_put__command(w, b, "ZREMRANGEBYRANK", what);
	batch__arg_int(b, 0);
	batch__arg_int(b, -(long long)w->opts.max_board - 1);
}

static int write_now(struct schema_writer *w, enum board board, const struct proc_sample *minute, struct batch *b)
{
	struct scores scores;
	int err = rank(minute, board, w->opts.max_board, &scores);
	bool known = minute->total.known & (board == BOARD_HOLD ? KNOWN_HOLD : KNOWN_WAIT);
	uint32_t ttl = BOARD_TTL_S > 3 * (w->who.interval_ms / 1000) ? BOARD_TTL_S : 3 * (w->who.interval_ms / 1000);
	char what[32];

	snprintf(what, sizeof(what), "now:%s", board_names[board]);
	if (!known)
		scores.n = 0;
	if (err == 0)
		replace(w, what, &scores, ttl, b);
	free(scores.list);
	return err;
}

static int write_top(struct schema_writer *w, enum board board, const struct proc_sample *totals, bool whole,
		     const struct keymap *present, struct batch *b)
{
	struct scores scores;
	int err = rank(totals, board, w->opts.max_board, &scores);
	bool known = totals->total.known & (board == BOARD_HOLD ? KNOWN_HOLD : KNOWN_WAIT);
	char what[32];

	snprintf(what, sizeof(what), "top:%s", board_names[board]);
	if (!known)
		scores.n = 0;
	if (err == 0 && whole)
		replace(w, what, &scores, schema__ttl_s(w, schema__longest_s(w)), b);
	else if (err == 0)
		update(w, what, &scores, present, b);
	free(scores.list);
	return err;
}

static int collect_present(const struct proc_sample *s, struct keymap *present)
{
	for (size_t i = 0; i < s->threads_n; i++)
		if (keymap__put(present, s->threads[i].key.start_ticks, key_word(&s->threads[i].key), 1) != 0)
			return -ENOMEM;
	return 0;
}

int schema_write__boards(struct schema_writer *w, const struct proc_sample *s, const struct proc_sample *minute,
			 const struct proc_sample *totals, struct batch *b)
{
	bool whole = totals && schema_put__due(w, &w->singles[KEY_TOP], s->end_ms);
	struct keymap present = {0};
	int err = collect_present(s, &present);

	for (enum board board = BOARD_HOLD; board < BOARDS && err == 0; board++) {
		if (minute)
			err = write_now(w, board, minute, b);
		if (totals && err == 0)
			err = write_top(w, board, totals, whole, &present, b);
	}
	keymap__free(&present);
	return err;
}

void schema_write__unboard(struct schema_writer *w, const char *thr, const char *name, struct batch *b)
{
	char what[32];

	for (enum board board = BOARD_HOLD; board < BOARDS; board++) {
		snprintf(what, sizeof(what), "top:%s", board_names[board]);
		schema_put__command(w, b, "ZREM", what);
		batch__arg_fmt(b, "%s %s", thr, name);
	}
}
