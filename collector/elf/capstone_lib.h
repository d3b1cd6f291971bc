/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Capstone, loaded when the first plan is made and given back when no more are to be made. Linked in the usual way its
 * tables would be relocated at each start of every command, and stay: 5 MB of resident memory that an observer of weeks
 * looks at for some milliseconds. One thread uses it at a time.
 */
#ifndef GILSCOPE_CAPSTONE_LIB_H
#define GILSCOPE_CAPSTONE_LIB_H

#include <capstone/capstone.h>

#include "collector/base/reason.h"

/* The functions in use: X(name); that of Capstone is cs_<name>. */
#define CAPSTONE_FUNCTIONS(X) \
	X(open) X(option) X(close) X(malloc) X(free) X(disasm_iter) X(insn_group) X(regs_access)

struct capstone {
#define X(name) __typeof__(cs_##name) *name;
	CAPSTONE_FUNCTIONS(X)
#undef X
};

/* Valid from capstone__load() to capstone__unload(). */
extern struct capstone capstone;

/* 0 (also if it is loaded already), or -ENOTSUP with the reason: not installed. */
int capstone__load(struct reason *why);

/* No decoder may be open. Legal where nothing is loaded. */
void capstone__unload(void);

#endif
