/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The state machine under BPF_PROG_TEST_RUN: the same gil_core, driven by made-up events. Uprobe programs can't be
 * test-run, a "raw_tp" program can; the thread, the time and what memory would say are arguments. (A "syscall" program can, too,
 * but it is sleepable, and Linux 6.1 allows those neither queues nor ring buffers of every kind.)
 */
#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

#define GIL_TEST
#include "../../bpf/gil_core.bpf.h"
#include "gil_step.h"

char LICENSE[] SEC("license") = "GPL";

/* What a thread carries at first. Not on the stack, of which there is little. */
static struct gil_task fresh_task;

GIL_INLINE struct gil_task *task_of(const struct gil_at *at)
{
	struct gil_task *task = bpf_map_lookup_elem(&tasks, &at->tid);

	if (!task) {
		bpf_map_update_elem(&tasks, &at->tid, &fresh_task, BPF_ANY);
		task = bpf_map_lookup_elem(&tasks, &at->tid);
	}
	return task;
}

GIL_INLINE __u32 slot_of(const struct gil_at *at)
{
	return gil_slot_find(at, task_of(at), at->tid * 1000ull);
}

GIL_INLINE __u32 slot_of_acquirer(const struct gil_at *at)
{
	gil_task_takes(task_of(at), at->gil_slot, at->tid);
	return slot_of(at);
}

GIL_INLINE __u64 delay_of(const struct gil_step *step)
{
	return step->delay_us == ~0u ? GIL_DELAY_UNKNOWN : step->delay_us * 1000ull;
}

GIL_INLINE void fill_account(struct gil_kernel_account *account, const struct gil_step *step)
{
	account->arrivals = step->arrivals ?: GIL_DELAY_UNKNOWN;
	account->sleeps = step->sleeps;
	account->delay_ns = delay_of(step);
	account->ran_ns = step->ran_ns;
}

/* `forced` is what becomes of it, enum gil_cpu_state, or 0 for preempted; `tstate`: why, kind and id. */
GIL_INLINE void leave(struct gil_task *task, const struct gil_step *step, __u64 bound)
{
	struct gil_why why = {.kind = step->tstate >> 32, .id = (__u32)step->tstate, .name = "name"};

	gil_on_switched_out(task, step->forced ?: GIL_CPU_PREEMPTED, &why, step->now, bound, 0, delay_of(step));
}

GIL_INLINE void schedule(const struct gil_at *at, const struct gil_step *step)
{
	struct gil_task *task = task_of(at);
	__u64 bound = gil_bound_at(step->now);

	if (!task)
		return;
	if (step->op == STEP_OUT || step->op == STEP_TICK) {
		if (task->off) /* as came_back() in gil.bpf.c */
			gil_on_switched_in(task, gil_cpu_back_at(at->gil, delay_of(step), step->now), bound);
		fill_account(&at->gil->now, step);
		gil_cpu_compare(at->gil, step->now, bound);
	}
	if (step->op == STEP_TICK)
		return;
	if (step->op == STEP_OUT)
		leave(task, step, bound);
	else if (step->op == STEP_WOKEN)
		gil_on_woken(task, step->now, bound);
	else if (step->op == STEP_BACK)
		gil_on_switched_in(task, gil_cpu_back_at(at->gil, delay_of(step), step->now), bound);
	else
		gil_on_switched_in(task, step->now, bound);
}

GIL_INLINE void acquire(struct gil_at *at, __u64 tstate)
{
	__u64 last = at->gil->last_owner;

	if ((__u32)last == at->tid && !at->gil->cur.waiters && !at->gil->handoff_slot && !at->gil->gc_away &&
	    at->gil->arm_gen == at->proc->arm_gen)
		gil_on_acquire(at, last >> 32, true, 0);
	else
		gil_on_acquire(at, slot_of_acquirer(at), false, tstate);
}

/* The records of one thread on the GILs that tests use; a loop in a function of its own would need more stack than there is. */
#define GILS_USED 2

GIL_INLINE void exit_thread(struct gil_at *at, bool alone)
{
	struct gil_task *task = task_of(at);

	slot_of(at);
	for (__u32 i = 0; task && i < GILS_USED; i++) {
		__u32 slot = task->slot[i], gil_key = at->proc_slot * GIL_PER_PROC + i;
		struct gil_thread *t = slot ? gil_thread_at(slot) : NULL;

		if (t && t->tid == at->tid && t->state == GIL_THREAD_LIVE)
			gil_on_thread_exit(bpf_map_lookup_elem(&gils, &gil_key), t, slot, at->now, alone);
	}
	bpf_map_delete_elem(&tasks, &at->tid);
}

GIL_INLINE int take(const struct gil_step *step)
{
	__u32 gil_key, proc_slot = step->proc;
	struct gil_at at = {
		.proc_slot = step->proc, .gil_index = step->gil, .tid = step->tid, .now = step->now,
	};

	at.proc = bpf_map_lookup_elem(&procs, &proc_slot);
	gil_key = step->proc * GIL_PER_PROC + step->gil;
	at.gil_slot = gil_key;
	at.gil = bpf_map_lookup_elem(&gils, &gil_key);
	if (!at.proc || !at.gil)
		return 1;
	switch (step->op) {
	case STEP_WAIT:
		at.gil->switches = step->switches;
		gil_on_wait(&at, slot_of(&at), step->tstate);
		break;
	case STEP_ACQUIRE:
		fill_account(&at.gil->taken, step);
		acquire(&at, step->tstate);
		break;
	case STEP_RELEASE:
		at.delay_ns = delay_of(step);
		fill_account(&at.gil->now, step);
		gil_on_release(&at, slot_of(&at), step->forced);
		break;
	case STEP_HANDOFF:
		gil_on_handoff(&at, slot_of(&at), at.proc->mode == GIL_MODE_LIGHT, step->tstate, step->switches);
		break;
	case STEP_WAKE:
		gil_on_wake(&at, slot_of(&at));
		break;
	case STEP_EXIT:
		exit_thread(&at, step->forced);
		break;
	case STEP_GC_START:
	case STEP_GC_DONE:
		if (gil_may_collect(&at))
			gil_on_gc(&at, slot_of(&at), step->op == STEP_GC_START);
		break;
	case STEP_OUT:
	case STEP_WOKEN:
	case STEP_IN:
	case STEP_BACK:
	case STEP_TICK:
		schedule(&at, step);
		break;
	default:
		return 2;
	}
	return 0;
}

SEC("raw_tp")
int gil_step(struct bpf_raw_tracepoint_args *ctx)
{
	union {
		struct gil_step step;
		__u64 words[GIL_STEP_WORDS];
	} given;

	for (int i = 0; i < GIL_STEP_WORDS; i++)
		given.words[i] = ctx->args[i];
	return take(&given.step);
}
