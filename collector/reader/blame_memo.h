/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Blame of one victim between two boundaries: what the programs charged, plus what an open wait has not been charged yet.
 *
 * A waiter is charged at its own events (each switch interval). One that slept over the boundary still owes the span up to
 * it: the reader walks the GIL's ring for that residue as the program will later. Should the ring have been lapped by then,
 * the program charges the residue to unknown instead; time_memo__explain() sees to it that it is told once.
 */
#ifndef GILSCOPE_BLAME_MEMO_H
#define GILSCOPE_BLAME_MEMO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf/gil_types.h"

/* A holder: its thread slot, or in light mode its PyThreadState, marked as such. */
#define BLAME_BY_TSTATE (1ull << 63)

static inline uint64_t blame_holder(uint32_t slot, uint64_t tstate)
{
	return tstate ? tstate | BLAME_BY_TSTATE : slot;
}

struct blame_part {
	uint64_t who;
	uint64_t ns;
};

struct blame_list {
	struct blame_part *part; /* sorted by holder */
	size_t n, room;
};

/* Adds to the part of that holder. 0 or -ENOMEM. */
int blame_list__add(struct blame_list *list, uint64_t who, uint64_t ns);
uint64_t blame_list__sum(const struct blame_list *list);
void blame_list__clear(struct blame_list *list);

/*
 * Charges the span of an open wait (`waiter`, as of `bound`) to the holders in the ring of `gil`, which was in the state
 * `at` at the bound. Returns how much of the span the GIL was held; parts whose holder is forgotten are not in the list.
 */
uint64_t blame_list__charge(struct blame_list *list, const struct gil_state *gil, const struct gil_view *at,
			    const struct gil_totals *waiter, uint64_t bound);

/* What a victim was charged with for one holder up to a boundary. Tens of thousands are read at once: no padding. */
struct blame_pair_sum {
	uint64_t who;
	uint64_t ns;
	uint32_t victim;
} __attribute__((packed, aligned(4)));

/* All pairs of the table as of one boundary. Zeroed is empty; owns its memory. */
struct blame_reading {
	struct blame_pair_sum *pairs; /* sorted by victim and holder when all are in */
	size_t n, room;
};

/* Reads all of the table as of `bound` (ns), which no later one may have passed. 0 or -errno. */
int blame_reading__read(struct blame_reading *reading, int map_fd, uint64_t bound);

/* What that is made of: one pair out of the table, and when there are no more, their order. 0 or -ENOMEM. */
int blame_reading__add(struct blame_reading *reading, const struct gil_blame_key *key, const struct gil_blame *value,
		       uint64_t bound);
int blame_reading__sort(struct blame_reading *reading);

/* Deletes the pairs of slots that are given back (`gone`, by slot) from the table. */
void blame_reading__forget(struct blame_reading *reading, int map_fd, const bool *gone);
void blame_reading__clear(struct blame_reading *reading);

/* Cumulative blame of a victim at the last boundary. */
struct blame_memo {
	struct blame_list last;
};

/*
 * What `victim` was charged with between the last boundary and that of `reading`, into `ret`; remembers the new state. What was
 * given to a holder at the last boundary and has turned out unknown since is not new unknown time: time_memo__explain().
 * `seed_slot` is who GIL_SLOT_SEED has turned out to be, 0: not known. 0 or -ENOMEM.
 */
int blame_memo__settle(struct blame_memo *memo, const struct blame_reading *reading, uint32_t victim, uint32_t seed_slot,
		       const struct blame_list *open, struct blame_list *ret);
/* As time_memo__forget_open(): `reading` is the table since the probes were disarmed. */
void blame_memo__forget_open(struct blame_memo *memo, const struct blame_reading *reading, uint32_t victim);
/* Forgets holders whose slots are given back: another thread will have them. */
void blame_memo__forget(struct blame_memo *memo, const bool *gone);
void blame_memo__clear(struct blame_memo *memo);

#endif
