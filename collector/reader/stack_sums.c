/* SPDX-License-Identifier: GPL-2.0-only */
/* See stack_sums.h. A sum that a program is adding to while it is taken may lose that addition: one of a few milliseconds. */
#include "stack_sums.h"

#include <errno.h>
#include <stdlib.h>

#include "map_batch.h"

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
	int err = make_room(sums, map_size);
	const struct map_batch all = {
		.fd = map_fd, .size = map_size, .key_size = sizeof(*sums->keys), .value_size = sizeof(*sums->values),
		.keys = sums->keys, .values = sums->values,
	};

	sums->n = 0;
	return err ?: map_batch__read(&all, true, &sums->n);
}

void stack_sums__clear(struct stack_sums *sums)
{
	free(sums->keys);
	free(sums->values);
	*sums = (struct stack_sums){0};
}
