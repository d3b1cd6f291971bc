/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The state machine: wait -> hold -> release, per GIL and thread. Plain inline functions, no SEC, no ctx.
 *
 *            WAIT (first)                 ACQUIRED                RELEASED
 *   running ------------> waiting ------------------> holding ------------> running
 *      |                  |  ^                           ^                    |
 *      |                  +--+ WAIT (retry, every        |                    | HANDOFF (forced out)
 *      |                       switch interval)          |                    v
 *      +-------------------------------------------------+        waiting to be succeeded,
 *                        ACQUIRED (uncontended)                   until anybody's next ACQUIRED
 *
 * Every event except HANDOFF fires while the target holds gil->mutex, so the events of one GIL are totally ordered and
 * its state has one writer at a time. HANDOFF fires under gil->switch_mutex, which every ACQUIRED holds as well
 * (FORCE_SWITCHING in Python/ceval_gil.[hc]).
 *
 * Time is an argument. Blame: a GIL keeps a clock that runs while it is held and a ring of its changes of holder; a
 * waiter remembers its place in both and charges what has passed at each retry and at its acquire, so that
 * wait = blame + handover + unknown holds in integer nanoseconds at every instant.
 *
 * Garbage collection: gil_gc.bpf.h.
 *
 * On and off the CPU: gil_cpu.bpf.h keeps clocks of what the holder does meanwhile; holds and waits take their shares of them.
 *
 * Interval ends: the first event of a record after a boundary puts the state at the boundary aside (snap); an open wait is
 * first charged up to the boundary. record.c takes snap or cur, time_memo.c adds what was open.
 *
 * Read next: gil.bpf.c, which turns probe hits into calls of gil_on_*().
 */
#ifndef GILSCOPE_GIL_CORE_BPF_H
#define GILSCOPE_GIL_CORE_BPF_H

#include "gil_cpu.bpf.h"
#include "gil_gc.bpf.h"
#include "gil_hist.h"
#include "gil_loop.bpf.h"
#include "gil_stack.bpf.h"
#include "gil_trace.bpf.h"

GIL_INLINE void gil_tell_trace(const struct gil_at *at, __u8 kind, __u8 flags)
{
	gil_trace(at->proc, at->gil, at->gil_index, (struct gil_trace_event){
		.at = at->now, .tid = at->tid, .proc = (__u16)at->proc_slot, .kind = kind, .flags = flags,
	});
}

/* A record is torn while its number is odd. The full barriers order the writes for other CPUs. */
GIL_INLINE void gil_write_begin(__u32 *seq)
{
	__sync_fetch_and_add(seq, 1);
}

GIL_INLINE void gil_write_end(__u32 *seq)
{
	__sync_fetch_and_add(seq, 1);
}

/* `end` is read before `start`, userland stores `start` before `end`: never a boundary that has not passed. */
GIL_INLINE __u64 gil_bound_at(__u64 now)
{
	__u64 end = *(volatile __u64 *)&gil_clock.end;
	__u64 start = *(volatile __u64 *)&gil_clock.start;

	return now >= end ? end : start;
}

GIL_INLINE struct gil_thread *gil_thread_at(__u32 slot)
{
	return bpf_map_lookup_elem(&threads, &slot);
}

/* ---- interval ends ---- */

GIL_INLINE void gil_roll(struct gil_state *g, __u64 bound)
{
	if (g->bound >= bound)
		return;
	g->snap = g->cur;
	g->bound = bound;
}

GIL_INLINE void gil_thread_roll(struct gil_thread *t, __u64 bound)
{
	if (t->bound >= bound)
		return;
	/* The kernel's copy loop: 2 KB of unrolled stores would be the alternative. */
	bpf_probe_read_kernel(&t->snap, sizeof(t->snap), &t->cur);
	t->cur.hold_max_ns = 0;
	t->cur.wait_max_ns = 0;
	t->cur.over.max_ns = 0;
	t->cur.gc_max_ns = 0;
	t->bound = bound;
}

/* ---- blame ---- */

/* The held clock of `view` at `now`. */
GIL_INLINE __u64 gil_held_at(const struct gil_view *view, __u64 now)
{
	if (view->state == GIL_OWNER_HELD && now > view->acquired_at)
		return view->held_ns + (now - view->acquired_at);
	return view->held_ns;
}

/* Adds to a pair; false if the table is full. */
GIL_INLINE bool gil_blame_add(__u32 victim, __u32 holder, __u64 tstate, __u64 ns, __u64 bound)
{
	struct gil_blame_key key = {.victim = victim, .holder = holder, .holder_tstate = tstate};
	struct gil_blame fresh = {.bound = bound, .cur_ns = ns, .snap_ns = 0};
	struct gil_blame *pair = bpf_map_lookup_elem(&blame, &key);

	if (!pair)
		return bpf_map_update_elem(&blame, &key, &fresh, BPF_NOEXIST) == 0;
	if (pair->bound < bound) {
		pair->snap_ns = pair->cur_ns;
		pair->bound = bound;
	}
	pair->cur_ns += ns;
	return true;
}

