/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How long holders go on once a waiter has asked for the GIL (struct gil_over), and what that tells of their code: bytecode lets
 * go at its next check, C code when it is done. Pure.
 */
#ifndef GILSCOPE_OVERS_H
#define GILSCOPE_OVERS_H

#include <stddef.h>
#include <stdint.h>

#include "bpf/gil_types.h"

/* dst += src: sums, and the larger maximum. */
void overs__add(struct gil_over *dst, const struct gil_over *src);

/* What is new between two states of a record, into `ret`, the maximum only if there is any. How many sums seemed to shrink. */
uint64_t overs__since(const struct gil_over *now, const struct gil_over *last, struct gil_over *ret);

/* Upper end of a bucket in ns; of the last one UINT64_MAX. */
uint64_t overs__end_of(size_t bucket);

/* From here on (ns) it was no bytecode, which lets go within some 0.1 ms. The end of a bucket, so that it is exact. */
#define OVERS_LATE_NS (1ull << 19)

/* How many of them were that late. */
uint64_t overs__late(const struct gil_over *o);

/* What a thread's code does that is asked to let go. */
enum lets_go {
	LETS_GO_UNKNOWN, /* it was hardly ever asked */
	LETS_GO_SOON,    /* it is bytecode: a shorter switch interval has it let go sooner */
	LETS_GO_MIXED,   /* it runs both */
	LETS_GO_LATE,    /* C code that does not let go: no switch interval helps */
};

/* Of `n` holds that were asked for `late` went on for OVERS_LATE_NS and more. NAN: not known. */
enum lets_go overs__kind(double n, double late);

#endif
