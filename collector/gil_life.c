/* SPDX-License-Identifier: GPL-2.0-only */
/* See gil_life.h. */
#include "gil_life.h"

#include <string.h>

#include "procmem.h"

/*
 * Its interpreter says so: still the same one, and still using it. _PyEval_FiniGIL() (Python/ceval_gil.c, 3.12 and later)
 * clears the pointer before the memory is given back.
 */
static bool is_alive(pid_t pid, const struct pyoffsets *off, const struct gil_owner *owner, uint64_t gil)
{
	uint64_t id, now;

	return procmem__read_u64(pid, owner->interp + off->interp_id, &id) == 0 && id == owner->id &&
	       procmem__read_u64(pid, owner->interp + off->interp_gil, &now) == 0 && now == gil;
}

static void look_at(struct gil_proc *proc, uint32_t gil, pid_t pid, const struct pyoffsets *off)
{
	uint64_t place = __atomic_load_n(&proc->gil_addr[gil], __ATOMIC_ACQUIRE);
	const struct gil_owner *owner = &proc->gil_owner[gil];

	if (place <= GIL_PLACE_LAST || !owner->id || !owner->interp || is_alive(pid, off, owner, place))
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

static void free_place(struct probes *p, uint32_t slot, uint32_t gil)
{
	struct gil_proc *proc = probes__proc(p, slot);

	memset(probes__gil(p, slot, gil), 0, sizeof(struct gil_state));
	proc->gil_owner[gil] = (struct gil_owner){0};
	__atomic_store_n(&proc->gil_addr[gil], GIL_PLACE_FREE, __ATOMIC_SEQ_CST);
}

uint32_t gil_life__mind(struct probes *p, uint32_t slot, const struct pyoffsets *off, uint32_t slots_end)
{
	struct gil_proc *proc = probes__proc(p, slot);
	uint32_t freed = 0;

	if (off->interp_gil == PYOFF_NONE)
		return 0;
	for (uint32_t gil = 0; gil < GIL_PER_PROC; gil++) {
		bool since_before = proc->gil_addr[gil] == GIL_PLACE_ENDED;

		if (!since_before)
			look_at(proc, gil, probes__pid(p, slot), off);
		if (proc->gil_addr[gil] != GIL_PLACE_ENDED || close_records(p, slot, gil, slots_end) || !since_before)
			continue;
		free_place(p, slot, gil);
		freed |= 1u << gil;
	}
	return freed;
}
