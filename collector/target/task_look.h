/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a thread does, and whether its process stands still, as the small files of /proc tell at one moment: no probe, nothing
 * is stopped. Each file is read once and bounded; what can't be read is unknown. Pure. Next: holder_look.h, which asks it of a
 * holder.
 */
#ifndef GILSCOPE_TASK_LOOK_H
#define GILSCOPE_TASK_LOOK_H

#include <sys/types.h>

#include "collector/base/standstill.h"
#include "collector/base/task_state.h"

/* 0, -ESRCH (it is gone) or -errno. */
int task_look__take(pid_t pid, pid_t tid, struct task_state *ret);

/*
 * Whether every thread of the process stands still (at most 64 are looked at). *ret_tracer: the process that traces it, 0:
 * none, or not known.
 */
enum standstill task_look__standstill(pid_t pid, pid_t *ret_tracer);

#endif
