/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Thread series t:<thr>:<tier>. Idle stretches are not written, only bounded:
 *
 *   activity  ##......##        written  ##0....0##
 *
 * The first zero is the sample in which the thread had become idle, the last one, with its own time, that of
 * the interval before it came back. For a reader who draws lines that is the same picture.
 */
#include "schema_writer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool active(const struct metrics *m)
{
	return m->hold_ns || m->wait_ns || m->acquires || m->contended || m->forced || m->waiting;
}

static int put(struct schema_writer *w, enum tier tier, struct series *series, const struct schema_row *row,
	       bool last, struct batch *b)
{
	struct series_tier *t = &series->tier[tier];
	char name[48];

	snprintf(name, sizeof(name), "t:%s", series->thr);
	t->last_ms = (int64_t)row->value[FIELD_T];
	return schema_put__sample(w, b, name, KEEP_THREADS, tier, t->last_ms,
				  schema_row__encode(row, tier != TIER_BASE && !last), &t->arming, last);
}

/* A member that says: nothing happened. The TTL goes with it, for nothing may follow for long. */
static int put_zero(struct schema_writer *w, enum tier tier, struct series *series, const struct previous *when,
		    struct batch *b)
{
	struct proc_sample head = {.end_ms = when->end_ms, .len_ns = when->len_ns};
	struct metrics nothing = {.known = when->known};
	struct schema_row row;

	schema_row__from(&head, &nothing, false, &row);
	series->tier[tier].zero = true;
	return put(w, tier, series, &row, true, b);
}

static int put_metrics(struct schema_writer *w, enum tier tier, struct series *series, const struct proc_sample *s,
		       const struct metrics *m, struct batch *b)
{
	struct series_tier *t = &series->tier[tier];
	const struct previous *before = &w->previous[tier];
	struct schema_row row;
	int err = 0;

	if (t->zero && t->last_ms < before->end_ms && before->end_ms < s->end_ms)
		err = put_zero(w, tier, series, before, b);
	t->zero = false;
	schema_row__from(s, m, false, &row);
	return put(w, tier, series, &row, false, b) ?: err;
}

/* Those without a series of their own, as one. */
static int put_others(struct schema_writer *w, enum tier tier, const struct proc_sample *s, struct batch *b)
{
	uint32_t other = series_table__other(&w->series);
	struct metrics sum = {.known = s->total.known};
	int err = 0;

	for (size_t i = 0; i < s->threads_n; i++)
		if (w->place[i] == other)
			err = metrics__sum(&sum, &s->threads[i].m) ?: err;
	if (active(&sum))
		err = put_metrics(w, tier, &w->series.places[other], s, &sum, b) ?: err;
	metrics__clear(&sum);
	return err;
}

static int put_own(struct schema_writer *w, enum tier tier, const struct proc_sample *s, struct batch *b)
{
	int err = 0;

	for (size_t i = 0; i < s->threads_n; i++)
		if (w->place[i] < w->series.max && active(&s->threads[i].m))
			err = put_metrics(w, tier, &w->series.places[w->place[i]], s, &s->threads[i].m, b) ?: err;
	return err;
}

/* Whoever wrote something before but not now has become idle. Not where nothing was observed: that is unknown. */
static int put_idle(struct schema_writer *w, enum tier tier, const struct proc_sample *s, struct batch *b)
{
	const struct previous now = {s->end_ms, s->len_ns, s->total.known};
	int err = 0;

	for (uint32_t i = 0; i <= w->series.used && s->observed_ns > 0; i++) {
		uint32_t place = i < w->series.used ? i : series_table__other(&w->series);
		struct series *series = &w->series.places[place];
		struct series_tier *t = &series->tier[tier];

		if (t->last_ms != 0 && t->last_ms < s->end_ms && !t->zero && !t->gone)
			err = put_zero(w, tier, series, &now, b) ?: err;
	}
	return err;
}

/* The last sample of a thread that ended has gone out: set the TTL once more and leave its series alone. */
static void end_series(struct schema_writer *w, enum tier tier, const struct proc_sample *s, struct batch *b)
{
	char what[64];

	for (size_t i = 0; i < s->threads_n; i++) {
		struct series *series = &w->series.places[w->place[i]];
		struct series_tier *t = &series->tier[tier];

		if (!s->threads[i].exited || w->place[i] >= w->series.max || t->gone)
			continue;
		t->gone = true;
		snprintf(what, sizeof(what), "t:%s:%s", series->thr, tier__name(tier));
		if (t->last_ms == s->end_ms && t->arming.at_ms != s->end_ms)
			schema_put__expire(w, b, what, schema__ttl_s(w, keep__seconds(&w->keep, KEEP_THREADS, tier)));
	}
}

int schema_write__threads(struct schema_writer *w, enum tier tier, const struct proc_sample *s, struct batch *b)
{
	int err = put_own(w, tier, s, b);

	err = put_others(w, tier, s, b) ?: err;
	err = put_idle(w, tier, s, b) ?: err;
	end_series(w, tier, s, b);
	w->previous[tier] = (struct previous){s->end_ms, s->len_ns, s->total.known};
	return err;
}
