/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One writer per process on a host: two would write the same series twice. A lock on a file that names its owner.
 */
#ifndef GILSCOPE_WRITER_LOCK_H
#define GILSCOPE_WRITER_LOCK_H

#include "collector/base/reason.h"

/* 0 and a descriptor to close, or -EBUSY (the sentence says who has it), -errno. `id` is the process's <id>. */
int writer_lock__take(const char *id, int *ret_fd, struct reason *why);
void writer_lock__drop(const char *id, int fd);

#endif
