/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where a garbage collection begins and ends, in an interpreter that was built with notes (usdt.h): gc__start and gc__done.
 *
 *   cmpw $0, semaphore(%rip)     The noted nop itself is jumped over while the semaphore is 0, and only a write to the process
 *   jne  1f   <- the site        would change that. The jump is passed by every collection, once, and the kernel emulates it.
 *   ...
 * 1: nop      <- the note        Python/gc.c, gc_collect_main() (to 3.11 Modules/gcmodule.c, collect()):
 *   jmp  back                    if (PyDTrace_GC_START_ENABLED()) PyDTrace_GC_START(generation);
 *
 * Proof: nothing else in the code refers to that semaphore; from the start of its function the decoder arrives at an instruction
 * that reads it; behind it come instructions that only move or compare, into which nothing jumps, and then a conditional jump
 * of which one side leads straight to the note.
 *
 * In a build without notes whose symbols are there, by the calls of the function that collects:
 *
 *     call gc_collect_main     <- gc-start
 *     mov  ...
 *     call invoke_gc_callback  <- gc-done: the first branch, which the kernel emulates; else the instruction behind the call
 *
 * Proof: whatever in the code may refer to the function is such a call, at which the decoder arrives from the start of its
 * caller, with nothing but moves and the like between call and branch, into which nothing jumps; PyGC_Collect is among the
 * callers. A build that jumps there instead (3.13 and later) does not come back to where it began; there, by the two calls in
 * which the collector tells gc.callbacks what it does:
 *
 *     lea  "start", ...
 *     call invoke_gc_callback  <- gc-start      The second one, with "stop", is gc-done. The kernel emulates both.
 *
 * Proof: whatever in the code may refer to that function are these two calls, at which the decoder arrives from the start of one
 * function, and on the straight way to each the address of its word is taken, with no jump into it. Pure: the file alone.
 */
#ifndef GILSCOPE_GC_SITES_H
#define GILSCOPE_GC_SITES_H

#include "collector/elf/decoder.h"

struct gc_site {
	uint64_t vaddr;
	struct elf_range function;
};

#define GC_SITES_MAX 16 /* of each end */

struct gc_sites {
	struct gc_site start[GC_SITES_MAX], done[GC_SITES_MAX]; /* each start has its end at the same index */
	size_t n;
};

enum gc_sites_found {
	GC_SITES_FOUND,
	GC_SITES_NO_NOTES,  /* the build has none, as most that no distribution made, nor symbols that tell what collects */
	GC_SITES_UNPROVEN,  /* it has, but what switches them on is not of that form */
	GC_SITES_NO_CALLS,  /* it has no notes, and what collects is neither reached nor told of by such calls alone */
};

enum gc_sites_found gc_sites__find(const struct decoder *d, struct gc_sites *ret);

#endif
