/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See sink_cluster.h.
 *
 *   write() --> by slot --> lane of its master --> MOVED, READONLY, unreachable: the map is asked for anew, and the lane
 *                            ^                     passes on what is another's by now
 *                            |______________________________|
 *
 * Who has a slot is not known at first: then the first node of the URL is its lane, which asks when it connects. A lane whose
 * master has no slot any more is left with nothing. Locks: the cluster's, then a lane's; a lane's thread calls without its own.
 */
#include "sink_cluster.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collector/base/clock.h"
#include "collector/base/log.h"
#include "redis_cluster.h"

#define DEFAULT_TIMEOUT_MS 5000
#define PARTS_MAX 16 /* of a batch: its process, what all share, its host's events, its family */

struct node_lane {
	struct redis_node node;
	struct sink *sink;
};

struct cluster {
	struct sink sink;
	struct sink_redis_opts opts;
	struct redis_url url;
	struct sink_lane lane;
	pthread_mutex_t lock; /* everything below */
	struct cluster_map map;
	struct node_lane lanes[CLUSTER_MASTERS_MAX];
	size_t lanes_n;
	uint64_t passed;      /* batches from lane to lane */
	uint64_t changes;     /* of the map */
	uint64_t batches_lost, points_lost; /* that found no lane */
	unsigned int lookers; /* lanes' threads that ask for the map */
	bool closing, closed; /* closed: the last of them frees it */
};

static void cluster__free(struct cluster *c);

/* ---- lanes; under the lock ---- */

static struct sink *open_lane(struct cluster *c, const struct redis_node *node)
{
	struct sink_redis_opts opts = c->opts;
	struct redis_url url;
	struct reason why;
	struct sink *sink = NULL;

	if (c->lanes_n == CLUSTER_MASTERS_MAX)
		return NULL;
	cluster_url__of(&c->url, node, &url);
	opts.url = &url;
	opts.lane = &c->lane;
	if (sink_redis__new(&opts, &sink, &why))
		log_warn("%s", why.text);
	else
		c->lanes[c->lanes_n++] = (struct node_lane){.node = *node, .sink = sink};
	explicit_bzero(&url, sizeof(url));
	return sink;
}

static struct sink *lane_to(struct cluster *c, const struct redis_node *node)
{
	for (size_t i = 0; i < c->lanes_n; i++)
		if (redis_node__same(&c->lanes[i].node, node))
			return c->lanes[i].sink;
	return open_lane(c, node);
}

static struct sink *lane_of(struct cluster *c, unsigned int slot)
{
	uint16_t owner = c->map.owner[slot];

	return lane_to(c, owner == CLUSTER_NOBODY ? &c->url.nodes[0] : &c->map.nodes[owner]);
}

static const struct redis_node *node_of(const struct cluster *c, const struct sink *self)
{
	for (size_t i = 0; i < c->lanes_n; i++)
		if (c->lanes[i].sink == self)
			return &c->lanes[i].node;
	return NULL;
}

/* ---- what lanes ask ---- */

static bool same_map(const struct cluster_map *a, const struct cluster_map *b)
{
	for (int slot = 0; slot < CLUSTER_SLOTS; slot++) {
		uint16_t x = a->owner[slot], y = b->owner[slot];

		if ((x == CLUSTER_NOBODY) != (y == CLUSTER_NOBODY) ||
		    (x != CLUSTER_NOBODY && !redis_node__same(&a->nodes[x], &b->nodes[y])))
			return false;
	}
	return a->nodes_n == b->nodes_n;
}

static void look(void *arg, struct sink *self, struct redisContext *conn, int wake_fd)
{
	struct cluster *c = arg;
	struct cluster_map *map = malloc(2 * sizeof(*map)), *known = map + 1;
	struct redis_node asked = {.port = 0};
	struct reason why;
	bool last;
	int err = map ? -EAGAIN : -ENOMEM;

	pthread_mutex_lock(&c->lock);
	c->lookers++;
	if (map && node_of(c, self))
		asked = *node_of(c, self);
	if (map)
		*known = c->map;
	pthread_mutex_unlock(&c->lock);
	if (map && conn)
		err = cluster_map__ask(conn, &asked, c->opts.timeout_ms, wake_fd, map, &why);
	if (map && err && err != -ECANCELED)
		err = cluster_map__find(&c->url, known, c->opts.timeout_ms, wake_fd, map, &why);
	pthread_mutex_lock(&c->lock);
	if (!err && !same_map(map, &c->map)) {
		c->changes++;
		c->map = *map;
	}
	last = --c->lookers == 0 && c->closed;
	pthread_mutex_unlock(&c->lock);
	free(map);
	if (last)
		cluster__free(c);
}

