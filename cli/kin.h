/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A word on Python children that are not looked at: the master of a prefork server is idle, and whoever looks at it alone would
 * take the server for idle, too. Reads /proc only.
 */
#ifndef GILSCOPE_KIN_H
#define GILSCOPE_KIN_H

#include <stddef.h>
#include <sys/types.h>

#include "collector/base/reason.h"

/*
 * Says on standard error which Python processes descend from these `n` and are not among them, if any, and `advice`, what to do
 * about it: "--children observes them, too". Looks at some milliseconds of /proc for each of the first descendants.
 */
void kin__mention(const pid_t *pids, size_t n, const char *advice);

/*
 * Completes the refusal of a process that is no CPython itself (err -ENOEXEC; any other is left alone) by those below it that
 * are: of a shell that wraps a program they are what was meant. Returns `err`.
 */
int kin__explain(pid_t pid, int err, struct reason *why);

#endif
