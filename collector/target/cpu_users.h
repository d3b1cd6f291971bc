/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who has the CPUs: how many a process may use and why, and who used them between two looks at /proc. CPU time of who came and
 * went in between is known in sum only. Ticks of 10 ms: shares of seconds, no more.
 */
#ifndef GILSCOPE_CPU_USERS_H
#define GILSCOPE_CPU_USERS_H

#include <stdint.h>
#include <sys/types.h>

#define CPU_USERS_TEXT 400

struct cpu_users;

/* The first look. NULL: no memory, or the process has ended. */
struct cpu_users *cpu_users__begin(pid_t pid);

/*
 * The second look, in words: "It may use all of the machine's CPUs, 2. Of their time it used 31 %, its children 12 %, make
 * (PID 712) 44 %." "": nothing is known. *ret_throttled_us: for so long its cgroup's limit kept it from running. Frees `u`
 * (NULL: does nothing).
 */
void cpu_users__end(struct cpu_users *u, char words[CPU_USERS_TEXT], double *ret_throttled_us);

/* "cpu.max" and "cpu.stat" of version 2: CPUs' worth of the limit, 0: none; throttled so far, us. Here for tests only. */
double cpu_users__limit(const char *text);
double cpu_users__throttled_us(const char *text);

#endif
