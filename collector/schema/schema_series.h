/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which thread has which name in keys, and which has series of its own. For the schema's own files.
 *
 * A bounded table of places: newcomers take free ones, then those of threads that ended (or idled longer than
 * their finest series lasts), whose series are then deleted. A thread that is already gone when it is first seen
 * never displaces another. Who finds no place is merged into the last one, "other".
 */
#ifndef GILSCOPE_SCHEMA_SERIES_H
#define GILSCOPE_SCHEMA_SERIES_H

#include "collector/base/keymap.h"
#include "collector/series/aggr.h"
#include "collector/series/sample.h"

#define THR_SIZE 40 /* "4250", "4250.8812", "other", "unknown" */

/* When a key's TTL was last set. Zeroed: never. */
struct arming {
	int64_t at_ms;
	uint32_t epoch;
};

struct series_tier {
	struct arming arming;
	int64_t last_ms;  /* newest member, 0: none yet */
	bool zero;        /* that member closes an active stretch: all zero */
	bool gone;        /* the thread's last sample was written */
	uint8_t shown;    /* wide rows (bit per kind) that showed a share of it last */
};

struct series {
	struct thread_key key;
	char thr[THR_SIZE];
	char name[THREAD_NAME_SIZE]; /* as in members; "" until known */
	bool exited;
	int64_t seen_ms;
	int64_t indexed_ms; /* last entry in the index, 0: none */
	struct series_tier tier[TIER_COUNT];
};

struct series_table {
	struct series *places;  /* max + 2: then "other" and "unknown" */
	uint32_t max, used;
	int64_t idle_ms;        /* a place idle for longer may be taken over */
	struct keymap by_key;   /* (start_ticks, tid) -> place */
	struct keymap owners;   /* (tid, start_ticks) of the threads that bear their plain tid */
	struct keymap merged;   /* living threads without a place */
	uint64_t merged_n;      /* threads that were ever merged into "other" */
};

int series_table__init(struct series_table *t, uint32_t max, int64_t idle_ms);
void series_table__free(struct series_table *t);

static inline uint32_t series_table__other(const struct series_table *t)
{
	return t->max;
}

static inline uint32_t series_table__unknown(const struct series_table *t)
{
	return t->max + 1;
}

/*
 * <thr>: the tid for the first thread seen under it, tid.<start ticks> for those that use it again. Beyond 16384
 * threads it is no longer remembered who was first, and every newcomer gets the long form.
 */
void series_table__thr(struct series_table *t, const struct thread_key *key, char thr[THR_SIZE]);

/* The place of a thread, or "other"'s. */
uint32_t series_table__find(const struct series_table *t, const struct thread_key *key);

/*
 * The same, giving it a place if there is one. `evicted->thr` is "" or who lost its place for it: its series and
 * index entry are to be deleted.
 */
uint32_t series_table__claim(struct series_table *t, const struct thread_sample *s, int64_t now_ms,
			     struct series *evicted);

#endif
