/* SPDX-License-Identifier: GPL-2.0-only */
/* N calls are N acquires: the comparison of gilscope's counts with what a program says of itself. */
#ifndef GILSCOPE_TESTS_EXACT_COUNT_H
#define GILSCOPE_TESTS_EXACT_COUNT_H

#include "interpreters.h"

/*
 * Starts the workload `command`, attaches at its gate in full mode, lets it run and asserts that each of its threads has
 * made exactly the acquires that it says, and that nothing was lost.
 */
void exact_count__expect(const struct interpreter *in, const char *command);

/* The same, and asserts that the plan was made by that method. */
void exact_count__expect_by(const struct interpreter *in, const char *command, const char *method);

#endif
