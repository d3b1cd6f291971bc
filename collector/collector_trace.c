/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The part of the collector's loop that carries a trace's events from the ring buffer to whoever makes something of them
 * (trace.h). The buffer is looked at by the clock, not at each event: waking us would cost the target more than the events.
 */
#include "collector_inside.h"

#include <string.h>

#include "collector/base/clock.h"
#include "collector/base/log.h"

#define DRAIN_NS (20 * COLLECTOR_MS)

static void hand_on(void *arg, const struct gil_trace_event *e)
{
	struct collector *c = arg;

	if (!c->traced || e->proc != c->traced->slot || c->opts->trace->event(c->opts->trace->arg, e) || c->stop)
		return;
	c->end = END_DURATION;
	c->stop = true;
}

void tracing__begin(struct collector *c, struct observed *o)
{
	if (!c->opts->trace || c->next_drain)
		return;
	c->traced = o;
	c->next_drain = clock__mono_ns() + DRAIN_NS;
	c->opts->trace->begin(c->opts->trace->arg, c, &o->pub, probes__proc(c->shop.probes, o->slot)->armed_at);
	reader__begin_trace(c->shop.reader, o->slot, hand_on, c);
}

static void drain(struct collector *c)
{
	int err = reader__drain_trace(c->shop.reader, hand_on, c);

	if (err)
		log_warn("the trace's ring buffer could not be read: %s", strerror(-err));
}

void tracing__drain(struct collector *c, uint64_t now)
{
	if (!c->traced || now < c->next_drain)
		return;
	drain(c);
	c->next_drain = clock__mono_ns() + DRAIN_NS;
}

void tracing__lifted(struct collector *c)
{
	if (c->traced)
		drain(c);
}

void tracing__is_back(struct collector *c)
{
	if (c->traced && !c->traced->gone_at)
		reader__gap_in_trace(c->shop.reader, c->traced->slot, hand_on, c);
}

void tracing__end(struct collector *c, uint64_t end_ns)
{
	if (!c->traced)
		return;
	c->opts->trace->end(c->opts->trace->arg, end_ns);
	drain(c);
	reader__end_trace(c->shop.reader, c->traced->slot, end_ns, hand_on, c);
	c->traced = NULL;
	c->next_drain = UINT64_MAX;
}

bool collector__thread_name(struct collector *c, pid_t tid, char name[THREAD_NAME_SIZE])
{
	name[0] = '\0';
	return c->traced && reader__thread_name(c->shop.reader, c->traced->slot, tid, name);
}
