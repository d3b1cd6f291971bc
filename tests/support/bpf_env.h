/* SPDX-License-Identifier: GPL-2.0-only */
/* Whether this machine and this user can run what gilscope runs in the kernel. */
#ifndef GILSCOPE_TESTS_BPF_ENV_H
#define GILSCOPE_TESTS_BPF_ENV_H

#include <stddef.h>

/*
 * Fails the test, with the reason, where BPF programs or uprobes can't be used. Tests that need them are listed in applicable.c,
 * so that they are not started on such a machine.
 */
void bpf_env__require(void);

/* Why they can't be used, or "" where they can. */
void bpf_env__why_not(char *why, size_t size);

#endif
