/* SPDX-License-Identifier: GPL-2.0-only */
/* One made-up event, shared by the test program in the kernel and the test that drives it. */
#ifndef GILSCOPE_GIL_STEP_H
#define GILSCOPE_GIL_STEP_H

#include <linux/types.h>

enum gil_step_op {
	STEP_WAIT,
	STEP_ACQUIRE,
	STEP_RELEASE,
	STEP_HANDOFF,
	STEP_WAKE,
	STEP_EXIT, /* `forced`: of that thread alone, its process goes on */
	STEP_OUT, /* switched out; `forced`: enum gil_cpu_state, 0: preempted; `tstate`: why, kind << 32 | id */
	STEP_WOKEN,
	STEP_IN,
	STEP_BACK, /* it is found to run: it was switched in without our having been told */
	STEP_TICK,
	STEP_GC_START,
	STEP_GC_DONE,
};

struct gil_step {
	__u32 op, proc, gil, tid;
	__u64 now, tstate;
	__u32 forced, delay_us; /* OUT, BACK, RELEASE: it has waited for a CPU for so long in its life; ~0: not known */
	__u32 arrivals, sleeps; /* ACQUIRE, OUT, TICK, RELEASE: as gil_kernel_account; 0 arrivals: not known */
	__u64 ran_ns;
	__u64 switches; /* light: WAIT, HANDOFF: the GIL's own count of changes of holder */
};

/* It is handed over as the arguments of a tracepoint: words, twelve at most. */
#define GIL_STEP_WORDS 8
_Static_assert(sizeof(struct gil_step) == GIL_STEP_WORDS * sizeof(__u64), "a step is whole words");

#endif
