/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who the master is, by Redis Sentinel: each sentinel of the URL is asked until more than half of them say the same. Fewer could
 * be the side of a network that was cut off, with a master that the others have replaced.
 */
#ifndef GILSCOPE_REDIS_SENTINEL_H
#define GILSCOPE_REDIS_SENTINEL_H

#include "collector/base/reason.h"

struct redis_node;
struct redis_url;

/* 0; -EAGAIN: no majority; -ENOENT: the majority knows no master of that name; -ECANCELED (wake_fd). */
int redis_sentinel__ask(const struct redis_url *url, int timeout_ms, int wake_fd, struct redis_node *ret_master,
			struct reason *why);

#endif
