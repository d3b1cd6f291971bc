/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Rows over many threads: hold:<tier> and wait:<tier>, one member per interval with a share per thread, and
 * blame:<tier>, who made whom wait. Bounded by the number of threads shown, and by places for the rest.
 */

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collector/base/json_text.h"
#include "schema_writer.h"

/* ---- shares ---- */

#define SHARE_DIGITS 3 /* significant ones */

struct share {
	uint64_t ns;
	uint32_t place;
};

static int largest_first(const void *a, const void *b)
{
	const struct share *x = a, *y = b;

	if (x->ns != y->ns)
		return x->ns > y->ns ? -1 : 1;
	return x->place < y->place ? -1 : x->place > y->place;
}

static uint64_t kind_ns(const struct metrics *m, enum wide_kind kind)
{
	return kind == WIDE_HOLD ? metrics__held(m) : m->wait_ns;
}

/* The places in use, the largest share first, and "other", which is not one thread's, at the end. */
static struct share *collect_shares(const struct schema_writer *w, const struct proc_sample *s, enum wide_kind kind)
{
	uint32_t n = w->series.used, other = series_table__other(&w->series);
	struct share *shares = calloc(n + 1, sizeof(*shares));

	if (!shares)
		return NULL;
	for (uint32_t i = 0; i < n; i++)
		shares[i].place = i;
	shares[n].place = other;
	for (size_t i = 0; i < s->threads_n; i++)
		if (w->place[i] <= other)
			shares[w->place[i] < n ? w->place[i] : n].ns += kind_ns(&s->threads[i].m, kind);
	qsort(shares, n, sizeof(*shares), largest_first);
	return shares;
}

/* As many digits as a line on a screen needs: there are thousands of these rows, of many shares each. */
static void put_share(struct json_text *row, const char *name, double share)
{
	double unit = share > 0 ? pow(10, floor(log10(share)) + 1 - SHARE_DIGITS) : 1;

	json_text__name(row, name);
	json_text__number(row, round(share / unit) * unit);
}

/*
 * Shows a share, or a zero where the last row showed one: lines must come down. Who is only crowded out of the
 * busiest is not zero, but among the others. Returns whether it did.
 */
static bool show(struct schema_writer *w, enum tier tier, enum wide_kind kind, const struct share *share, bool room,
		 double observed, struct json_text *row)
{
	struct series *series = &w->series.places[share->place];
	uint8_t bit = (uint8_t)(1u << kind), *shown = &series->tier[tier].shown;
	bool now = share->ns > 0 && room, before = *shown & bit;
	char name[THREAD_NAME_SIZE + THR_SIZE + 4] = "other";

	*shown = now ? *shown | bit : *shown & (uint8_t)~bit;
	if (!now && (!before || share->ns > 0))
		return false;
	if (share->place != series_table__other(&w->series))
		snprintf(name, sizeof(name), "%s (%s)", series->name[0] ? series->name : "thread", series->thr);
	put_share(row, name, now ? (double)share->ns / observed : 0);
	return true;
}

/* Known or estimated: what they are, the process's sample says. Returns whether it has any share. */
static bool put_shares(struct schema_writer *w, enum tier tier, enum wide_kind kind, const struct proc_sample *s,
		       struct share *shares, struct json_text *row)
{
	double observed = (double)(kind == WIDE_HOLD ? s->observed_ns : proc_sample__waits_observed(s));
	uint32_t n = w->series.used;
	bool any = false;

	for (uint32_t i = 0; i < n; i++) {
		bool room = i < w->opts.max_wide;

		any |= show(w, tier, kind, &shares[i], room, observed, row);
		if (!room)
			shares[n].ns += shares[i].ns;
	}
	return any | show(w, tier, kind, &shares[n], true, observed, row);
}

static int write_wide(struct schema_writer *w, enum tier tier, enum wide_kind kind, const struct proc_sample *s,
		      struct batch *b)
{
	struct share *shares = collect_shares(w, s, kind);
	struct json_text row = {0};
	char *text;
	bool any;

	if (!shares)
		return -ENOMEM;
	json_text__open(&row, '{');
	json_text__name(&row, "t");
	json_text__integer(&row, s->end_ms);
	any = put_shares(w, tier, kind, s, shares, &row);
	json_text__close(&row, '}');
	text = json_text__take(&row);
	free(shares);
	if (text && !any) {
		free(text);
		return 0;
	}
	return schema_put__sample(w, b, kind == WIDE_HOLD ? "hold" : "wait", KEEP_THREADS, tier, s->end_ms, text,
				  &w->wides[kind][tier], false);
}

