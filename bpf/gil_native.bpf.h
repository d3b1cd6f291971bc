/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which native code a long hold is in: registers of the holder and the top of its stack, while others wait for it.
 *
 * A Python frame stands still as long as a C function runs, and says nothing of it. The native stack can be had at two kinds
 * of moments, and userland unwinds it (collector/stacks/unwind.h):
 *
 *   the holder is off the CPU  a context switch leaves its registers here. A waiter that comes by shares its memory, and copies
 *                              the stack, which stands still: if it ran meanwhile (cpu_turn), the copy is thrown away
 *   it runs                    a timer of its own CPU time interrupts it (gil_tick.bpf.h), which walks the Python stack as well
 *
 * Either way it is taken only of a hold over the threshold that others wait for, and filed under the hash of the Python
 * stack. With cfg_stacks off the verifier drops all of it. Part of gil_stack.bpf.h.
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

#define GIL_NATIVE_PERIOD_NS 7000000ull /* between two looks at a thread that runs: several KB each */

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

/* Registers, `slot`, `proc`, `hash` and `collecting` have been filled in: the stack follows. */
GIL_INLINE void gil_native_fill(struct gil_native_event *event, __u64 now)
{
	event->at = now;
	gil_native_copy(event);
}

/* A waiter has just had a look at the holder of that GIL. Global, so that it is verified once. */
__noinline int gil_native_beside(struct gil_proc *proc, __u32 gil_slot, __u32 proc_slot, __u64 now)
{
	struct gil_state *g = bpf_map_lookup_elem(&gils, &gil_slot);
	struct gil_regs *regs = bpf_map_lookup_elem(&holder_regs, &gil_slot);
	struct gil_native_event *event;
	__u32 turn, state, slot;

	if (!proc || !g || !regs)
		return 0;
	turn = __sync_fetch_and_add(&g->cpu_turn, 0);
	state = g->cpu[turn & 1].cur.state;
	if (!g->holder_tid || (state == GIL_CPU_ON || state == GIL_CPU_UNSEEN))
		return 0;
	event = bpf_ringbuf_reserve(&native_events, sizeof(*event), 0);
	if (!event)
		return 0;
	bpf_probe_read_kernel(&event->regs, sizeof(event->regs), regs);
	event->proc = proc_slot;
	event->slot = slot = g->cur.owner_slot;
	event->hash = g->account.last_hash;
	event->collecting = gil_slot != proc_slot ? GIL_GC_NONE : gil_gc_seen(proc, bpf_map_lookup_elem(&threads, &slot));
	gil_native_fill(event, now);
	if (gil_stack_still(proc, &g->top) && __sync_fetch_and_add(&g->cpu_turn, 0) == turn)
		bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
	else
		bpf_ringbuf_discard(event, BPF_RB_NO_WAKEUP);
	return 0;
}

/*
 * The current thread, which holds this GIL in the Python stack `hash`, was interrupted by its timer; `regs` is the kernel's
 * record of its registers.
 */
GIL_INLINE void gil_native_here(const struct gil_state *g, struct gil_task *mine, __u64 hash, const void *regs, __u64 now)
{
	struct gil_native_event *event;
	struct gil_thread *holder;
	struct gil_proc *proc;
	__u32 slot = g->cur.owner_slot;

	if (!hash || !g->cur.waiters || now < g->cur.acquired_at + cfg_stack_ns || now < mine->native_at + GIL_NATIVE_PERIOD_NS)
		return;
	holder = bpf_map_lookup_elem(&threads, &slot);
	event = holder ? bpf_ringbuf_reserve(&native_events, sizeof(*event), 0) : NULL;
	if (!event)
		return;
	mine->native_at = now;
	bpf_probe_read_kernel(&event->regs, NATIVE_REGS * sizeof(event->regs.word[0]), regs);
	event->proc = holder->proc;
	event->slot = slot;
	event->hash = hash;
	slot = holder->proc;
	proc = bpf_map_lookup_elem(&procs, &slot);
	event->collecting = proc && !holder->gil ? gil_gc_seen(proc, holder) : GIL_GC_NONE;
	gil_native_fill(event, now);
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
}

#endif
