/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whether the probes stall the process that they are in, and what is to be done then. Decides only: collector_guard.c looks and
 * does. Pure.
 *
 * A thread that queues for the GIL comes by the wait probe at each switch interval, with the GIL's mutex in its hands. With
 * thousands of them that mutex is always wanted, each who gets it has to be woken up first, whoever wants to hand the GIL on
 * queues for it, and the queue feeds itself: the hits cost 3 % of a CPU, and next to nothing gets done. So:
 *
 *   WATCHING --(the queue is long)-------------------> LIFT: all probes are lifted; CHECKING
 *   CHECKING --(it gets further than with them)------> GUILTY: it was they, and those of the queue stay out; RESTING
 *   CHECKING --(it does not)-------------------------> INNOCENT: they return, for a while at least; WATCHING
 *   RESTING  --(a third of the way that it made)-----> LIFT: those that were left; CHECKING
 *   RESTING  --(time is up)--------------------------> RETRY: all return; WATCHING
 *
 * All are lifted first, since the queue lasts under the few that hit takes and drops alone.
 *
 * The way that a process makes is told by its GIL in memory: how often it changed hands. (Its threads' context switches would
 * tell it as well, and take a file for each of thousands of threads.) A process that stops, pauses or lacks a CPU has no long
 * queue and is left alone; so is one whose probes just cost what they cost in any process (--max-overhead). Each rest is twice
 * the one before, and probes return at most GUARD_RETURNS times an hour.
 */
#ifndef GILSCOPE_GUARD_H
#define GILSCOPE_GUARD_H

#include <stdbool.h>
#include <stdint.h>

#define GUARD_LOOK_NS 100000000ull       /* between two looks */
#define GUARD_RETURNS 12                 /* an hour */

enum guard_state {
	GUARD_WATCHING,  /* all probes that are wished for are in */
	GUARD_CHECKING,  /* none are, to find out what they did */
	GUARD_RESTING,   /* none are that the queue meets, or none at all */
};

struct guard {
	enum guard_state state;
	double reference;    /* switches a second while probes cost next to nothing; 0: not known */
	double during;       /* the same just before they were lifted */
	uint32_t strained;   /* looks in a row at a long queue */
	uint32_t suspected;  /* looks in a row at too little progress */
	uint64_t since;      /* ns: of the state */
	uint64_t rest_ns;    /* the next rest */
	uint64_t retry_at;   /* ns; RESTING */
	uint64_t cleared_until; /* ns: found innocent, they are not suspected again before */
	uint64_t cleared_ns; /* how long that was the last time */
	uint64_t checked_ns; /* CHECKING: looked at for so long, */
	double checked;      /* and it changed hands so often */
	uint64_t returns[GUARD_RETURNS]; /* ns: when probes returned, oldest overwritten; 0: not yet */
	uint32_t returns_n;
};

/* What happened since the look before. */
struct guard_look {
	uint64_t now;        /* ns, monotonic */
	uint64_t span_ns;    /* since the look before; > 0 */
	double switches;     /* how often the GILs changed hands; NAN: could not be read */
	double share;        /* what probe hits cost, of one CPU */
	bool lifts;          /* there are probes to be lifted */
	uint32_t waiters;    /* threads that queue now, as far as wait probes tell */
};

enum guard_order {
	GUARD_GO_ON,
	GUARD_LIFT,
	GUARD_GUILTY,
	GUARD_INNOCENT,
	GUARD_RETRY,
};

/* `rate`: switches a second before the first probe came; 0: not known. */
void guard__begin(struct guard *g, double rate, uint64_t now);

/* What is to be done. Its state is as if that had been done. */
enum guard_order guard__look(struct guard *g, const struct guard_look *look);

/* What was ordered is done, at `now`: it may have taken long. */
void guard__changed(struct guard *g, uint64_t now);

/* Seconds until the end of the rest, at least 1. */
unsigned int guard__rest_s(const struct guard *g, uint64_t now);

#endif
