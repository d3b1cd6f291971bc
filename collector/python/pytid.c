/* SPDX-License-Identifier: GPL-2.0-only */
/* See pytid.h. */
#include "pytid.h"

#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include "collector/process/procmem.h"
#include "collector/target/target.h"

/* Whether /proc knows a thread that the target knows by that id. */
static bool is_task(pid_t pid, pid_t tid)
{
	char path[64];

	if (target__id_inside(pid, pid))
		return target__id_outside(pid, tid) != 0;
	snprintf(path, sizeof(path), "/proc/%d/task/%d", pid, tid);
	return tid > 0 && access(path, F_OK) == 0;
}

pid_t pytid__of_tstate(pid_t pid, const struct pyoffsets *off, uint64_t tstate)
{
	uint64_t thread;
	uint32_t tid;

	if (off->tstate_native_thread_id != PYOFF_NONE) {
		if (procmem__read_u64(pid, tstate + off->tstate_native_thread_id, &thread) != 0 || thread > INT32_MAX)
			return 0;
		return (pid_t)thread;
	}
	if (procmem__read_u64(pid, tstate + off->tstate_thread_id, &thread) != 0 || thread == 0 ||
	    procmem__read_u32(pid, thread + PYVER_PTHREAD_TID, &tid) != 0 || tid > INT32_MAX)
		return 0;
	return is_task(pid, (pid_t)tid) ? (pid_t)tid : 0;
}
