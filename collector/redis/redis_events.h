/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Events whose id their stream would not take, as it has a later one already: sent before, and there; or another writer of this
 * host, or a clock that stepped back, was first. The stream itself is asked which.
 */
#ifndef GILSCOPE_REDIS_EVENTS_H
#define GILSCOPE_REDIS_EVENTS_H

#include <stdbool.h>
#include <stddef.h>

#include "collector/base/reason.h"

struct batch;
struct redisContext;

/* Whether an error reply to an XADD says so. */
bool redis_events__is_stale(const char *error_text);

enum event_outcome {
	EVENT_IS_THERE,   /* under its own id, with the same fields */
	EVENT_RENUMBERED, /* now, under a next id of the stream, which the batch has from now on */
	EVENT_REFUSED,
};

/*
 * Command `i` of `b` is the XADD. 0 with *ret_outcome (and `refusal`, the server's words, if it was refused), or as
 * redis_conn__exchange(): what was sent last may have arrived then, and sending the batch again is right.
 */
#define REDIS_REFUSAL_SIZE 160
int redis_events__mend(struct redisContext *c, struct batch *b, size_t i, int timeout_ms, int wake_fd,
		       enum event_outcome *ret_outcome, char refusal[REDIS_REFUSAL_SIZE], struct reason *why);

#endif
