/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Python stacks: from the addresses that the programs saw (gil_stack.h), or that are read here, to function, file and line.
 *
 * The target runs on meanwhile, so a code object may be freed and its memory be another's: it is believed only if its type is
 * `code`, its strings are strings, and the print of its pointers is the one that the frame had, before and after everything was
 * read. What cannot be had for certain is "?", never somebody else's name. All lengths are bounded; nothing is executed in the
 * target. Not for several threads.
 */
#ifndef GILSCOPE_PYSTACK_H
#define GILSCOPE_PYSTACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "bpf/gil_stack.h"
#include "collector/cpython/pyver.h"

#define PYSTACK_FUNCTION_SIZE 128 /* longer ones lose their end, */
#define PYSTACK_FILE_SIZE 256     /* and these their beginning */

struct pysymbol {
	char function[PYSTACK_FUNCTION_SIZE]; /* cleaned; from 3.11 on qualified: "Class.method". "?": not known */
	char file[PYSTACK_FILE_SIZE];         /* cleaned; "": not known */
	uint32_t line;                        /* 0: not known, or the instruction has none */
	uint32_t firstlineno;                 /* of the function; 0: not known */
};

struct pystack;

/* What the programs need to find frames; frame_bytes 0 where this version's are not known. Pure. */
void pystack__layout(const struct pyoffsets *off, struct gil_frame_layout *ret);

/* `off` is copied. Reads nothing yet. 0, -ENOTSUP (frames are not known), -ENOMEM. */
int pystack__new(pid_t pid, const struct pyoffsets *off, struct pystack **ret);
void pystack__free(struct pystack *s);

/*
 * Names `n` frames (at most GIL_STACK_DEPTH) into as many symbols; how many have a name. What is not known yet is read of all
 * of them at once: few errands, however long the stack.
 */
size_t pystack__symbols(struct pystack *s, const struct gil_frame *frames, size_t n, struct pysymbol *ret);

/* Names one frame. false: "?", and why is nobody's business (freed, torn, unreadable). */
bool pystack__symbol(struct pystack *s, const struct gil_frame *frame, struct pysymbol *ret);

/*
 * The frames of a thread state now, innermost first, at most `max`; the number, *ret_more: there were others further out. Of a
 * running thread it may be torn: pystack__walk_still() is for those that stand still. -errno: not even the first could be read.
 */
int pystack__walk(struct pystack *s, uint64_t tstate, struct gil_frame *ret, size_t max, bool *ret_more);

/* The same, read until two readings in a row agree; -EAGAIN: they never did. */
int pystack__walk_still(struct pystack *s, uint64_t tstate, struct gil_frame *ret, size_t max, bool *ret_more);

/* "function (dir/file.py:12)" of a symbol, as people see it: the last two components of the file's path. */
void pystack__describe(const struct pysymbol *symbol, char *buf, size_t size);

#endif
