/* SPDX-License-Identifier: GPL-2.0-only */
/* What a Redis server says of its memory: whether it throws keys away when that is full, and how many it has thrown away. */
#ifndef GILSCOPE_REDIS_SERVER_H
#define GILSCOPE_REDIS_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "redis_conn.h"

struct redis_server {
	char policy[32];       /* maxmemory-policy; "": not known, and nothing else is */
	uint64_t max_bytes;    /* 0: no limit */
	uint64_t evicted_keys; /* since its start */
};

/*
 * Asks for it (INFO). A server that does not answer that (an ACL, a proxy) is no error: the policy is "" then. 0 or the error of
 * redis_conn__exchange(), after which the connection is good for nothing.
 */
int redis_server__look(struct redisContext *c, int timeout_ms, int wake_fd, struct redis_server *ret, struct reason *why);

/*
 * Whether it may throw away any of the history. volatile-ttl, which gilscope's own store has, is none of these policies: what is
 * kept for the shortest time goes first.
 */
bool redis_server__evicts(const struct redis_server *s);

/* What to do about it. */
#define REDIS_SERVER_ADVICE "give the history a Redis of its own, or set maxmemory-policy to noeviction or volatile-ttl"

#endif
