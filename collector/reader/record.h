/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Consistent copies of what the programs write at any moment: a thread's record and a GIL's, as of a boundary B.
 *
 * A record that has had an event since B carries its state at B in `snap`; one that has not is still in the state at B. What was
 * open at B is not added here: time_memo.h. Pure: the tables are an argument. Next: reader.h.
 */
#ifndef GILSCOPE_RECORD_H
#define GILSCOPE_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "bpf/gil_types.h"

/* A thread's record as of B. */
struct record {
	uint32_t seq, state, tid, proc, gil, arm_gen;
	uint64_t tstate, start_boot_ns, bound;
	char comm[16];
	struct gil_totals at;
};

/* Whether a wait is open that holders may be charged for yet: not one of an earlier arming. */
static inline bool record__waits(const struct record *rec, uint32_t arm_gen)
{
	return rec->at.wait_since && rec->arm_gen == arm_gen;
}

/* A GIL as of B, with the ring that residues are charged from. */
struct gil_record {
	bool torn;              /* could not be read: the rest means nothing */
	bool current;           /* has had events since arming: the caller's to say */
	uint64_t addr;          /* the same */
	struct gil_view at;
	struct gil_off off;     /* the off-CPU clocks at B */
	struct gil_cpu_view cpu; /* what its holder did then */
	struct gil_state state;
};

/*
 * Copies a record as of `bound` (ns, CLOCK_MONOTONIC). False: torn, its writer did not finish in all the time that is waited for
 * it; what stands in *ret means nothing then.
 */
bool record__read(const struct gil_thread *t, uint64_t bound, struct record *ret);

/* The same of a GIL, which is in `torn`, too; `current` and `addr` are left alone. */
bool gil_record__read(const struct gil_state *g, uint64_t bound, struct gil_record *ret);

#endif
