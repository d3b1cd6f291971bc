/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where batches go. The collector only ever calls these; none of them blocks on a network or a disk.
 */
#ifndef GILSCOPE_SINK_H
#define GILSCOPE_SINK_H

#include <stdint.h>

#include "collector/schema/batch.h"

struct sink;

struct sink_stats {
	uint64_t batches_written, commands_written, points_written;
	uint64_t batches_dropped, points_dropped; /* buffer full or too old: the last resort */
	uint64_t points_unsure;      /* acknowledged by a master that was replaced, and not kept: the new one may lack them */
	uint64_t commands_refused;   /* error replies that concern one key only (WRONGTYPE ...) */
	uint64_t keys_lost;          /* of the history, seen to be made anew though they were kept: evicted, deleted */
	bool keys_known;             /* the server can tell of them (Redis 7), and has been asked */
	uint64_t keys_evicted;       /* anybody's, by the server, while it was looked at */
	char policy[32];             /* maxmemory-policy where it may throw away any of the history, else "" */
	uint64_t events_renumbered;  /* whose id the stream would not take: they stand under its next one */
	uint64_t reconnects;
	uint64_t queued_bytes, queued_batches;
	bool connected;
	char trouble[256];           /* what is wrong now, "" if nothing; cleaned */
};

struct sink_ops {
	/* Takes ownership of `b` in any case. 0, or -ENOBUFS if it (or an older one) had to be dropped. */
	int (*write)(struct sink *sink, struct batch *b);
	/* What must be sent after each (re)connect for process `id`, before anything else; replaces the
	 * previous one of that id; NULL forgets it. Takes ownership. */
	int (*announce)(struct sink *sink, const char *id, struct batch *b);
	/* Waits until everything is written, at most `timeout_ms`. 0 or -ETIMEDOUT. */
	int (*flush)(struct sink *sink, int timeout_ms);
	void (*stats)(struct sink *sink, struct sink_stats *ret);
	/* Stops at once; what is still queued is counted as dropped. Frees the sink. */
	void (*close)(struct sink *sink);
};

/* First member of every sink. */
struct sink {
	const struct sink_ops *ops;
};

static inline int sink__write(struct sink *s, struct batch *b) { return s->ops->write(s, b); }
static inline int sink__announce(struct sink *s, const char *id, struct batch *b)
{
	return s->ops->announce(s, id, b);
}
static inline int sink__flush(struct sink *s, int timeout_ms) { return s->ops->flush(s, timeout_ms); }
static inline void sink__stats(struct sink *s, struct sink_stats *ret) { s->ops->stats(s, ret); }
static inline void sink__close(struct sink *s) { if (s) s->ops->close(s); }

#endif