/* Charges the holder of a ring entry for its overlap with the walk's span. */
GIL_LOOP_BODY(gil_walk_step, struct gil_state, g, struct gil_walk, w)
{
	__u64 index = w->first + turn;
	struct gil_ring_entry *entry = &g->ring[index & (GIL_RING_LEN - 1)];
	struct gil_ring_entry *next = &g->ring[(index + 1) & (GIL_RING_LEN - 1)];
	__u64 from = entry->held_at > w->from ? entry->held_at : w->from;
	__u64 to = index + 1 < w->head && next->held_at < w->to ? next->held_at : w->to;

	if (index >= w->head)
		return 1;
	if (to <= from)
		return 0;
	if (gil_blame_add(w->victim, entry->slot, 0, to - from, w->bound))
		w->charged += to - from;
	else
		w->full++;
	return 0;
}

/* Gives the held time between the waiter's place and `held` to its holders; returns what could be given. */
GIL_INLINE __u64 gil_charge_holders(const struct gil_at *at, struct gil_thread *t, __u32 victim,
				    __u64 held, __u64 head, __u64 bound)
{
	struct gil_state *g = at->gil;
	struct gil_walk *w = &g->walk;
	__u64 first = t->cur.place_head ? t->cur.place_head - 1 : 0;

	if (held == t->cur.place_held)
		return 0;
	if (g->cur.head - first > GIL_RING_LEN) {
		gil_lost(at->proc, GIL_LOSS_RING_LAPPED);
		return 0;
	}
	w->from = t->cur.place_held;
	w->to = held;
	w->first = first;
	w->head = head;
	w->charged = 0;
	w->bound = bound;
	w->victim = victim;
	w->full = 0;
	gil_loop(head - first, GIL_RING_LEN, gil_walk_step, g, w);
	if (w->full)
		gil_lost(at->proc, GIL_LOSS_BLAME_FULL);
	return w->charged;
}

/*
 * Charges an open wait up to `upto`, at which the GIL was as `view` and its off-CPU clocks were as `off` says. How much that
 * was, ns.
 */
GIL_INLINE __u64 gil_charge(const struct gil_at *at, struct gil_thread *t, __u32 victim,
			   const struct gil_view *view, const struct gil_off *off, __u64 upto, __u64 bound)
{
	struct gil_totals *sum = &t->cur;
	__u64 held, held_part, span, charged;

	if (upto <= sum->wait_place)
		return 0;
	span = upto - sum->wait_place;
	held = gil_held_at(view, upto);
	held_part = held > sum->place_held ? held - sum->place_held : 0;
	if (held_part > span) /* cannot be, unless an event was missed */
		held_part = span;
	gil_off_take(&sum->place_off, off, held_part, &sum->wait_off);
	charged = gil_charge_holders(at, t, victim, sum->place_held + held_part, view->head, bound);
	sum->wait_ns += span;
	sum->handover_ns += span - held_part;
	if (held_part > charged) /* threads that share the walk, having no lock, may charge for each other */
		sum->unknown_ns += held_part - charged;
	sum->wait_place = upto;
	sum->place_held = held;
	sum->place_head = view->head;
	return span;
}

/* Light: the whole span goes to the thread state that was seen holding at its beginning. */
static __noinline __u64 gil_charge_sampled(const struct gil_at *at, struct gil_thread *t, __u32 victim,
				   __u64 upto, __u64 bound)
{
	struct gil_totals *sum = &t->cur;
	__u64 span;

	if (upto <= sum->wait_place)
		return 0;
	span = upto - sum->wait_place;
	sum->wait_ns += span;
	if (!gil_blame_add(victim, GIL_SLOT_NONE, sum->place_held, span, bound)) {
		gil_lost(at->proc, GIL_LOSS_BLAME_FULL);
		sum->unknown_ns += span;
	}
	sum->wait_place = upto;
	return span;
}

/*
 * Up to the boundary that has just passed, or up to now; how much that was, ns. Not inline: its stack would be the whole
 * program's. Not void: such a function may leave a pointer behind in R0, which the verifier refuses.
 */
static __noinline __u64 gil_charge_up_to(const struct gil_at *at, struct gil_thread *t, __u32 victim, bool boundary)
{
	__u64 upto = boundary ? at->bound : at->now, bound = boundary ? t->bound : at->bound;
	struct gil_off off = {};

	if (at->proc->mode == GIL_MODE_LIGHT)
		return gil_charge_sampled(at, t, victim, upto, bound);
	if (cfg_off_cpu)
		gil_cpu_read(at->gil, upto, &off);
	return gil_charge(at, t, victim, boundary ? &at->gil->snap : &at->gil->cur, &off, upto, bound);
}

/* Brings a waiting thread's record up to now, in two steps if an interval ended since its last event; how much that was, ns. */
GIL_INLINE __u64 gil_charge_now(const struct gil_at *at, struct gil_thread *t, __u32 victim)
{
	__u64 charged = 0;

	if (t->bound < at->bound && t->cur.wait_place < at->bound)
		charged = gil_charge_up_to(at, t, victim, true);
	gil_thread_roll(t, at->bound);
	return charged + gil_charge_up_to(at, t, victim, false);
}

