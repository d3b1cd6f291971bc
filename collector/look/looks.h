/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The collector's side of looks: starts the process that looks (looker.h), tells it whom to look at, and hands out what it saw.
 *
 * That process is a child of a reader (errand.h), so it has none of gilscope's descriptors, no right but to read, and ends with
 * gilscope. One that has not stirred for three seconds is left where it is: a process that it was about to read is looked at no
 * more, and another looker is there for the others. Not for several threads.
 */
#ifndef GILSCOPE_LOOKS_H
#define GILSCOPE_LOOKS_H

#include "collector/base/reason.h"
#include "collector/cpython/pyver.h"
#include "look_ring.h"

struct looks;

/* `rate`: looks a second at each process, at most. 0 or -errno with the reason. */
int looks__start(uint32_t rate, struct looks **ret, struct reason *why);
void looks__end(struct looks *l); /* NULL is legal */

/* From now on this one is looked at; `with_code`: at its holders' stacks, too. Its place, or -ENOSPC. */
int looks__watch(struct looks *l, pid_t pid, const struct pyoffsets *off, bool with_code);

/*
 * Its GILs, at most LOOK_GILS, and the garbage collector of each one's interpreter (gc_words__state(), 0: not known); nothing
 * happens if they are as they were. Their order is what records name.
 */
void looks__set_gils(struct looks *l, int place, const uint64_t *gils, const uint64_t *collectors, int n);

/* It is looked at no more, and its place is free. */
void looks__unwatch(struct looks *l, int place);

/*
 * Hands out all records that are older than `until` (ns, CLOCK_MONOTONIC), in the order of time for each GIL; none of a subject
 * that has left its place.
 */
void looks__drain(struct looks *l, uint64_t until, void (*note)(void *arg, int place, const struct look_record *r), void *arg);

/* The same for stacks; to be called first: those that records name have been sent before them. */
void looks__drain_stacks(struct looks *l, void (*note)(void *arg, int place, const struct look_stack *s), void *arg);

/*
 * Minds a looker that is stuck or gone, some times a second: the place whose process it is stuck on, -1: there is none. Whom one
 * that was killed was about to read is not to blame, nor is anybody while a looker waits for a CPU.
 */
int looks__mind(struct looks *l, uint64_t now);

/* Why a looker has not stirred. */
enum looker_silence {
	LOOKER_GONE,    /* it has ended, or is stopped */
	LOOKER_RUNS,    /* it is on a CPU or waits for one */
	LOOKER_BLOCKED, /* in a system call */
};
enum looker_silence looks__why_silent(pid_t pid, uint64_t start_ticks);

/* What looking has taken so far. */
struct looks_account {
	uint64_t cpu_ns; /* of gilscope's own */
	uint64_t rounds; /* looks at each process */
	uint64_t lost;   /* looks that were not taken in in time */
};
struct looks_account looks__account(const struct looks *l);

/* The interval that is looked at: as reader__begin(), reader__cut() and reader__advance(). ns, CLOCK_MONOTONIC. */
void looks__begin(struct looks *l, uint64_t start_ns);
void looks__cut(struct looks *l, uint64_t end_ns);
void looks__advance(struct looks *l, uint64_t end_ns);
uint64_t looks__interval_start(const struct looks *l);
uint64_t looks__interval_end(const struct looks *l);

#endif
