/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whether the kernel tells of its context switches: some do not fire sched_switch when certain tasks leave a CPU. Two counters of
 * the kernel's are compared on a CPU, that of the tracepoint and that of the switches themselves, while the caller sleeps and
 * wakes there.
 */
#ifndef GILSCOPE_SWITCH_CHECK_H
#define GILSCOPE_SWITCH_CHECK_H

#include <stdint.h>

/* Of one CPU, meanwhile. */
struct switch_count {
	uint64_t told;     /* by sched_switch */
	uint64_t happened;
};

/*
 * Takes the calling thread to `cpu` for some 10 ms, if it may run there. Returns 0; -ENOENT if tracefs is not mounted
 * and there is no right to look at it without that; -EINVAL if it is not a CPU of the thread's; or another -errno: no
 * rights (CAP_PERFMON), or no such counters.
 */
int switch_check__cpu(int cpu, struct switch_count *ret);

#endif