/* A wait begins here. */
GIL_INLINE void gil_begin_wait(const struct gil_at *at, struct gil_thread *t)
{
	t->cur.wait_since = at->now;
	t->cur.wait_place = at->now;
	t->cur.place_held = gil_held_at(&at->gil->cur, at->now);
	t->cur.place_head = at->gil->cur.head;
	if (cfg_off_cpu)
		gil_cpu_read(at->gil, at->now, &t->cur.place_off);
	gil_queue(at->gil, 1, at->now);
}

/* ---- threads ---- */

GIL_INLINE void gil_hist_count(struct gil_hist *hist, __u64 ns)
{
	__u32 bucket = gil_hist_bucket(ns);

	if (bucket < GIL_HIST_BUCKETS) /* it always is; the verifier wants to see it */
		hist->count[bucket]++;
}

GIL_INLINE void gil_count_wait(struct gil_totals *sum, __u64 ns)
{
	sum->contended++;
	gil_hist_count(&sum->wait, ns);
	if (ns > sum->wait_max_ns)
		sum->wait_max_ns = ns;
}

/* Forgets what was open when the probes were last armed. */
GIL_INLINE void gil_thread_rearm(struct gil_thread *t, __u32 arm_gen)
{
	if (t->arm_gen == arm_gen)
		return;
	t->arm_gen = arm_gen;
	t->cur.wait_since = 0;
	t->cur.wait_place = 0;
	t->cur.handoff_since = 0;
	t->cur.handoff_len = 0;
	gil_gc_forget(t);
}

GIL_INLINE __u32 gil_slot_other(const struct gil_at *at)
{
	return GIL_SLOT_OTHER + at->proc_slot;
}

GIL_INLINE bool gil_is_other(__u32 slot)
{
	return slot < GIL_SLOT_OTHER + cfg_max_procs;
}

/* Takes a free slot for the current thread and makes its record. */
static __noinline __u32 gil_slot_new(const struct gil_at *at, __u64 start_boot_ns)
{
	struct gil_thread *t;
	__u32 slot = 0;

	if (bpf_map_pop_elem(&free_slots, &slot))
		return GIL_SLOT_NONE;
	t = gil_thread_at(slot);
	if (!t)
		return GIL_SLOT_NONE;
	gil_write_begin(&t->seq);
	t->tid = at->tid;
	t->proc = at->proc_slot;
	t->gil = at->gil_index;
	t->arm_gen = at->proc->arm_gen;
	t->tstate = 0;
	t->start_boot_ns = start_boot_ns;
	t->bound = gil_bound_at(at->now);
	bpf_get_current_comm(t->comm, sizeof(t->comm));
	t->state = GIL_THREAD_LIVE;
	gil_write_end(&t->seq);
	return slot;
}

/* Whether the record in `slot` is still that of this thread on this GIL. */
GIL_INLINE bool gil_slot_is(const struct gil_at *at, __u32 slot)
{
	struct gil_thread *t = gil_thread_at(slot);

	return t && t->state == GIL_THREAD_LIVE && t->tid == at->tid && t->proc == at->proc_slot &&
	       t->gil == at->gil_index;
}

/* A tick may come in between (gil_light.bpf.h): it keeps away while a slot is being made, and may have made it just before. */
GIL_INLINE __u32 gil_slot_make(const struct gil_at *at, struct gil_task *task, __u32 *mine, __u64 start_boot_ns)
{
	__u32 slot;

	*(volatile __u32 *)&task->making = 1;
	slot = *(volatile __u32 *)mine;
	if (slot == GIL_SLOT_NONE || !gil_slot_is(at, slot))
		slot = gil_slot_new(at, start_boot_ns);
	if (slot != GIL_SLOT_NONE)
		*mine = slot;
	*(volatile __u32 *)&task->making = 0;
	return slot;
}

/* The current thread's slot on this GIL, made if need be. Never GIL_SLOT_NONE. */
GIL_INLINE __u32 gil_slot_find(const struct gil_at *at, struct gil_task *task, __u64 start_boot_ns)
{
	__u32 *mine = task ? &task->slot[at->gil_index & (GIL_PER_PROC - 1)] : NULL;
	__u32 slot = GIL_SLOT_NONE;

	if (mine && *mine != GIL_SLOT_NONE && gil_slot_is(at, *mine))
		return *mine;
	if (mine)
		slot = gil_slot_make(at, task, mine, start_boot_ns);
	if (slot == GIL_SLOT_NONE) {
		gil_lost(at->proc, GIL_LOSS_NO_SLOT);
		return gil_slot_other(at);
	}
	return slot;
}

/* ---- GIL state ---- */

/* A change of holder: remembered only if it is one. */
GIL_INLINE void gil_ring_push(struct gil_state *g, __u32 slot)
{
	struct gil_ring_entry *last = &g->ring[(g->cur.head - 1) & (GIL_RING_LEN - 1)];
	struct gil_ring_entry *next = &g->ring[g->cur.head & (GIL_RING_LEN - 1)];

	if (g->cur.head && last->slot == slot)
		return;
	next->held_at = g->cur.held_ns;
	next->slot = slot;
	g->cur.head++;
}

