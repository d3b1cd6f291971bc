/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which code a holder spends its time in: ticks while it runs, and the stack that it leaves its CPU in while it does not.
 *
 * A timer of each thread's own CPU time (collector/probes/ticks.h) interrupts it. Where it holds a GIL at that moment, its
 * frames are walked and the tick counts for that stack. A hold is hit the more often the longer it is on the CPU and at any
 * place of it alike, whether others wait or not; so userland divides what is known exactly, the thread's time on the CPU as a
 * holder, by its ticks. What a holder does off the CPU needs no ticks: the stack stands still from the switch on, and the whole
 * time is that stack's.
 *
 * Nothing here writes what waiters on other CPUs write under gil->mutex: the sums have a table of their own, with the
 * interval in its key, and are added to atomically. A tick comes in a hard interrupt, a switch happens with interrupts off:
 * neither can interrupt the other, so that one scratch per CPU serves both. Part of gil_stack.bpf.h; with cfg_stacks off the
 * verifier drops it.
 */
#ifndef GILSCOPE_GIL_TICK_BPF_H
#define GILSCOPE_GIL_TICK_BPF_H

#include "gil_cpu.bpf.h"

/* A stack of a thread in an interval -> what is its. Added by the programs, taken by userland when the interval is over. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, struct gil_tick_key);
	__type(value, struct gil_tick_sum);
} tick_sums SEC(".maps");

struct gil_tick_scratch {
	struct gil_stack_scratch walk;
	struct gil_tick_key key;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct gil_tick_scratch);
} tick_scratch SEC(".maps");

GIL_INLINE struct gil_tick_scratch *gil_tick_scratch_here(void)
{
	__u32 only = 0;

	return bpf_map_lookup_elem(&tick_scratch, &only);
}

/* ---- adding ---- */

GIL_INLINE struct gil_tick_sum *gil_tick_sum_of(const struct gil_tick_key *key)
{
	struct gil_tick_sum *sum = bpf_map_lookup_elem(&tick_sums, key), fresh = {};

	if (sum)
		return sum;
	bpf_map_update_elem(&tick_sums, key, &fresh, BPF_NOEXIST);
	return bpf_map_lookup_elem(&tick_sums, key);
}

/* The sum that the key names; where there is no room, that of what has no place, which the key names then. */
GIL_INLINE struct gil_tick_sum *gil_tick_sum_or_rest(struct gil_proc *proc, struct gil_tick_key *key)
{
	struct gil_tick_sum *sum = gil_tick_sum_of(key);

	if (sum)
		return sum;
	gil_lost(proc, GIL_LOSS_STACK_FULL);
	key->hash = 0;
	return gil_tick_sum_of(key);
}

/* Whose time it is that the holder of that GIL spends; its process, or NULL. */
GIL_INLINE struct gil_proc *gil_tick_key(struct gil_tick_key *key, const struct gil_state *g, __u64 bound, __u32 *ret_gil)
{
	struct gil_thread *holder;
	__u32 slot = g->cur.owner_slot;

	holder = bpf_map_lookup_elem(&threads, &slot);
	if (!holder)
		return NULL;
	key->slot = slot;
	key->proc = slot = holder->proc;
	key->bound = bound;
	*ret_gil = holder->gil;
	return bpf_map_lookup_elem(&procs, &slot);
}

/* ---- looking ---- */

/* Not inline: twice in one program, it would be verified twice. */
__noinline int gil_tick_frames(struct gil_proc *proc)
{
	struct gil_tick_scratch *out = gil_tick_scratch_here();

	if (proc && out)
		gil_stack_walk(proc, &out->walk);
	return 0;
}

/*
 * Walks the frames of the thread that the key in the scratch names, and has its hash in the key. They leave once per interval,
 * before their sum is there; only then code objects have their prints taken, which the hash does without: of one address in one
 * interval. Global, so that it is verified once.
 */
