/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Garbage collection, as the programs see it.
 *
 * Where the interpreter's file shows both ends of a collection (collector/plan/gc_sites.h), exactly. A thread collects with the
 * GIL, but a finalizer may let go of it: what counts are the parts of its holds.
 *
 *   collection         |------------------------------|
 *   holds         |----------|        |-----|    |--------|
 *   counted            |=====|        |=====|    |====|         GC_START, release, acquire, ..., GC_DONE
 *
 * No event at its ends is under gil->mutex, so all that they write is the thread's own record. What others wait meanwhile is the
 * difference of a clock that the GIL keeps of its queue.
 *
 * Elsewhere there is the word in the main interpreter's memory that says that it collects; which thread does, userland knows then
 * (collector/look/gc_watch.h).
 */
#ifndef GILSCOPE_GIL_GC_BPF_H
#define GILSCOPE_GIL_GC_BPF_H

#include "gil_at.bpf.h"

/* ---- the queue ---- */

/* The queued clock of `view` at `now`. */
GIL_INLINE __u64 gil_queued_at(__u64 queued_ns, __u64 queued_at, __u32 waiters, __u64 now)
{
	return queued_ns + (now > queued_at ? waiters * (now - queued_at) : 0);
}

/* One waiter more or less from `now` on. Its writers are as those of the number: one at a time, but for threads that end. */
GIL_INLINE void gil_queue(struct gil_state *g, int change, __u64 now)
{
	struct gil_view *cur = &g->cur;

	__sync_fetch_and_add(&g->queue_seq, 1);
	cur->queued_ns = gil_queued_at(cur->queued_ns, cur->queued_at, cur->waiters, now);
	if (now > cur->queued_at)
		cur->queued_at = now;
	__sync_fetch_and_add(&cur->waiters, change);
	__sync_fetch_and_add(&g->queue_seq, 1);
}

/* Whether no writer was at it meanwhile. */
GIL_INLINE bool gil_queue_read(struct gil_state *g, __u64 now, __u64 *ret)
{
	__u32 seq = __sync_fetch_and_add(&g->queue_seq, 0);

	*ret = gil_queued_at(*(volatile __u64 *)&g->cur.queued_ns, *(volatile __u64 *)&g->cur.queued_at,
			     *(volatile __u32 *)&g->cur.waiters, now);
	return !(seq & 1) && __sync_fetch_and_add(&g->queue_seq, 0) == seq;
}

/*
 * The queued clock at `now`, for one who may be interrupted by its writers. Three tries and no loop: its way back may be a
 * fall-through, which Linux 6.1 takes for a loop without an end (check_cfg() in kernel/bpf/verifier.c).
 */
GIL_INLINE __u64 gil_queued(struct gil_state *g, __u64 now)
{
	__u64 queued = 0;

	if (!gil_queue_read(g, now, &queued) && !gil_queue_read(g, now, &queued))
		gil_queue_read(g, now, &queued);
	return queued;
}

/* ---- a collection. The record is being written, has rolled, and is of this arming ---- */

/* Before the GIL's first event since the probes were armed nobody is known to wait: who did before that is not meant. */
GIL_INLINE __u64 gil_gc_queued(struct gil_state *g, const struct gil_thread *t, __u64 now)
{
	return g->arm_gen == t->arm_gen ? gil_queued(g, now) : g->cur.queued_ns;
}

GIL_INLINE void gil_gc_goes_on_with(struct gil_state *g, struct gil_thread *t, __u64 now)
{
	t->cur.gc_since = now;
	t->cur.gc_place = gil_gc_queued(g, t, now);
}

GIL_INLINE void gil_gc_stops(struct gil_state *g, struct gil_thread *t, __u64 now)
{
	__u64 len = now > t->cur.gc_since ? now - t->cur.gc_since : 0, queued = gil_gc_queued(g, t, now);

	t->cur.gc_ns += len;
	t->cur.gc_run += len;
	if (queued > t->cur.gc_place)
		t->cur.gc_wait_ns += queued - t->cur.gc_place;
	t->cur.gc_since = 0;
}

/* It lets go of the GIL in the middle of one. `alone`: the record is no other thread's, so that it will be known again. */
GIL_INLINE void gil_gc_lets_go(struct gil_state *g, struct gil_thread *t, __u64 now, bool alone)
{
	gil_gc_stops(g, t, now);
	if (alone)
		__sync_fetch_and_add(&g->gc_away, 1);
	else
		t->cur.gc_run = 0;
}

/* It has taken the GIL again. */
GIL_INLINE void gil_gc_comes_back(struct gil_state *g, struct gil_thread *t, __u64 now)
{
	if (g->gc_away)
		__sync_fetch_and_add(&g->gc_away, -1);
	gil_gc_goes_on_with(g, t, now);
}

/* It is over, or its thread is. */
GIL_INLINE void gil_gc_ends(struct gil_state *g, struct gil_thread *t, __u64 now)
{
	if (t->cur.gc_since)
		gil_gc_stops(g, t, now);
	else if (g->gc_away)
		__sync_fetch_and_add(&g->gc_away, -1);
	t->cur.gc_ended++;
	if (t->cur.gc_run - 1 > t->cur.gc_max_ns)
		t->cur.gc_max_ns = t->cur.gc_run - 1;
	t->cur.gc_run = 0;
}

/* What was open when the probes were last armed is nobody's. */
GIL_INLINE void gil_gc_forget(struct gil_thread *t)
{
	t->cur.gc_since = 0;
	t->cur.gc_run = 0;
}

/* ---- by name ---- */

/* What is known of a holder of the process's main GIL (`t`; NULL: it has no record). */
GIL_INLINE __u32 gil_gc_seen(const struct gil_proc *proc, const struct gil_thread *t)
{
	__u32 collecting = 0;

	if (proc->gc_exact)
		return t && t->cur.gc_since ? GIL_GC_ITS : GIL_GC_NONE;
	if (proc->gc_where)
		bpf_probe_read_user(&collecting, sizeof(collecting), (void *)proc->gc_where);
	return collecting == 1 ? GIL_GC_GOES_ON : GIL_GC_NONE;
}

#endif
