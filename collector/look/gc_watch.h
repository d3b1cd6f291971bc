/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How long a process collects garbage while it holds its GIL, by looking again and again whether it does: at `gc.collecting` and
 * at who has the GIL, in its memory, without a probe. Sampled, so each time comes with its standard error.
 *
 *   look      . . c c c . . c . .       c: it collects, and the thread that collects has the GIL
 *   time        |=========|  |=|        each look stands for half of the time to the ones beside it
 *
 * A collection that began and ended between two looks is not seen, one that was seen once is told too long: on average that is
 * right, and the error says how far off it may be. Which thread collects, no word says: taken for it is the one that had
 * the GIL when the collection was seen first; while another one has it (a finalizer has let go), no time is counted.
 *
 * How often was collected is not sampled: the interpreter counts it itself. Pure: `gc_looks.c` has the timer.
 */
#ifndef GILSCOPE_GC_WATCH_H
#define GILSCOPE_GC_WATCH_H

#include "collector/cpython/gc_words.h"
#include "collector/cpython/gil_words.h"
#include "collector/series/sample.h"

#define GC_WATCH_GILS 8     /* of one process that are looked at: the main interpreter's, and others that have one of their own */
#define GC_WATCH_THREADS 16 /* that collect in one interval; further ones' time is the process's only */

/* A GIL to be looked at, with what the programs know of it. */
struct gc_subject {
	uint64_t gil;           /* address; 0: not known yet */
	uint64_t state;         /* gc_words__state(); 0: there is no interpreter now, so nothing is collected */
	uint32_t number;        /* id of its interpreter, as gil_sample.gil */
	uint32_t waiters;       /* threads that wait for it now */
	uint32_t holder_tid;    /* 0: not known */
};

/* What one look finds. */
struct gc_look {
	uint64_t at;            /* ns, CLOCK_MONOTONIC */
	uint64_t holder;        /* thread state that had the GIL last; 0: nobody yet */
	uint64_t ended;         /* collections that have ended, in sum; 0: not known */
	uint32_t waiters;
	uint32_t tid;
	bool collecting, locked;
	bool gone;              /* it could not be read: the process ends */
};

struct gc_watch;

/* NULL: no memory. */
struct gc_watch *gc_watch__new(void);
void gc_watch__free(struct gc_watch *w);

/*
 * A look at one GIL (0 .. GC_WATCH_GILS - 1) that is `number`'s now. `bound`: the end of the running interval (ns); looks behind
 * it count for the next one. Looks of one GIL come in the order of time.
 */
void gc_watch__note(struct gc_watch *w, uint32_t gil, uint32_t number, const struct gc_look *look, uint64_t bound);

/* Looks at a process's memory and notes what it finds. */
void gc_watch__look(struct gc_watch *w, pid_t pid, const struct pyoffsets *off, const struct gc_subject *subjects, uint32_t n,
		    uint64_t bound);

/* How often was collected, without a look at times: for who knows those exactly. */
void gc_watch__count(struct gc_watch *w, pid_t pid, const struct pyoffsets *off, const struct gc_subject *subjects, uint32_t n);

/* What code that collects garbage is called. */
#define GC_NAME "garbage collection"

/* Whether that thread state is one that was seen collecting last, or shortly before. */
bool gc_watch__collects(const struct gc_watch *w, uint64_t tstate);

/*
 * Puts what the interval that has just ended had into its sample: `s` has been collected, and every GIL has been looked at since
 * its end, or can't be any more. What was not looked at for more than a tenth of the interval is not known of it. `with_times`:
 * else only the numbers. Begins the next interval.
 */
void gc_watch__settle(struct gc_watch *w, struct proc_sample *s, bool with_times);

#endif
