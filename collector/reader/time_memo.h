/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Times and counts of one thread between two boundaries: its state at B minus its state at the boundary before.
 *
 * What was open at B is added: the owner's hold since its acquire, a waiter's wait since it was last charged. Cumulative sums
 * with their open parts only ever grow, so differences of them are exact and a late reading loses nothing. Whom the open part
 * of a wait is charged to goes on to blame_memo.h, which does the same for blame.
 */
#ifndef GILSCOPE_TIME_MEMO_H
#define GILSCOPE_TIME_MEMO_H

#include "collector/series/sample.h"
#include "blame_memo.h"
#include "record.h"

/* A thread's record at a boundary, with what it takes to tell what was open in it. */
struct moment {
	const struct record *rec;
	const struct gil_record *gil; /* of the GIL that the record is of */
	uint64_t from, bound;   /* the boundary before, and B: ns, CLOCK_MONOTONIC */
	uint32_t slot;          /* the thread's */
	uint32_t arm_gen;       /* the process's: what an earlier one left open does not count */
	enum gil_mode mode;
};

/* Since when (ns) the thread had the hold that was open at B; 0: it had none, or in light mode none that can be known. */
uint64_t moment__open_hold_since(const struct moment *at);

/* Its state at the last boundary, what was open included. Zeroed: before its first. */
struct time_memo {
	struct cumulative {
		uint64_t hold_ns, wait_ns, handover_ns, unknown_ns;
		uint64_t acquires, contended, forced, inferred;
		uint64_t gc_ns, gc_wait_ns, gc_ended;
		struct gil_off hold_off, wait_off;
		struct gil_over over;
	} last;
	uint64_t unseen;        /* of the record */
	struct hist hold, wait;
	uint64_t violations;    /* sums that seemed to shrink, and what was cut for that; the caller's to count and to clear */
};

/*
 * What is new since the last boundary, and the ages of what is open, into `ret` (zeroed but for `known`); remembers the state at
 * this one. An open wait's parts by holder are added to `open`. 0, or -ENOMEM: histograms or `open` may be short then.
 */
int time_memo__settle(struct time_memo *memo, const struct moment *at, struct metrics *ret, struct blame_list *open);

/*
 * Makes the parts of a wait what it is made of: wait = `parts` (by holder) + handover + unknown. Time that was given to one of
 * them at the last boundary and stands in another one now is not told twice.
 */
void time_memo__explain(struct time_memo *memo, struct metrics *m, struct blame_list *parts);

/*
 * The probes are being armed anew: what was open when they were disarmed will never be in the record, of which `now` is the
 * state since then. What was told of it already is forgotten, so that what comes is new. `since` is gil_state.since of the
 * record's GIL, `from` the last boundary.
 */
void time_memo__forget_open(struct time_memo *memo, const struct gil_totals *now, uint64_t since, uint64_t from);

/* Frees what it owns; it is zeroed then. */
void time_memo__clear(struct time_memo *memo);

#endif
