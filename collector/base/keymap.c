/* SPDX-License-Identifier: GPL-2.0-only */
/* See keymap.h. At most half full, so probes stay short; removal closes the gap instead of leaving marks. */
#include "keymap.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#define CAPACITY_MIN 32

static uint64_t salt;

static void make_salt(void)
{
	if (getrandom(&salt, sizeof(salt), GRND_NONBLOCK) != sizeof(salt))
		salt = (uint64_t)clock() ^ (uintptr_t)&salt; /* early in a boot: better than nothing */
}

uint64_t keymap__salt(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, make_salt);
	return salt;
}

/* Mixing step of MurmurHash3 (fmix64), over both words. */
static uint64_t hash(uint64_t a, uint64_t b)
{
	uint64_t h = a * 0x9e3779b97f4a7c15ull ^ b;

	h ^= h >> 33;
	h *= 0xff51afd7ed558ccdull;
	h ^= h >> 33;
	h *= 0xc4ceb9fe1a85ec53ull;
	return h ^ h >> 33;
}

/* Where (a, b) is, or the free place where it would go. Needs a free place. */
static size_t locate(const struct keymap *map, uint64_t a, uint64_t b)
{
	size_t mask = map->capacity - 1, i = hash(a, b) & mask;

	while (map->entries[i].value != KEYMAP_NONE &&
	       (map->entries[i].a != a || map->entries[i].b != b))
		i = (i + 1) & mask;
	return i;
}

uint32_t keymap__get(const struct keymap *map, uint64_t a, uint64_t b)
{
	return map->used == 0 ? KEYMAP_NONE : map->entries[locate(map, a, b)].value;
}

static int resize(struct keymap *map, size_t capacity)
{
	struct keymap grown = {
		.entries = malloc(capacity * sizeof(*grown.entries)),
		.capacity = capacity,
		.used = map->used,
	};

	if (!grown.entries)
		return -ENOMEM;
	for (size_t i = 0; i < capacity; i++)
		grown.entries[i].value = KEYMAP_NONE;
	for (size_t i = 0; i < map->capacity; i++) {
		const struct keymap_entry *e = &map->entries[i];

		if (e->value != KEYMAP_NONE)
			grown.entries[locate(&grown, e->a, e->b)] = *e;
	}
	free(map->entries);
	*map = grown;
	return 0;
}

int keymap__put(struct keymap *map, uint64_t a, uint64_t b, uint32_t value)
{
	size_t i;

	if (2 * (map->used + 1) > map->capacity &&
	    resize(map, map->capacity ? 2 * map->capacity : CAPACITY_MIN) != 0)
		return -ENOMEM;
	i = locate(map, a, b);
	if (map->entries[i].value == KEYMAP_NONE)
		map->used++;
	map->entries[i] = (struct keymap_entry){.a = a, .b = b, .value = value};
	return 0;
}

/* Whether an entry whose home is `home` may not stay at `at` once `gap` is free (all cyclic). */
static bool must_move(size_t home, size_t gap, size_t at)
{
	return gap <= at ? home <= gap || home > at : home <= gap && home > at;
}

void keymap__remove(struct keymap *map, uint64_t a, uint64_t b)
{
	size_t mask = map->capacity - 1, gap;

	if (keymap__get(map, a, b) == KEYMAP_NONE)
		return;
	gap = locate(map, a, b);
	for (size_t i = (gap + 1) & mask; map->entries[i].value != KEYMAP_NONE; i = (i + 1) & mask) {
		const struct keymap_entry *e = &map->entries[i];

		if (!must_move(hash(e->a, e->b) & mask, gap, i))
			continue;
		map->entries[gap] = *e;
		gap = i;
	}
	map->entries[gap].value = KEYMAP_NONE;
	map->used--;
}

void keymap__clear(struct keymap *map)
{
	for (size_t i = 0; i < map->capacity; i++)
		map->entries[i].value = KEYMAP_NONE;
	map->used = 0;
}

void keymap__free(struct keymap *map)
{
	free(map->entries);
	*map = (struct keymap){0};
}
