/* SPDX-License-Identifier: GPL-2.0-only */
/* See keep.h. */
#include "keep.h"

#include <string.h>

static int64_t slot_ms(const struct keep_tier *t)
{
	/* One slot is just being filled, and one is just being left. */
	int64_t ms = (int64_t)t->wanted_s * 1000 / (KEEP_SLOTS - 2);

	return ms > 1000 ? ms : 1000;
}

void keep__init(struct keep *k, const uint32_t wanted_proc_s[TIER_COUNT], const uint32_t wanted_threads_s[TIER_COUNT],
		uint64_t limit_bytes)
{
	memset(k, 0, sizeof(*k));
	k->limit = limit_bytes;
	for (int tier = 0; tier < TIER_COUNT; tier++) {
		k->tiers[KEEP_PROC][tier].wanted_s = k->tiers[KEEP_PROC][tier].seconds = wanted_proc_s[tier];
		k->tiers[KEEP_THREADS][tier].wanted_s = k->tiers[KEEP_THREADS][tier].seconds = wanted_threads_s[tier];
	}
}

/* Redis's allocator has four sizes between two powers of two. */
static uint64_t allocated(uint64_t bytes)
{
	uint64_t step = 16;

	while (step * 8 < bytes)
		step *= 2;
	return (bytes + step - 1) / step * step;
}

/* The slots up to `slot` become the newest ones. */
static void advance(struct keep_tier *t, int64_t slot)
{
	int64_t steps = slot - t->newest;

	for (int64_t i = 0; i < steps && i < KEEP_SLOTS; i++)
		t->bytes[(slot - i) % KEEP_SLOTS] = 0;
	t->newest = slot;
}

void keep__add(struct keep *k, enum keep_kind kind, enum tier tier, int64_t t_ms, size_t len)
{
	struct keep_tier *t = &k->tiers[kind][tier];
	int64_t slot = (t_ms > 0 ? t_ms : 0) / slot_ms(t);

	if (slot > t->newest)
		advance(t, slot);
	if (t->newest - slot < KEEP_SLOTS)
		t->bytes[slot % KEEP_SLOTS] += allocated(len + KEEP_TEXT_BYTES) + KEEP_MEMBER_BYTES;
}

uint64_t keep__bytes(const struct keep *k, enum keep_kind kind, enum tier tier, uint32_t seconds)
{
	const struct keep_tier *t = &k->tiers[kind][tier];
	int64_t slots = 1 + ((int64_t)seconds * 1000 + slot_ms(t) - 1) / slot_ms(t);
	uint64_t sum = 0;

	for (int64_t i = 0; i < slots && i < KEEP_SLOTS && i <= t->newest; i++)
		sum += t->bytes[(t->newest - i) % KEEP_SLOTS];
	return sum;
}

static uint64_t threads_bytes(const struct keep *k, const uint32_t seconds[TIER_COUNT])
{
	uint64_t sum = 0;

	for (int tier = 0; tier < TIER_COUNT; tier++)
		sum += keep__bytes(k, KEEP_THREADS, (enum tier)tier, seconds[tier]);
	return sum;
}

/* By whole parts of the wanted time, so that it does not change with each row. */
static uint32_t part_of(uint32_t seconds, int parts)
{
	uint32_t part = (uint32_t)((uint64_t)seconds * (uint64_t)parts / KEEP_SLOTS);

	return part > 0 ? part : 1;
}

/* As much of the middle tier as fits beside the others, but no less than the finest has. Whether there is such a time. */
static bool shorten_middle(const struct keep *k, uint64_t room, uint32_t seconds[TIER_COUNT])
{
	uint32_t wanted = seconds[TIER_10S], least = wanted < seconds[TIER_BASE] ? wanted : seconds[TIER_BASE];

	for (int parts = KEEP_SLOTS; parts > 0; parts--) {
		seconds[TIER_10S] = part_of(wanted, parts);
		if (seconds[TIER_10S] < least)
			break;
		if (threads_bytes(k, seconds) <= room)
			return true;
	}
	seconds[TIER_10S] = least;
	return threads_bytes(k, seconds) <= room;
}

static void shorten_all(const struct keep *k, uint64_t room, uint32_t seconds[TIER_COUNT])
{
	uint32_t from[TIER_COUNT];

	memcpy(from, seconds, sizeof(from));
	for (int parts = KEEP_SLOTS; parts > 0; parts--) {
		for (int tier = 0; tier < TIER_COUNT; tier++)
			seconds[tier] = part_of(from[tier], parts);
		if (threads_bytes(k, seconds) <= room)
			return;
	}
}

static uint64_t room_for_threads(const struct keep *k)
{
	uint64_t taken = 0;

	if (k->limit == 0)
		return UINT64_MAX;
	for (int tier = 0; tier < TIER_COUNT; tier++)
		taken += keep__bytes(k, KEEP_PROC, (enum tier)tier, k->tiers[KEEP_PROC][tier].wanted_s);
	return k->limit > taken ? k->limit - taken : 0;
}

bool keep__settle(struct keep *k)
{
	uint64_t room = room_for_threads(k);
	uint32_t seconds[TIER_COUNT];
	bool changed = false;

	for (int tier = 0; tier < TIER_COUNT; tier++)
		seconds[tier] = k->tiers[KEEP_THREADS][tier].wanted_s;
	if (threads_bytes(k, seconds) > room && !shorten_middle(k, room, seconds))
		shorten_all(k, room, seconds);
	for (int tier = 0; tier < TIER_COUNT; tier++) {
		changed |= k->tiers[KEEP_THREADS][tier].seconds != seconds[tier];
		k->tiers[KEEP_THREADS][tier].seconds = seconds[tier];
	}
	return changed;
}

uint32_t keep__seconds(const struct keep *k, enum keep_kind kind, enum tier tier)
{
	return k->tiers[kind][tier].seconds;
}

bool keep__is_short(const struct keep *k)
{
	for (int tier = 0; tier < TIER_COUNT; tier++)
		if (k->tiers[KEEP_THREADS][tier].seconds < k->tiers[KEEP_THREADS][tier].wanted_s)
			return true;
	return false;
}
