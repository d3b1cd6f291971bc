/* SPDX-License-Identifier: GPL-2.0-only */
/* See sink.h. A sink that only remembers: what tests look at instead of a server. */
#include "sink.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct announced {
	char *id;
	struct batch *batch;
};

struct sink_mem {
	struct sink sink;       /* first */
	struct batch **batches;
	size_t batches_n;
	struct announced *announced;
	size_t announced_n;
	struct sink_stats stats;
};

static struct sink_mem *self(struct sink *sink)
{
	return (struct sink_mem *)sink;
}

static int drop(struct sink_mem *m, struct batch *b, int err)
{
	m->stats.batches_dropped++;
	m->stats.points_dropped += batch__points(b);
	batch__free(b);
	return err;
}

static int mem_write(struct sink *sink, struct batch *b)
{
	struct sink_mem *m = self(sink);
	struct batch **grown;

	if (batch__error(b))
		return drop(m, b, batch__error(b));
	grown = reallocarray(m->batches, m->batches_n + 1, sizeof(*grown));
	if (!grown)
		return drop(m, b, -ENOBUFS);
	m->batches = grown;
	m->batches[m->batches_n++] = b;
	m->stats.batches_written++;
	m->stats.commands_written += batch__commands(b);
	m->stats.points_written += batch__points(b);
	return 0;
}

static struct announced *find(const struct sink_mem *m, const char *id)
{
	for (size_t i = 0; i < m->announced_n; i++)
		if (strcmp(m->announced[i].id, id) == 0)
			return &m->announced[i];
	return NULL;
}

static void forget(struct sink_mem *m, struct announced *a)
{
	batch__free(a->batch);
	free(a->id);
	*a = m->announced[--m->announced_n];
}

static int remember(struct sink_mem *m, const char *id, struct batch *b)
{
	struct announced *grown = reallocarray(m->announced, m->announced_n + 1, sizeof(*grown));
	char *copy = strdup(id);

	if (grown)
		m->announced = grown;
	if (!grown || !copy) {
		free(copy);
		return drop(m, b, -ENOBUFS);
	}
	m->announced[m->announced_n++] = (struct announced){.id = copy, .batch = b};
	return 0;
}

static int mem_announce(struct sink *sink, const char *id, struct batch *b)
{
	struct sink_mem *m = self(sink);
	struct announced *before = find(m, id);

	if (b && batch__error(b))
		return drop(m, b, batch__error(b));
	if (before)
		forget(m, before);
	return b ? remember(m, id, b) : 0;
}

static int mem_flush(struct sink *sink, int timeout_ms)
{
	return 0;
}

static void mem_stats(struct sink *sink, struct sink_stats *ret)
{
	*ret = self(sink)->stats;
}

static void mem_close(struct sink *sink)
{
	struct sink_mem *m = self(sink);

	for (size_t i = 0; i < m->batches_n; i++)
		batch__free(m->batches[i]);
	while (m->announced_n > 0)
		forget(m, m->announced);
	free(m->batches);
	free(m->announced);
	free(m);
}

static const struct sink_ops mem_ops = {
	.write = mem_write,
	.announce = mem_announce,
	.flush = mem_flush,
	.stats = mem_stats,
	.close = mem_close,
};

struct sink *sink_mem__new(void)
{
	struct sink_mem *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->sink.ops = &mem_ops;
	m->stats.connected = true;
	return &m->sink;
}

size_t sink_mem__batches(const struct sink *s)
{
	return ((const struct sink_mem *)s)->batches_n;
}

const struct batch *sink_mem__batch(const struct sink *s, size_t i)
{
	return ((const struct sink_mem *)s)->batches[i];
}

const struct batch *sink_mem__announced(const struct sink *s, const char *id)
{
	const struct announced *a = find((const struct sink_mem *)s, id);

	return a ? a->batch : NULL;
}