GIL_INLINE void gil_set_owner(struct gil_state *g, __u32 slot, __u32 tid, __u64 since)
{
	gil_ring_push(g, slot);
	g->cur.state = GIL_OWNER_HELD;
	g->cur.owner_slot = slot;
	g->cur.owner_tid = tid;
	g->cur.acquired_at = since;
	g->asked_at = 0;
	gil_stack_begin(g, since);
}

GIL_INLINE void gil_close_hold(struct gil_state *g, __u64 now)
{
	g->cur.held_ns = gil_held_at(&g->cur, now);
	g->cur.state = GIL_OWNER_FREE;
}

/* Since arming; or since there was a place for a GIL that had found none before. */
GIL_INLINE __u64 gil_watched_since(const struct gil_at *at)
{
	__u64 since = at->proc->gil_owner[at->gil_index & (GIL_PER_PROC - 1)].since;

	return since > at->proc->armed_at ? since : at->proc->armed_at;
}

/* First thing at every event, inside the write section: monotonic time, arming, interval end. */
GIL_INLINE void gil_enter(struct gil_at *at)
{
	struct gil_state *g = at->gil;

	if (at->now < g->last_at) /* clocks of two CPUs may differ by a little */
		at->now = g->last_at;
	g->last_at = at->now;
	at->bound = gil_bound_at(at->now);
	if (g->arm_gen != at->proc->arm_gen) {
		g->arm_gen = at->proc->arm_gen;
		g->cur.state = GIL_OWNER_UNKNOWN;
		g->cur.waiters = 0;
		g->cur.queued_at = at->now;
		g->gc_away = 0;
		g->cur.events = 0;
		g->last_owner = 0;
		g->asked_at = 0;
		g->seed_slot = GIL_SLOT_NONE;
		g->since = gil_watched_since(at);
		gil_cpu_forget(g, g->since);
	}
	gil_roll(g, at->bound);
	g->cur.events++;
}

/* Counts an open hand-off up to `now`, at which it is over. */
GIL_INLINE void gil_count_handoff(struct gil_totals *sum, __u64 now)
{
	__u64 len = now > sum->handoff_since ? now - sum->handoff_since : 0;

	sum->wait_ns += len;
	sum->handover_ns += len;
	sum->handoff_ns += len;
	sum->handoff_len += len;
	sum->handoff_since = 0;
}

/* The thread that was forced out has its successor: its hand-off ends now. */
GIL_INLINE void gil_end_handoff(const struct gil_at *at, bool inferred)
{
	struct gil_state *g = at->gil;
	struct gil_thread *t = gil_thread_at(g->handoff_slot);

	if (t && t->tid == g->handoff_tid && t->arm_gen == at->proc->arm_gen && t->cur.handoff_since &&
	    at->now >= t->cur.handoff_since) {
		gil_write_begin(&t->seq);
		gil_thread_roll(t, at->bound);
		gil_count_handoff(&t->cur, at->now);
		if (inferred)
			t->cur.inferred++;
		gil_write_end(&t->seq);
	}
	g->handoff_slot = 0;
}

/* It does something else, so its hand-off is over, though no successor was seen. Its record has rolled. */
GIL_INLINE void gil_leave_handoff(struct gil_thread *t, __u64 now)
{
	if (!t->cur.handoff_since)
		return;
	gil_count_handoff(&t->cur, now);
	t->cur.inferred++;
}

/* ---- how long a holder goes on once it was asked to let go ---- */

/*
 * A waiter comes by again. It has asked for the GIL if nobody else has taken it since it last came by: that is CPython's own rule
 * (take_gil() in Python/ceval_gil.[hc] compares switch_number, which counts changes of holder, as the ring does). The first who
 * asks counts.
 */
GIL_INLINE bool gil_has_asked(const struct gil_state *g, const struct gil_thread *t)
{
	return g->cur.state == GIL_OWNER_HELD && !g->asked_at && t->cur.place_head == g->cur.head;
}

/* Not inline, as gil_charge_up_to(). */
static __noinline int gil_note_asked(struct gil_state *g, __u64 now)
{
	struct gil_off off = {};

	if (cfg_off_cpu)
		gil_cpu_read(g, now, &off);
	g->asked_off_ns = gil_off_sum(&off);
	g->asked_at = now;
	return 0;
}

/*
 * The same in light mode, where switch_number itself has been read (`before`: what it was as the waiter last came by), and a
 * request is known to be of a hold that is over if that number has changed since. Global, so that it is verified once.
 */
__noinline int gil_light_asks(struct gil_state *g, __u32 light, __u64 before, __u64 now)
{
	if (!g || !light || (g->asked_at && g->asked_switches == g->switches))
		return 0;
	g->asked_at = 0;
	if (before != g->switches)
		return 0;
	g->asked_off_ns = 0;
	g->asked_switches = g->switches;
	g->asked_at = now;
	return 0;
}

