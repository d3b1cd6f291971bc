/* SPDX-License-Identifier: GPL-2.0-only */
/* A stack by name, as the stack book (stack_book.h) keeps it. Plain data. */
#ifndef GILSCOPE_STACK_TEXT_H
#define GILSCOPE_STACK_TEXT_H

#include <stdint.h>

struct native_tally;

#define STACK_TEXT_MAX 4096 /* of a stack as one line; it loses its outer end */

/* What pysymbol says of a frame, without its room for long names: thousands are kept. */
struct stack_leaf {
	const char *function, *file;
	uint32_t line, firstlineno;
};

struct stack_text {
	uint64_t hash;          /* 0: none */
	uint32_t proc;
	struct stack_leaf leaf; /* the innermost frame; function "": no Python code at all. Its texts are behind `line` */
	const char *caller;     /* code_cell.caller; behind `line`, too */
	char *line;             /* "outermost (file:12);...;innermost (file:7)" */
	struct native_tally *native; /* C code that was seen inside the innermost frame */
};

#endif
