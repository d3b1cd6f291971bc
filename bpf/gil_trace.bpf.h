/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Events for `gilscope trace`, one by one through a ring buffer of their own. gil_core.bpf.h calls gil_trace() where its state
 * machine moves; whoever does not trace has nothing of it: `cfg_trace` is a constant to the verifier, which takes the code
 * out, and the map is not made.
 *
 * The events of one GIL are written in their order, since its mutex is held (HANDOFF and EXIT excepted). An event that finds no
 * room is counted in its GIL's record, and the next one that finds room says how many are missing before it: a reader knows
 * where the hole is. Read next: collector/analysis/trace.h.
 */
#ifndef GILSCOPE_GIL_TRACE_BPF_H
#define GILSCOPE_GIL_TRACE_BPF_H

#include "gil_maps.bpf.h"

/* Whether a trace is recorded; set before load. */
const volatile __u8 cfg_trace;

/* Read by userland at short intervals: nobody is woken. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
} trace SEC(".maps");

static __always_inline void gil_trace(struct gil_proc *proc, struct gil_state *g, __u32 gil_index,
				      struct gil_trace_event event)
{
	event.gil = (__u32)proc->gil_owner[gil_index & (GIL_PER_PROC - 1)].id;
	event.lost = g->trace_lost;
	if (bpf_ringbuf_output(&trace, &event, sizeof(event), BPF_RB_NO_WAKEUP))
		__sync_fetch_and_add(&g->trace_lost, 1);
}

#endif
