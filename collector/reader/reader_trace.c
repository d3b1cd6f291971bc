/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The trace: single events out of their ring buffer, and who holds each GIL when recording begins and ends.
 *
 * Nothing is counted here. Includes libbpf for the ring.
 */
#include "reader_inside.h"

#include <errno.h>

#include <bpf/libbpf.h>

#include "gil_life.h"

static int take_event(void *ctx, void *data, size_t size)
{
	const struct trace_side *trace = ctx;

	if (size >= sizeof(struct gil_trace_event))
		trace->on_event(trace->on_event_arg, data);
	return 0;
}

int reader_trace__open(struct reader *r, int map_fd)
{
	r->trace.ring = ring_buffer__new(map_fd, take_event, &r->trace, NULL);
	return r->trace.ring ? 0 : -errno;
}

void reader_trace__close(struct reader *r)
{
	ring_buffer__free(r->trace.ring);
	r->trace.ring = NULL;
}

static void tell_of_gils(struct reader *r, uint32_t slot, struct gil_trace_event event, reader_trace_fn *on_event, void *arg)
{
	const struct gil_proc *proc = probes__proc(r->probes, slot);
	uint64_t at = event.at;
	uint32_t inside;

	event.proc = (uint16_t)slot;
	for (uint32_t i = 0; i < GIL_PER_PROC; i++) {
		if (!gil_life__is_used(proc->gil_addr[i]))
			continue;
		event.gil = (uint32_t)proc->gil_owner[i].id;
		event.at = at > proc->gil_owner[i].since ? at : proc->gil_owner[i].since;
		event.tid = 0;
		if (event.kind == GIL_TRACE_START && r->watches[slot].seed[i])
			event.tid = (uint32_t)reader_names__tid_of_tstate(r, slot, r->watches[slot].seed[i], &inside);
		event.lost = event.kind == GIL_TRACE_START ? 0 : probes__gil(r->probes, slot, i)->trace_lost;
		on_event(arg, &event);
	}
}

void reader__begin_trace(struct reader *r, uint32_t slot, reader_trace_fn *on_event, void *arg)
{
	tell_of_gils(r, slot, (struct gil_trace_event){
		.kind = GIL_TRACE_START, .at = probes__proc(r->probes, slot)->armed_at,
	}, on_event, arg);
}

void reader__gap_in_trace(struct reader *r, uint32_t slot, reader_trace_fn *on_event, void *arg)
{
	tell_of_gils(r, slot, (struct gil_trace_event){
		.kind = GIL_TRACE_GAP, .at = probes__proc(r->probes, slot)->armed_at,
	}, on_event, arg);
}

int reader__drain_trace(struct reader *r, reader_trace_fn *on_event, void *arg)
{
	int n;

	r->trace.on_event = on_event;
	r->trace.on_event_arg = arg;
	n = ring_buffer__consume(r->trace.ring);
	return n < 0 ? n : 0;
}

void reader__end_trace(struct reader *r, uint32_t slot, uint64_t end_ns, reader_trace_fn *on_event, void *arg)
{
	tell_of_gils(r, slot, (struct gil_trace_event){.kind = GIL_TRACE_END, .at = end_ns}, on_event, arg);
}
