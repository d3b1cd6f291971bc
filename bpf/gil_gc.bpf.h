/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Garbage collection, as the programs see it: whether it goes on in a process's main interpreter, by the word in its memory that
 * says so. Which thread collects, userland knows (../collector/gc_watch.h).
 */
#ifndef GILSCOPE_GIL_GC_BPF_H
#define GILSCOPE_GIL_GC_BPF_H

#include "gil_at.bpf.h"

/* 1 or 0; not known is 0. */
GIL_INLINE __u32 gil_gc_goes_on(const struct gil_proc *proc)
{
	__u32 collecting = 0;

	if (proc->gc_where)
		bpf_probe_read_user(&collecting, sizeof(collecting), (void *)proc->gc_where);
	return collecting == 1;
}

#endif
