/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * gilscope's own path from a PID to samples, step by step and without a clock: intervals end when the test says so.
 *
 * target -> sites -> probes -> reader -> aggr as `attach` uses them (observed.c); no schema goes anywhere. What fails here
 * fails the test.
 */
#ifndef GILSCOPE_TESTS_OBSERVER_H
#define GILSCOPE_TESTS_OBSERVER_H

#include <sys/types.h>

#include "collector/observed.h"

struct observer {
	struct collector_opts opts;
	struct workshop shop;
	struct observed proc;
};

/* Attaches in that mode; returns when the probes are armed. */
void observer__attach(struct observer *o, pid_t pid, enum gil_mode mode);

/* The same, with perf links instead of uprobe_multi. */
void observer__attach_perf(struct observer *o, pid_t pid, enum gil_mode mode);

/* The same, planted for all that map the file, as children share them. */
void observer__attach_perf_shared(struct observer *o, pid_t pid, enum gil_mode mode);

/* Full or light mode with stacks. */
void observer__attach_stacks(struct observer *o, pid_t pid, enum gil_mode mode, const struct stack_opts *stacks);

/* Full mode, with room for that many threads only. */
void observer__attach_small(struct observer *o, pid_t pid, uint32_t max_threads);

/*
 * Ends the running interval now, adds it to the totals and returns it; free with proc_sample__free(). Asserts what must
 * hold of every interval: per thread wait = blame + handover + unknown to the nanosecond, no GIL held longer than it took.
 */
struct proc_sample *observer__interval(struct observer *o);

/* Everything since attach; valid until the next interval. */
const struct proc_sample *observer__totals(struct observer *o);

/* The thread's part of a sample; NULL if it did nothing. */
const struct thread_sample *observer__thread(const struct proc_sample *s, pid_t tid);

/* Asserts that nothing was lost and no order was violated. */
void observer__assert_lossless(const struct proc_sample *s);

/* Lifts the probes and frees everything. */
void observer__detach(struct observer *o);

#endif
