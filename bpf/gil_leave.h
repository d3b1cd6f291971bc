/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What becomes of a thread that leaves its CPU, and why: from what the kernel has of it at that moment. The same in the kernel
 * and in userland.
 */
#ifndef GILSCOPE_GIL_LEAVE_H
#define GILSCOPE_GIL_LEAVE_H

#ifndef __BPF__
#include <stdbool.h>
#endif

#include "gil_types.h"

/* States of a thread, include/linux/sched.h; TASK_FROZEN came with 6.1. */
#define TASK_STATE_STOPPED 0x4
#define TASK_STATE_TRACED 0x8
#define TASK_STATE_FROZEN 0x8000

/* A thread as it leaves its CPU. */
struct gil_leaving {
	bool preempted;   /* it does not leave of its own will, */
	__u32 state;      /* which was to be that, */
	__u32 state_now;  /* and has become this meanwhile */
	bool traced;      /* it has a tracer */
	bool frozen;      /* its control group is frozen, and it has heard of it */
	int call;         /* the system call that it is in; negative: in none */
};

/*
 * What becomes of it, and why, without a tracer's id and name. One whose state is 0 (TASK_RUNNING) does not sleep, whatever it
 * was going to do: it was woken, or has a signal, before it left its CPU (__schedule() in kernel/sched/core.c). Who wakes it
 * after that does not make the state 0 before it has left (try_to_wake_up() there).
 */
static inline __attribute__((always_inline)) enum gil_cpu_state gil_cpu_leaves(const struct gil_leaving *task,
									      struct gil_why *why)
{
	why->id = 0;
	why->kind = GIL_WHY_NONE;
	if (task->preempted || !task->state || !task->state_now)
		return GIL_CPU_PREEMPTED;
	if (task->state & TASK_STATE_TRACED)
		why->kind = task->traced ? GIL_WHY_TRACER : GIL_WHY_SIGNAL;
	else if (task->state & TASK_STATE_STOPPED)
		why->kind = GIL_WHY_SIGNAL;
	else if (task->frozen || task->state & TASK_STATE_FROZEN)
		why->kind = GIL_WHY_FROZEN;
	if (why->kind)
		return GIL_CPU_STOPPED;
	why->kind = task->call < 0 ? GIL_WHY_FAULT : GIL_WHY_CALL;
	why->id = task->call < 0 ? 0 : task->call;
	return GIL_CPU_BLOCKED;
}

#endif
