/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Keeps a program on the kernel's stack.
 *
 * Linux gives a function of 49 bytes of stack and more a private one: memory that all runs of the program on a CPU share (6.13
 * on x86-64, 6.17 on arm64; commits a76ab5731e32, 6c17a882d380). Programs at tracepoints may have that: their caller lets no
 * second run begin on the CPU. Programs at uprobes can be preempted since 6.0, and nothing keeps the next thread out: it would
 * overwrite the first one's variables, pointers among them. A program that may make a tail call has no private stack in any
 * of its functions (check_max_stack_depth() in kernel/bpf/verifier.c). So each says that it may; none ever does, the array
 * stays empty. Programs that name the same array must have the same type and the same expected attach type.
 */
#ifndef GILSCOPE_NO_PRIVATE_STACK_BPF_H
#define GILSCOPE_NO_PRIVATE_STACK_BPF_H

/* Never true; not a constant to the compiler, else the call would be gone. */
const volatile bool cfg_tail_call;

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} no_tail SEC(".maps");

/* To be called by the main function of each program at a uprobe. */
static __always_inline void no_private_stack(void *ctx)
{
	if (cfg_tail_call)
		bpf_tail_call(ctx, &no_tail, 0);
}

#endif
