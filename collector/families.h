/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which processes share probes, and by whom each came to them (kin_link.h).
 *
 * A family is all followed processes that map one interpreter file. A process that was planted in has joined; a child that
 * one forks belongs to it from its birth, by inheritance. What was inherited goes with the one who joined: when that process
 * ends, the living that have their probes from it join by themselves first.
 */
#ifndef GILSCOPE_FAMILIES_H
#define GILSCOPE_FAMILIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "planter.h"

#define FAMILY_GROUPS 3        /* groups of sites that are planted and lifted together */
#define FAMILY_THREADS_MAX 256 /* of all members: a hit walks over them, and one that joins takes some time for each */

struct families;
struct family;

/* `programs`: of each group, loaded without an attach type. The planter and tracefs_fd stay the caller's. NULL: no memory. */
struct families *families__new(struct planter *planter, int tracefs_fd,
			       const struct bpf_program *const programs[FAMILY_GROUPS]);

/* Lifts the probes of all; they are gone after planter__settle(). NULL is legal. */
void families__drop(struct families *f);
void families__free(struct families *f);

/*
 * The family of a file, made if it is the first of it. `sites` by group, offsets and cookies as planted; copied. 0 or -errno.
 */
int families__find(struct families *f, int image_fd, const struct uprobe_sites sites[FAMILY_GROUPS], struct family **ret);

/* Has exactly these groups (bit per group) planted in all members. 0 or -errno: some may be missing then. */
int family__set_groups(struct families *f, struct family *family, uint32_t groups);

/* Takes a process in. 0, -E2BIG (the family has threads enough) or -errno. */
int family__join(struct families *f, struct family *family, pid_t pid);

/*
 * Takes a child in that its parent forked at `forked_at` (ns, CLOCK_MONOTONIC). *ret_late: it may not have had every probe
 * from its birth; it has now. 0 or -errno.
 */
int family__born(struct families *f, struct family *family, pid_t parent, pid_t child, uint64_t forked_at, bool *ret_late);

/* Who is no more, or is let go. */
void family__gone(struct families *f, struct family *family, pid_t pid);

#endif
