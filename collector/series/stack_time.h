/* SPDX-License-Identifier: GPL-2.0-only */
/* The time of one stack in an interval: from the reader to the screen and the store. Plain data. */
#ifndef GILSCOPE_STACK_TIME_H
#define GILSCOPE_STACK_TIME_H

#include "sample.h"

/* What one stack of one thread adds to an interval (probes_opts.stacks). Strings are the reader's. */
struct stack_time {
	struct thread_key thread;
	const char *name;       /* the thread's, "": not known */
	const char *line;       /* stack_text.line; "?": not known any more; "": no Python code ran; of a hold its C code, too */
	uint64_t hold_ns, blame_ns, wait_ns;
};

#endif
