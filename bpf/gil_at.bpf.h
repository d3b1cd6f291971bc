/* SPDX-License-Identifier: GPL-2.0-only */
/* What an event carries through the state machine and its neighbours. */
#ifndef GILSCOPE_GIL_AT_BPF_H
#define GILSCOPE_GIL_AT_BPF_H

#include "gil_maps.bpf.h"

#define GIL_INLINE static __always_inline

/* What every event carries. */
struct gil_at {
	struct gil_proc *proc;
	struct gil_state *gil;
	__u32 proc_slot;
	__u32 gil_index;
	__u32 gil_slot; /* in `gils` */
	__u32 tid;
	__u64 now;
	__u64 bound; /* the newest boundary not after `now` */
	__u64 delay_ns; /* at a release: how long the thread has waited for a CPU in its life; GIL_DELAY_UNKNOWN */
};

GIL_INLINE void gil_lost(struct gil_proc *proc, enum gil_loss loss)
{
	__sync_fetch_and_add(&proc->lost[loss], 1);
}

#endif