int schema_write__wide(struct schema_writer *w, enum tier tier, const struct proc_sample *s, struct batch *b)
{
	int err = 0;

	if (s->observed_ns == 0)
		return 0;
	if (s->total.known & (KNOWN_HOLD | KNOWN_HOLD_EST))
		err = write_wide(w, tier, WIDE_HOLD, s, b);
	if (metrics__knows_wait(&s->total))
		err = write_wide(w, tier, WIDE_WAIT, s, b) ?: err;
	return err;
}

/* ---- blame ---- */

struct pair {
	uint64_t ns;
	uint32_t victim, holder; /* places */
};

/* What of a victim's wait is charged to whom. Microseconds that rounding takes from a part end up in the rest. */
struct victim {
	uint64_t wait_ns, handover_ns, unknown_ns;
	uint64_t shown_us;
};

/* Pairs of places in a square as wide as there are places in this sample: those of merged threads fall together. */
struct blame {
	struct victim *victims; /* by place */
	uint32_t *row_of;       /* by place: its row and column, +1; 0: not in the sample */
	uint32_t *place_of;     /* by row */
	uint64_t *square;       /* ns by row of the victim, column of the holder; NULL: nothing falls together */
	struct pair *best;      /* the largest, in order */
	uint32_t places, rows, best_n;
};

static bool dearer(const struct pair *x, const struct pair *y)
{
	if (x->ns != y->ns)
		return x->ns > y->ns;
	return x->victim != y->victim ? x->victim < y->victim : x->holder < y->holder;
}

/* Keeps the `max` largest in order: a few of thousands, so most candidates fail at the first look. */
static void offer(struct blame *blame, uint32_t max, struct pair candidate)
{
	uint32_t at = blame->best_n;

	if (at == max && (max == 0 || !dearer(&candidate, &blame->best[max - 1])))
		return;
	if (at == max)
		at--;
	else
		blame->best_n++;
	for (; at > 0 && dearer(&candidate, &blame->best[at - 1]); at--)
		blame->best[at] = blame->best[at - 1];
	blame->best[at] = candidate;
}

static void number_places(const struct schema_writer *w, const struct proc_sample *s, struct blame *blame)
{
	for (size_t i = 0; i < s->threads_n; i++) {
		uint32_t place = w->place[i];

		if (blame->row_of[place] != 0)
			continue;
		blame->place_of[blame->rows] = place;
		blame->row_of[place] = ++blame->rows;
	}
}

/* No thread shares its place with another: cells are pairs. */
static void offer_cells(const struct schema_writer *w, const struct proc_sample *s, struct blame *blame)
{
	for (size_t i = 0; i < s->blame_n; i++) {
		const struct blame_cell *c = &s->blame[i];

		if (c->ns >= 1000 && c->victim < s->threads_n && c->holder < s->threads_n)
			offer(blame, w->opts.max_blame, (struct pair){c->ns, w->place[c->victim], w->place[c->holder]});
	}
}

static int collect_pairs(const struct schema_writer *w, const struct proc_sample *s, struct blame *blame)
{
	size_t n;

	number_places(w, s, blame);
	if (blame->rows == s->threads_n) {
		offer_cells(w, s, blame);
		return 0;
	}
	n = blame->rows;
	blame->square = calloc(n * n + 1, sizeof(*blame->square));
	if (!blame->square)
		return -ENOMEM;
	for (size_t i = 0; i < s->blame_n; i++) {
		const struct blame_cell *c = &s->blame[i];

		if (c->victim >= s->threads_n || c->holder >= s->threads_n)
			continue;
		blame->square[(blame->row_of[w->place[c->victim]] - 1) * n +
			      (blame->row_of[w->place[c->holder]] - 1)] += c->ns;
	}
	for (size_t i = 0; i < n * n; i++)
		if (blame->square[i] >= 1000)
			offer(blame, w->opts.max_blame, (struct pair){
				blame->square[i], blame->place_of[i / n], blame->place_of[i % n]});
	return 0;
}

static void collect_victims(const struct schema_writer *w, const struct proc_sample *s, struct blame *blame)
{
	for (size_t i = 0; i < s->threads_n; i++) {
		struct victim *v = &blame->victims[w->place[i]];

		v->wait_ns += s->threads[i].m.wait_ns;
		v->handover_ns += s->threads[i].m.handover_ns;
		v->unknown_ns += s->threads[i].m.unknown_ns;
	}
}

