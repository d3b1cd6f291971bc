/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One sample into one batch: places for its threads, then process and GIL rows, threads, wide rows, blame; with a
 * base sample also the index, boards, last and meta, with the longer tiers the row of gil:all.
 *
 * A row of gil:all:<tier> is {"t","d","id","label","util","waiters","wait_p99","wait_max","hold_p99","hold_max",
 * "n","c","cpu","lost","cov"}, as far as known; the id makes it unique.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collector/base/json_text.h"
#include "collector/base/text.h"
#include "schema_writer.h"

#define GIL_SETTLE_MS 180000 /* by then the last 60 s window of an ended GIL is written */

/* ---- places ---- */

static int reserve_places(struct schema_writer *w, size_t n)
{
	uint32_t *grown;

	if (n <= w->place_cap)
		return 0;
	grown = reallocarray(w->place, n, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	w->place = grown;
	w->place_cap = n;
	return 0;
}

static void unindex(struct schema_writer *w, struct batch *b, const char *thr, const char *name)
{
	schema_put__command(w, b, "ZREM", "threads");
	batch__arg_fmt(b, "%s|%s", thr, name);
}

/* Deletes the series of a thread whose place was taken over. */
static void forget_series(struct schema_writer *w, const struct series *series, struct batch *b)
{
	char what[64];

	for (enum tier tier = TIER_BASE; tier < TIER_COUNT; tier++) {
		snprintf(what, sizeof(what), "t:%s:%s", series->thr, tier__name(tier));
		schema_put__command(w, b, "UNLINK", what);
	}
	unindex(w, b, series->thr, series->name);
}

/* The latest name wins; what stands under the old one is taken out. */
static void rename_series(struct schema_writer *w, struct series *series, const char *raw, struct batch *b)
{
	char name[THREAD_NAME_SIZE];

	text__clean_member(name, sizeof(name), raw, strnlen(raw, THREAD_NAME_SIZE));
	if (name[0] == '\0' || strcmp(name, series->name) == 0)
		return;
	if (series->indexed_ms != 0) {
		unindex(w, b, series->thr, series->name);
		schema_write__unboard(w, series->thr, series->name, b);
	}
	memcpy(series->name, name, sizeof(name));
}

static void claim_place(struct schema_writer *w, const struct proc_sample *s, size_t i, struct batch *b)
{
	const struct thread_sample *t = &s->threads[i];
	struct series evicted;

	w->place[i] = series_table__claim(&w->series, t, s->end_ms, &evicted);
	if (evicted.thr[0])
		forget_series(w, &evicted, b);
	if (w->place[i] < w->series.max)
		rename_series(w, &w->series.places[w->place[i]], t->name, b);
}

/* Places are given at base samples only: longer windows come later and must find them as they were. */
static int find_places(struct schema_writer *w, enum tier tier, const struct proc_sample *s, struct batch *b)
{
	if (reserve_places(w, s->threads_n) != 0)
		return -ENOMEM;
	for (size_t i = 0; i < s->threads_n; i++)
		if (tier == TIER_BASE)
			claim_place(w, s, i, b);
		else
			w->place[i] = series_table__find(&w->series, &s->threads[i].key);
	return 0;
}

/* ---- the process ---- */

static int write_process(struct schema_writer *w, enum tier tier, const struct proc_sample *s,
			 const struct schema_row *row, struct batch *b)
{
	return schema_put__sample(w, b, "p", KEEP_PROC, tier, s->end_ms, schema_row__encode(row, true), &w->procs[tier], false);
}

/* The series of a GIL whose place another one gets. */
static void forget_gil(struct schema_writer *w, const struct gil_series *g, struct batch *b)
{
	char what[32];

	for (enum tier tier = TIER_BASE; g->seen_ms && tier < TIER_COUNT; tier++) {
		snprintf(what, sizeof(what), "g:%" PRIu32 ":%s", g->gil, tier__name(tier));
		schema_put__command(w, b, "UNLINK", what);
	}
}

/* The place of a GIL, made if need be: a free one, or that of the one longest gone. NULL: none to be had. */
static struct gil_series *gil_place(struct schema_writer *w, uint32_t gil, int64_t now_ms, struct batch *b)
{
	struct gil_series *oldest = &w->gils[0];

	for (size_t i = 0; i < SCHEMA_MAX_GILS; i++) {
		if (w->gils[i].seen_ms && w->gils[i].gil == gil)
			return &w->gils[i];
		if (w->gils[i].seen_ms < oldest->seen_ms)
			oldest = &w->gils[i];
	}
	if (oldest->seen_ms && now_ms - oldest->seen_ms <= GIL_SETTLE_MS)
		return NULL;
	forget_gil(w, oldest, b);
	*oldest = (struct gil_series){.gil = gil};
	return oldest;
}

static int write_gil(struct schema_writer *w, enum tier tier, const struct proc_sample *s, const struct gil_sample *g,
		     struct batch *b)
{
	struct gil_series *series = g->gil == GIL_NUMBER_OTHER ? NULL : gil_place(w, g->gil, s->end_ms, b);
	struct schema_row row;
	char name[24];

	if (!series) {
		w->gils_left_out++;
		return 0;
	}
	series->seen_ms = s->end_ms;
	schema_row__from(s, &g->m, true, &row);
	snprintf(name, sizeof(name), "g:%" PRIu32, g->gil);
	return schema_put__sample(w, b, name, KEEP_PROC, tier, s->end_ms, schema_row__encode(&row, true),
				  &series->tier[tier], false);
}

static int write_gils(struct schema_writer *w, enum tier tier, const struct proc_sample *s, struct batch *b)
{
	int err = 0;

	for (size_t i = 0; s->gils_n > 1 && i < s->gils_n; i++)
		err = write_gil(w, tier, s, &s->gils[i], b) ?: err;
	return err;
}

static char *all_row(const struct schema_writer *w, const struct schema_row *row)
{
	static const enum schema_field shown[] = {FIELD_UTIL, FIELD_WAITERS, FIELD_WAIT_P99, FIELD_WAIT_MAX,
						  FIELD_HOLD_P99, FIELD_HOLD_MAX, FIELD_N, FIELD_C, FIELD_CPU,
						  FIELD_LOST, FIELD_COV};
	struct json_text j = {0};

	json_text__open(&j, '{');
	json_text__name(&j, "t");
	json_text__number(&j, row->value[FIELD_T]);
	json_text__name(&j, "d");
	json_text__number(&j, row->value[FIELD_D]);
	json_text__name(&j, "id");
	json_text__string(&j, w->id);
	json_text__name(&j, "label");
	json_text__string(&j, w->who.label);
	for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++) {
		if (!(row->has >> shown[i] & 1))
			continue;
		json_text__name(&j, schema_field__name(shown[i]));
		json_text__number(&j, row->value[shown[i]]);
	}
	json_text__close(&j, '}');
	return json_text__take(&j);
}

