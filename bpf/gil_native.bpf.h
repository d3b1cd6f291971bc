/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which native code a long hold is in: registers of the holder and the top of its stack, while others wait for it.
 *
 * A Python frame stands still as long as a C function runs, and says nothing of it. The native stack can be had at two kinds
 * of moments, and userland unwinds it (../collector/unwind.h):
 *
 *   the holder is off the CPU  a context switch leaves its registers here. A waiter that comes by shares its memory, and copies
 *                              the stack, which stands still: if it ran meanwhile (cpu_turn), the copy is thrown away
 *   it runs                    a timer of its own CPU time interrupts it (userland sets one up for a thread that was seen to
 *                              hold for long while others wait, and takes it away when that is over)
 *
 * Either way it is taken only of a hold over the threshold that others wait for and in which a waiter has seen the Python
 * stack: its hash is what a sample is filed under, if the thread is still there. With cfg_stacks off the verifier drops all of
 * it. Part of gil_stack.bpf.h.
 */
#ifndef GILSCOPE_GIL_NATIVE_BPF_H
#define GILSCOPE_GIL_NATIVE_BPF_H

#include "gil_cpu.bpf.h"
#include "gil_gc.bpf.h"

#if defined(__TARGET_ARCH_arm64)
#define NATIVE_REGS 34 /* of struct user_pt_regs */
#define NATIVE_SP 31
#else
#define NATIVE_REGS 21
#define NATIVE_SP 19
#endif

/* GIL slot -> registers of its holder when it lost its CPU. Valid while the GIL's off-CPU state says that it has none. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, GIL_PER_PROC);
	__type(key, __u32);
	__type(value, struct gil_regs);
} holder_regs SEC(".maps");

/* Read by userland at its leisure; a sample that finds no room is nobody's loss: there are more. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} native_events SEC(".maps");

/* Copies what there is of a stack, in pieces: the last ones may lie beyond its end. */
GIL_INLINE void gil_native_copy(struct gil_native_event *event)
{
	__u64 sp = event->regs.word[NATIVE_SP];

	event->stack_len = 0;
#pragma unroll
	for (int piece = 0; piece < GIL_NATIVE_BYTES / GIL_NATIVE_PIECE; piece++) {
		if (bpf_probe_read_user(event->stack + piece * GIL_NATIVE_PIECE, GIL_NATIVE_PIECE,
					(void *)(sp + piece * GIL_NATIVE_PIECE)))
			return;
		event->stack_len += GIL_NATIVE_PIECE;
	}
}

/* The holder's registers have been filled in: its stack follows. Whether it was in the Python stack `hash` all the while. */
GIL_INLINE bool gil_native_fill(struct gil_native_event *event, const struct gil_proc *proc, const struct gil_state *g,
				__u32 proc_slot, bool main, __u64 now)
{
	event->proc = proc_slot;
	event->slot = g->cur.owner_slot;
	event->collecting = main ? gil_gc_goes_on(proc) : 0;
	event->hash = g->account.last_hash;
	event->at = now;
	gil_native_copy(event);
	return gil_stack_still(proc, &g->top);
}

/* A waiter has just had a look at the holder of that GIL. Global, so that it is verified once. */
__noinline int gil_native_beside(struct gil_proc *proc, __u32 gil_slot, __u32 proc_slot, __u64 now)
{
	struct gil_state *g = bpf_map_lookup_elem(&gils, &gil_slot);
	struct gil_regs *regs = bpf_map_lookup_elem(&holder_regs, &gil_slot);
	struct gil_native_event *event;
	__u32 turn, state;

	if (!proc || !g || !regs)
		return 0;
	turn = __sync_fetch_and_add(&g->cpu_turn, 0);
	state = g->cpu[turn & 1].cur.state;
	if (!g->holder_tid || (state != GIL_CPU_BLOCKED && state != GIL_CPU_PREEMPTED))
		return 0;
	event = bpf_ringbuf_reserve(&native_events, sizeof(*event), 0);
	if (!event)
		return 0;
	bpf_probe_read_kernel(&event->regs, sizeof(event->regs), regs);
	if (gil_native_fill(event, proc, g, proc_slot, gil_slot == proc_slot, now) &&
	    __sync_fetch_and_add(&g->cpu_turn, 0) == turn)
		bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
	else
		bpf_ringbuf_discard(event, BPF_RB_NO_WAKEUP);
	return 0;
}

/* The current thread, which holds this GIL, was interrupted by its timer; `regs` is the kernel's record of its registers. */
GIL_INLINE void gil_native_here(struct gil_state *g, const void *regs, __u64 now)
{
	struct gil_thread *holder;
	struct gil_native_event *event;
	struct gil_proc *proc;
	__u32 slot = g->cur.owner_slot;

	if (!g->account.last_hash || !g->cur.waiters || now < g->cur.acquired_at + cfg_stack_ns)
		return;
	holder = bpf_map_lookup_elem(&threads, &slot);
	if (!holder)
		return;
	slot = holder->proc;
	proc = bpf_map_lookup_elem(&procs, &slot);
	event = proc ? bpf_ringbuf_reserve(&native_events, sizeof(*event), 0) : NULL;
	if (!event)
		return;
	bpf_probe_read_kernel(&event->regs, NATIVE_REGS * sizeof(event->regs.word[0]), regs);
	if (gil_native_fill(event, proc, g, slot, !holder->gil, now))
		bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
	else
		bpf_ringbuf_discard(event, BPF_RB_NO_WAKEUP);
}

#endif
