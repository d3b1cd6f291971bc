/* SPDX-License-Identifier: GPL-2.0-only */
/* The GILs of a live process. */
#ifndef GILSCOPE_PYGILS_H
#define GILSCOPE_PYGILS_H

#include "collector/cpython/pyver.h"
#include "collector/target/target.h"

struct gil_address {
	uint64_t gil;     /* address of the GIL struct in the target */
	uint64_t interp;  /* first interpreter that uses it, 0 for 3.8-3.11 */
	int64_t interp_id;
	int users; /* interpreters that share it */
};

/*
 * Finds the GILs of the live process and checks the layout on them: `locked` is 0 or 1 (or -1 before
 * the first use), `last_holder` is NULL or a thread state of the interpreter list, the interval is sane.
 * At most `max` are returned, *ret_n of them; the main interpreter's first. *ret_enabled: false where a
 * free-threaded process runs without its GIL. 0, -ENOTSUP (implausible: refused), -EAGAIN (the runtime
 * is not initialised yet), -errno from reading. For tests, which have the file; the product has its address of _PyRuntime.
 */
int pygils__find(const struct target *t, struct elffile *ef, const struct pyoffsets *off,
		     struct gil_address *ret, int max, int *ret_n, bool *ret_enabled,
		     struct reason *why);

/* The same, with the ELF virtual address of _PyRuntime in the place of its file; 0: not known. */
int pygils__find_at(const struct target *t, uint64_t runtime, const struct pyoffsets *off, struct gil_address *ret, int max,
			int *ret_n, bool *ret_enabled, struct reason *why);

#endif
