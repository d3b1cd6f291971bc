/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What an interpreter's file is found to be, worked out in a child process (expendable.h) where another user made the file or may
 * change it: it has little time and memory, and what it finds comes back as bytes that are checked. Pure.
 */
#ifndef GILSCOPE_APART_H
#define GILSCOPE_APART_H

#include "collector/base/reason.h"
#include "collector/cpython/pyver.h"
#include "collector/target/target.h"
#include "sites.h"

#define APART_SITES_MAX 128 /* real interpreters have 4 to 26 */

/* In the order of the work; what comes before `reached` is valid. */
enum apart_step {
	APART_FILE,    /* its ELF file, build id and _PyRuntime */
	APART_PYTHON,
	APART_SITES,
	APART_OFFSETS,
	APART_DONE,
};

struct apart {
	enum apart_step reached; /* where it failed, or APART_DONE */
	int err;
	struct reason why;
	char build_id[64];       /* "": none */
	uint64_t runtime;        /* ELF virtual address of _PyRuntime, 0: not known */
	struct pyver python;
	struct pyoffsets offsets;
	struct site_plan *plan;  /* NULL: not asked for. The caller's: site_plan__free() */
};

/* Whether the target's image is to be looked at that way. */
bool apart__is_wanted(const struct target *t);

/* Looks at it, as far as it gets. The plan takes most of the time: `with_sites` false leaves it out. */
void apart__look(const struct target *t, bool with_sites, struct apart *ret);

#endif
