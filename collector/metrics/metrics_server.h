/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The process that serves metrics: a child of its own, without a capability and, where gilscope is root, without being root. It
 * knows nothing but the finished text that it is given: GET and HEAD of /metrics and of /healthz, one request per connection, 8
 * connections at once, each for 5 s at most.
 *
 * Text that has not been renewed for three intervals and 5 s is not served: better no number than an old one (503).
 */
#ifndef GILSCOPE_METRICS_SERVER_H
#define GILSCOPE_METRICS_SERVER_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "collector/base/reason.h"

struct metrics_address {
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	};
	socklen_t len;
};

/* "9464" (loopback only), "192.0.2.1:9464", "[::]:9464": numbers, no names. 0, or -EINVAL with the sentence. */
int metrics_address__parse(const char *text, struct metrics_address *ret, struct reason *why);

/* Whether a client that sent this Accept header (NULL: none) gets OpenMetrics rather than text 0.0.4. */
bool metrics_accept__is_open(const char *accept);

struct metrics_server;

/*
 * Listens and starts the child. Call it before any thread is started. `where` gets "http://127.0.0.1:9464/metrics". 0, or -errno
 * with the reason: the address is taken, the library is missing.
 */
#define METRICS_WHERE_SIZE 80
int metrics_server__start(const struct metrics_address *at, uint64_t interval_ns, struct metrics_server **ret,
			  char where[METRICS_WHERE_SIZE], struct reason *why);

/* Hands on the next text, in both formats. Does not wait: a child that is behind misses it. 0, or -errno: it is gone. */
int metrics_server__give(struct metrics_server *s, const char *open, size_t open_len, const char *text, size_t text_len);

/* Ends the child. NULL is legal. */
void metrics_server__stop(struct metrics_server *s);

#endif