/* A hold that a waiter asked for ends, of whose time since then the holder was off its CPU for `away`: so late. */
GIL_INLINE __u64 gil_add_over(struct gil_over *over, __u64 len, __u64 away)
{
	__u32 bucket;

	len = len > away ? len - away : 0;
	bucket = gil_over_bucket(len);
	over->n++;
	over->ns += len;
	if (len > over->max_ns)
		over->max_ns = len;
	if (bucket < GIL_OVER_BUCKETS) /* it always is; the verifier wants to see it */
		over->hist[bucket]++;
	return len;
}

/* The hold of `t` that a waiter asked for ends at `now`. Its record has rolled. */
static __noinline __u64 gil_count_over(struct gil_state *g, struct gil_thread *t, __u64 now)
{
	struct gil_off off = {};

	if (cfg_off_cpu)
		gil_cpu_read(g, now, &off);
	return gil_add_over(&t->cur.over, now > g->asked_at ? now - g->asked_at : 0, gil_off_sum(&off) - g->asked_off_ns);
}

/*
 * The same in light mode: who lets go because it was asked waits for its successor, and that is seen at once. `switches`: the
 * GIL's count of changes of holder; where it is another than at the request, another hold was asked for. Global, as above.
 */
__noinline int gil_light_count_over(struct gil_state *g, struct gil_thread *t, __u32 switches, __u64 now)
{
	if (!g || !t)
		return 0;
	if (g->asked_at && g->asked_switches == switches && now > g->asked_at)
		gil_add_over(&t->cur.over, now - g->asked_at, g->asked_off_ns);
	g->asked_at = 0;
	return 0;
}

/* ---- events: full ---- */

GIL_INLINE void gil_on_wait(struct gil_at *at, __u32 slot, __u64 holder_tstate)
{
	struct gil_thread *t = gil_thread_at(slot);
	struct gil_state *g = at->gil;
	bool light = at->proc->mode == GIL_MODE_LIGHT;
	__u64 waited = 0, charged = 0;
	bool asks = false;

	if (!t || gil_is_other(slot))
		return;
	gil_write_begin(&g->seq);
	gil_enter(at);
	/* Somebody holds the GIL and has not let go since the probes were armed, or its release would have told. */
	if (!light && g->cur.state == GIL_OWNER_UNKNOWN)
		gil_set_owner(g, GIL_SLOT_SEED, 0, g->since);
	/* A waiter that finds the GIL taken proves that the thread forced out has been succeeded. */
	if (light && g->handoff_slot)
		gil_end_handoff(at, true);
	gil_write_end(&g->seq);

	gil_write_begin(&t->seq);
	gil_thread_rearm(t, at->proc->arm_gen);
	if (t->cur.wait_since) {
		waited = at->now - t->cur.wait_since;
		gil_light_asks(g, light, t->cur.place_head, at->now);
		asks = !light && gil_has_asked(g, t);
		if (asks)
			gil_note_asked(g, at->now);
		charged = gil_charge_now(at, t, slot);
		t->cur.retries++;
	} else {
		gil_thread_roll(t, at->bound);
		gil_leave_handoff(t, at->now);
		gil_stack_waiters(g, at->now);
		gil_begin_wait(at, t);
		if (cfg_trace)
			gil_tell_trace(at, GIL_TRACE_WAIT, 0);
	}
	if (light) {
		t->cur.place_held = holder_tstate;
		t->cur.place_head = g->switches;
	}
	gil_write_end(&t->seq);
	gil_stack_waiting(at, slot, waited, charged, asks);
}

/* Ends the wait of the acquiring thread, hand-off included; how long it was. */
GIL_INLINE __u64 gil_end_wait(const struct gil_at *at, struct gil_thread *t, __u32 slot)
{
	__u64 len = t->cur.handoff_len;

	if (!t->cur.wait_since && !len)
		return 0;
	if (t->cur.wait_since) {
		gil_charge_now(at, t, slot);
		len += at->now - t->cur.wait_since;
		gil_stack_waiters(at->gil, at->now);
		if (at->gil->cur.waiters)
			gil_queue(at->gil, -1, at->now);
	} else {
		gil_thread_roll(t, at->bound);
	}
	gil_count_wait(&t->cur, len);
	t->cur.wait_since = 0;
	t->cur.wait_place = 0;
	t->cur.handoff_len = 0;
	return len;
}

/* A wait that ends without its acquire: the rest of it is charged to nobody known. */
GIL_INLINE void gil_give_up_wait(struct gil_state *g, struct gil_thread *t, __u64 now)
{
	if (!t->cur.wait_since)
		return;
	if (now > t->cur.wait_place) {
		t->cur.wait_ns += now - t->cur.wait_place;
		t->cur.unknown_ns += now - t->cur.wait_place;
		t->cur.wait_off.ns[GIL_OFF_UNSEEN] += now - t->cur.wait_place;
	}
	if (g && g->cur.waiters) {
		gil_stack_waiters(g, now);
		gil_queue(g, -1, now);
	}
	t->cur.wait_since = 0;
	t->cur.wait_place = 0;
}

/*
 * An acquire of a GIL that is owned: the owner's release was not seen, and its hold ends here at the latest. It is the owner's
 * all the same, since it has been told of as long as it was open; what it was spent on is not known.
 */
