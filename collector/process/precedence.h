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

/*
 * Has the calling thread run as soon as it wakes: it asks for slices of 0.1 ms, and who needs a CPU for so short goes before who
 * computes on (Linux 6.12 and later; others take no notice). Takes no right.
 */
void precedence__run_shortly(void);

#endif
