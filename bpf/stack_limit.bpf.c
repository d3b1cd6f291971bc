/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whether this kernel keeps programs at uprobes on the kernel's stack (no_private_stack.bpf.h): two programs that differ only in
 * how much stack their two functions need, where a chain of functions is allowed 512 bytes. The small one must be taken. The
 * large one must be refused: a kernel that takes it gives private stacks all the same, and gilscope must not be loaded there.
 * Tried before the real programs (collector/probes/stack_limit.c), never attached.
 */
#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

#include "no_private_stack.bpf.h"

char LICENSE[] SEC("license") = "GPL";

/* Neither compiler nor verifier can do without the array: a helper writes it. */
#define FUNCTION(name, bytes, next)                                     \
	static __noinline int name(__u64 where)                         \
	{                                                               \
		char array[bytes];                                      \
									\
		if (bpf_probe_read_user(array, bytes, (void *)where))   \
			return 0;                                       \
		return next + array[where & 127];                       \
	}

FUNCTION(small_inner, 192, 0)
FUNCTION(small_outer, 192, small_inner(where + 1))
FUNCTION(large_inner, 320, 0)
FUNCTION(large_outer, 320, large_inner(where + 1))

SEC("uprobe")
int small(void *ctx)
{
	no_private_stack(ctx);
	return small_outer(bpf_get_current_pid_tgid());
}

SEC("uprobe")
int large(void *ctx)
{
	no_private_stack(ctx);
	return large_outer(bpf_get_current_pid_tgid());
}
