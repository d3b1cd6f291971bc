/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The symbols that a stripped file has elsewhere: in a debug file named by its build-id, in one that .gnu_debuglink names, or
 * in its own .gnu_debugdata ("mini debug info", an ELF file packed by xz).
 *
 * A debug file must be that of this very build: the build-ids are equal, or the checksum in .gnu_debuglink fits. All of
 * it is hostile input, read within bounds. Pure: descriptors in, symbols into the elffile.
 */
#ifndef GILSCOPE_DEBUGFILE_H
#define GILSCOPE_DEBUGFILE_H

#include "elffile.h"

/*
 * Looks for symbols of `ef`, which is named `path` below the directory `root` (a descriptor), and adds the first that
 * are found. Build-ids are looked up below the host's root as well: they can't be mistaken. 0, or -ENOENT (there
 * are none, or none that fits).
 */
int debugfile__add(struct elffile *ef, int root, const char *path);

#endif
