/* SPDX-License-Identifier: GPL-2.0-only */
/* What gilscope reads of a running Python without probes: threads, names, stacks. What fails here fails the test. */
#ifndef GILSCOPE_TESTS_PYTHON_MEMORY_H
#define GILSCOPE_TESTS_PYTHON_MEMORY_H

#include <stdint.h>
#include <sys/types.h>

#include "collector/python/pynames.h"
#include "collector/python/pystack.h"

struct python_memory {
	uint64_t runtime;
	struct pyoffsets off;
	struct pynames *names;  /* read once */
	struct pystack *stacks;
};

void python_memory__open(struct python_memory *m, pid_t pid);
void python_memory__close(struct python_memory *m);

#endif
