/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What was seen by looking at a process itself (holder_look.h), as a part of its samples: a hold that goes on and on, or for
 * ever, and whether the process stands still. Plain data. Pure.
 */
#ifndef GILSCOPE_HOLDING_H
#define GILSCOPE_HOLDING_H

#include "collector/base/holder_kind.h"
#include "collector/base/standstill.h"
#include "collector/base/standstill.h"
#include "collector/base/task_state.h"

#define HOLDING_LONG_NS 1000000000ull /* a hold that lasts is told of from here on */
#define HOLDING_NAME_SIZE 64
#define HOLDING_PLACE_SIZE 160

struct holding {
	/* Of the hold that lasts longest at the end of the interval; kind UNKNOWN: none lasts for long. */
	enum holder_kind by;
	uint32_t gil;            /* number of its GIL */
	uint32_t tid;            /* of a thread that there is; else 0 */
	uint64_t start_ticks;
	char name[HOLDING_NAME_SIZE];   /* cleaned; "": not known */
	char place[HOLDING_PLACE_SIZE]; /* innermost Python code, "f (a.py:3)"; "": not known, or it runs */
	struct task_state task;  /* of a thread */
	bool before;             /* it began before the probes were armed */
	uint64_t lasted_ns;      /* at least so long */
	/* Of the interval, at least so long. */
	uint64_t gone_ns;        /* some GIL's holder was not there any more */
	uint64_t still_ns[STANDSTILL_COUNT]; /* no thread could run, by why */
	enum standstill standstill; /* at its end */
	int32_t tracer;          /* 0: none, or not known */
};

/* dst += src, a later interval. */
void holding__merge(struct holding *dst, const struct holding *src);

/* In sum, of whatever kind. */
uint64_t holding__still_ns(const struct holding *h);

/* The kind that most of it was; NONE: it never stood still. */
enum standstill holding__mostly(const struct holding *h);

#define HOLDING_WORDS_SIZE 512

/*
 * What there is to say, one sentence without a full stop: "the process is stopped by a signal (SIGSTOP)", "worker has held the
 * GIL since before gilscope looked, 12 s at least, asleep in futex (futex_wait_queue), in f (a.py:3)"; "" for nothing. Returns
 * buf.
 */
const char *holding__words(const struct holding *h, char buf[HOLDING_WORDS_SIZE]);

struct proc_sample;

/*
 * What the threads of a sample held of one GIL, and waited for, without its being known whether the holder ran: what was found
 * out of it by looking takes the place of the unknown, as far as it reaches.
 */
void holding__explain(struct proc_sample *s, uint32_t gil, const struct task_spent *spent);

#endif
