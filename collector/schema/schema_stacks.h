/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whole stacks in Redis: members of stacks:10s and stacks:60s. Pure.
 *
 * A member has its frames once, as texts, and each stack as a list of their numbers, the thread's name first:
 *
 *   {"t":..,"d":..,"f":["hog","main (app.py:9)","f (app.py:12)"],
 *    "s":[["4250",[0,1,2],hold,blame,wait],...],"rest":[hold,blame,wait]}
 *
 * in microseconds; the weightiest SCHEMA_STACKS_MAX whose text fits into SCHEMA_STACKS_BYTES, the others summed in the rest.
 * All of it adds up to what code:<tier> has of the same interval.
 */
#ifndef GILSCOPE_SCHEMA_STACKS_H
#define GILSCOPE_SCHEMA_STACKS_H

#include <stdbool.h>

#include "collector/base/keymap.h"
#include "collector/series/stack_cells.h"

#define SCHEMA_STACKS_MAX 32       /* stacks of a member */
#define SCHEMA_STACKS_BYTES 16384  /* of its stacks and frames, about */
#define STACKS_LINE_MAX 16384      /* of a stack as one line; a longer one is no stack of ours */

/* A stack of the sum: "thread;outermost;...;innermost", clean, with no ';' in a frame. */
struct stacks_line {
	char *line;
	uint64_t hash;
	struct stack_weights w;
};

/* Stacks added up, of Redis or of a look. Bounded; what is beyond is in the rest. Zeroed is empty. */
struct stacks_sum {
	struct stacks_line *lines; /* in the order of their coming */
	size_t n, room, bytes;
	struct keymap by_hash;     /* (hash, salt) -> the last line with it */
	struct stack_weights rest;
};

/* Adds a member. 0, -EBADMSG (not one: nothing was added), -ENOMEM. */
int stacks_sum__add(struct stacks_sum *sum, const char *json, size_t len);

/* Adds one stack of that thread; `line` as in stack_cell.line, texts as they come. 0 or -ENOMEM. */
int stacks_sum__add_stack(struct stacks_sum *sum, const char *thread, const char *line, const struct stack_weights *w);

/* All of it, the rest included. */
struct stack_weights stacks_sum__total(const struct stacks_sum *sum);

void stacks_sum__free(struct stacks_sum *sum);

#endif
