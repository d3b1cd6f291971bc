/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A small hash map from a pair of 64-bit words to a 32-bit number: threads and pairs of threads to their
 * place in an array. Open addressing with linear probing; nothing is ever handed out by address. Pure.
 */
#ifndef GILSCOPE_KEYMAP_H
#define GILSCOPE_KEYMAP_H

#include <stddef.h>
#include <stdint.h>

#define KEYMAP_NONE UINT32_MAX

struct keymap_entry {
	uint64_t a, b;
	uint32_t value; /* KEYMAP_NONE: free */
};

/* Zeroed is empty. */
struct keymap {
	struct keymap_entry *entries;
	size_t capacity; /* 0 or a power of two */
	size_t used;
};

/*
 * A word of this process's own, for the second word of keys whose first is a hash of what somebody else wrote: nobody else can
 * choose such keys for the sake of where they are put.
 */
uint64_t keymap__salt(void);

/* The number stored under (a, b), or KEYMAP_NONE. */
uint32_t keymap__get(const struct keymap *map, uint64_t a, uint64_t b);

/* Stores `value` (below KEYMAP_NONE) under (a, b), replacing what was there. 0 or -ENOMEM. */
int keymap__put(struct keymap *map, uint64_t a, uint64_t b, uint32_t value);

/* Removes (a, b) if it is there. */
void keymap__remove(struct keymap *map, uint64_t a, uint64_t b);

/* Makes it empty, keeping the memory; keymap__free() gives that back. */
void keymap__clear(struct keymap *map);
void keymap__free(struct keymap *map);

#endif
