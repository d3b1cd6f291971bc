/* SPDX-License-Identifier: GPL-2.0-only */
/* Can BPF run here? Tests that need it say so first. */
#ifndef GILSCOPE_BPF_ENV_H
#define GILSCOPE_BPF_ENV_H

/* Skips the test where BPF can't be used; fails it instead if REQUIRE_BPF=1. */
void bpf_env__require(void);

#endif
