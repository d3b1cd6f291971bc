/* SPDX-License-Identifier: GPL-2.0-only */
/* Every claim of test_core.c holds to the nanosecond of the form for kernels without bpf_loop() as well. */
#include "bpf/gil_types.h"
#include "gil_test_older.skel.h"

#define CORE_BYTES gil_test_older_bpf__elf_bytes
#define core core_older
#define core_any core_older_any
#define core_light core_older_light
#define core_trace core_older_trace
#define core_stacks core_older_stacks
#include "test_core.c"
