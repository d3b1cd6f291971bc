/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * On and off the CPU: what the scheduler does with a thread while it holds a GIL. Plain inline functions, as in gil_core.
 *
 *            switched out, asleep or stopped          woken
 *   ON ------------------------------> BLOCKED -----------------> PREEMPTED
 *                                      STOPPED
 *   ^ \                                   |                         ^   |
 *   |  `------- switched out, runnable ---|-------------------------'   |
 *   +------------------------- switched in <----------------------------+
 *
 * An acquirer runs, so a hold begins ON and nothing need be written for it; only a GIL of which nothing is known yet is UNSEEN.
 * The acquire leaves in the thread's task storage which GIL it was and in the GIL whose it is; the release takes the latter
 * back. So at a context switch one look-up tells whether the thread holds a GIL, and no other thread can seem to.
 *
 * One writer at a time: events of one thread in the scheduler are ordered (its run queue's lock), and the others write only
 * while the GIL has no `holder_tid`, under gil->mutex. Readers on other CPUs are not held up: two copies are written by turns,
 * and `cpu_turn` says which is whole.
 *
 * A switch is a hint: who seems to lack its CPU and runs, at its release, at a tick or as it leaves, came back unseen, and the
 * kernel's own account of its waiting for a CPU tells when (gil_cpu_back_at()). That account tells as well how often it got a
 * CPU: where that was more often than we were told, the kernel's totals since the acquire are taken (gil_cpu_compare()), at the
 * release, a tick, or the next switch that is told.
 */
#ifndef GILSCOPE_GIL_CPU_BPF_H
#define GILSCOPE_GIL_CPU_BPF_H

#include "gil_at.bpf.h"
#include "gil_leave.h"
#include "gil_off.h"

/* Whether any of this is done; without it the programs are as if this file were not there. */
const volatile bool cfg_off_cpu = true;

/* Threads that hold a GIL without running, of all processes: while there are none, a switch need not look at who comes. */
__u32 gil_holders_off;

/* ---- the clocks ---- */

GIL_INLINE __u32 gil_cpu_turn(const struct gil_state *g)
{
	return *(volatile const __u32 *)&g->cpu_turn;
}

GIL_INLINE const struct gil_cpu *gil_cpu_now(const struct gil_state *g)
{
	return &g->cpu[gil_cpu_turn(g) & 1];
}

/* Those of the interval that began at `bound`: the older ones of the two are forgotten for them. */
GIL_INLINE struct gil_why_sums *gil_why_sums_of(struct gil_state *g, __u64 bound)
{
	struct gil_why_sums *sums = &g->whys[g->whys_turn & 1];

	if (sums->bound >= bound)
		return sums;
	sums = &g->whys[(g->whys_turn + 1) & 1];
	sums->rest_ns = 0;
	for (int i = 0; i < GIL_WHYS_KEPT; i++)
		sums->of[i].why.kind = GIL_WHY_NONE;
	sums->bound = bound;
	g->whys_turn++;
	return sums;
}

/*
 * A holder's sleep or stop ends at `now`: what of it was in the running interval goes to its reason; userland has seen what was
 * before as open. Global, so that it is verified once.
 */
__noinline int gil_why_ends(struct gil_state *g, __u64 now, __u64 bound)
{
	const struct gil_cpu_view *was;
	struct gil_why_sums *sums;
	__u64 from;

	if (!g)
		return 0;
	was = &gil_cpu_now(g)->cur;
	from = was->since > bound ? was->since : bound;
	if (!was->why.kind || now <= from)
		return 0;
	sums = gil_why_sums_of(g, bound);
	for (int i = 0; i < GIL_WHYS_KEPT; i++) {
		struct gil_why_sum *sum = &sums->of[i];

		if (!sum->why.kind) {
			sum->why = was->why;
			sum->ns = 0;
		}
		if (sum->why.kind == was->why.kind && sum->why.id == was->why.id) {
			sum->ns += now - from;
			return 0;
		}
	}
	sums->rest_ns += now - from;
	return 0;
}

/* The copy to be written next, with what is put aside of the newest boundary. */
GIL_INLINE struct gil_cpu *gil_cpu_next(struct gil_state *g, __u64 bound)
{
	const struct gil_cpu *old = gil_cpu_now(g);
	struct gil_cpu *fresh = &g->cpu[(gil_cpu_turn(g) + 1) & 1];

	if (old->bound < bound) {
		fresh->snap = old->cur;
		fresh->bound = bound;
	} else {
		fresh->snap = old->snap;
		fresh->bound = old->bound;
	}
	return fresh;
}

/*
 * A change of state; `bound` is the newest boundary not after `now`. `left`: the stack in which the holder loses its CPU; one
 * that lacks it already has left it before. `why`: that of a sleep or stop; NULL: it is none, or it is not known.
 */
GIL_INLINE void gil_cpu_set_in(struct gil_state *g, enum gil_cpu_state state, __u64 now, __u64 bound, __u64 left,
			       const struct gil_why *why)
{
	const struct gil_cpu *old = gil_cpu_now(g);
	struct gil_cpu *fresh = gil_cpu_next(g, bound);

	if (now < old->cur.since) /* clocks of two CPUs may differ by a little */
		now = old->cur.since;
	fresh->cur.off = gil_off_at(&old->cur, now);
	fresh->cur.since = now;
	fresh->cur.state = state;
	fresh->cur.left = left;
	fresh->cur.left_at = now;
	if (why)
		fresh->cur.why = *why;
	else
		fresh->cur.why.kind = GIL_WHY_NONE;
	__sync_fetch_and_add(&g->cpu_turn, 1);
}

GIL_INLINE void gil_cpu_set(struct gil_state *g, enum gil_cpu_state state, __u64 now, __u64 bound)
{
	gil_cpu_set_in(g, state, now, bound, state == GIL_CPU_ON ? 0 : gil_cpu_now(g)->cur.left, NULL);
}

/* The clocks at `when`, the newest boundary or later, read beside their writer. */
GIL_INLINE void gil_cpu_read(struct gil_state *g, __u64 when, struct gil_off *ret)
{
	/* Several switches of the holder during one reading do not happen; and if they did, shares are bounded. */
	for (int tries = 0; tries < 3; tries++) {
		__u32 turn = __sync_fetch_and_add(&g->cpu_turn, 0); /* a barrier as well */
		const struct gil_cpu *cpu = &g->cpu[turn & 1];

		*ret = gil_off_at(cpu->bound >= when ? &cpu->snap : &cpu->cur, when);
		if (__sync_fetch_and_add(&g->cpu_turn, 0) == turn)
			return;
	}
}

/* ---- holds ---- */

/* Nothing is known of who holds it, since `since`: no boundary lies between. */
GIL_INLINE void gil_cpu_forget(struct gil_state *g, __u64 since)
{
	if (!cfg_off_cpu)
		return;
	g->holder_tid = 0;
	gil_cpu_set(g, GIL_CPU_UNSEEN, since, 0);
	g->cur.settled = gil_cpu_now(g)->cur.off;
}

/* A hold begins; last of all, for from here on the scheduler's events count. A hold whose end was not seen is nobody's. */
GIL_INLINE void gil_cpu_acquired(struct gil_state *g, __u32 tid, __u64 now, __u64 bound)
{
	if (!cfg_off_cpu)
		return;
	if (g->settled_turn != gil_cpu_turn(g)) {
		g->holder_tid = 0;
		gil_cpu_set(g, GIL_CPU_ON, now, bound);
		g->cur.settled = gil_cpu_now(g)->cur.off;
		g->settled_turn = gil_cpu_turn(g);
	}
	*(volatile __u32 *)&g->holder_tid = tid;
}

/* A hold is about to end: the scheduler's events count no more. */
GIL_INLINE void gil_cpu_releasing(struct gil_state *g, __u32 tid)
{
	if (cfg_off_cpu && g->holder_tid == tid)
		*(volatile __u32 *)&g->holder_tid = 0;
}

/*
 * Since when a holder has its CPU back that seems to lack it and runs all the same: some kernels do not tell of every switch. How
 * long it has waited for a CPU in its life, the kernel has brought up to date when it got this one (sched_info_arrive() in
 * kernel/sched/stats.h). Where that is not known, or it seemed to sleep: now.
 */
GIL_INLINE __u64 gil_cpu_back_at(struct gil_state *g, __u64 delay_ns, __u64 now)
{
	const struct gil_cpu_view *was = &gil_cpu_now(g)->cur;
	__u64 waited = delay_ns - g->left_delay_ns;

	if (was->state == GIL_CPU_ON)
		return now;
	g->switches_missed++;
	if (was->state != GIL_CPU_PREEMPTED || delay_ns == GIL_DELAY_UNKNOWN || g->left_delay_ns == GIL_DELAY_UNKNOWN)
		return now;
	return now > was->since && waited < now - was->since ? was->since + waited : now;
}

/* ---- the kernel's own account ---- */

/* A clock goes on by `more`, or back: not by more than `room`, nor behind what it was at the last boundary, or at the acquire. */
GIL_INLINE __u64 gil_cpu_corrected(__u64 clock, __s64 more, __u64 least, __u64 *room)
{
	if (more >= 0) {
		if ((__u64)more > *room)
			more = *room;
		*room -= more;
		return clock + more;
	}
	if (clock < least + (__u64)-more)
		more = -(__s64)(clock - least);
	*room += -more;
	return clock + more;
}

/*
 * The holder of that GIL, which has a CPU, got one more often than we were told (gil_state.now): its clocks are set as the
 * kernel's totals say, as far as they are of the running interval. What it slept is known to a tick of the kernel's; so that is
 * taken only if it left its CPU of its own will, unseen. Global, so that it is verified once.
 */
__noinline int gil_cpu_correct(struct gil_state *g, __u64 now, __u64 bound)
{
	const struct gil_cpu *cpu;
	struct gil_off least;
	struct gil_cpu *fresh;
	__u64 from, room, waited;
	__s64 slept;

	if (!g)
		return 0;
	cpu = gil_cpu_now(g);
	from = g->cur.acquired_at;
	if (cpu->cur.state != GIL_CPU_ON || g->cur.state != GIL_OWNER_HELD || now <= from || now <= bound || now < cpu->cur.since)
		return 0;
	g->switches_missed += g->now.arrivals - g->taken.arrivals;
	waited = g->now.delay_ns - g->taken.delay_ns;
	slept = g->now.sleeps == g->taken.sleeps ? 0 :
		(__s64)(now - from) - (__s64)(g->now.ran_ns - g->taken.ran_ns) - (__s64)waited -
		(__s64)(cpu->cur.off.ns[GIL_OFF_BLOCKED] - g->cur.settled.ns[GIL_OFF_BLOCKED]) -
		(__s64)(cpu->cur.off.ns[GIL_OFF_STOPPED] - g->cur.settled.ns[GIL_OFF_STOPPED]);
	least = bound <= from ? g->cur.settled : cpu->bound >= bound ? gil_off_at(&cpu->snap, bound) : cpu->cur.off;
	room = now - (bound > from ? bound : from);
	waited -= cpu->cur.off.ns[GIL_OFF_PREEMPTED] - g->cur.settled.ns[GIL_OFF_PREEMPTED];
	fresh = gil_cpu_next(g, bound);
	fresh->cur = cpu->cur;
	fresh->cur.since = now;
	room -= gil_off_sum(&cpu->cur.off) - gil_off_sum(&least);
	fresh->cur.off.ns[GIL_OFF_PREEMPTED] = gil_cpu_corrected(cpu->cur.off.ns[GIL_OFF_PREEMPTED], (__s64)waited,
								  least.ns[GIL_OFF_PREEMPTED], &room);
	fresh->cur.off.ns[GIL_OFF_BLOCKED] = gil_cpu_corrected(cpu->cur.off.ns[GIL_OFF_BLOCKED], slept,
								least.ns[GIL_OFF_BLOCKED], &room);
	__sync_fetch_and_add(&g->cpu_turn, 1);
	g->taken.arrivals = g->now.arrivals;
	g->taken.sleeps = g->now.sleeps;
	return 0;
}

/* `g->now` is that of its holder, at `now`. */
GIL_INLINE void gil_cpu_compare(struct gil_state *g, __u64 now, __u64 bound)
{
	if (cfg_off_cpu && g->now.arrivals != GIL_DELAY_UNKNOWN && g->now.arrivals != g->taken.arrivals)
		gil_cpu_correct(g, now, bound);
}

/* A hold is about to end, whose holder runs, whether we were told so or not. `back`: gil_cpu_back_at(). */
GIL_INLINE void gil_cpu_ends(struct gil_state *g, __u64 back, __u64 bound)
{
	if (!cfg_off_cpu || gil_cpu_now(g)->cur.state == GIL_CPU_ON)
		return;
	gil_why_ends(g, back, bound);
	gil_cpu_set(g, GIL_CPU_ON, back, bound);
	g->taken.arrivals++;
}

/* A hold of `len` ns has ended: how it was spent, into `ret`; false: all of it on the CPU. */
GIL_INLINE bool gil_cpu_released(struct gil_state *g, __u64 len, struct gil_off *ret)
{
	if (!cfg_off_cpu || g->settled_turn == gil_cpu_turn(g))
		return false;
	gil_off_take(&g->cur.settled, &gil_cpu_now(g)->cur.off, len, ret);
	g->cur.settled = gil_cpu_now(g)->cur.off;
	g->settled_turn = gil_cpu_turn(g);
	return true;
}

/* ---- the scheduler's events ---- */

GIL_INLINE bool gil_cpu_may_be_woken(__u32 state)
{
	return state == GIL_CPU_BLOCKED || state == GIL_CPU_STOPPED;
}

/* The next time that the thread takes that GIL, it says so again. */
GIL_INLINE void gil_task_leaves(const struct gil_task *mine)
{
	__u32 slot = mine->gil - 1;
	struct gil_state *former = bpf_map_lookup_elem(&gils, &slot);
	__u64 last;

	if (!former)
		return;
	last = former->last_owner;
	if ((__u32)last == mine->tid)
		__sync_val_compare_and_swap(&former->last_owner, last, 0);
}

/* Leaves in a thread's storage which GIL it takes. */
GIL_INLINE void gil_task_takes(struct gil_task *mine, __u32 gil_slot, __u32 tid)
{
	if (!cfg_off_cpu || !mine)
		return;
	if (mine->gil && mine->gil != gil_slot + 1)
		gil_task_leaves(mine);
	mine->gil = gil_slot + 1;
	mine->tid = tid;
}

/* The GIL that a thread holds, or NULL. */
GIL_INLINE struct gil_state *gil_held_by(const struct gil_task *mine)
{
	__u32 slot = mine->gil - 1;
	struct gil_state *g = mine->gil ? bpf_map_lookup_elem(&gils, &slot) : NULL;

	return g && *(volatile __u32 *)&g->holder_tid == mine->tid ? g : NULL;
}

/*
 * `left`: hash of the stack in which it is; 0: not known. `why`: it may be NULL. `delay_ns`: how long it has waited for a CPU in
 * its life.
 */
GIL_INLINE void gil_on_switched_out(struct gil_task *mine, enum gil_cpu_state state, const struct gil_why *why, __u64 now,
				    __u64 bound, __u64 left, __u64 delay_ns)
{
	struct gil_state *g = gil_held_by(mine);

	if (!g)
		return;
	g->left_delay_ns = delay_ns;
	g->taken.sleeps += gil_cpu_may_be_woken(state);
	gil_cpu_set_in(g, state, now, bound, left, why);
	mine->off = 1;
	__sync_fetch_and_add(&gil_holders_off, 1);
}

GIL_INLINE void gil_on_woken(const struct gil_task *mine, __u64 now, __u64 bound)
{
	struct gil_state *g = mine->off ? gil_held_by(mine) : NULL;

	if (!g || !gil_cpu_may_be_woken(gil_cpu_now(g)->cur.state))
		return;
	gil_why_ends(g, now, bound);
	gil_cpu_set(g, GIL_CPU_PREEMPTED, now, bound);
}

GIL_INLINE void gil_on_switched_in(struct gil_task *mine, __u64 now, __u64 bound)
{
	struct gil_state *g;

	if (!mine->off)
		return;
	mine->off = 0;
	__sync_fetch_and_add(&gil_holders_off, -1);
	g = gil_held_by(mine);
	if (!g || gil_cpu_now(g)->cur.state == GIL_CPU_ON) /* it left its CPU in an earlier hold, and came back unseen */
		return;
	gil_why_ends(g, now, bound);
	gil_cpu_set(g, GIL_CPU_ON, now, bound);
	g->taken.arrivals++;
}

#endif
