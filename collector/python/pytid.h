/* SPDX-License-Identifier: GPL-2.0-only */
/* Which thread a thread state belongs to. */
#ifndef GILSCOPE_PYTID_H
#define GILSCOPE_PYTID_H

#include <sys/types.h>

#include "collector/cpython/pyver.h"

/*
 * Native thread id (as the target's namespace counts) of a PyThreadState, read from memory; 0 where it
 * can't be told. 3.11+ reads native_thread_id; older versions follow thread_id into glibc's struct
 * pthread and accept the result only if /proc/PID/task knows it.
 */
pid_t pytid__of_tstate(pid_t pid, const struct pyoffsets *off, uint64_t tstate);

#endif
