/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See aggr.h. Each sample is merged twice; the longer tier is made of what that gave:
 *
 *   sample -+-> totals
 *           +-> ten --(cell full)--> emit 10s --> sixty --(cell full)--> emit 60s
 *
 * A cell is (end - step, end] on the wall clock's grid.
 */
#include "aggr.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "window.h"

#define MS 1000000ull
#define TEN_MS 10000
#define SIXTY_MS 60000
#define DEFAULT_MAX_THREADS 4096

typedef int emit_fn(void *arg, enum tier tier, const struct proc_sample *window);

struct aggr {
	uint64_t interval_ns;
	int64_t last_ms;        /* end of the newest sample */
	bool any;
	struct window ten, sixty, totals;
	int64_t ten_end, sixty_end; /* of the open cells */
};

struct emission {
	emit_fn *fn;
	void *arg;
};

static int emit(const struct emission *e, enum tier tier, const struct proc_sample *s)
{
	return e->fn(e->arg, tier, s);
}

/* The first multiple of `step` that is not before `ms`. */
static int64_t cell_end(int64_t ms, int64_t step)
{
	int64_t rest = ms % step;

	return rest > 0 ? ms - rest + step : ms - rest;
}

struct aggr *aggr__new(const struct aggr_opts *opts)
{
	struct aggr *a = calloc(1, sizeof(*a));
	size_t max = opts->max_threads ? opts->max_threads : DEFAULT_MAX_THREADS;

	if (!a)
		return NULL;
	a->interval_ns = opts->interval_ns;
	a->ten.max_threads = max;
	a->sixty.max_threads = max;
	a->totals.max_threads = max;
	a->totals.no_stacks = true;
	return a;
}

void aggr__free(struct aggr *a)
{
	if (!a)
		return;
	window__free(&a->ten);
	window__free(&a->sixty);
	window__free(&a->totals);
	free(a);
}

/* ---- 60 s ---- */

static int close_sixty(struct aggr *a, int64_t end_ms, bool partial, const struct emission *e)
{
	int err;

	if (!a->sixty.begun)
		return 0;
	a->sixty.sample.end_ms = end_ms;
	a->sixty.sample.partial |= partial;
	err = emit(e, TIER_60S, &a->sixty.sample);
	window__clear(&a->sixty);
	return err;
}

/* Takes what went to the 10 s tier. */
static int feed_sixty(struct aggr *a, const struct proc_sample *s, const struct emission *e)
{
	int64_t end = cell_end(s->end_ms, SIXTY_MS);
	int err = 0;

	if (a->interval_ns >= SIXTY_MS * MS)
		return emit(e, TIER_60S, s);
	if (a->sixty.begun && a->sixty_end != end)
		err = close_sixty(a, a->sixty_end, false, e);
	a->sixty_end = end;
	err = window__add(&a->sixty, s) ?: err;
	if (s->end_ms == end)
		err = close_sixty(a, end, false, e) ?: err;
	return err;
}

/* ---- 10 s ---- */

static bool ten_is_base(const struct aggr *a)
{
	return a->interval_ns >= TEN_MS * MS;
}

static int close_ten(struct aggr *a, int64_t end_ms, bool partial, const struct emission *e)
{
	int err;

	if (!a->ten.begun)
		return 0;
	a->ten.sample.end_ms = end_ms;
	a->ten.sample.partial |= partial;
	err = emit(e, TIER_10S, &a->ten.sample);
	err = feed_sixty(a, &a->ten.sample, e) ?: err;
	window__clear(&a->ten);
	return err;
}

/* ---- in ---- */

/* Where the base samples are as long as the tier's step, they are the tier. */
static int pass_on(struct aggr *a, const struct proc_sample *s, const struct emission *e)
{
	int err = emit(e, TIER_10S, s);

	return feed_sixty(a, s, e) ?: err;
}

static int close_all(struct aggr *a, const struct emission *e)
{
	int err = close_ten(a, a->last_ms, true, e);

	return close_sixty(a, a->last_ms, true, e) ?: err;
}

/* Closes what the new sample lies beyond. */
static int close_passed(struct aggr *a, const struct proc_sample *s, const struct emission *e)
{
	int err = 0;

	if (a->any && s->end_ms < a->last_ms)
		return close_all(a, e);
	if (a->ten.begun && s->end_ms > a->ten_end)
		err = close_ten(a, a->ten_end, false, e);
	if (a->sixty.begun && s->end_ms > a->sixty_end)
		err = close_sixty(a, a->sixty_end, false, e) ?: err;
	return err;
}

static int add_to_tiers(struct aggr *a, const struct proc_sample *s, const struct emission *e)
{
	int err = close_passed(a, s, e);

	a->last_ms = s->end_ms;
	a->any = true;
	if (ten_is_base(a))
		return pass_on(a, s, e) ?: err;
	a->ten_end = cell_end(s->end_ms, TEN_MS);
	err = window__add(&a->ten, s) ?: err;
	if (s->end_ms == a->ten_end)
		err = close_ten(a, a->ten_end, false, e) ?: err;
	return err;
}

int aggr__add(struct aggr *a, const struct proc_sample *s, emit_fn *fn, void *arg)
{
	const struct emission e = {fn, arg};
	int err = fn ? add_to_tiers(a, s, &e) : 0;

	return window__add(&a->totals, s) ?: err;
}

int aggr__flush(struct aggr *a, emit_fn *fn, void *arg)
{
	const struct emission e = {fn, arg};

	return close_all(a, &e);
}

const struct proc_sample *aggr__totals(struct aggr *a)
{
	return &a->totals.sample;
}

uint64_t aggr__folded(const struct aggr *a)
{
	return a->totals.folded;
}

uint64_t tier__step_ns(enum tier tier, uint64_t interval_ns)
{
	uint64_t step = tier == TIER_10S ? TEN_MS * MS : tier == TIER_60S ? SIXTY_MS * MS : 0;

	return step > interval_ns ? step : interval_ns;
}

const char *tier__name(enum tier tier)
{
	static const char *const names[TIER_COUNT] = {"1s", "10s", "60s"};

	return tier < TIER_COUNT ? names[tier] : "?";
}
