/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef GILSCOPE_SINK_REDIS_H
#define GILSCOPE_SINK_REDIS_H

#include <stdint.h>

#include "collector/base/reason.h"
#include "collector/sink/sink.h"

/* Writes to Redis on a thread of its own behind a bounded queue. */
struct redis_url;
struct sink_redis_opts {
	const struct redis_url *url;  /* copied */
	uint64_t max_bytes;           /* of the queue; default 64 MiB */
	uint32_t max_age_s;           /* default 900 */
	uint32_t commands_per_batch;  /* pipelined before replies are read: 200..1000, default 500 */
	int timeout_ms;               /* connect and per-reply; default 5000 */
	/* Called on the sink's thread before each attempt to connect; if it fails there is none, and `why` is the trouble. */
	int (*before_connect)(void *arg, struct reason *why);
	void *arg;
};
int sink_redis__new(const struct sink_redis_opts *opts, struct sink **ret, struct reason *why);

#endif
