/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The interpreter's file of a live process, opened as ELF with all the symbols that it needs: those of a separate debug file
 * where the file alone does not tell where the GIL shows. Pure.
 */
#ifndef GILSCOPE_IMAGE_H
#define GILSCOPE_IMAGE_H

#include "collector/base/reason.h"
#include "collector/cpython/pyver.h"
#include "collector/elf/elffile.h"
#include "collector/target/target.h"
#include "sites.h"

/* Opens t->image. 0 or as elffile__open(). Free with elffile__close(). */
int image__open(const struct target *t, struct elffile **ret, struct reason *why);

/*
 * Makes the probe plan of the file that image__open() gave: of its call sites, or where that cannot be certain or complete, of
 * the C library that the process maps; of a free-threaded `python`, also where its threads wait for each other. 0 or -ENOTSUP
 * (refused, with the reason). Free with site_plan__free().
 */
int image__plan(const struct target *t, struct elffile *ef, const struct pyver *python, struct site_plan **ret,
		struct reason *why);

/* Opens the C library that the target maps, of which image__plan() may have made the plan. 0 and a descriptor, or -errno. */
int image__open_c_library(const struct target *t, int *ret_fd);

/* What is to be compared with the process's memory (site_text.h): the bytes of the plan's sites, at most `max`. The number. */
size_t image__texts(const struct site_plan *plan, struct site_text *ret, size_t max);

/* Inode number of the file that they lie in, as the process's mappings show it; 0: it can't be told. */
uint64_t image__texts_inode(const struct target *t, const struct site_plan *plan);

#endif
