/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Thread slots: which are in use, whose they are, what is remembered of each, and when they are given back.
 *
 * Slots of dead threads rest before they are given back: for an interval, and as long as a waiter may still have to be
 * charged to them. Includes libbpf for the map of free slots; knows nothing of samples.
 */
#include "reader_inside.h"

#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>

#include "collector/base/log.h"

#define SLOTS_AHEAD 16      /* slots that CPUs may be taking while we look for the end of those in use */

/* Slots are taken in order where none was given back (see `free_slots`): those ever used lie side by side. */
void reader_slots__find_end(struct reader *r)
{
	for (uint32_t slot = r->slots_end; slot < r->slots_n && slot < r->slots_end + SLOTS_AHEAD; slot++)
		if (__atomic_load_n(&probes__thread(r->probes, slot)->state, __ATOMIC_ACQUIRE) != GIL_THREAD_FREE)
			r->slots_end = slot + 1;
}

/* Whose record is whose: one look at the table serves all processes. A record made later has nothing before the boundary. */
void reader_slots__list(struct reader *r, uint64_t bound)
{
	reader_slots__find_end(r);
	memset(r->first, 0, r->watches_n * sizeof(*r->first));
	for (uint32_t slot = r->slots_end - 1; slot >= probes__first_thread(r->probes); slot--) {
		const struct gil_thread *t = probes__thread(r->probes, slot);
		uint32_t proc;

		if (__atomic_load_n(&t->state, __ATOMIC_ACQUIRE) == GIL_THREAD_FREE || t->proc >= r->watches_n)
			continue;
		proc = t->proc;
		r->next[slot] = r->first[proc];
		r->first[proc] = slot;
	}
	r->listed_bound = bound;
}

/* ---- what is remembered ---- */

struct memo *reader_slots__memo(struct reader *r, uint32_t slot)
{
	if (!r->memos[slot])
		r->memos[slot] = calloc(1, sizeof(struct memo));
	return r->memos[slot];
}

static void forget_memo(struct reader *r, uint32_t slot)
{
	if (!r->memos[slot])
		return;
	blame_memo__clear(&r->memos[slot]->blame);
	time_memo__clear(&r->memos[slot]->times);
	free(r->memos[slot]);
	r->memos[slot] = NULL;
}

void reader_slots__free_memos(struct reader *r)
{
	for (uint32_t slot = 0; r->memos && slot < r->slots_n; slot++)
		forget_memo(r, slot);
	free(r->memos);
	r->memos = NULL;
}

/* ---- giving back ---- */

/* Makes a slot as good as new. */
static void give_back_one(struct reader *r, uint32_t slot)
{
	struct gil_thread *t = probes__thread(r->probes, slot);

	forget_memo(r, slot);
	memset(t, 0, sizeof(*t));
	if (slot >= probes__first_thread(r->probes) && bpf_map_update_elem(r->free_slots_fd, NULL, &slot, BPF_ANY))
		log_debug("thread slot %u could not be given back", slot);
}

/* Gives back all slots marked in r->gone; nothing may remember them as victim or holder then. */
static void give_back(struct reader *r)
{
	blame_reading__forget(&r->blame, r->blame_fd, r->gone);
	for (uint32_t slot = 0; slot < r->slots_n; slot++)
		if (r->memos[slot])
			blame_memo__forget(&r->memos[slot]->blame, r->gone);
	for (uint32_t slot = 0; slot < r->slots_n; slot++)
		if (r->gone[slot])
			give_back_one(r, slot);
	memset(r->gone, 0, r->slots_n * sizeof(*r->gone));
}

/* Collected as final at an earlier boundary, and every open wait has been charged since. */
static bool has_rested(const struct reader *r, uint32_t slot)
{
	const struct gil_thread *t = probes__thread(r->probes, slot);
	const struct memo *m = r->memos[slot];

	return m && m->resting && t->state != GIL_THREAD_LIVE && m->rests_since < r->clock->end &&
	       m->rests_since <= r->watches[t->proc].oldest_wait;
}

void reader_slots__free_rested(struct reader *r)
{
	size_t gone = 0;

	for (uint32_t slot = probes__first_thread(r->probes); slot < r->slots_end; slot++) {
		r->gone[slot] = has_rested(r, slot);
		gone += r->gone[slot];
	}
	if (gone)
		give_back(r);
}

void reader_slots__free_forgotten(struct reader *r)
{
	reader_slots__find_end(r);
	for (uint32_t slot = probes__first_thread(r->probes); slot < r->slots_end; slot++) {
		const struct gil_thread *t = probes__thread(r->probes, slot);

		r->gone[slot] = t->state != GIL_THREAD_FREE && t->proc < r->watches_n && r->watches[t->proc].forgotten;
	}
	/* Pairs charged since the last reading would pass to whoever has the slots next. */
	if (blame_reading__read(&r->blame, r->blame_fd, r->clock->end))
		log_debug("the pairs of processes that are forgotten could not be read");
	r->blame_bound = 0;
	r->listed_bound = 0;
	give_back(r);
}
