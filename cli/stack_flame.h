/* SPDX-License-Identifier: GPL-2.0-only */
/* From stacks added up, of a look or out of Redis, to a flame graph by one of their weights. Pure. */
#ifndef GILSCOPE_STACK_FLAME_H
#define GILSCOPE_STACK_FLAME_H

#include "collector/schema/schema_stacks.h"
#include "collector/series/stack_time.h"
#include "flame_svg.h"
#include "options.h"

/* "holding the GIL, by code" */
const char *stack_flame__words(enum flame_weight weight);

/* What a look tells of one stack (collector_events.stack). 0 or -ENOMEM. */
int stack_flame__collect(struct stacks_sum *sum, const struct stack_time *s);

/*
 * In nanoseconds; what found no place among the stacks is a box of its own. The lowest boxes are threads, if they are wanted.
 * NULL: no memory. flame__free() it.
 */
struct flame *stack_flame__of(const struct stacks_sum *sum, enum flame_weight weight, bool threads);

#endif
