/* SPDX-License-Identifier: GPL-2.0-only */
/* See stack_sums.h. A sum that a program is adding to while it is taken may lose that addition: one of a few milliseconds. */
#include "stack_sums.h"

#include <errno.h>
#include <stdlib.h>

#include <bpf/bpf.h>

static int make_room(struct stack_sums *sums, size_t n)
{
	struct gil_stack_key *keys;
	struct gil_stack_sum *values;

	if (sums->room >= n)
		return 0;
	keys = reallocarray(sums->keys, n, sizeof(*keys));
	if (keys)
		sums->keys = keys;
	values = reallocarray(sums->values, n, sizeof(*values));
	if (values)
		sums->values = values;
	if (!keys || !values)
		return -ENOMEM;
	sums->room = n;
	return 0;
}

int stack_sums__take(struct stack_sums *sums, int map_fd, size_t map_size)
{
	__u32 batch, got;
	bool first = true;
	int err;

	sums->n = 0;
	err = make_room(sums, map_size);
	while (!err && sums->n < map_size) {
		got = (__u32)(map_size - sums->n);
		err = bpf_map_lookup_and_delete_batch(map_fd, first ? NULL : &batch, &batch, sums->keys + sums->n,
						      sums->values + sums->n, &got, NULL);
		if (err && errno != ENOENT)
			return -errno;
		sums->n += got;
		first = false;
	}
	return err == -ENOMEM ? err : 0;
}

void stack_sums__clear(struct stack_sums *sums)
{
	free(sums->keys);
	free(sums->values);
	*sums = (struct stack_sums){0};
}
