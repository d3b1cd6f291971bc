/* SPDX-License-Identifier: GPL-2.0-only */
/* Which features that the programs cannot do without this kernel lacks, found out by trying each. */
#ifndef GILSCOPE_KERNEL_LACKS_H
#define GILSCOPE_KERNEL_LACKS_H

#include <stddef.h>

/*
 * Names them in buf ("bpf_loop (Linux 5.17 and newer have it), ..."; "": none is missing, or it could not be told) and returns
 * their number. Loads tiny programs: needs the rights for that, without which nothing is said.
 */
int kernel_lacks__name(char *buf, size_t size);

#endif
