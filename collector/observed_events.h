/* SPDX-License-Identifier: GPL-2.0-only */
/* What happens to an observed process, into the streams of events: schema_events.h. Without a sink nothing is done. */
#ifndef GILSCOPE_OBSERVED_EVENTS_H
#define GILSCOPE_OBSERVED_EVENTS_H

#include <stdint.h>

#include "bpf/gil_types.h"
#include "collector/series/long_event.h"
#include "collector/series/sample.h"

struct batch;
struct observed;
struct sink_stats;
struct workshop;

/* Losses that were not told yet: a stream is told of a kind of them at once, then once a minute at most. */
struct untold {
	uint64_t lost[GIL_LOSS_COUNT];
	int64_t told_ms[GIL_LOSS_COUNT]; /* 0: never */
};

void observed_events__begin(struct observed *o, struct workshop *shop);
void observed_events__mode(struct observed *o, struct workshop *shop, enum gil_mode before);
void observed_events__alert(struct observed *o, struct workshop *shop, const char *text);

/* A long hold or wait; `t_ms`: its moment on the wall clock. */
void observed_events__long(struct observed *o, struct workshop *shop, const struct long_event *e, int64_t t_ms);

/* Into the batch of a sample: what was lost in it; and what the sink has lost, which the first process tells that comes. */
int observed_events__losses(struct observed *o, struct workshop *shop, const struct proc_sample *s,
			    const struct sink_stats *stats, struct batch *b);

/* Into the last batch: losses that were not told, and the end. */
int observed_events__end(struct observed *o, struct workshop *shop, int64_t end_ms, const char *how, struct batch *b);

#endif
