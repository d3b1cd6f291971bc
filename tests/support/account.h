/* SPDX-License-Identifier: GPL-2.0-only */
/* What the kernel's own account says of CPUs: truth about a machine that is busy. What goes wrong fails the test. */
#ifndef GILSCOPE_TESTS_ACCOUNT_H
#define GILSCOPE_TESTS_ACCOUNT_H

#include <stddef.h>
#include <sys/types.h>

/* What interrupts and the hypervisor have taken of the machine's CPUs so far, ns, in whole ticks. */
double account__taken_ns(void);

/* How long the threads that a process has now could have run and had no CPU, in sum so far, ns; and how many they are. */
double account__wanted_ns(pid_t pid, size_t *ret_threads);

#endif
