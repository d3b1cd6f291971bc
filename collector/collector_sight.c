/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whether the probes still see what a process does with its GILs (sight.h has the reasoning). The code that they stand in may be
 * left for another copy of it while we watch: text moved to large pages, a hook, a patch. That would look like a GIL that
 * one thread holds for ever, or that nobody takes. So its words are looked at each tick, and what moves unseen is said, and
 * counts as not observed until events come again.
 *
 * Not judged: what is disarmed, being changed, without an interpreter or without a GIL; nor anything while the probes are lifted
 * because gilscope itself stood still (pulse.h), which this loop may not have heard of yet.
 */
#include "collector_inside.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "collector/base/clock.h"
#include "collector/process/procmem.h"
#include "collector/process/pulse.h"

#define COND_SIZE 48              /* pthread_cond_t, bits/pthreadtypes-arch.h in glibc */
#define SLEEPERS_LOOKED_AT 64     /* threads that are looked at in search of a waiter */
#define INTERVAL_MAX_US 10000000  /* longer switch intervals are not waited for */

struct place {
	struct observed *o;
	struct workshop *shop;
	const struct gil_proc *proc;
	uint32_t index;
};

/* The programs' count of a GIL's events since arming. */
static uint64_t count(const struct place *at)
{
	const struct gil_state *g = probes__gil(at->shop->probes, at->o->slot, at->index);

	if (__atomic_load_n(&g->arm_gen, __ATOMIC_ACQUIRE) != at->proc->arm_gen)
		return 0;
	return __atomic_load_n(&g->cur.events, __ATOMIC_ACQUIRE);
}

/* Whether it is still the GIL of the interpreter that it was learned of: the memory of one that ended may be another's. */
static bool is_there(const struct place *at, uint64_t gil)
{
	const struct gil_owner *owner = &at->proc->gil_owner[at->index];
	const struct pyoffsets *off = &at->o->recipe->offsets;
	uint64_t id, back;
	pid_t pid = at->o->target->pid;

	if (at->index == 0)
		return true;
	return owner->interp && off->interp_gil != PYOFF_NONE && !procmem__read_u64(pid, owner->interp + off->interp_id, &id) &&
	       !procmem__read_u64(pid, owner->interp + off->interp_gil, &back) && id == owner->id && back == gil;
}

static enum sight_verdict look_at_gil(const struct place *at)
{
	struct sight *s = &at->o->sights.gils[at->index];
	uint64_t gil = at->proc->gil_addr[at->index];
	struct sight_look look;

	if (gil > GIL_PLACE_LAST && is_there(at, gil)) {
		look.events_before = count(at);
		if (!gil_words__read(at->o->target->pid, &at->o->recipe->offsets, gil, &look.words) && is_there(at, gil)) {
			look.events_after = count(at);
			return sight__look(s, &look);
		}
	}
	sight__restart(s);
	return SIGHT_STILL;
}

/* One that moves unseen is enough; one that is seen shows that probes work. */
static enum sight_verdict look_at_all(struct place *at)
{
	enum sight_verdict all = SIGHT_STILL;

	for (at->index = 0; at->index < GIL_PER_PROC && all != SIGHT_BLIND; at->index++) {
		enum sight_verdict one;

		if (at->proc->gil_addr[at->index] == GIL_PLACE_NEVER)
			break;
		one = look_at_gil(at);
		all = one > all ? one : all;
	}
	return all;
}

/* ---- light mode ---- */

/* Whether a thread sleeps in the main GIL's condition variable; how often it has gone to sleep. */
static bool is_waiter(const struct place *at, pid_t tid, uint64_t *ret_sleeps)
{
	uint64_t cond = at->proc->gil_addr[0] + at->o->recipe->offsets.gil_cond, futex;
	bool blocked;

	futex = target__futex(at->o->target->pid, tid, &blocked);
	return futex >= cond && futex < cond + COND_SIZE && target__is_asleep(at->o->target->pid, tid, ret_sleeps);
}

