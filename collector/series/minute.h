/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The last minute: for how long each thread held the GIL, waited for it, and was waited for. What the leaderboards now:* show.
 *
 * Six cells of ten seconds on the wall clock's grid, the last one still filling; a cell that leaves takes what it had with it.
 * A thread is one entry, however many GILs it uses. Beyond MINUTE_MAX_THREADS those with least are PSEUDO_OTHER. Pure.
 */
#ifndef GILSCOPE_MINUTE_H
#define GILSCOPE_MINUTE_H

#include "collector/base/keymap.h"
#include "sample.h"

#define MINUTE_CELLS 6
#define MINUTE_MAX_THREADS 4096

enum minute_kind {
	MINUTE_HOLD,
	MINUTE_WAIT,
	MINUTE_BLAMED,
	MINUTE_KINDS,
};

struct minute_thread {
	struct thread_key key;
	char name[THREAD_NAME_SIZE]; /* the latest; "" if not known */
	uint64_t ns[MINUTE_CELLS][MINUTE_KINDS];
};

struct minute_cell {
	int64_t end_ms;    /* 0: empty */
	uint32_t unknown;  /* enum known: what was not known all the time */
};

/* Zeroed is empty. */
struct minute {
	struct minute_thread *threads; /* that did anything */
	size_t threads_n, threads_room;
	struct keymap index;           /* (start_ticks, tid) -> thread */
	struct minute_cell cells[MINUTE_CELLS];
	int64_t end_ms;                /* of the cell that is filling */
	bool lost;                     /* with the last sample threads lost what they had: a cell left, or they were folded */
};

/* Adds the next sample. 0 or -ENOMEM: it is short of parts of the sample then. */
int minute__add(struct minute *m, const struct proc_sample *s);

/* What is known of the whole minute: bits of enum known. */
uint32_t minute__known(const struct minute *m);

/* Sum of one kind over the cells, ns. */
uint64_t minute__sum(const struct minute_thread *t, enum minute_kind kind);

void minute__free(struct minute *m);

#endif
