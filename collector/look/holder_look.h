/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who has a GIL at this moment, without a probe: its words in memory name a thread state, which belongs to a thread of the
 * process, or to one that is not there (any more): it ended with the GIL, or a fork left it behind in the parent. Of a live
 * one, what it does (task_state.h). A look is believed if the words are the same after it. Pure.
 */
#ifndef GILSCOPE_HOLDER_LOOK_H
#define GILSCOPE_HOLDER_LOOK_H

#include "collector/base/holder_kind.h"
#include "collector/base/task_state.h"
#include "collector/cpython/gil_words.h"
#include "collector/cpython/pyver.h"

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