/* The slot of command i, or of the transaction that it begins. */
static unsigned int slot_at(const struct batch *b, size_t i)
{
	for (; i < batch__commands(b); i++) {
		const char *const *argv;
		const size_t *lens;
		int argc = batch__get(b, i, &argv, &lens), at = cluster_slot__key_at(argc, argv);

		if (at)
			return cluster_slot__of(argv[at], lens[at]);
	}
	return 0;
}

static bool pass(void *arg, struct sink *self, struct batch *b)
{
	struct cluster *c = arg;
	struct sink *other;

	pthread_mutex_lock(&c->lock);
	other = c->closing ? NULL : lane_of(c, slot_at(b, 0));
	if (other && other != self) {
		c->passed++;
		sink__write(other, b);
	}
	pthread_mutex_unlock(&c->lock);
	return other && other != self;
}

static bool pass_announce(void *arg, struct sink *self, const char *id, struct batch *b)
{
	struct cluster *c = arg;
	struct sink *other;

	pthread_mutex_lock(&c->lock);
	other = c->closing ? NULL : lane_of(c, slot_at(b, 0));
	if (other && other != self) {
		c->passed++;
		sink__announce(other, id, b);
	}
	pthread_mutex_unlock(&c->lock);
	return other && other != self;
}

/* ---- splitting ---- */

/* The parts of a batch, one per slot; a transaction is in the slot of its first key. */
struct parts {
	unsigned int slots[PARTS_MAX];
	struct batch *batches[PARTS_MAX];
	size_t n;
};

static struct batch *part_for(struct parts *p, unsigned int slot)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->slots[i] == slot)
			return p->batches[i];
	if (p->n == PARTS_MAX)
		return NULL;
	p->slots[p->n] = slot;
	p->batches[p->n] = batch__new();
	return p->batches[p->n++];
}

static bool split(const struct batch *b, struct parts *p)
{
	struct batch *part = NULL;
	bool within = false;

	for (size_t i = 0; i < batch__commands(b); i++) {
		const char *const *argv;
		const size_t *lens;

		batch__get(b, i, &argv, &lens);
		if (!within)
			part = part_for(p, slot_at(b, i));
		if (!part)
			return false;
		batch__copy(part, b, i);
		within = (within || strcmp(argv[0], "MULTI") == 0) && strcmp(argv[0], "EXEC") != 0;
	}
	for (size_t i = 0; i < p->n; i++) {
		batch__set_points(p->batches[i], batch__points(p->batches[i]), batch__made_ms(b));
		if (batch__error(p->batches[i]))
			return false;
	}
	return true;
}

static void drop_parts(struct parts *p)
{
	for (size_t i = 0; i < p->n; i++)
		batch__free(p->batches[i]);
}

/* ---- the sink's operations ---- */

static int cluster__write(struct sink *sink, struct batch *b)
{
	struct cluster *c = (struct cluster *)sink;
	struct parts parts = {.n = 0};
	int err = 0;

	pthread_mutex_lock(&c->lock);
	if (batch__error(b) || !split(b, &parts)) {
		c->batches_lost++;
		c->points_lost += batch__points(b);
		drop_parts(&parts);
		parts.n = 0;
		err = -ENOBUFS;
	}
	for (size_t i = 0; i < parts.n; i++) {
		struct sink *lane = lane_of(c, parts.slots[i]);

		if (lane) {
			err = sink__write(lane, parts.batches[i]) ?: err;
			continue;
		}
		c->batches_lost++;
		c->points_lost += batch__points(parts.batches[i]);
		batch__free(parts.batches[i]);
		err = -ENOBUFS;
	}
	pthread_mutex_unlock(&c->lock);
	batch__free(b);
	return err;
}

static void forget_part(struct cluster *c, const char *id, size_t nth, const struct sink *but)
{
	char name[256];

	snprintf(name, sizeof(name), "%s %zu", id, nth);
	for (size_t i = 0; i < c->lanes_n; i++)
		if (c->lanes[i].sink != but)
			sink__announce(c->lanes[i].sink, name, NULL);
}

static int announce_part(struct cluster *c, const char *id, size_t nth, unsigned int slot, struct batch *part)
{
	struct sink *lane = lane_of(c, slot);
	char name[256];

	snprintf(name, sizeof(name), "%s %zu", id, nth);
	if (lane)
		return sink__announce(lane, name, part);
	batch__free(part);
	return -ENOMEM;
}

/* Part by part; where a part was told to another before, it is forgotten there. */
static int cluster__announce(struct sink *sink, const char *id, struct batch *b)
{
	struct cluster *c = (struct cluster *)sink;
	struct parts parts = {.n = 0};
	int err = 0;

	pthread_mutex_lock(&c->lock);
	if (b && (batch__error(b) || !split(b, &parts))) {
		drop_parts(&parts);
		parts.n = 0;
		err = -ENOMEM;
	}
	for (size_t i = 0; i < PARTS_MAX && !err; i++) {
		forget_part(c, id, i, i < parts.n ? lane_of(c, parts.slots[i]) : NULL);
		if (i < parts.n)
			err = announce_part(c, id, i, parts.slots[i], parts.batches[i]);
	}
	pthread_mutex_unlock(&c->lock);
	batch__free(b);
	return err;
}

