/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Keeps a program on the kernel's stack.
 *
 * Linux 6.13 on x86-64, and later ones on arm64, give a function of 64 bytes of stack and more a private one: memory that all
 * runs of the program on a CPU share. Programs at tracepoints may have that, for their caller lets no second run begin on the
 * CPU. Programs at uprobes can be preempted, and nothing keeps the next thread out: it would overwrite the first one's
 * variables, pointers among them. A program that may make a tail call is never given a private stack
 * (check_max_stack_depth_subprog() in kernel/bpf/verifier.c). So each says that it may; none ever does, the array stays empty.
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
