/* SPDX-License-Identifier: GPL-2.0-only */
/* See schema_series.h. */
#include "schema_series.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_OWNERS 16384
#define MAX_MERGED 16384
#define ANY_START UINT64_MAX  /* in owners: this tid has an owner */
#define SETTLE_MS 180000      /* by then the last 60 s window of an ended thread is written */

int series_table__init(struct series_table *t, uint32_t max, int64_t idle_ms)
{
	*t = (struct series_table){.max = max, .idle_ms = idle_ms};
	t->places = calloc((size_t)max + 2, sizeof(*t->places));
	if (!t->places)
		return -ENOMEM;
	strcpy(t->places[max].thr, "other");
	strcpy(t->places[max].name, "threads");
	strcpy(t->places[max + 1].thr, "unknown");
	strcpy(t->places[max + 1].name, "holder");
	return 0;
}

void series_table__free(struct series_table *t)
{
	free(t->places);
	keymap__free(&t->by_key);
	keymap__free(&t->owners);
	keymap__free(&t->merged);
}

/* Whether the thread bears its plain tid, taking it if it is free. */
static bool owns_tid(struct series_table *t, const struct thread_key *key)
{
	if (keymap__get(&t->owners, key->tid, key->start_ticks) != KEYMAP_NONE)
		return true;
	if (keymap__get(&t->owners, key->tid, ANY_START) != KEYMAP_NONE ||
	    t->owners.used >= 2 * MAX_OWNERS)
		return false;
	return keymap__put(&t->owners, key->tid, ANY_START, 1) == 0 &&
	       keymap__put(&t->owners, key->tid, key->start_ticks, 1) == 0;
}

void series_table__thr(struct series_table *t, const struct thread_key *key, char thr[THR_SIZE])
{
	if (key->tid == 0)
		strcpy(thr, key->start_ticks == PSEUDO_UNKNOWN ? "unknown" : "other");
	else if (owns_tid(t, key))
		snprintf(thr, THR_SIZE, "%" PRIu32, key->tid);
	else
		snprintf(thr, THR_SIZE, "%" PRIu32 ".%" PRIu64, key->tid, key->start_ticks);
}

uint32_t series_table__find(const struct series_table *t, const struct thread_key *key)
{
	uint32_t at;

	if (key->tid == 0)
		return key->start_ticks == PSEUDO_UNKNOWN ? series_table__unknown(t) : series_table__other(t);
	at = keymap__get(&t->by_key, key->start_ticks, key->tid);
	return at == KEYMAP_NONE ? series_table__other(t) : at;
}

static bool recyclable(const struct series_table *t, const struct series *s, int64_t now_ms)
{
	int64_t idle = now_ms - s->seen_ms;

	return (s->exited && (s->tier[TIER_60S].gone || idle > SETTLE_MS)) || idle > t->idle_ms;
}

/* The place whose thread was seen longest ago, of those that may be taken; max if there is none. */
static uint32_t find_recyclable(const struct series_table *t, int64_t now_ms)
{
	uint32_t best = t->max;

	for (uint32_t i = 0; i < t->used; i++)
		if (recyclable(t, &t->places[i], now_ms) &&
		    (best == t->max || t->places[i].seen_ms < t->places[best].seen_ms))
			best = i;
	return best;
}

static uint32_t take_place(struct series_table *t, const struct thread_sample *s, int64_t now_ms,
			   struct series *evicted)
{
	uint32_t at;

	if (t->used < t->max)
		return t->used++;
	if (s->exited)
		return t->max;
	at = find_recyclable(t, now_ms);
	if (at == t->max)
		return at;
	*evicted = t->places[at];
	keymap__remove(&t->by_key, evicted->key.start_ticks, evicted->key.tid);
	return at;
}

static void note_merged(struct series_table *t, const struct thread_sample *s)
{
	bool known = keymap__get(&t->merged, s->key.start_ticks, s->key.tid) != KEYMAP_NONE;

	if (!known)
		t->merged_n++;
	if (known && s->exited)
		keymap__remove(&t->merged, s->key.start_ticks, s->key.tid);
	else if (!known && !s->exited && t->merged.used < MAX_MERGED)
		keymap__put(&t->merged, s->key.start_ticks, s->key.tid, 1);
}

uint32_t series_table__claim(struct series_table *t, const struct thread_sample *s, int64_t now_ms,
			     struct series *evicted)
{
	uint32_t at = series_table__find(t, &s->key);

	evicted->thr[0] = '\0';
	if (at == t->max && s->key.tid != 0) {
		at = take_place(t, s, now_ms, evicted);
		if (at == t->max) {
			note_merged(t, s);
			return at;
		}
		t->places[at] = (struct series){.key = s->key};
		series_table__thr(t, &s->key, t->places[at].thr);
		keymap__remove(&t->merged, s->key.start_ticks, s->key.tid);
		/* Without memory the thread is not found again and its place expires. */
		keymap__put(&t->by_key, s->key.start_ticks, s->key.tid, at);
	}
	t->places[at].seen_ms = now_ms;
	t->places[at].exited |= s->exited && s->key.tid != 0;
	return at;
}
