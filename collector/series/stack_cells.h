/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whole stacks with what they held, caused and waited: a bounded set. The lightest go first; what has no room is summed in the
 * rest, so that nothing is lost. Pure. What becomes of them in Redis: schema_stacks.h.
 */
#ifndef GILSCOPE_STACK_CELLS_H
#define GILSCOPE_STACK_CELLS_H

#include <stddef.h>
#include <stdint.h>

struct stack_weights {
	uint64_t hold_ns;  /* held here */
	uint64_t blame_ns; /* others waited meanwhile, summed over them */
	uint64_t wait_ns;  /* waited here */
};

struct stack_cell {
	uint32_t thread;   /* index into proc_sample.threads */
	uint64_t hash;     /* of the line, for quick comparison */
	char *line;        /* "outermost;...;innermost", frames as they are shown; owned */
	struct stack_weights w;
};

/* Zeroed is empty. */
struct stack_cells {
	struct stack_cell *cells; /* unordered */
	size_t n, room;
	struct stack_weights rest;
};

void stack_weights__add(struct stack_weights *dst, const struct stack_weights *src);

/* Never 0. */
uint64_t stack_cells__hash(const char *line);

/*
 * Adds to the cell of the same thread and line, or to a new one; where there are `max` already, the lightest quarter goes to the
 * rest first. 0 or -ENOMEM.
 */
int stack_cells__add(struct stack_cells *s, uint32_t thread, const char *line, const struct stack_weights *w, size_t max);

/*
 * The cells, the weightiest first: by the largest of their shares of all holding, all blame and all waiting, so that no weight
 * crowds another out. Array of n, caller frees; NULL: no memory.
 */
const struct stack_cell **stack_cells__sorted(const struct stack_cells *s);

/* Threads have new indices; cells that have become the same are added up by the next reader of both. */
void stack_cells__remap(struct stack_cells *s, const uint32_t *moved);

/* Forgets all, keeping the array; and without keeping it. */
void stack_cells__clear(struct stack_cells *s);
void stack_cells__free(struct stack_cells *s);

#endif
