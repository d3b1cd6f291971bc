/* SPDX-License-Identifier: GPL-2.0-only */
/* fuzz_elf.c with files of up to 64 MiB. */
#define FUZZ_LARGE
#include "fuzz_elf.c"
