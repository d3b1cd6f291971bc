/* SPDX-License-Identifier: GPL-2.0-only */
/* What gilscope (errand.c), its nursery and its readers (errand_process.c) say to each other: packets on socket pairs. */
#ifndef GILSCOPE_ERRAND_INSIDE_H
#define GILSCOPE_ERRAND_INSIDE_H

#include "errand.h"

/* To a reader; what goes along is in the memory that it shares with us. It is a fork of ours: functions are where they are. */
struct errand_order {
	uint64_t number;
	errand_fn *fn;
};

struct errand_answer {
	uint64_t number;
	int err;
};

/* The nursery gets a reader's socket and its memory, and answers with the reader's id or -errno. */
void errand_process__main(int control) __attribute__((noreturn));

#endif
