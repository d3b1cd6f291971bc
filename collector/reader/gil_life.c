/* SPDX-License-Identifier: GPL-2.0-only */
/* See gil_life.h. */
#include "gil_life.h"

#include "collector/cpython/pyinterps.h"
#include "collector/cpython/pyver.h"

#define INTERPRETERS_MAX 1024 /* as many are believed */

/* The interpreters that there are. Read when the first one is asked for. */
struct census {
	const struct pyoffsets *off;
	pid_t pid;
	uint64_t runtime;
	bool taken, valid;
	uint64_t ids[INTERPRETERS_MAX];
	int n;
};

static void take_census(struct census *c)
{
	c->taken = true;
	c->valid = pyinterps__ids(c->pid, c->off, c->runtime, c->ids, INTERPRETERS_MAX, &c->n) == 0;
}

/* Not where it can't be told: later is early enough. */
static bool has_ended(struct census *c, const struct gil_owner *owner)
{
	if (!c->taken)
		take_census(c);
	for (int i = 0; c->valid && i < c->n; i++)
		if (c->ids[i] == owner->id)
			return false;
	return c->valid;
}

static void look_at(struct gil_proc *proc, uint32_t gil, struct census *census)
{
	__u64 place = __atomic_load_n(&proc->gil_addr[gil], __ATOMIC_ACQUIRE);
	const struct gil_owner *owner = &proc->gil_owner[gil];

	if (place <= GIL_PLACE_LAST || !owner->id || !owner->interp || !has_ended(census, owner))
		return;
	__atomic_compare_exchange_n(&proc->gil_addr[gil], &place, GIL_PLACE_ENDED, false, __ATOMIC_SEQ_CST,
				    __ATOMIC_SEQ_CST);
}

/* Has the records of its threads collected like those of dead ones. Returns how many there still are. */
static uint32_t close_records(struct probes *p, uint32_t slot, uint32_t gil, uint32_t slots_end)
{
	uint32_t left = 0;

	for (uint32_t i = probes__first_thread(p); i < slots_end; i++) {
		struct gil_thread *t = probes__thread(p, i);
		uint32_t live = GIL_THREAD_LIVE;

		if (t->state == GIL_THREAD_FREE || t->proc != slot || t->gil != gil)
			continue;
		left++;
		__atomic_compare_exchange_n(&t->state, &live, GIL_THREAD_LEFT, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	}
	return left;
}

uint32_t gil_life__mind(struct probes *p, uint32_t slot, const struct pyoffsets *off, uint64_t runtime, uint32_t slots_end)
{
	struct census census = {.off = off, .pid = probes__pid(p, slot), .runtime = runtime};
	struct gil_proc *proc = probes__proc(p, slot);
	uint32_t freed = 0;

	if (off->interp_gil == PYOFF_NONE)
		return 0;
	for (uint32_t gil = 0; gil < GIL_PER_PROC; gil++) {
		bool since_before = proc->gil_addr[gil] == GIL_PLACE_ENDED;

		if (!since_before)
			look_at(proc, gil, &census);
		if (proc->gil_addr[gil] != GIL_PLACE_ENDED || close_records(p, slot, gil, slots_end) || !since_before)
			continue;
		probes__free_gil(p, slot, gil);
		freed |= 1u << gil;
	}
	return freed;
}
