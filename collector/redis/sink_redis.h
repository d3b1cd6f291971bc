/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef GILSCOPE_SINK_REDIS_H
#define GILSCOPE_SINK_REDIS_H

#include <stdint.h>

#include "collector/base/reason.h"
#include "collector/sink/sink.h"

/* Writes to Redis on a thread of its own behind a bounded queue. */
struct redis_url;
struct redisContext;

/*
 * The sink of one node of a cluster: what it asks of the cluster (sink_cluster.c), on its own thread. `self` is the asking sink.
 */
struct sink_lane {
	void *arg;
	/* Slots may have moved. `c` leads to this node; NULL: it can't be reached. Given up when wake_fd is readable. */
	void (*look)(void *arg, struct sink *self, struct redisContext *c, int wake_fd);
	/* Takes `b` over if another node has its slot by now. False: it stays. */
	bool (*pass)(void *arg, struct sink *self, struct batch *b);
	/* The same with an announce. */
	bool (*pass_announce)(void *arg, struct sink *self, const char *id, struct batch *b);
};

struct sink_redis_opts {
	const struct redis_url *url;  /* copied */
	uint64_t max_bytes;           /* of the queue; default 64 MiB */
	uint32_t max_age_s;           /* default 900 */
	uint32_t commands_per_batch;  /* pipelined before replies are read: 200..1000, default 500 */
	int timeout_ms;               /* connect and per-reply; default 5000 */
	const struct sink_lane *lane; /* NULL: no cluster; else outlives it */
	/* Called on the sink's thread before each attempt to connect; if it fails there is none, and `why` is the trouble. */
	int (*before_connect)(void *arg, struct reason *why);
	void *arg;
};
int sink_redis__new(const struct sink_redis_opts *opts, struct sink **ret, struct reason *why);

#endif
