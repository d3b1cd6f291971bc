/* SPDX-License-Identifier: GPL-2.0-only */
/* See map_batch.h. */
#include "map_batch.h"

#include <errno.h>

#include <bpf/bpf.h>

int map_batch__read(const struct map_batch *b, bool take, size_t *ret_n)
{
	__u32 batch, got;
	int err = 0;

	*ret_n = 0;
	while (!err && *ret_n < b->size) {
		void *from = *ret_n ? &batch : NULL;
		void *keys = (char *)b->keys + *ret_n * b->key_size, *values = (char *)b->values + *ret_n * b->value_size;

		got = (__u32)(b->size - *ret_n);
		err = take ? bpf_map_lookup_and_delete_batch(b->fd, from, &batch, keys, values, &got, NULL) :
			     bpf_map_lookup_batch(b->fd, from, &batch, keys, values, &got, NULL);
		if (err && errno != ENOENT)
			return -errno;
		*ret_n += got;
	}
	return 0;
}
