/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whether gilscope's programs at uprobes are safe on this kernel: a kernel that gave them private stacks, one per CPU, would
 * let threads overwrite each other's variables in them (bpf/no_private_stack.bpf.h). Found out by trying, not by version.
 */
#ifndef GILSCOPE_STACK_LIMIT_H
#define GILSCOPE_STACK_LIMIT_H

#include <stdbool.h>

#include "collector/base/reason.h"

/*
 * Loads the two programs of bpf/stack_limit.bpf.c, for uprobe_multi if `multi`, and lets go of them. libbpf's messages are
 * left out meanwhile: one refusal is what is wanted. 0: safe; -ENOTSUP, with the reason: not safe; another -errno: this kernel
 * or these rights take no such program at all, `ret_why` is as it was.
 */
int stack_limit__check(bool multi, struct reason *ret_why);

#endif
