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
 * of which one side leads straight to the note. Pure: the file alone.
 */
#ifndef GILSCOPE_GC_SITES_H
#define GILSCOPE_GC_SITES_H

#include "collector/elf/decoder.h"

struct gc_site {
	uint64_t vaddr;
	struct elf_range function;
};

enum gc_sites_found {
	GC_SITES_FOUND,
	GC_SITES_NO_NOTES,  /* the build has none, as most that no distribution made */
	GC_SITES_UNPROVEN,  /* it has, but what switches them on is not of that form */
};

/* Both or none. */
enum gc_sites_found gc_sites__find(const struct decoder *d, struct gc_site *ret_start, struct gc_site *ret_done);

#endif
