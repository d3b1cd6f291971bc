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
 * thread of its own that was preempted in it. Forks need none of this: sched_wakeup_new is told with interrupts off.
 *
 * How many were missed: the kernel counts what the last program was left out of, and the programs count which of those another
 * one had seen (struct gil_comings). For that the earlier ones leave a mark for the thread, which the last one takes away;
 * where it was left out, the mark stays for the next thread with that id.
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

/* Thread id and kind -> an earlier program has seen this one's exec or exit. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, __u8);
} comings SEC(".maps");

struct gil_comings gil_comings[GIL_COMINGS];

/* Whether they are counted; set by userland when all programs are attached, so that all count the same. */
__u32 gil_comings_counted;

/*
 * `tid`: on the host, so that no two have the same. `turn`: of the program, 1 to GIL_ALIKE. Without room for a mark the last
 * one's misses all count: too many rather than too few.
 */
static __always_inline void note_coming(__u32 tid, enum gil_coming kind, int turn)
{
	__u64 key = (__u64)tid << 1 | kind;
	__u8 seen = 1;

	if (!gil_comings_counted)
		return;
	if (turn == GIL_ALIKE) {
		if (!bpf_map_delete_elem(&comings, &key))
			__sync_fetch_and_add(&gil_comings[kind].both, 1);
		return;
	}
	if (turn > 1 && bpf_map_lookup_elem(&comings, &key))
		return;
	if (!bpf_map_update_elem(&comings, &key, &seen, BPF_ANY))
		__sync_fetch_and_add(&gil_comings[kind].early, 1);
}

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
