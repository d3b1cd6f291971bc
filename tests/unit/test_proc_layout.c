/* SPDX-License-Identifier: GPL-2.0-only */
/* What the programs are told of a process's memory, by version. */
#include <criterion/criterion.h>
#include <string.h>

#include "collector/plan/proc_layout.h"

#define RUNTIME 0x7f0000001000ull

/* Of no version: nothing that only some have. */
static struct pyoffsets some_offsets(void)
{
	struct pyoffsets off;

	memset(&off, 0xff, sizeof(off));
	off.gil_locked = 16;
	off.gil_cond = 24;
	off.interp_id = 8;
	off.runtime_interpreters_head = 32;
	return off;
}

static void expect_drop(const struct pyoffsets *off, uint64_t runtime, unsigned int kind, uint64_t where)
{
	struct gil_proc proc;

	memset(&proc, 0xff, sizeof(proc));
	proc_layout__fill(&proc, off, runtime);
	cr_expect_eq(proc.drop_kind, kind, "%u instead of %u", proc.drop_kind, kind);
	cr_expect(kind == GIL_DROP_NONE || proc.drop_where == where);
	cr_expect_eq(proc.armed, 0, "what stood there before is there still");
	cr_expect_eq(proc.off_locked, 16);
	cr_expect_eq(proc.off_cond, 24);
	cr_expect_eq(proc.off_interp_gil, 0, "the GIL is the runtime's");
}

Test(proc_layout, a_forced_release_is_told_where_the_version_has_it)
{
	struct pyoffsets off = some_offsets();

	expect_drop(&off, RUNTIME, GIL_DROP_NONE, 0);
	off.runtime_gil_drop_request = 100;
	expect_drop(&off, RUNTIME, GIL_DROP_ADDRESS, RUNTIME + 100);
	expect_drop(&off, 0, GIL_DROP_NONE, 0);
	off.interp_gil_drop_request = 200;
	expect_drop(&off, RUNTIME, GIL_DROP_INTERP, 200);
	off.tstate_eval_breaker = 300;
	expect_drop(&off, RUNTIME, GIL_DROP_TSTATE, 300);
	expect_drop(&off, 0, GIL_DROP_TSTATE, 300);
}

Test(proc_layout, a_familys_places_count_from_the_runtime)
{
	struct pyoffsets off = some_offsets();
	struct gil_family family;

	off.runtime_gil_drop_request = 100;
	proc_layout__fill_family(&family, &off);
	cr_expect_eq(family.proc.drop_kind, GIL_DROP_ADDRESS);
	cr_expect_eq(family.proc.drop_where, 100);
	cr_expect_eq(family.proc.follow, GIL_FOLLOW_COUNTED);
	cr_expect_eq(family.proc.off_locked, 16);
	cr_expect_eq(family.runtime_gil, 0, "each interpreter has its own");
	cr_expect_eq(family.runtime_interpreters, 32);
	off.runtime_gil = 64;
	proc_layout__fill_family(&family, &off);
	cr_expect_eq(family.runtime_gil, 64);
}

Test(proc_layout, a_thread_is_told_by_its_state_or_by_what_the_c_library_has_of_it)
{
	struct pyoffsets off = some_offsets();
	struct gil_proc proc;

	off.tstate_thread_id = 152;
	off.tstate_native_thread_id = PYOFF_NONE;
	proc_layout__fill(&proc, &off, RUNTIME);
	cr_expect_eq(proc.off_tstate_id, 152);
	cr_expect_eq(proc.off_pthread_id, PYVER_PTHREAD_TID);
	off.tstate_native_thread_id = 160;
	proc_layout__fill(&proc, &off, RUNTIME);
	cr_expect_eq(proc.off_tstate_id, 160);
	cr_expect_eq(proc.off_pthread_id, 0);
}
