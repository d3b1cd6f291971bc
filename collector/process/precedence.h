/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The thread that decides whether probes are lifted, and the process that lifts them, go before thousands of threads that a
 * process has: as one of three thousand that want a CPU they would be too late by minutes. They take next to no time themselves.
 */
#ifndef GILSCOPE_PRECEDENCE_H
#define GILSCOPE_PRECEDENCE_H

/*
 * Has the calling thread go first (nice -20); what it starts from here on, threads and processes, does not. Takes CAP_SYS_NICE:
 * without, or where somebody has given gilscope a nice value of its own, all stays as it is.
 */
void precedence__take(void);

/* The same, and whatever process the caller forks has it, too. */
void precedence__take_with_children(void);

#endif
