/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What an interpreter's file was found to be: version, offsets and sites, worked out once and shared by all processes that map
 * it. A worker of a prefork server costs no decoding of functions again. Pure.
 */
#ifndef GILSCOPE_RECIPE_H
#define GILSCOPE_RECIPE_H

#include "elffile.h"
#include "pyver.h"
#include "sites.h"
#include "target.h"

struct recipe {
	struct pyver python;
	struct pyoffsets offsets;
	struct site_plan *plan;
};

/* The recipes in use, and the last ones that were. Zeroed: none. */
struct recipes {
	struct recipe_entry *first;
	bool keep_files;        /* keep what was read of a file (megabytes): more processes of it will come */
};

/*
 * The recipe of the target's image. Same inode, size and change time mean same file; a plan of the C library that a process
 * maps is that process's alone. 0 and the caller gives it back, or -errno with the reason.
 */
int recipes__take(struct recipes *r, const struct target *t, const struct recipe **ret, struct reason *why);

/* The file of a recipe that was just taken, open; the recipe's. */
struct elffile *recipe__elf(const struct recipe *recipe);

/* Closes the file unless it is kept: nothing more is to be read in it for this process. */
void recipes__drop_file(struct recipes *r, const struct recipe *recipe);

/* One more who uses it. */
const struct recipe *recipes__share(struct recipes *r, const struct recipe *recipe);

/* NULL is legal. */
void recipes__give_back(struct recipes *r, const struct recipe *recipe);

/* Frees all; none may be in use. */
void recipes__free(struct recipes *r);

#endif
