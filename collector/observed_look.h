/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Looks at an observed process, some times a second, for what no event tells: who has had a GIL since before the probes were
 * armed and what that thread does, a hold that does not end, a holder that is gone, a process that stands still. Reads memory
 * and /proc (holder_look.h), as little as will do: of a process whose GIL goes from hand to hand one small file. What is found
 * goes into the samples (holding.h).
 */
#ifndef GILSCOPE_OBSERVED_LOOK_H
#define GILSCOPE_OBSERVED_LOOK_H

#include "bpf/gil_types.h"
#include "collector/look/holder_look.h"
#include "collector/series/holding.h"

struct observed;
struct workshop;

/* One GIL, between looks. */
struct gil_watch {
	struct holder_look last;  /* of a hold that may be long; kind UNKNOWN: of none */
	uint64_t since_ns;        /* that lasts since then at least, CLOCK_MONOTONIC */
	bool before;              /* and began before the probes were armed */
	struct task_spent spent;  /* what its holder did since the last collection, where no event tells */
};

struct observed_look {
	struct gil_watch gils[GIL_PER_PROC];
	uint64_t looked_at;       /* ns, CLOCK_MONOTONIC; 0: not yet */
	uint64_t cpu_ns;          /* of the process, then */
	enum standstill seen;     /* at the last look, */
	enum standstill standstill; /* and at the one before, with no CPU time in between */
	pid_t tracer;
	uint64_t still_ns[STANDSTILL_COUNT], gone_ns; /* since the last collection */
	bool gone;                /* a GIL's holder is */
	uint64_t place_of;        /* the thread state that `place` is of */
	uint64_t place_slept;     /* and when it was there */
	char place[HOLDING_PLACE_SIZE];
};

/* Looks now. */
void observed_look__take(struct observed *o, struct workshop *shop);

/* The same before a collection: tells the reader what is known of holds that no event tells of. */
void observed_look__before(struct observed *o, struct workshop *shop);

/* Puts what was found into the collected sample, and begins anew. */
void observed_look__into(struct observed *o, struct workshop *shop, struct proc_sample *s);

/*
 * What has changed since this was asked last, as a sentence for people, "": nothing: that it stands still or runs again, that a
 * GIL's holder is gone. `was`: as it was then; brought up to date. Returns buf.
 */
struct observed_news {
	enum standstill standstill;
	bool gone;
};
const char *observed_look__news(const struct observed *o, struct observed_news *was, char buf[HOLDING_WORDS_SIZE * 2]);

#endif
