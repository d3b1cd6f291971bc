/* SPDX-License-Identifier: GPL-2.0-only */
/* The same state machine in the form for kernels without bpf_loop() (bpf/gil_loop.bpf.h). */
#define GIL_OLDER_KERNEL
#include "gil_test.bpf.c"
