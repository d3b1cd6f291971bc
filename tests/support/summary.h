/* SPDX-License-Identifier: GPL-2.0-only */
/* The summaries at the end of `gilscope attach --json`, beside what a program says of itself. What is wrong fails the test. */
#ifndef GILSCOPE_TESTS_SUMMARY_H
#define GILSCOPE_TESTS_SUMMARY_H

#include <jansson.h>

#include "workload.h"

/* The summary of that process (0: of any) among the lines; json_decref() it. */
json_t *summary__of(const char *lines, pid_t pid);

/*
 * Asserts that each thread that the workload's truth names has the acquires that it says, and that nothing was lost.
 * `tid_field` is the field of the summary's threads that the truth's ids are: "tid", or "inside".
 */
void summary__expect_exact(json_t *summary, struct workload *w, const char *tid_field);

#endif
