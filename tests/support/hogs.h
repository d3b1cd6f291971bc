/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A hog and its victims (HogPlay in tests/workloads/workload.py) as gilscope's summary has them, against what they say of
 * themselves. What fails here fails the test.
 */
#ifndef GILSCOPE_TESTS_HOGS_H
#define GILSCOPE_TESTS_HOGS_H

#include <jansson.h>
#include <stddef.h>

#include "interpreters.h"
#include "workload.h"

/*
 * `summary` of process `pid` (attach --json, full mode) against the `threads` of its truth: the hog's acquires to the last
 * one, its holds in total and by their quantiles, each victim's acquires, its wait within 3 % of its own stalls, at least nine
 * tenths of the holds blamed on the hog, and no losses. `who` is for people.
 */
void hogs__expect(json_t *summary, pid_t pid, json_t *threads, const char *who);

/*
 * Attaches to n processes that stand at their gates, lets each play, compares all, and asserts that none keeps a breakpoint.
 * `whose` are their interpreters, for people and for the table of results as `what` (NULL: not noted).
 */
void hogs__expect_all(struct workload *workloads, const struct interpreter *whose, size_t n, const char *what);

#endif