__noinline int gil_tick_walk(struct gil_proc *proc)
{
	struct gil_tick_scratch *out = gil_tick_scratch_here();
	struct gil_stack_event *event;
	__u32 depth;

	if (!proc || !out)
		return 0;
	event = &out->walk.event;
	out->walk.brief = 1;
	gil_tick_frames(proc);
	out->key.hash = event->hash;
	if (!event->depth && event->more) {
		out->key.hash = 0; /* a frame that is just being made, or not in memory: no place, as the rest tells */
		return 0;
	}
	if (bpf_map_lookup_elem(&tick_sums, &out->key))
		return 0;
	out->walk.brief = 0;
	gil_tick_frames(proc);
	depth = event->depth;
	if (depth > GIL_STACK_DEPTH)
		return 0;
	if (bpf_ringbuf_output(&stack_events, event, sizeof(*event) - (GIL_STACK_DEPTH - depth) * sizeof(event->frames[0]), 0))
		gil_lost(proc, GIL_LOSS_STACK_DROPPED);
	return 0;
}

/* Where the current thread is, which holds that GIL: its sum in the running interval, and the key in the scratch. */
GIL_INLINE struct gil_tick_sum *gil_tick_look(const struct gil_state *g, struct gil_tick_scratch *out, __u64 now, __u64 bound)
{
	struct gil_stack_job *job = &out->walk.job;
	struct gil_proc *proc;
	__u64 gil;

	__builtin_memset(job, 0, sizeof(*job));
	proc = gil_tick_key(&out->key, g, bound, &job->gil);
	if (!proc)
		return NULL;
	job->what = GIL_STACK_SEEN;
	job->proc_slot = out->key.proc;
	job->slot = out->key.slot;
	job->at = now;
	gil = proc->gil_addr[job->gil & (GIL_PER_PROC - 1)];
	if (bpf_probe_read_user(&job->tstate, sizeof(job->tstate), (void *)(gil + proc->off_last_holder))) {
		gil_lost(proc, GIL_LOSS_READ_FAULT);
		out->key.hash = 0;
	} else {
		gil_tick_walk(proc);
	}
	return gil_tick_sum_or_rest(proc, &out->key);
}

/* ---- on the CPU ---- */

/* A look that began at `since` has cost the target that much. */
GIL_INLINE void gil_tick_price(const struct gil_tick_scratch *out, __u64 since, __u32 ticks)
{
	__u32 slot = out->key.proc;
	struct gil_proc *proc = bpf_map_lookup_elem(&procs, &slot);

	if (!proc)
		return;
	__sync_fetch_and_add(&proc->ticks, ticks);
	__sync_fetch_and_add(&proc->tick_ns, bpf_ktime_get_ns() - since);
}

/* Fewer looks where they are dear (userland's to say), drawn at random: those that are left are as fair. */
GIL_INLINE bool gil_tick_counts(struct gil_tick_scratch *out, const struct gil_state *g, __u64 bound)
{
	__u32 gil;
	struct gil_proc *proc = gil_tick_key(&out->key, g, bound, &gil);

	return proc && !(proc->tick_thin && bpf_get_prandom_u32() & proc->tick_thin);
}

#define GIL_TICK_JUST_NS 1000000ull

/* A tick of the current thread, which holds that GIL. The hash of its stack; 0: not known, or not looked at. */
GIL_INLINE __u64 gil_tick(const struct gil_state *g, __u64 now, __u64 bound)
{
	struct gil_tick_scratch *out = gil_tick_scratch_here();
	struct gil_tick_sum *sum = out && gil_tick_counts(out, g, bound) ? gil_tick_look(g, out, now, bound) : NULL;

	if (!sum)
		return 0;
	__sync_fetch_and_add(&sum->ticks, 1);
	__sync_fetch_and_add(&sum->waited, g->cur.waiters);
	gil_tick_price(out, now, 1);
	return out->key.hash;
}

/* ---- off the CPU ---- */

/* How long others have waited in this hold, in sum. Read beside its writers: it may be off by what they just add. */
GIL_INLINE __u64 gil_tick_waited(const struct gil_state *g, __u64 now)
{
	__u64 open = now > g->account.counted_at ? now - g->account.counted_at : 0;

	return g->account.waited_ns + g->cur.waiters * open;
}

