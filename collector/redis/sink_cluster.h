/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef GILSCOPE_SINK_CLUSTER_H
#define GILSCOPE_SINK_CLUSTER_H

#include "sink_redis.h"

/*
 * A sink for a Redis Cluster (url->cluster): batches are split by slot when they are written, and each master has a sink of its
 * own (sink_redis.h), with its queue, its connection and its pauses. Bounds are those of each.
 */
int sink_cluster__new(const struct sink_redis_opts *opts, struct sink **ret, struct reason *why);

#endif
