/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What an interpreter's file was found to be: version, offsets and sites, worked out once and shared by all processes that map
 * it. A worker of a prefork server costs no decoding of functions again. A file that is not root's alone is looked at by a child
 * (apart.h). Pure.
 */
#ifndef GILSCOPE_RECIPE_H
#define GILSCOPE_RECIPE_H

#include "collector/cpython/pyver.h"
#include "collector/elf/elffile.h"
#include "collector/target/target.h"
#include "sites.h"

struct recipe {
	struct pyver python;
	struct pyoffsets offsets;
	uint64_t runtime;       /* ELF virtual address of _PyRuntime, 0: not known */
	struct site_plan *plan; /* NULL: sites are not asked for */
};

/* The recipes in use, and the last ones that were. Zeroed: none. */
struct recipes {
	bool no_sites;          /* nothing will be planted */
	struct recipe_entry *first;
};

/*
 * The recipe of the target's image. Same inode, size and change time mean same file; a plan of the C library that a process
 * maps is that process's alone. 0 and the caller gives it back, or -errno with the reason.
 */
int recipes__take(struct recipes *r, const struct target *t, const struct recipe **ret, struct reason *why);

/* One more who uses it. */
const struct recipe *recipes__share(struct recipes *r, const struct recipe *recipe);

/* NULL is legal. */
void recipes__give_back(struct recipes *r, const struct recipe *recipe);

/* Frees all; none may be in use. */
void recipes__free(struct recipes *r);

#endif
