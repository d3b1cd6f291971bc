/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What tests found out about an interpreter, for the table in tests/INTERPRETERS.md (make table): a line each in the file that
 * GILSCOPE_RESULTS names; without it nothing is written.
 */
#ifndef GILSCOPE_TESTS_RESULTS_H
#define GILSCOPE_TESTS_RESULTS_H

#include "collector/plan/sites.h"
#include "collector/series/sample.h"
#include "interpreters.h"

/*
 * `what` was observed of `in` ("one GIL"), through `plan`: the program made `truth` acquires by its own count, `seen` were
 * seen; `totals` says what was lost.
 */
void results__note(const struct interpreter *in, const char *what, const struct site_plan *plan,
		   const struct proc_sample *totals, long long seen, long long truth);

/* The same where only the program's own summary is known: any number `seen` against the `truth`, and what it says it lost. */
void results__note_numbers(const struct interpreter *in, const char *what, long long seen, long long truth, uint64_t lost);

#endif
