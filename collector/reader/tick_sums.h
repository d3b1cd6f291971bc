/* SPDX-License-Identifier: GPL-2.0-only */
/* The programs' ticks by stack: those of intervals that are over, taken out of the kernel. */
#ifndef GILSCOPE_TICK_SUMS_H
#define GILSCOPE_TICK_SUMS_H

#include <stddef.h>
#include <stdint.h>

#include "bpf/gil_types.h"

/* Zeroed is empty. */
struct tick_sums {
	struct gil_tick_key *keys;
	struct gil_tick_sum *values;
	size_t n, room;
};

/*
 * Moves what belongs to intervals that began before `bound` (ns) into `sums`, whose last contents are gone; of the running
 * interval all stays in the table, where programs add to it. 0, -ENOMEM or -errno.
 */
int tick_sums__take(struct tick_sums *sums, int map_fd, size_t map_size, uint64_t bound);
void tick_sums__clear(struct tick_sums *sums);

#endif