/* A key that all processes share: any of them keeps it alive and trims it. */
static int write_all(struct schema_writer *w, enum tier tier, const struct schema_row *row, struct batch *b)
{
	int64_t t = (int64_t)row->value[FIELD_T];
	uint32_t retention = w->opts.retention.proc_s[tier];
	char what[32], *text = all_row(w, row);

	if (!text)
		return -ENOMEM;
	snprintf(what, sizeof(what), "all:%s", tier__name(tier));
	schema_put__global(w, b, "ZADD", what);
	schema_put__score(b, t, text);
	free(text);
	w->points++;
	batch__mark_point(b);
	if (!schema_put__due(w, &w->alls[tier], t))
		return 0;
	schema_put__global(w, b, "ZREMRANGEBYSCORE", what);
	batch__arg(b, "-inf");
	batch__arg_fmt(b, "(%" PRId64, t - (int64_t)retention * 1000);
	schema_put__global(w, b, "EXPIRE", what);
	batch__arg_int(b, schema__ttl_s(w, retention));
	return 0;
}

/* ---- what only base samples write ---- */

static void write_index(struct schema_writer *w, const struct proc_sample *s, struct batch *b)
{
	bool begun = false;

	for (size_t i = 0; i < s->threads_n; i++) {
		struct series *series = &w->series.places[w->place[i]];

		/* Once, however many GILs a thread used and threads were merged. */
		if (w->place[i] == series_table__unknown(&w->series) || series->indexed_ms == s->end_ms)
			continue;
		series->indexed_ms = s->end_ms;
		if (!begun)
			schema_put__command(w, b, "ZADD", "threads");
		begun = true;
		batch__arg_int(b, s->end_ms);
		batch__arg_fmt(b, "%s|%s", series->thr, series->name);
	}
	if (!begun || !schema_put__due(w, &w->singles[KEY_THREADS], s->end_ms))
		return;
	schema_put__command(w, b, "ZREMRANGEBYSCORE", "threads");
	batch__arg(b, "-inf");
	batch__arg_fmt(b, "(%" PRId64, s->end_ms - (int64_t)schema__longest_s(w) * 1000);
	schema_put__expire(w, b, "threads", schema__ttl_s(w, schema__longest_s(w)));
}

