/* SPDX-License-Identifier: GPL-2.0-only */
/* See tick_sums.h. */
#include "tick_sums.h"

#include <errno.h>
#include <stdlib.h>

#include <bpf/bpf.h>

#include "map_batch.h"

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
	const struct map_batch all = {
		.fd = map_fd, .size = map_size, .key_size = sizeof(*sums->keys), .value_size = sizeof(*sums->values),
		.keys = sums->keys, .values = sums->values,
	};

	sums->n = 0;
	err = err ?: map_batch__read(&all, false, &sums->n);
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
