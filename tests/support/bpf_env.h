/* SPDX-License-Identifier: GPL-2.0-only */
/* Whether this machine and this user can run what gilscope runs in the kernel; where not, tests are skipped. */
#ifndef GILSCOPE_TESTS_BPF_ENV_H
#define GILSCOPE_TESTS_BPF_ENV_H

#include <stddef.h>

/*
 * Skips the test, with the reason, where BPF programs and uprobes are not to be had. Under REQUIRE_BPF=1 that is a
 * failure. To be called first in a test, or in its .init.
 */
void bpf_env__require(void);

/* Why not, or "" if they are to be had. */
void bpf_env__why_not(char *why, size_t size);

#endif
