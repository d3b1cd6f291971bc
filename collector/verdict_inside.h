/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The judge's inside, shared by its own files only: verdict.c has the patterns of holds and waits and puts the verdict together,
 * verdict_stuck.c those of what hangs or stands still.
 */
#ifndef GILSCOPE_VERDICT_INSIDE_H
#define GILSCOPE_VERDICT_INSIDE_H

#include "verdict.h"

/* Each pattern is claimed once, of the thread that it is worst for (SIZE_MAX: none); so there is room for all. */
struct verdict_finding *verdict__claim(struct verdict *v, enum verdict_pattern pattern, size_t thread);

/* "12.3 ms". Returns buf. */
const char *verdict__ms(char buf[32], double us);

/* ---- verdict_stuck.c ---- */

/* Claims what there is of its patterns. */
void verdict_stuck__claim(const struct verdict_input *in, struct verdict *v);

/* Of the time, none of its threads could run. */
double verdict_stuck__still_share(const struct verdict_input *in);

/* So much of what was held or waited is no thread's doing: the process stood still. In us. */
double verdict_stuck__excused_us(const struct verdict_input *in);

/* What else could be said of that thread is said by a hold of its that does not move; or by one that will never end. */
bool verdict_stuck__explains(const struct verdict *v, size_t thread);
bool verdict_stuck__is_claimed(const struct verdict *v, enum verdict_pattern pattern);

#endif
