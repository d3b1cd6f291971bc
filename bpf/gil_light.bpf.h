/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whether a thread holds a GIL of which no event tells, asked at its ticks: in light mode, and of a hold that began before the
 * probes were armed, which may last for ever.
 *
 * No probe has seen its take. But a GIL itself says in two words whether it is locked and which thread state took it
 * last, and a thread that a tick has interrupted changes neither: where both name it, it holds the GIL at that very moment. So
 * its ticks tell how long it held, as an estimate (tick_share.h), and in which code. `locked` is read first: who takes a GIL
 * writes it first as well, and a former holder that runs on meanwhile is not taken for the new one. The same is asked where a
 * thread loses its CPU: how long it lacks it is measured.
 *
 * In light mode a thread is known from its first wait or its first tick with the GIL on. What one did before is not in the
 * estimate. Who held before arming is GIL_SLOT_SEED's until its first event.
 *
 * Part of gil.bpf.c, behind gil_core.bpf.h; with cfg_stacks off the verifier drops it.
 */
#ifndef GILSCOPE_GIL_LIGHT_BPF_H
#define GILSCOPE_GIL_LIGHT_BPF_H

#include "gil_tick.bpf.h"

/* Whether a thread state belongs to the thread with that id, as the thread's own PID namespace counts. */
GIL_INLINE bool gil_light_is_of(const struct gil_proc *proc, __u64 tstate, __u32 inside)
{
	__u64 thread = 0;
	__u32 id = 0;

	if (!tstate || bpf_probe_read_user(&thread, sizeof(thread), (void *)(tstate + proc->off_tstate_id)))
		return false;
	if (!proc->off_pthread_id)
		return thread == inside;
	return thread && !bpf_probe_read_user(&id, sizeof(id), (void *)(thread + proc->off_pthread_id)) && id == inside;
}

/* Whether of the hold of that GIL, if there is one, no event has told: it has lasted since before arming. */
GIL_INLINE bool gil_light_is_untold(const struct gil_proc *proc, const struct gil_state *g)
{
	return g->arm_gen != proc->arm_gen || g->cur.state == GIL_OWNER_UNKNOWN ||
	       (g->cur.state == GIL_OWNER_HELD && g->cur.owner_slot == GIL_SLOT_SEED);
}

/*
 * The place of the GIL that the current thread holds, and that no event tells of; its thread state is in the scratch. -1: none.
 * An interpreter that has ended may have left a place behind whose memory is gone: only of the main one that is a loss. Global,
 * so that it is verified once.
 */
__noinline int gil_light_held(struct gil_proc *proc, __u32 inside)
{
	struct gil_tick_scratch *out = gil_tick_scratch_here();

	if (!proc || !out)
		return -1;
	for (int i = 0; i < GIL_PER_PROC; i++) {
		__u64 gil = proc->gil_addr[i], tstate = 0;
		__u32 locked = 0, slot = proc->gil_slot[i];
		const struct gil_state *g = bpf_map_lookup_elem(&gils, &slot);

		if (gil == GIL_PLACE_NEVER)
			break;
		if (gil <= GIL_PLACE_LAST || !g || (proc->mode != GIL_MODE_LIGHT && !gil_light_is_untold(proc, g)))
			continue;
		if (bpf_probe_read_user(&locked, sizeof(locked), (void *)(gil + proc->off_locked)) ||
		    bpf_probe_read_user(&tstate, sizeof(tstate), (void *)(gil + proc->off_last_holder))) {
			if (i == 0)
				gil_lost(proc, GIL_LOSS_READ_FAULT);
			continue;
		}
		if (locked != 1 || !gil_light_is_of(proc, tstate, inside))
			continue;
		out->walk.job.tstate = tstate;
		return i;
	}
	return -1;
}

/* Where the current thread is, which holds the GIL of `at` (gil_light_held()): the key in the scratch. */
GIL_INLINE void gil_light_look(const struct gil_at *at, struct gil_tick_scratch *out, __u32 slot)
{
	__u64 tstate = out->walk.job.tstate;

	gil_stack_begin_job(&out->walk.job, at, slot, tstate);
	gil_tick_walk(at->proc);
}

GIL_INLINE void gil_light_key(const struct gil_at *at, struct gil_tick_scratch *out, __u32 slot)
{
	out->key = (struct gil_tick_key){
		.hash = GIL_TICK_WITHOUT, .bound = at->bound, .slot = slot, .proc = at->proc_slot,
	};
}