GIL_INLINE void gil_end_unseen(const struct gil_at *at)
{
	struct gil_state *g = at->gil;
	struct gil_thread *t = gil_thread_at(g->cur.owner_slot);
	__u64 len = at->now > g->cur.acquired_at ? at->now - g->cur.acquired_at : 0;

	gil_lost(at->proc, GIL_LOSS_ACQUIRE_OWNED);
	gil_close_hold(g, at->now);
	if (!t || g->cur.owner_slot == GIL_SLOT_SEED || t->proc != at->proc_slot || t->gil != at->gil_index)
		return;
	gil_write_begin(&t->seq);
	gil_thread_rearm(t, at->proc->arm_gen); /* an acquire of one that has no record leaves that alone */
	gil_thread_roll(t, at->bound);
	if (t->cur.gc_since)
		gil_gc_lets_go(g, t, at->now, !gil_is_other(g->cur.owner_slot));
	t->cur.hold_ns += len;
	t->cur.hold_off.ns[GIL_OFF_UNSEEN] += len;
	t->cur.releases++;
	gil_write_end(&t->seq);
}

/*
 * `cached` says that the last owner takes it again and nobody waits: then its record need not be touched, since a hold
 * counts when it ends and the reader sees the open one in the GIL's state.
 */
GIL_INLINE void gil_on_acquire(struct gil_at *at, __u32 slot, bool cached, __u64 tstate)
{
	struct gil_state *g = at->gil;
	struct gil_thread *t;
	__u64 waited = 0;
	__u8 flags = 0;

	gil_write_begin(&g->seq);
	gil_enter(at);
	if (g->cur.state == GIL_OWNER_HELD)
		gil_end_unseen(at);
	if (g->handoff_slot)
		gil_end_handoff(at, false);
	gil_write_end(&g->seq);

	if (!cached) {
		t = gil_thread_at(slot);
		if (t && !gil_is_other(slot)) {
			gil_write_begin(&t->seq);
			gil_thread_rearm(t, at->proc->arm_gen);
			if (cfg_trace && t->cur.wait_since)
				flags = GIL_TRACE_WAITED;
			if (t->cur.handoff_since) {
				gil_thread_roll(t, at->bound);
				gil_leave_handoff(t, at->now);
			}
			waited = gil_end_wait(at, t, slot);
			t->tstate = tstate;
			if (t->cur.gc_run && !t->cur.gc_since) {
				gil_thread_roll(t, at->bound);
				gil_gc_comes_back(g, t, at->now);
			}
			gil_write_end(&t->seq);
		}
	}

	gil_write_begin(&g->seq);
	gil_set_owner(g, slot, at->tid, at->now);
	g->last_owner = (__u64)slot << 32 | at->tid;
	gil_cpu_acquired(g, at->tid, at->now, at->bound);
	gil_write_end(&g->seq);
	if (cfg_trace)
		gil_tell_trace(at, GIL_TRACE_ACQUIRED, flags);
	gil_stack_acquired(at, slot, tstate, waited);
}

/* Whether a release at this moment is one of the owner's; contradictions are counted. */
GIL_INLINE bool gil_may_release(const struct gil_at *at)
{
	const struct gil_view *cur = &at->gil->cur;

	if (cur->state == GIL_OWNER_FREE) {
		gil_lost(at->proc, GIL_LOSS_RELEASE_UNOWNED);
		return false;
	}
	if (cur->state == GIL_OWNER_HELD && cur->owner_slot != GIL_SLOT_SEED && cur->owner_tid != at->tid) {
		gil_lost(at->proc, GIL_LOSS_RELEASE_FOREIGN);
		return false;
	}
	return true;
}

/* The first release since arming: the hold has lasted at least since then, and now it has a name. */
GIL_INLINE void gil_name_seed(const struct gil_at *at, __u32 slot)
{
	struct gil_state *g = at->gil;
	struct gil_ring_entry *last = &g->ring[(g->cur.head - 1) & (GIL_RING_LEN - 1)];

	if (g->cur.state == GIL_OWNER_UNKNOWN)
		gil_set_owner(g, slot, at->tid, g->since);
	else if (g->cur.head && last->slot == GIL_SLOT_SEED)
		last->slot = slot;
	g->seed_slot = slot;
}

/* Whether a slot that has the GIL is still the current thread's, or that of all who found none. */
GIL_INLINE bool gil_is_owners(const struct gil_at *at, __u32 slot)
{
	return slot == gil_slot_other(at) || gil_slot_is(at, slot);
}

