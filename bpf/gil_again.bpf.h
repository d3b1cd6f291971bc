/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Seeing each exec and each exit where the kernel leaves events out.
 *
 * A program at a tracepoint does not run where it is running already on that CPU (prog->active in __bpf_trace_run(),
 * kernel/trace/bpf_trace.c). From 7.0 on such programs can be preempted, and every thread that comes by on that CPU until the
 * preempted one goes on is left out. A program can't keep its CPU for that long: what bpf_preempt_disable() puts off happens at
 * bpf_preempt_enable(), when the program is still counted as running.
 *
 * So there are several of each, one after the other at the same tracepoint, and they do the same: the next one runs where the one
 * before was left out, and finds nothing left to do where it was not. An event is missed only if all were left out, each for a
 * thread of its own that was preempted in it: userland counts no more events than the luckiest of them was left out of. Forks
 * need none of this: sched_wakeup_new is told with interrupts off.
 */
#ifndef GILSCOPE_AGAIN_BPF_H
#define GILSCOPE_AGAIN_BPF_H

#include "gil_maps.bpf.h"

/* Which of its execs was the last that is dealt with (task_struct.self_exec_id, which begins above 0). Freed with the task. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} execs SEC(".maps");

/* Whether a program before this one has seen this exec; from here on one has. Without memory each takes it for its own. */
static __always_inline bool exec_was_seen(struct task_struct *task, __u64 exec)
{
	__u64 *last = bpf_task_storage_get(&execs, task, NULL, BPF_LOCAL_STORAGE_GET_F_CREATE);
	bool seen = last && *last == exec;

	if (last)
		*last = exec;
	return seen;
}

#endif
