/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * What kernel and userland must compute alike of Python stacks.
 *
 * Python stacks are records of gil_types.h. A frame is the address of its code object, how far it is, and a print of the code
 * object's own pointers: userland names the frame only if the object at that address still has this print. Read next:
 * gil_stack.bpf.h, pystack.h.
 */
#ifndef GILSCOPE_GIL_STACK_H
#define GILSCOPE_GIL_STACK_H

#include "gil_types.h"

/* One round of splitmix64's finalizer: what has been mixed, and a word more. */
static inline __attribute__((always_inline)) __u64 gil_mix(__u64 so_far, __u64 word)
{
	__u64 z = (so_far ^ word) + 0x9e3779b97f4a7c15ull;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

/* Never 0. The pointers in their order in the code object; 0 for one that is not there. */
static inline __attribute__((always_inline)) __u32 gil_code_print(__u64 filename, __u64 name, __u64 third, __u64 fourth,
								   __u32 firstlineno)
{
	__u64 mixed = gil_mix(0, firstlineno);

	mixed = gil_mix(mixed, filename);
	mixed = gil_mix(mixed, name);
	mixed = gil_mix(mixed, third);
	mixed = gil_mix(mixed, fourth);
	return (__u32)mixed | 1;
}

#endif
