/* SPDX-License-Identifier: GPL-2.0-only */
/* The programs' sums of time by stack: taken out of the kernel once per interval. */
#ifndef GILSCOPE_STACK_SUMS_H
#define GILSCOPE_STACK_SUMS_H

#include <stdbool.h>
#include <stddef.h>

#include "bpf/gil_types.h"

/* All that the table had. Zeroed is empty. */
struct stack_sums {
	struct gil_stack_key *keys;
	struct gil_stack_sum *values;
	size_t n, room;
};

/* Empties the table into `sums`, whose last contents are gone. 0, -ENOMEM or -errno (what was taken until then is there). */
int stack_sums__take(struct stack_sums *sums, int map_fd, size_t map_size);
void stack_sums__clear(struct stack_sums *sums);

#endif
