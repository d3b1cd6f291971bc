/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One process that is observed by looks alone (look/looks.h): finds its GILs, tallies what was seen, and makes samples of it. No
 * probe is planted; what an interval's looks can't tell is unknown in its sample.
 */
#ifndef GILSCOPE_OBSERVED_LOOKED_H
#define GILSCOPE_OBSERVED_LOOKED_H

#include "collector/base/reason.h"
#include "collector/look/look_tally.h"

struct observed;
struct workshop;
struct gc_watch;
struct pynames;
struct pystack;

struct looked {
	int place;               /* of looks__watch() */
	struct look_tally *tally;/* NULL: it is not observed by looks */
	struct pynames *names;
	struct pystack *stacks;  /* NULL: its code is not asked for, or frames are not known */
	struct look_gil gils[LOOK_GILS];
	uint32_t gils_n;         /* 0: its interpreter is not there yet */
	struct gc_watch *gc;     /* NULL: of its garbage collection nothing is known */
	bool stuck;              /* its memory can't be read any more */
};

/* Looks begin. `starting`: nothing is to be read in its memory yet. 0 or -errno. */
int looked__start(struct observed *o, struct workshop *shop, bool starting, struct reason *why);
void looked__stop(struct observed *o, struct workshop *shop);

/* Some times a second: takes in what was seen until now. `now`: ns, CLOCK_MONOTONIC. */
void looked__mind_all(struct workshop *shop, uint64_t now);

/* Its interval that has ended, as a sample that the caller frees. 0 or -ENOMEM. */
int looked__collect(struct observed *o, struct workshop *shop, struct proc_sample **ret);

#endif