GIL_INLINE void gil_tick_note(struct gil_task *mine, const struct gil_tick_scratch *out, __u64 now, __u64 bound)
{
	mine->seen_at = now;
	mine->seen_in = bound;
	mine->seen = out->key.hash;
	mine->top = out->walk.job.top;
}

/*
 * Who has to give its CPU away a thousand times a second would be walked each time. A moment after the last walk it has that
 * one's stack still if its innermost frame stands where it stood: in another function the time is that one's, however short.
 */
GIL_INLINE bool gil_tick_was_just_seen(const struct gil_proc *proc, const struct gil_task *mine, __u64 now, __u64 bound)
{
	return mine->seen && mine->seen_in == bound && now < mine->seen_at + GIL_TICK_JUST_NS &&
	       gil_stack_still(proc, &mine->top);
}

/* The current thread, which holds that GIL, loses its CPU: the stack that it is in. `runnable`: it would run on if it could. */
GIL_INLINE __u64 gil_tick_leave(struct gil_state *g, struct gil_task *mine, bool runnable, __u64 now, __u64 bound)
{
	struct gil_tick_scratch *out = gil_tick_scratch_here();
	struct gil_proc *proc;
	__u32 gil;

	if (!out)
		return 0;
	proc = runnable ? gil_tick_key(&out->key, g, bound, &gil) : NULL;
	if (proc && gil_tick_was_just_seen(proc, mine, now, bound)) {
		g->left_waited_ns = gil_tick_waited(g, now);
		return mine->seen;
	}
	if (!gil_tick_look(g, out, now, bound))
		return 0;
	g->left_waited_ns = gil_tick_waited(g, now);
	gil_tick_price(out, now, 0);
	gil_tick_note(mine, out, now, bound);
	return out->key.hash;
}

/*
 * The holder of that GIL has a CPU again, or lets go without our having been told so: the time since it lost it, in the running
 * interval, is that stack's. What was before the interval's begin userland has seen as open (gil_cpu_view as of the boundary).
 * Nothing of it is in the scratch, since a release can be preempted. Global, so that it is verified once.
 */
__noinline int gil_tick_settle(__u32 gil_slot, __u64 now, __u64 bound)
{
	struct gil_state *g = bpf_map_lookup_elem(&gils, &gil_slot);
	const struct gil_cpu_view *was;
	struct gil_tick_key key = {};
	struct gil_tick_sum *sum;
	struct gil_proc *proc;
	__u64 waited, from;
	__u32 gil, kind;

	if (!g)
		return 0;
	was = &gil_cpu_now(g)->cur;
	from = was->left_at > bound ? was->left_at : bound;
	kind = was->state - GIL_CPU_OF_KIND(0);
	if (kind >= GIL_OFF_KINDS || !was->left || now <= from)
		return 0;
	waited = gil_tick_waited(g, now);
	waited = was->left_at < bound ? g->cur.waiters * (now - bound) :
		 waited > g->left_waited_ns ? waited - g->left_waited_ns : 0;
	key.hash = was->left;
	proc = gil_tick_key(&key, g, bound, &gil);
	sum = proc ? gil_tick_sum_or_rest(proc, &key) : NULL;
	if (!sum)
		return 0;
	__sync_fetch_and_add(&sum->off_ns[kind], now - from);
	__sync_fetch_and_add(&sum->off_waited_ns[kind], waited);
	return 0;
}

/* A holder that slept, or was stopped, is woken: it lacks a CPU from now on, in the same stack; time so far is of its kind. */
GIL_INLINE void gil_tick_woken(const struct gil_task *mine, __u64 now, __u64 bound)
{
	struct gil_state *g = mine->off ? gil_held_by(mine) : NULL;

	if (!g || !gil_cpu_may_be_woken(gil_cpu_now(g)->cur.state))
		return;
	gil_tick_settle(mine->gil - 1, now, bound);
	g->left_waited_ns = gil_tick_waited(g, now);
}

#endif
