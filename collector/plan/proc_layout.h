/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the programs must know of a process's memory: offsets and places of one version of CPython, as struct gil_proc and struct
 * gil_family have them. Pure.
 */
#ifndef GILSCOPE_PROC_LAYOUT_H
#define GILSCOPE_PROC_LAYOUT_H

#include "bpf/gil_types.h"
#include "collector/cpython/pyver.h"

/* Empties `proc` and notes where things are. `runtime`: address of _PyRuntime in the process, 0: not known. */
void proc_layout__fill(struct gil_proc *proc, const struct pyoffsets *off, uint64_t runtime);

/* Empties `family` and notes what is the same in all processes of its file: places in _PyRuntime count from its beginning. */
void proc_layout__fill_family(struct gil_family *family, const struct pyoffsets *off);

#endif