static int collect_blame(const struct schema_writer *w, const struct proc_sample *s, struct blame *ret)
{
	ret->places = w->series.max + 2;
	ret->victims = calloc(ret->places, sizeof(*ret->victims));
	ret->row_of = calloc(ret->places, sizeof(*ret->row_of));
	ret->place_of = calloc(ret->places, sizeof(*ret->place_of));
	ret->best = calloc((size_t)w->opts.max_blame + 1, sizeof(*ret->best));
	if (!ret->victims || !ret->row_of || !ret->place_of || !ret->best)
		return -ENOMEM;
	collect_victims(w, s, ret);
	return collect_pairs(w, s, ret);
}

static void free_blame(struct blame *blame)
{
	free(blame->victims);
	free(blame->row_of);
	free(blame->place_of);
	free(blame->square);
	free(blame->best);
}

static void put_pairs(const struct schema_writer *w, struct blame *blame, struct json_text *row)
{
	const struct series *places = w->series.places;

	json_text__name(row, "b");
	json_text__open(row, '[');
	for (uint32_t i = 0; i < blame->best_n; i++) {
		const struct pair *p = &blame->best[i];
		uint64_t us = p->ns / 1000;

		blame->victims[p->victim].shown_us += us;
		json_text__open(row, '[');
		json_text__string(row, places[p->victim].thr);
		json_text__string(row, places[p->holder].thr);
		json_text__integer(row, (long long)us);
		json_text__close(row, ']');
	}
	json_text__close(row, ']');
}

enum part {
	PART_REST,
	PART_HANDOVER,
	PART_UNKNOWN,
};

static uint64_t part_us(const struct victim *v, enum part part)
{
	uint64_t handover = v->handover_ns / 1000, unknown = v->unknown_ns / 1000;
	uint64_t others = v->shown_us + handover + unknown, wait = v->wait_ns / 1000;

	if (part == PART_REST)
		return wait > others ? wait - others : 0;
	return part == PART_HANDOVER ? handover : unknown;
}

static void put_part(const struct schema_writer *w, const struct blame *blame, const char *name, enum part part,
		     struct json_text *row)
{
	json_text__name(row, name);
	json_text__open(row, '{');
	for (uint32_t i = 0; i < blame->places; i++) {
		uint64_t us = blame->victims[i].wait_ns ? part_us(&blame->victims[i], part) : 0;

		if (us == 0)
			continue;
		json_text__name(row, w->series.places[i].thr);
		json_text__integer(row, (long long)us);
	}
	json_text__close(row, '}');
}

static char *blame_row(const struct schema_writer *w, const struct proc_sample *s, struct blame *blame)
{
	struct json_text row = {0};

	json_text__open(&row, '{');
	json_text__name(&row, "t");
	json_text__integer(&row, s->end_ms);
	json_text__name(&row, "d");
	json_text__integer(&row, (long long)(s->len_ns / 1000));
	put_pairs(w, blame, &row); /* first: the rest is what it does not show */
	put_part(w, blame, "rest", PART_REST, &row);
	put_part(w, blame, "handover", PART_HANDOVER, &row);
	put_part(w, blame, "unknown", PART_UNKNOWN, &row);
	if (s->blame_sampled) {
		json_text__name(&row, "sampled");
		json_text__true(&row);
	}
	json_text__close(&row, '}');
	return json_text__take(&row);
}

static int put_blame(struct schema_writer *w, enum tier tier, const struct proc_sample *s, struct batch *b)
{
	struct blame blame = {0};
	int err = collect_blame(w, s, &blame);

	if (err == 0)
		err = schema_put__sample(w, b, "blame", KEEP_THREADS, tier, s->end_ms, blame_row(w, s, &blame),
					 &w->blames[tier], false);
	free_blame(&blame);
	return err;
}

int schema_write__blame(struct schema_writer *w, enum tier tier, const struct proc_sample *s, struct batch *b)
{
	bool waited = s->total.wait_ns > 0;

	if (!metrics__knows_wait(&s->total) || s->observed_ns == 0)
		return 0;
	/* Stretches without waiting are bounded like idle threads: by one row that says so. */
	if (!waited && !w->blame_shown[tier])
		return 0;
	w->blame_shown[tier] = waited;
	return put_blame(w, tier, s, b);
}
