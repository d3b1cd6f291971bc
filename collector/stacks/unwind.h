/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From one frame of a native stack to its caller's, by the call frame information in .eh_frame, which every library has; frame
 * pointers most have not. Registers, a copy of the stack's top and the file's tables are given: nothing of the process is
 * read. All of it is hostile input, and a step that can't be made for certain is not made. Pure.
 */
#ifndef GILSCOPE_UNWIND_H
#define GILSCOPE_UNWIND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf/gil_types.h"
#include "collector/elf/elffile.h"

#define UNWIND_REGISTERS 33 /* by their DWARF numbers */

struct unwind {
	uint64_t reg[UNWIND_REGISTERS];
	uint64_t known;          /* a bit per register */
	uint64_t pc;             /* where the frame is: behind its call, but for the innermost and what a signal interrupted */
	bool at_call;            /* it is behind a call */
	uint64_t stack_at;       /* address of `stack` */
	const uint8_t *stack;    /* the caller's, `stack_len` bytes */
	size_t stack_len;
};

/* The innermost frame of a thread with these registers. */
void unwind__begin(struct unwind *u, const struct gil_regs *regs, const uint8_t *stack, size_t stack_len);

/* The stack pointer, for tests. */
uint64_t unwind__sp(const struct gil_regs *regs);

/* Where to look for the frame's function: inside its call. */
uint64_t unwind__place(const struct unwind *u);

/* Goes to the caller of a frame in `ef`, which is loaded at `bias`. false: nobody can tell where that is, `u` is as it was. */
bool unwind__step(struct unwind *u, struct elffile *ef, uint64_t bias);

#endif
