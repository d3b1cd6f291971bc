/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stacks by their hash: what the programs send once, userland remembers by name.
 *
 * A hash covers addresses, places and prints of all frames and the process slot (gil_stack.bpf.h), so a name once found is right
 * for as long as the slot is its process's. Bounded: a newcomer may take the place of another, whose time is "?" then until its
 * frames come again. Pure but for the target's memory.
 */
#ifndef GILSCOPE_STACK_BOOK_H
#define GILSCOPE_STACK_BOOK_H

#include "collector/python/pystack.h"
#include "collector/series/stack_text.h"
#include "native_tally.h"

struct stack_book;

struct stack_book *stack_book__new(void); /* NULL: no memory */
void stack_book__free(struct stack_book *b);

/* Names the frames that an event brought, unless they are known. `names` NULL: they can't be. */
void stack_book__learn(struct stack_book *b, const struct gil_stack_event *e, struct pystack *names);

/* Native code that was seen in a thread which was in that stack: counted if the stack is known. */
void stack_book__saw_native(struct stack_book *b, uint64_t hash, const struct native_chain *chain);

/* What is known of a stack, or NULL. Valid until the next call of learn or forget. */
const struct stack_text *stack_book__find(const struct stack_book *b, uint64_t hash);

/* The slot is to be another process's. */
void stack_book__forget(struct stack_book *b, uint32_t proc);

#endif
