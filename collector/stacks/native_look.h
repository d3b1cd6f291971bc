/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where a thread is in its native code at this moment, without a BPF program: of one that sleeps /proc tells the stack pointer
 * and the place, and its stack is read; one that runs is interrupted by a timer of its own CPU time, at which the kernel copies
 * registers and stack (perf_event_open(2)). Nothing is put into the process, and it is not stopped. Pure.
 */
#ifndef GILSCOPE_NATIVE_LOOK_H
#define GILSCOPE_NATIVE_LOOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "bpf/gil_types.h"

#define NATIVE_LOOK_MS 200 /* so long a thread that seems to run is waited for */

struct native_look {
	struct gil_regs regs;  /* of one that sleeps only stack pointer and place, the others 0 */
	uint8_t stack[GIL_NATIVE_BYTES];
	size_t stack_len;
};

/* The same of one that sleeps only: never waits. */
bool native_look__take_asleep(pid_t pid, pid_t tid, struct native_look *ret);

/* false: it can't be had (gone, not permitted, neither asleep nor on a CPU). */
bool native_look__take(pid_t pid, pid_t tid, struct native_look *ret);

#endif
