/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Exact counts by way of the program itself: `gilscope attach --json` on processes that wait at their gates, and its summaries
 * against what the processes say of themselves. What fails here fails the test.
 */
#ifndef GILSCOPE_TESTS_EXACT_H
#define GILSCOPE_TESTS_EXACT_H

#include "tool.h"
#include "workload.h"

struct exact {
	struct tool tool;
	struct workload *workloads; /* the caller's */
	size_t n;
	json_t *summaries;          /* by PID, as a string */
};

/*
 * Attaches to n workloads that stand at their start gates, and returns when all are observed. `under` runs gilscope ("setpriv
 * ..."; NULL: by itself), `options` go to attach. Ids in truths are those of the namespace each workload lives in.
 */
void exact__attach(struct exact *e, struct workload *workloads, size_t n, const char *under, const char *options);

/*
 * Lets them run, ends gilscope and compares: per thread acquires and forced releases, by the id that it has inside; nothing
 * lost. The names of threads that the truth gives names, too. The workloads stay at their end gates.
 */
void exact__expect(struct exact *e);

/* Ends gilscope and reads its summaries, without a comparison. */
void exact__finish(struct exact *e);

/* The summary of one process, after either; `e` owns it. */
json_t *exact__summary(struct exact *e, pid_t pid);

void exact__end(struct exact *e);

/* The row of one process in `gilscope ls --json`; json_decref() it. Fails the test if there is none. */
json_t *exact__listed(pid_t pid);

/* The id on this machine of the thread that the namespace of process `pid` knows as `inside`: by /proc/PID/task. */
pid_t exact__tid(pid_t pid, pid_t inside);

#endif