static void put_value(struct batch *b, const char *name, double value)
{
	if (value == (double)(long long)value)
		schema_put__pair_int(b, name, (long long)value);
	else {
		batch__arg(b, name);
		batch__arg_fmt(b, "%.*g", SCHEMA_DIGITS, value);
	}
}

/* Replaced as a whole: a field that is no longer known must not stay. */
static void write_last(struct schema_writer *w, const struct schema_row *row, struct batch *b)
{
	const uint8_t *order = schema_row__order(row);
	uint32_t ttl = (3 * w->who.interval_ms + 999) / 1000;

	schema_put__command(w, b, "DEL", "last");
	schema_put__command(w, b, "HSET", "last");
	for (size_t i = 0; i < FIELD_COUNT; i++)
		if (row->has >> order[i] & 1)
			put_value(b, schema_field__name((enum schema_field)order[i]), row->value[order[i]]);
	schema_put__expire(w, b, "last", ttl > 10 ? ttl : 10);
}

static void trim_global(struct schema_writer *w, struct batch *b, const char *what)
{
	uint32_t longest = schema__longest_s(w);

	schema_put__global(w, b, "ZREMRANGEBYSCORE", what);
	batch__arg(b, "-inf");
	batch__arg_fmt(b, "(%" PRId64, w->last_ms - (int64_t)longest * 1000);
	schema_put__global(w, b, "EXPIRE", what);
	batch__arg_int(b, schema__ttl_s(w, longest));
}

static void write_seen(struct schema_writer *w, struct batch *b)
{
	schema_put__global(w, b, "ZADD", "procs");
	schema_put__score(b, w->last_ms, w->id);
	schema_put__global(w, b, "ZADD", "menu");
	batch__arg_int(b, w->last_ms);
	batch__arg_fmt(b, "%s|%s (%s:%" PRIu32 ")", w->id, w->who.label, w->who.host, w->who.pid);
	if (!schema_put__due(w, &w->singles[KEY_GLOBALS], w->last_ms))
		return;
	trim_global(w, b, "procs");
	trim_global(w, b, "menu");
	schema_write__schema(w, b);
}

static void note_sample(struct schema_writer *w, const struct proc_sample *s)
{
	w->last_ms = s->end_ms;
	w->mode = s->mode;
	if (s->no_gil || s->gils_n > 1 || !w->gil_kind || strcmp(w->gil_kind, "per-interpreter") != 0)
		w->gil_kind = proc_sample__gil_kind(s);
	for (size_t i = 0; i < GIL_LOSS_COUNT; i++) {
		w->lost_changed |= s->lost[i] > 0;
		w->lost[i] += s->lost[i];
	}
	/* meta says so at once: a reader chooses by it where to look. */
	if (schema_put__due(w, &w->keep_settled, s->end_ms) && keep__settle(&w->keep))
		w->singles[KEY_META] = (struct arming){0};
}

static int write_base(struct schema_writer *w, const struct proc_sample *s, const struct proc_sample *totals,
		      const struct schema_row *row, struct batch *b)
{
	int err;

	note_sample(w, s);
	write_index(w, s, b);
	batch__command(b, "MULTI");
	write_last(w, row, b);
	err = schema_write__boards(w, s, totals, b);
	batch__command(b, "EXEC");
	schema_write__meta(w, b);
	schema_write__holding(w, &s->holding, b);
	write_seen(w, b);
	return err;
}

int schema_writer__sample(struct schema_writer *w, enum tier tier, const struct proc_sample *s,
			  const struct proc_sample *totals, struct batch *b)
{
	uint32_t before = batch__points(b);
	struct schema_row row;
	int err = find_places(w, tier, s, b);

	if (err != 0)
		return err;
	w->points = 0;
	schema_row__from(s, &s->total, true, &row);
	err = write_process(w, tier, s, &row, b);
	err = write_gils(w, tier, s, b) ?: err;
	err = schema_write__threads(w, tier, s, b) ?: err;
	err = schema_write__wide(w, tier, s, b) ?: err;
	err = schema_write__blame(w, tier, s, b) ?: err;
	err = schema_write__code(w, tier, s, b) ?: err;
	err = schema_write__stacks(w, tier, s, b) ?: err;
	if (tier == TIER_BASE)
		err = write_base(w, s, totals, &row, b) ?: err;
	else
		err = write_all(w, tier, &row, b) ?: err;
	batch__set_points(b, before + w->points, before ? batch__made_ms(b) : s->end_ms);
	return batch__error(b) ?: err;
}
