/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Python stacks as they cross the kernel border, and what kernel and userland must compute alike.
 *
 * A frame leaves as the address of its code object, how far it is, and a print of the code object's own pointers: userland
 * names the frame only if the object at that address still has this print. Read next: gil_stack.bpf.h, pystack.h.
 */
#ifndef GILSCOPE_GIL_STACK_H
#define GILSCOPE_GIL_STACK_H

#include "gil_types.h"

#define GIL_STACK_DEPTH 128   /* innermost frames kept */
#define GIL_STACK_SKIPS 32    /* frames of the interpreter itself that are stepped over besides */
#define GIL_FRAME_BYTES 128   /* read of a frame at once, at most */
#define GIL_CODE_WORDS 4      /* pointers in the print: filename, name, qualname and line table; up to 3.10 no qualname */
#define GIL_NO_OFFSET 0xffffffffu

/* Frame owners from this one on are no Python function: a C function that runs the interpreter (pycore_frame.h, 3.12+). */
#define GIL_OWNER_INTERPRETER 3

/* Where one interpreter's frames keep what is needed; offsets in bytes. frame_bytes 0: not known. */
struct gil_frame_layout {
	__u32 tstate_frame;  /* PyThreadState: the innermost frame, or the CFrame that has it */
	__u32 cframe_frame;  /* 3.11, 3.12; else GIL_NO_OFFSET */
	__u32 frame_bytes;   /* of a frame that must be read; at most GIL_FRAME_BYTES */
	__u32 previous;
	__u32 code;
	__u32 at;            /* an int, or where code_bytes is known a pointer into the code */
	__u32 owner;         /* a byte; GIL_NO_OFFSET: none */
	__u32 code_words;    /* in the code object: GIL_CODE_WORDS pointers, or one less */
	__u32 code_words_n;
	__u32 code_line;     /* co_firstlineno */
	__u32 code_bytes;    /* where instructions begin; GIL_NO_OFFSET: frames count themselves */
	__u32 pad;
};

struct gil_frame {
	__u64 code;          /* address of the code object */
	__u32 at;            /* as the version counts: 3.8, 3.9 bytes; 3.10 instructions; later bytes */
	__u32 print;         /* gil_code_print() of the code object at that moment; 0: it could not be read */
};

_Static_assert(sizeof(struct gil_frame_layout) == 48, "gil_frame_layout layout");
_Static_assert(sizeof(struct gil_frame) == 16, "gil_frame layout");

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
