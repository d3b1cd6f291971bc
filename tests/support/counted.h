/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A workload under the preloaded counter (tests/workloads/signalcount.c): what it and all programs that it starts do with the
 * GIL, by themselves. What fails here fails the test.
 */
#ifndef GILSCOPE_TESTS_COUNTED_H
#define GILSCOPE_TESTS_COUNTED_H

#include <stdint.h>

#include "workload.h"

struct counted {
	int fd;        /* one 64-bit count per thread id */
	char path[40];
};

/* workload__start() under the counter. */
void counted__start(struct counted *c, struct workload *w, const struct interpreter *in, const char *command);

/* Signals counted for a thread id so far: one for each acquire and each release. */
uint64_t counted__signals(const struct counted *c, long long tid);

/* Acquires of a thread that came and went, or that came and holds the GIL: it begins with one, and they alternate. */
uint64_t counted__acquires(const struct counted *c, long long tid);

/* Removes the counts. */
void counted__end(struct counted *c);

#endif