/* `at->gil->now` is filled in, as `taken` is at the acquire, by whoever knows the current thread. */
GIL_INLINE void gil_on_release(struct gil_at *at, __u32 slot, bool forced)
{
	struct gil_state *g = at->gil;
	struct gil_thread *t = gil_thread_at(slot);
	struct gil_off off = {};
	__u64 len = 0, over_ns = 0, back;
	bool ours, unseen = false, was_off = false;

	gil_cpu_releasing(g, at->tid);
	gil_write_begin(&g->seq);
	gil_enter(at);
	ours = gil_may_release(at);
	if (ours) {
		unseen = g->cur.state == GIL_OWNER_UNKNOWN || g->cur.owner_slot == GIL_SLOT_SEED;
		if (unseen)
			gil_name_seed(at, slot);
		/* As long as it was open the hold was told of as that record's, be it one of a thread that had none. */
		else if (slot != g->cur.owner_slot && gil_is_owners(at, g->cur.owner_slot))
			t = gil_thread_at(slot = g->cur.owner_slot);
		len = at->now > g->cur.acquired_at ? at->now - g->cur.acquired_at : 0;
		gil_stack_waiters(g, at->now);
		back = at->now;
		if (cfg_off_cpu && gil_cpu_now(g)->cur.state != GIL_CPU_ON && !unseen)
			back = gil_cpu_back_at(g, at->delay_ns, at->now);
		if (cfg_stacks && cfg_off_cpu && gil_cpu_now(g)->cur.state != GIL_CPU_ON)
			gil_tick_settle(at->gil_slot, back, at->bound);
		gil_cpu_ends(g, back, at->bound);
		if (!unseen)
			gil_cpu_compare(g, at->now, at->bound);
		gil_close_hold(g, at->now);
		was_off = gil_cpu_released(g, len, &off);
	}
	gil_write_end(&g->seq);
	if (cfg_trace && ours)
		gil_tell_trace(at, GIL_TRACE_RELEASED, forced ? GIL_TRACE_FORCED : 0);
	if (!ours || !t)
		return;
	gil_stack_released(at, slot, len, forced);

	gil_write_begin(&t->seq);
	gil_thread_rearm(t, at->proc->arm_gen);
	gil_thread_roll(t, at->bound);
	if (t->cur.gc_since)
		gil_gc_lets_go(g, t, at->now, !gil_is_other(slot));
	t->cur.hold_ns += len;
	t->cur.releases++;
	t->cur.unseen += unseen;
	if (forced)
		t->cur.forced++;
	if (was_off)
		gil_off_add(&t->cur.hold_off, &off);
	if (g->asked_at)
		over_ns = gil_count_over(g, t, at->now);
	gil_hist_count(&t->cur.hold, len);
	if (len > t->cur.hold_max_ns)
		t->cur.hold_max_ns = len;
	gil_write_end(&t->seq);
	if (over_ns)
		gil_stack_went_on(at, slot, over_ns);
}

/*
 * Not under gil->mutex: touches the GIL's hand-off fields, in light mode the request, and the thread's own record only.
 * `switches`: the GIL's own count of changes of holder.
 */
GIL_INLINE void gil_on_handoff(struct gil_at *at, __u32 slot, bool count_forced, __u64 tstate, __u32 switches)
{
	struct gil_thread *t = gil_thread_at(slot);

	if (!t || gil_is_other(slot))
		return;
	at->bound = gil_bound_at(at->now);
	gil_write_begin(&t->seq);
	gil_thread_rearm(t, at->proc->arm_gen);
	gil_thread_roll(t, at->bound);
	gil_leave_handoff(t, at->now);
	gil_give_up_wait(at->gil, t, at->now); /* its acquire was not seen */
	/* Light: it took the GIL in between without queueing, so that wait ended unseen. */
	if (t->cur.handoff_len && !t->cur.wait_since) {
		gil_count_wait(&t->cur, t->cur.handoff_len);
		t->cur.handoff_len = 0;
	}
	t->cur.handoff_since = at->now;
	if (at->proc->mode == GIL_MODE_LIGHT)
		gil_light_count_over(at->gil, t, switches, at->now);
	if (count_forced)
		t->cur.forced++;
	t->tstate = tstate;
	gil_write_end(&t->seq);
	at->gil->handoff_tid = at->tid;
	at->gil->handoff_slot = slot;
	if (cfg_trace)
		gil_tell_trace(at, GIL_TRACE_HANDOFF, 0);
}

/* ---- events: garbage collection ---- */

/* Whether the current thread has the GIL, as far as is known: who had it when the probes were armed has had no event. */
GIL_INLINE bool gil_may_collect(const struct gil_at *at)
{
	const struct gil_view *cur = &at->gil->cur;

	if (at->gil->arm_gen != at->proc->arm_gen || cur->state == GIL_OWNER_UNKNOWN)
		return true;
	return cur->state == GIL_OWNER_HELD && (cur->owner_slot == GIL_SLOT_SEED || cur->owner_tid == at->tid);
}

/*
 * Not under gil->mutex: touches the thread's own record only. A second beginning in one collection ends it: its end was not
 * seen, or a finalizer collects in another interpreter that has the same GIL.
 */
GIL_INLINE void gil_on_gc(struct gil_at *at, __u32 slot, bool starts)
{
	struct gil_thread *t = gil_thread_at(slot);

	if (!t)
		return;
	at->bound = gil_bound_at(at->now);
	gil_write_begin(&t->seq);
	gil_thread_rearm(t, at->proc->arm_gen);
	gil_thread_roll(t, at->bound);
	if (starts == !!t->cur.gc_run && at->proc->gc_exact)
		gil_lost(at->proc, GIL_LOSS_GC_UNPAIRED);
	if (t->cur.gc_run)
		gil_gc_ends(at->gil, t, at->now);
	if (starts) {
		t->cur.gc_run = 1;
		gil_gc_goes_on_with(at->gil, t, at->now);
	}
	gil_write_end(&t->seq);
	if (cfg_trace)
		gil_tell_trace(at, starts ? GIL_TRACE_GC_START : GIL_TRACE_GC_DONE, 0);
}

