/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The state machine under BPF_PROG_TEST_RUN: the same gil_core, driven by made-up events. Uprobe programs can't be
 * test-run, a "syscall" program can; the thread, the time and what memory would say are arguments.
 */
#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

#define GIL_TEST
#include "../../bpf/gil_core.bpf.h"
#include "gil_step.h"

char LICENSE[] SEC("license") = "GPL";

GIL_INLINE __u32 slot_of(const struct gil_at *at)
{
	struct gil_task fresh = {}, *task = bpf_map_lookup_elem(&tasks, &at->tid);

	if (!task) {
		bpf_map_update_elem(&tasks, &at->tid, &fresh, BPF_ANY);
		task = bpf_map_lookup_elem(&tasks, &at->tid);
	}
	return gil_slot_find(at, task, at->tid * 1000ull);
}

GIL_INLINE void acquire(struct gil_at *at, __u64 tstate)
{
	__u64 last = at->gil->last_owner;

	if ((__u32)last == at->tid && !at->gil->cur.waiters && !at->gil->handoff_slot &&
	    at->gil->arm_gen == at->proc->arm_gen)
		gil_on_acquire(at, last >> 32, true, 0);
	else
		gil_on_acquire(at, slot_of(at), false, tstate);
}

GIL_INLINE void exit_thread(struct gil_at *at)
{
	__u32 slot = slot_of(at);
	struct gil_thread *t = gil_thread_at(slot);

	if (t)
		gil_on_thread_exit(at->gil, t, slot, at->now);
	bpf_map_delete_elem(&tasks, &at->tid);
}

SEC("syscall")
int gil_step(struct gil_step *step)
{
	__u32 gil_key, proc_slot = step->proc;
	struct gil_at at = {
		.proc_slot = step->proc, .gil_index = step->gil, .tid = step->tid, .now = step->now,
	};

	at.proc = bpf_map_lookup_elem(&procs, &proc_slot);
	gil_key = step->proc * GIL_PER_PROC + step->gil;
	at.gil = bpf_map_lookup_elem(&gils, &gil_key);
	if (!at.proc || !at.gil)
		return 1;
	switch (step->op) {
	case STEP_WAIT:
		gil_on_wait(&at, slot_of(&at), step->tstate);
		break;
	case STEP_ACQUIRE:
		acquire(&at, step->tstate);
		break;
	case STEP_RELEASE:
		gil_on_release(&at, slot_of(&at), step->forced);
		break;
	case STEP_HANDOFF:
		gil_on_handoff(&at, slot_of(&at), at.proc->mode == GIL_MODE_LIGHT, step->tstate);
		break;
	case STEP_WAKE:
		gil_on_wake(&at, slot_of(&at));
		break;
	case STEP_EXIT:
		exit_thread(&at);
		break;
	default:
		return 2;
	}
	return 0;
}
