/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The probe plan: at which instructions of the interpreter's file the GIL's take and drop show.
 *
 * Sites, not symbols: the calls to pthread_cond_signal, pthread_cond_timedwait and
 * pthread_cond_wait (facts: all of CPython's are in take_gil and drop_gil, inlined or not), and for light
 * mode the first conditional jump behind each timedwait; where a garbage collection begins and ends (gc_sites.h).
 * Every address is proven an instruction start by
 * linear decoding from the start of its function's .eh_frame entry; a site without that proof is left
 * out and said. Where the C library is linked in, its functions are told by symbols instead of imports; the last
 * resort is the C library's own file (sites__plan_library). Which of them is image.c's to choose. Pure: works on a file,
 * without a process and without privileges. What depends on the instruction set: insn.h.
 */
#ifndef GILSCOPE_SITES_H
#define GILSCOPE_SITES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "collector/base/reason.h"
#include "collector/elf/elffile.h"
#include "collector/target/site_text.h"
#include "gc_sites.h"
#include "park_sites.h"

enum site_role {
	SITE_SIGNAL,   /* ACQUIRED or RELEASED, by argument */
	SITE_WAIT,     /* wait begins or is tried again */
	SITE_HANDOFF,
	SITE_WAKE,     /* light: conditional jump behind a SITE_WAIT */
	SITE_GC_START, /* a garbage collection begins: gc_sites.h */
	SITE_GC_DONE,
	SITE_ROLES_N,
};

enum site_price {
	SITE_EMULATED, /* calls, jumps, on x86-64 pushes: about 1 us a hit */
	SITE_STEPPED,  /* on x86-64 a call through the GOT and the like: single-stepped, ten times as dear */
};

struct site {
	enum site_role role;
	enum site_price price;
	uint64_t vaddr;          /* ELF virtual address */
	uint64_t offset;         /* file offset, what a uprobe takes */
	struct site_text text;   /* its bytes in the file */
	struct elf_range function;
	char symbol[64];         /* enclosing symbol + offset, "" if stripped */
	char insn[64];           /* disassembled, for doctor */
};

struct site_plan {
	const char *method;      /* "call sites", "call sites by symbols", "C library entries" */
	int library_fd;          /* the file that the sites lie in, if that is not the interpreter's; else -1. Owned */
	bool incomplete;         /* the GIL may be taken or dropped at a place that no site is at: see notes */
	bool light;              /* a SITE_WAKE was found for every SITE_WAIT */
	enum gc_sites_found gc;  /* whether it has a SITE_GC_START and a SITE_GC_DONE */
	struct site *sites;      /* sorted by role, then vaddr */
	size_t sites_n;
	struct park_sites park;  /* of the interpreter's file, if it was built to run without a GIL; nothing is planted there */
	char notes[512];         /* what was left out and why, "" if nothing */
};

/* Makes the plan. 0 or -ENOTSUP (no safe sites: refused, with the reason). Free with site_plan__free(). */
int sites__plan(struct elffile *ef, struct site_plan **ret, struct reason *why);
/*
 * Whether its probes may be planted for all processes that map the file, so that children have them from their birth: not in the
 * C library, where every process of the machine would meet them.
 */
bool sites__shareable(const struct site_plan *plan);

void site_plan__free(struct site_plan *plan);

/* Gives back the decoder's memory (5 MB) once no plan is made for a while: the next plan takes some milliseconds more. */
void sites__rest(void);

/*
 * The last resort: a plan of the entries of the three functions in the C library's own file, for an interpreter that reaches
 * them in a way that cannot be followed. Every caller in the process meets these probes, the argument tells the GIL's apart;
 * there is no light mode. Each site is the entry, or a cheaper instruction behind it that is reached from there alone and before
 * which the argument is not touched. `why_not` (may be "") says in the notes why the interpreter's file would not do. The
 * caller sets library_fd. 0 or -ENOTSUP.
 */
int sites__plan_library(struct elffile *library, const char *why_not, struct site_plan **ret, struct reason *why);

const char *site_role__name(enum site_role role);

#endif