/* The i-th lane, NULL: there are no more. */
static struct sink *lane_at(struct cluster *c, size_t i, uint64_t *ret_passed)
{
	struct sink *lane;

	pthread_mutex_lock(&c->lock);
	lane = i < c->lanes_n ? c->lanes[i].sink : NULL;
	*ret_passed = c->passed;
	pthread_mutex_unlock(&c->lock);
	return lane;
}

static int flush_lanes(struct cluster *c, int64_t end_ms)
{
	uint64_t passed;
	struct sink *lane;
	int err = 0;

	for (size_t i = 0; !err && (lane = lane_at(c, i, &passed)); i++) {
		int64_t left = end_ms - (int64_t)(clock__mono_ns() / 1000000);

		err = sink__flush(lane, left > 0 ? (int)left : 0);
	}
	return err;
}

/* Again, as long as one passes on to another that was empty a moment ago. */
static int cluster__flush(struct sink *sink, int timeout_ms)
{
	struct cluster *c = (struct cluster *)sink;
	int64_t end_ms = (int64_t)(clock__mono_ns() / 1000000) + timeout_ms;
	uint64_t before, after;
	int err;

	do {
		lane_at(c, 0, &before);
		err = flush_lanes(c, end_ms);
		lane_at(c, 0, &after);
	} while (!err && before != after);
	return err;
}

static void add_stats(struct sink_stats *sum, const struct sink_stats *s)
{
	sum->batches_written += s->batches_written;
	sum->commands_written += s->commands_written;
	sum->points_written += s->points_written;
	sum->batches_dropped += s->batches_dropped;
	sum->points_dropped += s->points_dropped;
	sum->points_unsure += s->points_unsure;
	sum->commands_refused += s->commands_refused;
	sum->keys_lost += s->keys_lost;
	sum->keys_known |= s->keys_known;
	sum->keys_evicted += s->keys_evicted;
	sum->events_renumbered += s->events_renumbered;
	sum->reconnects += s->reconnects;
	sum->queued_bytes += s->queued_bytes;
	sum->queued_batches += s->queued_batches;
	sum->connected |= s->connected;
	if (!sum->policy[0])
		memcpy(sum->policy, s->policy, sizeof(sum->policy));
	if (!sum->trouble[0])
		memcpy(sum->trouble, s->trouble, sizeof(sum->trouble));
}

/* What one node is in trouble with is told; to whom slots came is a reason to announce all anew. */
static void cluster__stats(struct sink *sink, struct sink_stats *ret)
{
	struct cluster *c = (struct cluster *)sink;
	struct sink_stats s;

	pthread_mutex_lock(&c->lock);
	*ret = (struct sink_stats){
		.batches_dropped = c->batches_lost, .points_dropped = c->points_lost, .reconnects = c->changes,
	};
	for (size_t i = 0; i < c->lanes_n; i++) {
		sink__stats(c->lanes[i].sink, &s);
		add_stats(ret, &s);
	}
	pthread_mutex_unlock(&c->lock);
}

static void cluster__free(struct cluster *c)
{
	pthread_mutex_destroy(&c->lock);
	explicit_bzero(&c->url, sizeof(c->url));
	free(c);
}

static void cluster__close(struct sink *sink)
{
	struct cluster *c = (struct cluster *)sink;
	bool last;

	pthread_mutex_lock(&c->lock);
	c->closing = true;
	pthread_mutex_unlock(&c->lock);
	for (size_t i = 0; i < c->lanes_n; i++)
		sink__close(c->lanes[i].sink);
	pthread_mutex_lock(&c->lock);
	c->closed = true;
	last = c->lookers == 0;
	pthread_mutex_unlock(&c->lock);
	if (last)
		cluster__free(c);
}

static const struct sink_ops cluster_ops = {
	.write = cluster__write,
	.announce = cluster__announce,
	.flush = cluster__flush,
	.stats = cluster__stats,
	.close = cluster__close,
};

int sink_cluster__new(const struct sink_redis_opts *opts, struct sink **ret, struct reason *why)
{
	struct cluster *c = calloc(1, sizeof(*c));

	if (!c)
		return reason__set(why, -ENOMEM, "sink: out of memory");
	c->sink.ops = &cluster_ops;
	c->opts = *opts;
	c->url = *opts->url;
	c->opts.url = &c->url;
	if (c->opts.timeout_ms <= 0)
		c->opts.timeout_ms = DEFAULT_TIMEOUT_MS;
	c->lane = (struct sink_lane){.arg = c, .look = look, .pass = pass, .pass_announce = pass_announce};
	memset(c->map.owner, 0xff, sizeof(c->map.owner));
	pthread_mutex_init(&c->lock, NULL);
	*ret = &c->sink;
	return 0;
}