static struct sight_sleeper find_waiter(const struct place *at, uint64_t events)
{
	struct sight_sleeper found = {.events = events};
	struct dirent *task;
	char path[48];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)at->o->target->pid);
	dir = opendir(path);
	for (int i = 0; dir && !found.tid && i < SLEEPERS_LOOKED_AT && (task = readdir(dir)); i++) {
		pid_t tid = (pid_t)strtol(task->d_name, NULL, 10);

		found.at = clock__mono_ns();
		if (tid > 0 && is_waiter(at, tid, &found.sleeps))
			found.tid = tid;
	}
	if (dir)
		closedir(dir);
	return found;
}

/* Only where nothing was counted since the last look is anybody looked for: a scan of /proc is not for each tick. */
static enum sight_verdict look_at_queue(struct place *at)
{
	struct sight_sleeper *was = &at->o->sights.sleeper, is = *was;
	uint64_t events = count(at), interval_us;

	if (events != was->events) {
		*was = (struct sight_sleeper){.events = events};
		return SIGHT_SEES;
	}
	if (at->proc->gil_addr[0] <= GIL_PLACE_LAST ||
	    procmem__read_u64(at->o->target->pid, at->proc->gil_addr[0] + at->o->recipe->offsets.gil_interval, &interval_us) ||
	    interval_us > INTERVAL_MAX_US)
		return SIGHT_STILL;
	is.at = clock__mono_ns();
	if (!was->tid || !is_waiter(at, was->tid, &is.sleeps)) {
		*was = find_waiter(at, events);
		return SIGHT_STILL;
	}
	is.events = count(at);
	if (!sight_queue__is_blind(was, &is, interval_us))
		return SIGHT_STILL;
	*was = (struct sight_sleeper){.events = events};
	return SIGHT_BLIND;
}

/* ---- both ---- */

static bool is_judged(const struct observed *o, const struct gil_proc *proc)
{
	return !o->gone_at && !o->paused_at && !o->finalized && !o->pub.gil_disabled && proc->armed &&
	       (proc->mode == GIL_MODE_FULL || proc->mode == GIL_MODE_LIGHT);
}

static void begin_anew(struct sights *s, uint32_t arm_gen)
{
	for (int i = 0; i < GIL_PER_PROC; i++)
		sight__restart(&s->gils[i]);
	s->sleeper = (struct sight_sleeper){.tid = 0};
	s->arm_gen = arm_gen;
}

static void lose(struct collector *c, struct observed *o)
{
	o->sights.unseen++;
	if (o->sights.blind)
		return;
	o->sights.blind = true;
	observed__forget_open(o, &c->shop, "moved unseen");
	for (uint32_t i = 0; i < GIL_PER_PROC; i++) /* who had it when we armed is long gone */
		reader__seed(c->shop.reader, o->slot, i, 0);
	collector__alert(c, o, "process %d takes its GIL where no probe is: it runs other code than it did (moved, copied or "
			  "patched since). Nothing of it is observed until the probes see it again (cov 0)",
			  (int)o->target->pid);
}

static void regain(struct collector *c, struct observed *o)
{
	if (!o->sights.blind)
		return;
	o->sights.blind = false;
	o->sights.unseen++; /* not all of this interval was seen */
	collector__alert(c, o, "the probes see the GIL of process %d again", (int)o->target->pid);
}

void sights__mind(struct collector *c, struct observed *o)
{
	struct place at = {.o = o, .shop = &c->shop, .proc = probes__proc(c->shop.probes, o->slot)};
	enum sight_verdict verdict;

	if (!is_judged(o, at.proc) || o->sights.arm_gen != at.proc->arm_gen) {
		begin_anew(&o->sights, at.proc->arm_gen);
		return;
	}
	verdict = at.proc->mode == GIL_MODE_FULL ? look_at_all(&at) : look_at_queue(&at);
	if (pulse__is_lifted_since(c->times_lost)) {
		begin_anew(&o->sights, at.proc->arm_gen);
		return;
	}
	if (verdict == SIGHT_BLIND)
		lose(c, o);
	else if (verdict == SIGHT_SEES)
		regain(c, o);
}
