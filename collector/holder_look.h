/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who has a GIL at this moment, without a probe: its words in memory name a thread state, which belongs to a thread of the
 * process, or to one that is not there (any more): it ended with the GIL, or a fork left it behind in the parent. Of a live
 * one, what it does (task_state.h). A look is believed if the words are the same after it. Pure.
 */
#ifndef GILSCOPE_HOLDER_LOOK_H
#define GILSCOPE_HOLDER_LOOK_H

#include "gil_words.h"
#include "pyver.h"
#include "task_state.h"

/* X(identifier, name in JSON and Redis). */
#define HOLDER_KINDS(X) \
	X(UNKNOWN, "")                   /* the words can't be read, or changed while they were looked at */ \
	X(NOBODY, "nobody")              /* it is free */ \
	X(THREAD, "thread")              /* a thread of the process */ \
	X(ENDED, "ended")                /* one that has ended without releasing it */ \
	X(LEFT_BY_FORK, "left_by_fork")  /* one of the parent's: it had the GIL when this process was forked */ \
	X(GONE, "gone")                  /* one that the process has not: of the two above, which cannot be told */

enum holder_kind {
#define X(id, name) HOLDER_##id,
	HOLDER_KINDS(X)
#undef X
		HOLDER_KIND_COUNT,
};

const char *holder_kind__name(enum holder_kind k);
enum holder_kind holder_kind__by_name(const char *name); /* UNKNOWN for what is no name */

/* Nobody will ever let go of it. */
static inline bool holder_kind__is_gone(enum holder_kind k)
{
	return k == HOLDER_ENDED || k == HOLDER_LEFT_BY_FORK || k == HOLDER_GONE;
}

/* "a thread that has ended" ..., what follows "the GIL is held by"; "" for those that are not gone. */
const char *holder_kind__words(enum holder_kind k);

/* What helps then, a sentence or two; "" for those that are not gone. */
const char *holder_kind__remedy(enum holder_kind k);

struct holder_look {
	enum holder_kind kind;
	struct gil_words words;
	pid_t tid;              /* of HOLDER_THREAD, as this process counts; else 0 */
	uint64_t at_ns;         /* CLOCK_MONOTONIC */
	struct task_state task; /* of HOLDER_THREAD */
};

/* Looks at the GIL at `gil` of a process whose _PyRuntime stands at `runtime`. */
void holder_look__take(pid_t pid, uint64_t runtime, const struct pyoffsets *off, uint64_t gil, struct holder_look *ret);

/*
 * The thread of the process `pid` that a PyThreadState belongs to, as this process counts; 0: none that there is. `foreign`:
 * the process counts its threads in another PID namespace. What the state says of itself may be old: after a fork in C it is
 * the parent's.
 */
pid_t holder_look__tid(pid_t pid, const struct pyoffsets *off, uint64_t tstate, bool foreign);

#endif
