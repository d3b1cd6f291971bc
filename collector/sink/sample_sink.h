/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where samples go as they are measured, beside the Redis commands that are made of them (sink.h). None of these calls blocks on
 * a network or a disk.
 */
#ifndef GILSCOPE_SAMPLE_SINK_H
#define GILSCOPE_SAMPLE_SINK_H

#include <stddef.h>

#include "collector/schema/schema.h"
#include "sink.h"

struct sample_sink;

struct sample_sink_ops {
	/* A process that is observed from now on. What `who` points to is copied. */
	void (*begin)(struct sample_sink *sink, const char *id, const struct proc_ident *who);
	/* One of its base samples. */
	void (*sample)(struct sample_sink *sink, const char *id, const struct proc_sample *s);
	/* It is observed no more. Legal for an id that never began. */
	void (*end)(struct sample_sink *sink, const char *id);
	/* All samples of an interval are in. `history`: how storing goes; NULL: nothing is stored. 0 or -errno. */
	int (*interval)(struct sample_sink *sink, const struct sink_stats *history);
	/* Frees the sink. */
	void (*close)(struct sample_sink *sink);
};

/* First member of every sample sink. */
struct sample_sink {
	const struct sample_sink_ops *ops;
};

/* NULL is legal for all of these: nobody wants samples. */
static inline void sample_sink__begin(struct sample_sink *s, const char *id, const struct proc_ident *who)
{
	if (s)
		s->ops->begin(s, id, who);
}

static inline void sample_sink__sample(struct sample_sink *s, const char *id, const struct proc_sample *sample)
{
	if (s)
		s->ops->sample(s, id, sample);
}

static inline void sample_sink__end(struct sample_sink *s, const char *id)
{
	if (s)
		s->ops->end(s, id);
}

static inline int sample_sink__interval(struct sample_sink *s, const struct sink_stats *history)
{
	return s ? s->ops->interval(s, history) : 0;
}

static inline void sample_sink__close(struct sample_sink *s)
{
	if (s)
		s->ops->close(s);
}

#endif
