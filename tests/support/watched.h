/* SPDX-License-Identifier: GPL-2.0-only */
/* A workload and gilscope beside it, from before its begin until after its end. What goes wrong fails the test. */
#ifndef GILSCOPE_TESTS_WATCHED_H
#define GILSCOPE_TESTS_WATCHED_H

#include "workload.h"

/*
 * Runs a workload that is ready from its gate to its truth, with "gilscope WORD..." (words separated by blanks, its PID among
 * them) armed before and ended by SIGINT after, in good order. The workload stays, as after workload__truth().
 */
void watched__run(struct workload *w, const char *words);

#endif
