/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Probes that a family of processes shares: a child has them from its birth, before it runs.
 *
 * A family is all followed processes that map one interpreter file. A forked child inherits its parent's breakpoints with the
 * memory, but a link with a PID filter does not run its program for the child, and a link of its own takes milliseconds to
 * plant, in which the child has long begun. So a family's links have no filter: the kernel plants in whoever maps the file, now
 * or later, and the programs tell by the process who belongs to it (GIL_PROC_BY_TGID). A stranger that runs the same file meets
 * the breakpoints as well: a trap of his costs him some time, and counts nowhere.
 */
#ifndef GILSCOPE_FAMILIES_H
#define GILSCOPE_FAMILIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "planter.h"

#define FAMILY_GROUPS 3 /* groups of sites that are planted and lifted together */

struct families;
struct family;

/* `programs`: of each group. `multi`: as uprobe_link__open(). The planter stays the caller's. NULL: no memory. */
struct families *families__new(struct planter *planter, const struct bpf_program *const programs[FAMILY_GROUPS], bool multi);

/* Lifts the probes of all; they are gone after planter__settle(). NULL is legal. */
void families__drop(struct families *f);
void families__free(struct families *f);

/*
 * Takes a process in the family of a file, made if it is the first of it. `sites` by group, offsets and cookies as planted;
 * copied. 0 or -errno.
 */
int families__enter(struct families *f, int image_fd, const struct uprobe_sites sites[FAMILY_GROUPS], struct family **ret);

/* Has exactly these groups (bit per group) planted. 0 or -errno: some may be missing then. */
int family__set_groups(struct families *f, struct family *family, uint32_t groups);

/*
 * Takes a child in that one of them forked at `forked_at` (ns, CLOCK_MONOTONIC). Whether it was there before the probes were:
 * then its first acquires have not been seen.
 */
bool family__born(struct family *family, uint64_t forked_at);

/* Of those who entered or were born: one is no more, or is let go. With the last one the probes are lifted. */
void family__leave(struct families *f, struct family *family);

#endif
