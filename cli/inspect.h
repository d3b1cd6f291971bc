/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The steps from a process to its probe plan, one after the other, keeping what each found and where it stopped: for ls and
 * doctor, which explain what the collector just does.
 */
#ifndef GILSCOPE_INSPECT_H
#define GILSCOPE_INSPECT_H

#include "bpf/gil_types.h"
#include "collector/cpython/pyver.h"
#include "collector/elf/elffile.h"
#include "collector/plan/sites.h"
#include "collector/python/pygils.h"
#include "collector/target/target.h"

enum inspect_step {
	INSPECT_FILE,     /* opens the interpreter's file as ELF */
	INSPECT_PYTHON,   /* which CPython */
	INSPECT_SITES,    /* the plan */
	INSPECT_OFFSETS,  /* where the GIL's fields are */
	INSPECT_GILS,     /* the live GILs, with a check of the layout */
	INSPECT_DONE,
};

struct inspection {
	const struct target *target; /* borrowed */
	enum inspect_step reached;   /* the step that failed, or INSPECT_DONE */
	int err;                     /* of that step */
	struct reason why;
	struct elffile *file;        /* NULL: a child has looked into it (apart.h) */
	uint64_t runtime;            /* ELF virtual address of _PyRuntime, 0: not known */
	char build_id[64];           /* "" if the file has none */
	struct pyver python;         /* valid beyond INSPECT_PYTHON, and so on */
	struct reason moved;         /* why no probe may be planted at the plan's sites in this process; "": one may */
	size_t kept_sites;           /* of them: breakpoints that stay, as it has changed its code there */
	struct site_plan *plan;      /* NULL if it was not asked for */
	struct pyoffsets offsets;
	struct gil_address gils[GIL_PER_PROC];
	int gils_n;
	bool gil_enabled;
};

/*
 * Goes as far as it gets. The plan takes most of the time: `with_sites` false leaves it out. Always to be ended with
 * inspect__end().
 */
void inspect__begin(struct inspection *in, const struct target *t, bool with_sites);
void inspect__end(struct inspection *in);

/* "gil", "per-interpreter", "free-threaded"; "" if that is not known (yet). */
const char *inspect__gil_kind(const struct inspection *in);

/*
 * Where a contained process lives, as part of a sentence: "7 inside container 0123456789ab", "7 inside its PID namespace",
 * "in container web", "under another root directory"; "" for any other. Returns buf.
 */
const char *inspect__inside(const struct target *t, char *buf, size_t size);

/* "exact table", "debug offsets" ...: where the offsets come from. */
const char *inspect__offsets_source(const struct inspection *in);

#endif
