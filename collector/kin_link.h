/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Probes that a family of processes shares: a child has them from its birth, before it runs, and nobody else ever.
 *
 * A forked child inherits its parent's breakpoints with the memory, but a link with a PID filter does not run its program
 * for the child; a link of its own takes milliseconds to plant, in which the child has long begun; a link without a filter
 * plants in every process that maps the file. What the kernel does hand down are perf events: an inherited one lets the
 * uprobe fire for the child's memory from the fork on, and an exec of the same file is planted in as it is mapped
 * (kernel/trace/trace_uprobe.c, trace_uprobe_filter_add()). Only events on tracefs probes can be inherited; the uprobe PMU's
 * would make the fork fail (perf_uprobe_init() reads the path out of the forking process).
 *
 *   trace event (all sites of one cookie)
 *     |-- perf event on the planter, carries the program: it runs for whomever the filter lets through
 *     `-- disabled, inherited perf events, one per thread of each process that joins: the filter, and nothing more
 *
 * The program must not hang on an inherited event: each copy takes a reference to it, and the end of the first thread
 * would detach it for all and wait for an RCU period (kernel/events/core.c, perf_event_alloc() and __free_event(); 38 ms per
 * thread measured on 6.18). Disabled ones cost a thread nothing that can be measured.
 *
 * The filter is a list of all threads of the family, walked at each hit until one with the memory in question comes: fit for
 * a few hundred threads, not for thousands.
 */
#ifndef GILSCOPE_KIN_LINK_H
#define GILSCOPE_KIN_LINK_H

#include <sys/types.h>

#include "uprobe_link.h"

struct kin_link;

/*
 * The root of tracefs as a descriptor: where it is mounted, else a mount of our own that no path leads to (CAP_SYS_ADMIN).
 * -errno: there is none to be had.
 */
int kin_link__tracefs(void);

/*
 * Defines the probes; no process has them yet. Sites with one cookie share an event, so keep cookies few. The program must be
 * loaded without an attach type. The descriptors stay the caller's. 0 or -errno.
 */
int kin_link__open(const struct bpf_program *program, int tracefs_fd, int image_fd, const struct uprobe_sites *sites,
		   struct kin_link **ret);

/* Plants in `pid` and from now on in whatever it forks. Legal for one that has them. 0, -ESRCH or -errno. */
int kin_link__join(struct kin_link *link, pid_t pid);

/* Takes `pid` out again, and all that inherited from it and did not join by itself. */
void kin_link__leave(struct kin_link *link, pid_t pid);

/* Lifts from all. NULL is legal. */
void kin_link__close(struct kin_link *link);

#endif
