/* SPDX-License-Identifier: GPL-2.0-only */
/* See gc_looks.h. */
#include "gc_looks.h"

#include <linux/sched.h>
#include <linux/sched/types.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "collector/base/clock.h"
#include "collector/base/random.h"
#include "collector/cpython/pyinterps.h"
#include "collector/look/gc_watch.h"

#define PERIOD_NS 7500000ull
#define SLICE_NS 100000
#define COST_MOST 150         /* between looks lies this much more time than they take */
#define COST_OF_WAKING_NS 20000 /* besides, each time: about (a timer, poll(), two system calls) */

/* ---- where ---- */

/* The main interpreter's collector; 0: there is no interpreter now. */
static uint64_t main_state(const struct observed *o)
{
	const struct pyoffsets *off = &o->recipe->offsets;
	uint64_t interp = pyinterps__main(o->target->pid, off, o->runtime);

	return interp ? gc_words__state(off, o->runtime, interp) : 0;
}

static struct gc_subject subject_at(const struct observed *o, struct workshop *shop, uint32_t place, uint64_t state)
{
	const struct gil_proc *proc = probes__proc(shop->probes, o->slot);
	const struct gil_view *gil = &probes__gil(shop->probes, o->slot, place)->cur;

	return (struct gc_subject){
		.gil = proc->gil_addr[place] > GIL_PLACE_LAST ? proc->gil_addr[place] : 0,
		.state = state,
		.number = (uint32_t)proc->gil_owner[place].id,
		.waiters = gil->waiters,
		.holder_tid = o->pub.mode == GIL_MODE_FULL && gil->state == GIL_OWNER_HELD ? gil->owner_tid : 0,
	};
}

/* The main GIL, and those of interpreters that have their own. */
static uint32_t find_subjects(struct observed *o, struct workshop *shop, struct gc_subject *ret)
{
	struct gil_proc *proc = probes__proc(shop->probes, o->slot);
	uint32_t n = 1;

	if (!o->gc_state)
		o->gc_state = main_state(o);
	proc->gc_where = o->gc_state ? o->gc_state + o->recipe->offsets.gc_collecting : 0;
	ret[0] = subject_at(o, shop, 0, o->gc_state);
	ret[0].number = 0;
	for (uint32_t i = 1; i < GIL_PER_PROC && n < GC_WATCH_GILS; i++)
		if (proc->gil_addr[i] > GIL_PLACE_LAST && proc->gil_owner[i].interp)
			ret[n++] = subject_at(o, shop, i, gc_words__state(&o->recipe->offsets, 0, proc->gil_owner[i].interp));
	return n;
}

/* Unknown is yes. */
static bool collects_now(struct observed *o, struct workshop *shop)
{
	struct gc_subject subjects[GC_WATCH_GILS];
	uint32_t n = find_subjects(o, shop, subjects);
	struct gc_words gc;

	for (uint32_t i = 0; i < n; i++)
		if (subjects[i].state && (gc_words__read(o->target->pid, &o->recipe->offsets, subjects[i].state, &gc) ||
					  gc.collecting))
			return true;
	return false;
}

void gc_looks__armed(struct observed *o, struct workshop *shop)
{
	if (o->gc)
		probes__proc(shop->probes, o->slot)->gc_exact = probes__see_gc(shop->probes, o->slot) && !collects_now(o, shop);
}

/*
 * Where every CPU is busy a look comes late, and later while the target computes than while it does not: that would tell too
 * little. A thread that asks for little at a time is let run sooner, for no more of it (6.12; earlier kernels ignore it).
 */
static void come_in_time(void)
{
	struct sched_attr attr = {.size = sizeof(attr)};

	if (syscall(SYS_sched_getattr, 0, &attr, sizeof(attr), 0) || attr.sched_policy != 0)
		return;
	attr.sched_flags |= SCHED_FLAG_RESET_ON_FORK;
	attr.sched_runtime = SLICE_NS;
	syscall(SYS_sched_setattr, 0, &attr, 0);
}

void gc_looks__begin(struct observed *o, struct workshop *shop)
{
	if (!o->runtime || !gc_words__are_known(&o->recipe->offsets))
		return;
	o->gc = gc_watch__new();
	if (!o->gc)
		return;
	reader__ask_gc(shop->reader, o->slot, o->gc);
	gc_looks__armed(o, shop);
	if (!shop->next_look) {
		come_in_time();
		shop->next_look = clock__mono_ns();
	}
}

static void look(struct observed *o, struct workshop *shop, uint64_t bound)
{
	struct gc_subject subjects[GC_WATCH_GILS];
	uint32_t n = find_subjects(o, shop, subjects);

	if (probes__proc(shop->probes, o->slot)->gc_exact)
		gc_watch__count(o->gc, o->target->pid, &o->recipe->offsets, subjects, n);
	else
		gc_watch__look(o->gc, o->target->pid, &o->recipe->offsets, subjects, n, bound);
}

/* ---- when ---- */

/* Between half and one and a half. */
static uint64_t jittered(struct workshop *shop, uint64_t ns)
{
	return ns / 2 + (uint64_t)random__next(&shop->look_jitter) * ns / UINT32_MAX;
}

/* What this thread has spent: on a busy machine much more time than that goes by. */
static uint64_t spent_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

void gc_looks__turn(struct roster *roster, struct workshop *shop, uint64_t now, uint64_t bound)
{
	uint64_t begin = spent_ns(), cost, pause;
	size_t n = 0;

	if (!shop->next_look || now < shop->next_look)
		return;
	for (size_t i = 0; i < roster->max; i++) {
		struct observed *o = roster__at(roster, i);

		if (!o || !o->gc || o->gone_at)
			continue;
		look(o, shop, bound);
		n++;
	}
	cost = spent_ns() - begin + COST_OF_WAKING_NS;
	shop->look_cost = shop->look_cost ? (7 * shop->look_cost + cost) / 8 : cost;
	pause = shop->look_cost * COST_MOST > PERIOD_NS ? shop->look_cost * COST_MOST : PERIOD_NS;
	shop->next_look = n ? clock__mono_ns() + jittered(shop, pause) : 0;
}

uint64_t gc_looks__next(const struct workshop *shop)
{
	return shop->next_look ? shop->next_look : UINT64_MAX;
}

/* ---- into a sample ---- */

void gc_looks__settle(struct observed *o, struct workshop *shop, struct proc_sample *s, uint64_t bound)
{
	bool exact;

	if (!o->gc)
		return;
	if (!o->gone_at) {
		o->gc_state = main_state(o); /* the interpreter may be another one by now */
		look(o, shop, bound);
	}
	exact = probes__proc(shop->probes, o->slot)->gc_exact;
	gc_watch__settle(o->gc, s, !exact);
	if (!exact && !o->gone_at)
		gc_looks__armed(o, shop);
}
