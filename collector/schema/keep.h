/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How long the rows of one process are kept, so that its history stays below a limit however many threads it has.
 *
 * As long as asked for, while that fits. Else the rows of its threads go earlier: first those of the tier in the middle, down
 * to the time that the finest is kept; then those of all tiers, by one factor. What the process as a whole did is
 * always kept as long as asked for: that is little. Bytes are counted when rows are written, in slots of time, with what
 * Redis adds. Rows of an earlier run are not counted. Pure.
 */
#ifndef GILSCOPE_KEEP_H
#define GILSCOPE_KEEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "collector/series/aggr.h"

#define KEEP_SLOTS 64 /* of each tier's time */
#define KEEP_MEMBER_BYTES 87 /* of a sorted set beside its text, as MEMORY USAGE says: node, dictionary, place in its table */
#define KEEP_TEXT_BYTES 4    /* before and behind the text */

enum keep_kind {
	KEEP_PROC,
	KEEP_THREADS, /* wide rows, blame and code, too */
	KEEP_KINDS,
};

struct keep_tier {
	uint32_t wanted_s;
	uint32_t seconds;           /* what it is now */
	int64_t newest;             /* number of the newest slot, since the epoch */
	uint64_t bytes[KEEP_SLOTS]; /* slot n at n % KEEP_SLOTS */
};

struct keep {
	uint64_t limit;             /* bytes; 0: none */
	struct keep_tier tiers[KEEP_KINDS][TIER_COUNT];
};

/* Nothing is counted yet, everything is kept as long as wanted (in seconds, above 0). */
void keep__init(struct keep *k, const uint32_t wanted_proc_s[TIER_COUNT], const uint32_t wanted_threads_s[TIER_COUNT],
		uint64_t limit_bytes);

/* A row of `len` bytes with stamp `t_ms` is written. */
void keep__add(struct keep *k, enum keep_kind kind, enum tier tier, int64_t t_ms, size_t len);

/* What is counted of the last `seconds` of a tier, in bytes; slots that begin before are counted whole. */
uint64_t keep__bytes(const struct keep *k, enum keep_kind kind, enum tier tier, uint32_t seconds);

/* Decides anew. Whether anything changed. */
bool keep__settle(struct keep *k);

uint32_t keep__seconds(const struct keep *k, enum keep_kind kind, enum tier tier);

/* Whether anything is kept shorter than wanted. */
bool keep__is_short(const struct keep *k);

#endif
