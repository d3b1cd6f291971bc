/* SPDX-License-Identifier: GPL-2.0-only */
/* See pair_index.h. Open addressing, at most three quarters full. */
#include "pair_index.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CAPACITY_MIN 32

/* Mixing step of MurmurHash3 (fmix64). */
static uint64_t hash(uint32_t victim, uint32_t holder)
{
	uint64_t h = (uint64_t)victim << 32 | holder;

	h ^= h >> 33;
	h *= 0xff51afd7ed558ccdull;
	h ^= h >> 33;
	h *= 0xc4ceb9fe1a85ec53ull;
	return h ^ h >> 33;
}

/* Where the pair is, or the free place where it would go. Needs a free place. */
static size_t locate(const struct pair_index *index, const struct blame_cell *cells, uint32_t victim, uint32_t holder)
{
	size_t mask = index->capacity - 1, i = hash(victim, holder) & mask;

	while (index->at[i] != PAIR_NONE &&
	       (cells[index->at[i]].victim != victim || cells[index->at[i]].holder != holder))
		i = (i + 1) & mask;
	return i;
}

uint32_t pair_index__find(const struct pair_index *index, const struct blame_cell *cells, uint32_t victim,
			  uint32_t holder)
{
	return index->used ? index->at[locate(index, cells, victim, holder)] : PAIR_NONE;
}

static int resize(struct pair_index *index, const struct blame_cell *cells, size_t capacity)
{
	struct pair_index grown = {
		.at = malloc(capacity * sizeof(*grown.at)), .capacity = capacity, .used = index->used,
	};

	if (!grown.at)
		return -ENOMEM;
	memset(grown.at, 0xff, capacity * sizeof(*grown.at));
	for (size_t i = 0; i < index->capacity; i++) {
		uint32_t at = index->at[i];

		if (at != PAIR_NONE)
			grown.at[locate(&grown, cells, cells[at].victim, cells[at].holder)] = at;
	}
	free(index->at);
	*index = grown;
	return 0;
}

int pair_index__add(struct pair_index *index, const struct blame_cell *cells, uint32_t position)
{
	const struct blame_cell *cell = &cells[position];

	if (4 * (index->used + 1) > 3 * index->capacity &&
	    resize(index, cells, index->capacity ? 2 * index->capacity : CAPACITY_MIN) != 0)
		return -ENOMEM;
	index->at[locate(index, cells, cell->victim, cell->holder)] = position;
	index->used++;
	return 0;
}

void pair_index__clear(struct pair_index *index)
{
	if (index->capacity)
		memset(index->at, 0xff, index->capacity * sizeof(*index->at));
	index->used = 0;
}

void pair_index__free(struct pair_index *index)
{
	free(index->at);
	*index = (struct pair_index){0};
}
