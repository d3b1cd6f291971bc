/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whether a process runs with a shadow stack: a second stack of return addresses which the processor keeps and compares at each
 * return (Intel's and AMD's CET, arm64's guarded control stacks).
 *
 * A uprobe on a call is emulated by the kernel, which must then push the return address to that stack as well. Kernels that
 * don't kill the process at its next return. Linux has shadow stacks for programs from 6.6 on (x86-64); 6.18 does not push
 * them yet at an emulated call (branch_emulate_op() in arch/x86/kernel/uprobes.c; commit 7938a6feafc5 of that version is about
 * the uprobe system call alone), a later one does. On arm64, 6.13 to 6.17 allow guarded control stacks only without uprobes,
 * and 6.18 pushes (efb07ac534e2). Since fixes are backported, what a kernel does is tried (probe_check.h) where somebody has
 * such a stack.
 *
 * Reads /proc only. Pure.
 */
#ifndef GILSCOPE_SHADOW_STACK_H
#define GILSCOPE_SHADOW_STACK_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

#include "collector/base/reason.h"

/* Where it can be read. */
enum shadow_mark {
	SHADOW_IN_STATUS,  /* x86_Thread_features of /proc/PID/status */
	SHADOW_IN_SMAPS,   /* VmFlags of /proc/PID/smaps, both architectures */
	SHADOW_IN_CPUINFO, /* the processor has them, and the kernel uses them for programs: /proc/cpuinfo of x86 */
	SHADOW_MARKS,
};

/* Whether a text has the mark, in its first 64 MiB. Reads until it is found. */
bool shadow_stack__said(enum shadow_mark mark, FILE *text);

/* Whether an environment (entries end with NUL) has the C library turn shadow stacks on as the program starts. */
bool shadow_stack__asked_for(const char *environ, size_t len);

/* Whether any process of this machine can have one. */
bool shadow_stack__possible(void);

/* Whether the process has one, or is about to. What can't be read says nothing. Looks no further if none is possible. */
bool shadow_stack__has(pid_t pid);

/* What a kernel does to a process with a shadow stack at a call that it emulates. */
enum shadow_fate {
	SHADOW_UNTRIED,
	SHADOW_SURVIVES,
	SHADOW_KILLED,
	SHADOW_UNKNOWN,    /* gilscope's own child could not turn one on */
};

/* 0 if probes may be planted in process `pid`, which has a shadow stack, else -ENOTSUP with the sentence. */
int shadow_fate__judge(enum shadow_fate fate, pid_t pid, struct reason *why);

/* What a kernel does, for a person who asks about the machine: the rest of "a process with a shadow stack ". */
const char *shadow_fate__text(enum shadow_fate fate);

#endif