/* ---- events: light ---- */

/* Behind the timedwait, gil->locked == 0: this thread takes the GIL now. */
GIL_INLINE void gil_on_wake(struct gil_at *at, __u32 slot)
{
	struct gil_thread *t = gil_thread_at(slot);
	struct gil_state *g = at->gil;

	if (!t || gil_is_other(slot))
		return;
	gil_write_begin(&g->seq);
	gil_enter(at);
	if (g->handoff_slot)
		gil_end_handoff(at, false);
	g->asked_at = 0;
	gil_write_end(&g->seq);

	gil_write_begin(&t->seq);
	gil_thread_rearm(t, at->proc->arm_gen);
	if (t->cur.wait_since)
		gil_end_wait(at, t, slot);
	else
		gil_lost(at->proc, GIL_LOSS_WAIT_NO_START);
	gil_write_end(&t->seq);
}

/* ---- a thread is gone ---- */

GIL_INLINE bool gil_is_holder(const struct gil_state *g, const struct gil_thread *t, __u32 slot, __u64 now)
{
	return g->arm_gen == t->arm_gen && g->cur.state == GIL_OWNER_HELD && g->cur.owner_slot == slot &&
	       g->cur.owner_tid == t->tid && now >= g->cur.acquired_at;
}

/*
 * A thread that ends with the GIL, in a process that goes on, has it for ever: nobody else can take it. Its hold stays open,
 * off the CPU, and its record is not given back while it is (reader.c). A release would not be its.
 */
GIL_INLINE void gil_hold_for_ever(struct gil_state *g, const struct gil_thread *t, __u64 now)
{
	__u64 bound = gil_bound_at(now);

	gil_cpu_releasing(g, t->tid);
	gil_write_begin(&g->seq);
	gil_roll(g, bound);
	g->cur.owner_tid = 0;
	if (cfg_off_cpu)
		gil_cpu_set(g, GIL_CPU_BLOCKED, now, bound);
	gil_write_end(&g->seq);
}

/* A process that ends takes the GIL with it: nobody releases it, but the hold ends here. */
GIL_INLINE void gil_end_with(struct gil_state *g, struct gil_thread *t, __u64 now)
{
	__u64 len, bound = gil_bound_at(now);
	struct gil_off off = {};

	len = now - g->cur.acquired_at;
	gil_cpu_releasing(g, t->tid);
	gil_write_begin(&g->seq);
	gil_roll(g, bound);
	gil_close_hold(g, now);
	gil_cpu_ends(g, now, bound);
	if (gil_cpu_released(g, len, &off))
		gil_off_add(&t->cur.hold_off, &off);
	gil_write_end(&g->seq);
	t->cur.hold_ns += len;
	t->cur.releases++;
	gil_hist_count(&t->cur.hold, len);
	if (len > t->cur.hold_max_ns)
		t->cur.hold_max_ns = len;
}

GIL_INLINE void gil_tell_trace_of_exit(struct gil_state *g, const struct gil_thread *t, __u64 now)
{
	__u32 slot = t->proc;
	struct gil_proc *proc = bpf_map_lookup_elem(&procs, &slot);

	if (proc)
		gil_trace(proc, g, t->gil, (struct gil_trace_event){
			.at = now, .tid = t->tid, .proc = (__u16)slot, .kind = GIL_TRACE_EXIT,
		});
}

/* What it was waiting for it will never get: the rest of the wait is charged to nobody known. `alone`: its process goes on. */
GIL_INLINE void gil_on_thread_exit(struct gil_state *g, struct gil_thread *t, __u32 slot, __u64 now, bool alone)
{
	__u64 mine = (__u64)slot << 32 | t->tid;
	__u32 proc_slot = t->proc;
	struct gil_proc *proc = bpf_map_lookup_elem(&procs, &proc_slot);

	gil_write_begin(&t->seq);
	if (proc)
		gil_thread_rearm(t, proc->arm_gen);
	gil_thread_roll(t, gil_bound_at(now));
	if (g && t->cur.gc_run)
		gil_gc_ends(g, t, now);
	if (g && gil_is_holder(g, t, slot, now)) {
		if (alone)
			gil_hold_for_ever(g, t, now);
		else
			gil_end_with(g, t, now);
	}
	gil_give_up_wait(g, t, now);
	if (t->cur.handoff_since)
		gil_count_handoff(&t->cur, now);
	bpf_get_current_comm(t->comm, sizeof(t->comm));
	t->state = GIL_THREAD_DEAD;
	gil_write_end(&t->seq);
	if (!g)
		return;
	if (cfg_trace)
		gil_tell_trace_of_exit(g, t, now);
	/* A new thread with the same tid must not be taken for this one. */
	__sync_val_compare_and_swap(&g->last_owner, mine, 0);
	if (g->handoff_slot == slot)
		g->handoff_slot = 0;
}

#endif
