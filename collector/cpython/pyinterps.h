/* SPDX-License-Identifier: GPL-2.0-only */
/* The interpreters of a live process, by the list in its _PyRuntime. Pure. */
#ifndef GILSCOPE_PYINTERPS_H
#define GILSCOPE_PYINTERPS_H

#include <sys/types.h>

#include "pyver.h"

#define PYINTERPS_MAX 1024 /* lengths of a list that are believed: a torn one may be a ring */

/*
 * Ids of the interpreters that the process has now, by the address of _PyRuntime; the main one's, 0, comes last. *ret_n, at
 * most `max`. 0, or -EAGAIN where the list changed under the reader or is longer.
 */
int pyinterps__ids(pid_t pid, const struct pyoffsets *off, uint64_t runtime, uint64_t *ret_ids, int max, int *ret_n);

/* Whether it has no interpreter now: none was started yet, or the last one was finalized. False also where that can't be read. */
bool pyinterps__is_empty(pid_t pid, const struct pyoffsets *off, uint64_t runtime);

/* Address of the main interpreter, by the address of _PyRuntime; 0: there is none now, or it can't be read. */
uint64_t pyinterps__main(pid_t pid, const struct pyoffsets *off, uint64_t runtime);

/* Address of the main interpreter's GIL, by the address of _PyRuntime; 0: there is none yet, or it can't be read. */
uint64_t pyinterps__main_gil(pid_t pid, const struct pyoffsets *off, uint64_t runtime);

#endif
