/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What code objects in a target's memory say of themselves: names, lines, and a print that tells one from another at its place.
 *
 * Each look at the memory is an errand (errand.h), whose cost is two turns of a process whatever it brings. So code objects are
 * read many at a time, in three looks: the objects, the heads of their strings and line tables, and what these contain, with
 * the objects once more. Read next: pystack.h. Not for several threads.
 */
#ifndef GILSCOPE_PYCODE_H
#define GILSCOPE_PYCODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "bpf/gil_stack.h"
#include "collector/cpython/pyver.h"

#define PYCODE_AT_ONCE 64            /* four places of each are as many as an errand of procmem.c takes */
#define PYCODE_LINES_MANY (8u << 10) /* longest line table that comes with others, in bytes */

/* A type of the interpreter's own, found by its name once: it stays where it is. */
struct pycode_type {
	char name[8];
	uint64_t at;
};

/* How to read them in one target. */
struct pycode_reader {
	pid_t pid;
	struct pyoffsets off;
	struct gil_frame_layout layout;
	struct pycode_type code, str, bytes;
};

/* A code object that has been read. */
struct pycode {
	uint64_t at;             /* its address; 0: nobody */
	uint32_t print;
	uint32_t firstlineno;
	uint32_t len;            /* of its instructions, in bytes; 0: not known */
	char *function, *file;   /* cleaned, shorter than PYSTACK_FUNCTION_SIZE and PYSTACK_FILE_SIZE */
	uint8_t *lines;          /* co_lnotab or co_linetable, for pylines__find() */
	size_t lines_len;
	bool too_long;           /* nobody, because its lines don't come with those of others: it is to be learned alone */
};

/* Whether a target's address can be that of an object. */
bool pycode__is_pointer(uint64_t p);

/* `off` and `layout` (pystack__layout()) are copied. 0, -ENOTSUP (they are not usable). */
int pycode__open(struct pycode_reader *r, pid_t pid, const struct pyoffsets *off, const struct gil_frame_layout *layout);

/*
 * Reads the code objects of `n` frames (at most PYCODE_AT_ONCE), of which each is another, into as many: at 0 where the object is
 * not, or no more, the one whose print the frame has. The texts are the caller's, see pycode__clear().
 */
void pycode__learn(struct pycode_reader *r, const struct gil_frame *frames, size_t n, struct pycode *ret);
void pycode__clear(struct pycode *code);

/* Sets the prints of `n` frames from their code objects; 0: there is none. */
void pycode__add_prints(struct pycode_reader *r, struct gil_frame *frames, size_t n);

#endif
