/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Every TTL of a process once more, at its end: rows carry theirs about once a minute, and nothing follows that would. A server
 * that came back empty since the last minute, or comes back before the queue is out, would else keep those keys for ever.
 */
#include <inttypes.h>
#include <stdio.h>

#include "schema_writer.h"

/* A series that was written at all. */
static void arm(struct schema_writer *w, struct batch *b, const char *series, enum keep_kind kind, enum tier tier,
		const struct arming *a)
{
	char what[64];

	if (!a->epoch)
		return;
	snprintf(what, sizeof(what), "%s:%s", series, tier__name(tier));
	schema_put__expire(w, b, what, schema__ttl_s(w, keep__seconds(&w->keep, kind, tier)));
}

static void arm_tier(struct schema_writer *w, struct batch *b, enum tier tier)
{
	arm(w, b, "p", KEEP_PROC, tier, &w->procs[tier]);
	arm(w, b, "hold", KEEP_THREADS, tier, &w->wides[WIDE_HOLD][tier]);
	arm(w, b, "wait", KEEP_THREADS, tier, &w->wides[WIDE_WAIT][tier]);
	arm(w, b, "blame", KEEP_THREADS, tier, &w->blames[tier]);
	arm(w, b, "code", KEEP_THREADS, tier, &w->codes[tier]);
	arm(w, b, "stacks", KEEP_THREADS, tier, &w->stacks[tier]);
}

static void arm_gils(struct schema_writer *w, struct batch *b, enum tier tier)
{
	char name[24];

	for (size_t i = 0; i < SCHEMA_MAX_GILS; i++) {
		snprintf(name, sizeof(name), "g:%" PRIu32, w->gils[i].gil);
		arm(w, b, name, KEEP_PROC, tier, &w->gils[i].tier[tier]);
	}
}

/* Of a thread that ended before, the last row had it. */
static void arm_threads(struct schema_writer *w, struct batch *b, enum tier tier)
{
	char name[48];

	for (uint32_t i = 0; i <= w->series.used; i++) {
		const struct series *s = &w->series.places[i < w->series.used ? i : series_table__other(&w->series)];

		snprintf(name, sizeof(name), "t:%s", s->thr);
		if (!s->tier[tier].gone)
			arm(w, b, name, KEEP_THREADS, tier, &s->tier[tier].arming);
	}
}

void schema_write__ttls(struct schema_writer *w, struct batch *b)
{
	static const char *const lasting[] = {"meta", "threads", "long", SCHEMA_EVENTS, "top:hold", "top:wait", "top:blame"};
	static const char *const boards[] = {"now:hold", "now:wait", "now:blame"};

	for (enum tier tier = TIER_BASE; tier < TIER_COUNT; tier++) {
		arm_tier(w, b, tier);
		arm_gils(w, b, tier);
		arm_threads(w, b, tier);
	}
	/* Those that are not there don't mind. */
	for (size_t i = 0; i < sizeof(lasting) / sizeof(lasting[0]); i++)
		schema_put__expire(w, b, lasting[i], schema__ttl_s(w, schema__longest_s(w)));
	for (size_t i = 0; i < sizeof(boards) / sizeof(boards[0]); i++)
		schema_put__expire(w, b, boards[i], schema__board_ttl_s(w));
}
