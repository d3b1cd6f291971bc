/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whether the probes see what a GIL does: its words in memory against the programs' count of its events. Pure.
 *
 * In full mode each take and each letting go is an event, which fires some instructions after the word was stored, with
 * gil->mutex held: at any moment one of them at most is stored and not yet counted. So a look reads the count, the words, and
 * the count again; and of two looks, what the words tell to have happened between them at least must have been counted between
 * the first look's first reading and the second one's last. Anything else was done by code that has no probe.
 *
 * In light mode only waiters have events: each of them one per switch interval, for as long as it queues (sight_queue).
 */
#ifndef GILSCOPE_SIGHT_H
#define GILSCOPE_SIGHT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "collector/cpython/gil_words.h"

/* One look, read in this order. */
struct sight_look {
	uint64_t events_before;
	struct gil_words words;
	uint64_t events_after;
};

/* Of one GIL. Zeroed: not looked at yet. */
struct sight {
	bool begun;
	bool switched;         /* another had taken it between the last two looks */
	struct gil_words last;
	uint64_t events;       /* the count before the first look since an event */
	uint64_t stores;       /* how often it was taken or let go since then, at least */
};

enum sight_verdict {
	SIGHT_STILL,   /* nothing can be said: no event, and not enough that should have been one */
	SIGHT_SEES,    /* there were events, and enough of them */
	SIGHT_BLIND,   /* it moves, and the probes do not see it */
};

enum sight_verdict sight__look(struct sight *s, const struct sight_look *look);

/* A gap: what happens until the next look is not judged. */
void sight__restart(struct sight *s);

/* A thread that is asleep in the GIL's condition variable, in light mode. */
struct sight_sleeper {
	pid_t tid;             /* 0: none */
	uint64_t at;           /* ns, CLOCK_MONOTONIC: seen so */
	uint64_t sleeps;       /* how often it went to sleep until then (nonvoluntary switches left out) */
	uint64_t events;       /* the count before it was looked at */
};

/*
 * Whether a thread that slept there at `was` and sleeps there at `is` (the same, read later, its count after it was looked at)
 * has queued for three switch intervals without an event: it must have woken up and slept again, which a stopped or frozen one
 * does not.
 */
bool sight_queue__is_blind(const struct sight_sleeper *was, const struct sight_sleeper *is, uint64_t interval_us);

#endif