/* A tick of the thread with that slot, which stands for `ns` of its CPU time; `held`: with the GIL of `at`. */
GIL_INLINE void gil_light_tick(const struct gil_at *at, __u32 slot, bool held, __u64 ns)
{
	struct gil_tick_scratch *out = gil_tick_scratch_here();
	struct gil_tick_sum *sum;

	if (!out)
		return;
	gil_light_key(at, out, slot);
	if (held) {
		gil_light_look(at, out, slot);
		sum = gil_tick_sum_or_rest(at->proc, &out->key);
	} else {
		sum = gil_tick_sum_of(&out->key);
	}
	if (sum) {
		__sync_fetch_and_add(&sum->ticks, 1);
		__sync_fetch_and_add(&sum->on_ns, ns);
		__sync_fetch_and_add(&sum->waited, held && at->gil->arm_gen == at->proc->arm_gen ? at->gil->cur.waiters : 0);
	}
	gil_tick_price(out, at->now, 1);
}

/* ---- off the CPU ---- */

/* The current thread, which holds the GIL of `at`, loses its CPU. One that would run on may have been looked at just before. */
GIL_INLINE void gil_light_leave(const struct gil_at *at, struct gil_task *mine, __u32 slot, bool runnable)
{
	struct gil_tick_scratch *out = gil_tick_scratch_here();
	struct gil_left *left = &at->gil->left;

	if (!out)
		return;
	if (!runnable || !gil_tick_was_just_seen(at->proc, mine, at->now, at->bound)) {
		gil_light_key(at, out, slot);
		gil_light_look(at, out, slot);
		gil_tick_price(out, at->now, 0);
		gil_tick_note(mine, out, at->now, at->bound);
	}
	left->slot = slot;
	left->proc = at->proc_slot;
	left->kind = runnable ? GIL_OFF_PREEMPTED : GIL_OFF_BLOCKED;
	left->stack = mine->seen;
	*(volatile __u64 *)&left->at = at->now;
	mine->light = at->gil_slot + 1;
	mine->off = 1;
	__sync_fetch_and_add(&gil_holders_off, 1);
}

/*
 * Who held that GIL has a CPU again: the time since it lost it, in the running interval, is the stack's in which that was. Of
 * the intervals before, userland has it from `left`, or, if it comes too late, from `was`, which is whole before `left` is
 * empty. Global, so that it is verified once.
 */
__noinline int gil_light_settle(__u32 gil_slot, __u64 now, __u64 bound)
{
	struct gil_state *g = bpf_map_lookup_elem(&gils, &gil_slot);
	struct gil_left *left = g ? &g->left : NULL;
	struct gil_tick_key key = {};
	struct gil_tick_sum *sum;
	struct gil_proc *proc;
	__u32 slot, kind;
	__u64 from, since;

	if (!left || !left->at)
		return 0;
	if (left->at < bound) {
		g->was = *left;
		g->was.bound = bound;
	}
	from = left->at > bound ? left->at : bound;
	since = left->at > g->asked_at ? left->at : g->asked_at;
	if (g->asked_at && now > since)
		g->asked_off_ns += now - since;
	key.slot = left->slot;
	key.proc = slot = left->proc;
	kind = left->kind;
	key.hash = left->stack;
	key.bound = bound;
	__sync_fetch_and_and(&left->at, 0);
	if (now <= from || kind >= GIL_OFF_KINDS)
		return 0;
	proc = bpf_map_lookup_elem(&procs, &slot);
	sum = proc ? gil_tick_sum_or_rest(proc, &key) : NULL;
	if (sum)
		__sync_fetch_and_add(&sum->off_ns[kind], now - from);
	return 0;
}

/* It slept, and is woken: from now on it only lacks a CPU, in the same stack. */
GIL_INLINE void gil_light_woken(const struct gil_task *mine, __u64 now, __u64 bound)
{
	__u32 gil_slot = mine->light - 1;
	struct gil_state *g = mine->light ? bpf_map_lookup_elem(&gils, &gil_slot) : NULL;

	if (!g || !g->left.at || g->left.kind != GIL_OFF_BLOCKED)
		return;
	gil_light_settle(gil_slot, now, bound);
	g->left.kind = GIL_OFF_PREEMPTED;
	*(volatile __u64 *)&g->left.at = now;
}

#endif
