/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Finds the cell of a blame pair in an array of cells. It keeps positions only and reads the pair in the cell itself: two
 * hundred threads make forty thousand pairs, in several windows at once.
 */
#ifndef GILSCOPE_PAIR_INDEX_H
#define GILSCOPE_PAIR_INDEX_H

#include "sample.h"

#define PAIR_NONE UINT32_MAX

/* Zeroed is empty. */
struct pair_index {
	uint32_t *at;    /* positions, PAIR_NONE: free */
	size_t capacity; /* 0 or a power of two */
	size_t used;
};

/* Position of the pair's cell, or PAIR_NONE. */
uint32_t pair_index__find(const struct pair_index *index, const struct blame_cell *cells, uint32_t victim,
			  uint32_t holder);

/* Adds the cell at `position`, whose pair is not in the index yet. 0 or -ENOMEM. */
int pair_index__add(struct pair_index *index, const struct blame_cell *cells, uint32_t position);

/* Makes it empty, keeping the memory; pair_index__free() gives that back. */
void pair_index__clear(struct pair_index *index);
void pair_index__free(struct pair_index *index);

#endif
