/* SPDX-License-Identifier: GPL-2.0-only */
/* All entries of a BPF map at once, by batches: what readers of whole tables share. */
#ifndef GILSCOPE_MAP_BATCH_H
#define GILSCOPE_MAP_BATCH_H

#include <stdbool.h>
#include <stddef.h>

/* A map of at most `size` entries, with room for as many keys and values. */
struct map_batch {
	int fd;
	size_t size;
	size_t key_size, value_size; /* bytes */
	void *keys, *values;         /* the caller's */
};

/*
 * Copies its entries, and removes them if `take` is set. *ret_n is how many there are, also of those that came before an error.
 * 0 or -errno.
 */
int map_batch__read(const struct map_batch *b, bool take, size_t *ret_n);

#endif
