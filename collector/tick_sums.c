/* SPDX-License-Identifier: GPL-2.0-only */
/* See tick_sums.h. */
#include "tick_sums.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include <bpf/bpf.h>

static int make_room(struct tick_sums *sums, size_t n)
{
	struct gil_tick_key *keys;
	struct gil_tick_sum *values;

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

static int read_all(struct tick_sums *sums, int map_fd, size_t map_size)
{
	__u32 batch, got;
	bool first = true;
	int err = 0;

	while (!err && sums->n < map_size) {
		got = (__u32)(map_size - sums->n);
		err = bpf_map_lookup_batch(map_fd, first ? NULL : &batch, &batch, sums->keys + sums->n,
					   sums->values + sums->n, &got, NULL);
		if (err && errno != ENOENT)
			return -errno;
		sums->n += got;
		first = false;
	}
	return 0;
}

/* No program adds to these any more. */
static void keep_ended(struct tick_sums *sums, uint64_t bound)
{
	size_t kept = 0;

	for (size_t i = 0; i < sums->n; i++) {
		if (sums->keys[i].bound >= bound)
			continue;
		sums->keys[kept] = sums->keys[i];
		sums->values[kept++] = sums->values[i];
	}
	sums->n = kept;
}

int tick_sums__take(struct tick_sums *sums, int map_fd, size_t map_size, uint64_t bound)
{
	int err = make_room(sums, map_size);
	__u32 ended;

	sums->n = 0;
	err = err ?: read_all(sums, map_fd, map_size);
	if (err)
		return err;
	keep_ended(sums, bound);
	ended = (__u32)sums->n;
	return !ended || !bpf_map_delete_batch(map_fd, sums->keys, &ended, NULL) ? 0 : -errno;
}

void tick_sums__clear(struct tick_sums *sums)
{
	free(sums->keys);
	free(sums->values);
	*sums = (struct tick_sums){0};
}
