/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Redis Cluster: which slot a key has, and which master has a slot, as the nodes say (CLUSTER SLOTS). Who writes to each of them
 * is sink_cluster.c, who reads query.c.
 */
#ifndef GILSCOPE_REDIS_CLUSTER_H
#define GILSCOPE_REDIS_CLUSTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "collector/base/reason.h"
#include "redis_conn.h"

#define CLUSTER_SLOTS 16384
#define CLUSTER_MASTERS_MAX 256
#define CLUSTER_NOBODY UINT16_MAX

struct cluster_map {
	struct redis_node nodes[CLUSTER_MASTERS_MAX];
	uint16_t nodes_n;
	uint16_t owner[CLUSTER_SLOTS]; /* place in nodes[], or CLUSTER_NOBODY */
};

/* The slot of a key: of what stands between its first { and the next }, if that is not nothing, else of the whole. */
unsigned int cluster_slot__of(const char *key, size_t len);

/* Where in a command its key stands, 0: it has none (MULTI, PING). */
int cluster_slot__key_at(int argc, const char *const *argv);

struct redisReply;
/* CLUSTER SLOTS; `asked`: who answered, for endpoints that are empty. 0 or -EPROTO, `map` undefined then. Public for tests. */
int cluster_map__read(const struct redisReply *r, const struct redis_node *asked, struct cluster_map *map);

/* Asks the node behind `c`. 0 or -errno. */
int cluster_map__ask(struct redisContext *c, const struct redis_node *asked, int timeout_ms, int wake_fd,
		     struct cluster_map *map, struct reason *why);

/* Asks the masters of `known` (NULL: none), then the URL's nodes, until one answers. 0 or -errno. */
int cluster_map__find(const struct redis_url *url, const struct cluster_map *known, int timeout_ms, int wake_fd,
		      struct cluster_map *map, struct reason *why);

/*
 * Makes a plain URL of a node (redis://, rediss://) that of its cluster, if that is what the server answers as. One that does not
 * answer within timeout_ms, or may not be asked, stays what it is.
 */
void cluster_url__recognise(struct redis_url *url, int timeout_ms);

/* The URL of one node. */
void cluster_url__of(const struct redis_url *cluster, const struct redis_node *node, struct redis_url *ret);

/* Who an error MOVED or ASK points at ("ASK 1234 host:port"); an empty host is `asked`. False: neither. */
bool cluster_redirect__read(const char *error_text, const struct redis_node *asked, struct redis_node *ret);

static inline bool redis_node__same(const struct redis_node *a, const struct redis_node *b)
{
	const char *s = a->host, *t = b->host;

	while (*s && *s == *t)
		s++, t++;
	return *s == *t && a->port == b->port;
}

#endif
