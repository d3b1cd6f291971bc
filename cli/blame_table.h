/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who waited for whom, as a table of pairs that completes itself to all of the waiting: what the shown pairs lack, the handover
 * and what is not known have lines of their own, so that the lines add up to the microsecond. Pure.
 */
#ifndef GILSCOPE_BLAME_TABLE_H
#define GILSCOPE_BLAME_TABLE_H

#include "collector/schema/schema_blame.h"
#include "collector/series/sample.h"
#include "out.h"

#define BLAME_NAME_SIZE (THREAD_NAME_SIZE + BLAME_THR_SIZE + 8)

struct blame_line {
	const char *victim, *holder; /* names */
	double us;
};

struct blame_input {
	const struct blame_line *lines; /* largest first */
	size_t n;
	double wait_us, handover_us, unknown_us; /* of all; NAN: not known */
	bool sampled;                            /* light mode had a part in it: the table says so */
};

/* At most `max` pairs. The caller's to free; NULL: no memory. */
struct out *blame_table__new(const struct blame_input *in, size_t max);

/* Threads of one name get their <thr> behind it. */
void blame_table__tell_apart(char (*names)[BLAME_NAME_SIZE], char (*thrs)[BLAME_THR_SIZE], size_t n);

/* The table of a sample, for the closing summary; nothing where nobody waited for anybody. */
void blame_table__print(FILE *to, const struct proc_sample *s, size_t max, size_t width);

#endif
