/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The programs of gil.bpf.c for kernels that lack something it uses: bpf_loop() (5.17), calls of the kernel's own functions
 * that may be missing (5.16), or the state of a thread as an argument of sched_switch (5.18). Which of the two is loaded,
 * userland finds out by trying (collector/probes/kernel_features.h). Maps, variables and programs have the same names and the
 * same layout, so that one skeleton serves both.
 */
#define GIL_OLDER_KERNEL
#include "gil.bpf.c"
