/* SPDX-License-Identifier: GPL-2.0-only */
/* See proc_layout.h. */
#include "proc_layout.h"

#include "collector/cpython/gil_words.h"
#include "collector/python/pystack.h"

/* How the programs can tell a forced release on this version. */
static void set_drop_request(struct gil_proc *proc, const struct pyoffsets *off, uint64_t runtime)
{
	proc->drop_kind = GIL_DROP_NONE;
	if (off->tstate_eval_breaker != PYOFF_NONE) {
		proc->drop_kind = GIL_DROP_TSTATE;
		proc->drop_where = off->tstate_eval_breaker;
	} else if (off->interp_gil_drop_request != PYOFF_NONE) {
		proc->drop_kind = GIL_DROP_INTERP;
		proc->drop_where = off->interp_gil_drop_request;
	} else if (off->runtime_gil_drop_request != PYOFF_NONE) {
		proc->drop_kind = GIL_DROP_ADDRESS;
		proc->drop_where = runtime + off->runtime_gil_drop_request;
	}
}

/* As pytid__of_tstate() does. */
static void set_thread_id(struct gil_proc *proc, const struct pyoffsets *off)
{
	bool native = off->tstate_native_thread_id != PYOFF_NONE;

	proc->off_tstate_id = native ? off->tstate_native_thread_id : off->tstate_thread_id;
	proc->off_pthread_id = native ? 0 : PYVER_PTHREAD_TID;
}

static void fill_layout(struct gil_proc *proc, const struct pyoffsets *off)
{
	*proc = (struct gil_proc){0};
	proc->off_locked = off->gil_locked;
	proc->off_last_holder = off->gil_last_holder;
	proc->off_switches = gil_words__switches_at(off);
	proc->off_cond = off->gil_cond;
	proc->off_switch_cond = off->gil_switch_cond;
	proc->off_tstate_interp = off->tstate_interp;
	proc->off_interp_gil = off->interp_gil == PYOFF_NONE ? 0 : off->interp_gil;
	proc->off_interp_id = off->interp_id;
	set_thread_id(proc, off);
	pystack__layout(off, &proc->frames);
}

void proc_layout__fill(struct gil_proc *proc, const struct pyoffsets *off, uint64_t runtime)
{
	fill_layout(proc, off);
	proc->runtime = runtime;
	set_drop_request(proc, off, runtime);
	if (!runtime && proc->drop_kind == GIL_DROP_ADDRESS)
		proc->drop_kind = GIL_DROP_NONE;
}

void proc_layout__fill_family(struct gil_family *family, const struct pyoffsets *off)
{
	*family = (struct gil_family){
		.runtime_gil = off->runtime_gil == PYOFF_NONE ? 0 : off->runtime_gil,
		.runtime_interpreters = off->runtime_interpreters_head,
		.interp_next = off->interp_next,
	};
	fill_layout(&family->proc, off);
	family->proc.follow = GIL_FOLLOW_COUNTED;
	set_drop_request(&family->proc, off, 0);
}
