/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Timers of threads' own CPU time, at which a program looks where the thread is (gil_sample in bpf/gil.bpf.c): for holders that
 * were seen to keep the GIL for long while others wait, and only as long as that goes on. One costs nothing while its thread does
 * not run, and nothing elsewhere.
 */
#ifndef GILSCOPE_CPU_SAMPLES_H
#define GILSCOPE_CPU_SAMPLES_H

#include <stdint.h>
#include <sys/types.h>

#define CPU_SAMPLES_MAX 32          /* threads at a time */
#define CPU_SAMPLES_PERIOD_NS 7500000ull
#define CPU_SAMPLES_LOST "the native code of long holds stays unknown while the holder runs on a CPU: " /* without them */
#define CPU_SAMPLES_LAST_NS 2000000000ull /* a timer that nobody wanted for so long goes */

struct bpf_program;
struct cpu_samples;
struct planter;

/*
 * `planter` opens the timers; `why_not`: "", or why the kernel is known to refuse them, which is said when the first one is
 * wanted. Both stay the caller's. NULL: no memory.
 */
struct cpu_samples *cpu_samples__new(const struct bpf_program *program, struct planter *planter, const char *why_not);
void cpu_samples__free(struct cpu_samples *s);

/* Whether a timer of that thread of that process can be started: 0 or -errno. It is gone again on return. */
int cpu_samples__try(const struct bpf_program *program, struct planter *planter, pid_t pid, pid_t tid);

/*
 * A look at thread `tid` of process `pid` is wanted now (ns, CLOCK_MONOTONIC). Where the kernel refuses it there are none, with
 * one warning; a thread of another process is never looked at.
 */
void cpu_samples__want(struct cpu_samples *s, pid_t pid, pid_t tid, uint64_t now_ns);

/* Takes away what was not wanted lately. */
void cpu_samples__tidy(struct cpu_samples *s, uint64_t now_ns);

#endif
