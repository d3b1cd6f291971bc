/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Probes that a family of processes shares: a child has them from its birth, before it runs.
 *
 * A family is all followed processes that map one interpreter file. A forked child inherits its parent's breakpoints with the
 * memory, but a link with a PID filter does not run its program for the child, and a link of its own takes milliseconds to
 * plant, in which the child has long begun. So a family's links have no filter: the kernel plants in whoever maps the file, now
 * or later, and the programs tell by the process who belongs to it (GIL_PROC_SHARED). A stranger that runs the same file meets
 * the breakpoints as well: a trap of his costs him some time, and counts nowhere.
 *
 * So has a child that executes the file, from the mapping on. Who it is the programs know, since it descends from a process that
 * is followed; where its GIL is they find out at its first hit, from the instruction's own address and from what all processes of
 * the file have in common (struct gil_family, "template" here). The template is closed while the probes are being changed.
 */
#ifndef GILSCOPE_FAMILIES_H
#define GILSCOPE_FAMILIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf/gil_types.h"
#include "planter.h"

#define FAMILY_GROUPS 4 /* groups of sites that are planted and lifted together */

struct bpf_program;
struct families;
struct family;

/*
 * `programs`: of each group. `multi`: as uprobe_link__open(). `templates`: GIL_FAMILIES of them, which the programs read. The
 * planter and they stay the caller's. NULL: no memory.
 */
struct families *families__new(struct planter *planter, const struct bpf_program *const programs[FAMILY_GROUPS], bool multi,
			       struct gil_family *templates);

/* Lifts the probes of all; they are gone after planter__settle(). NULL is legal. */
void families__drop(struct families *f);
void families__free(struct families *f);

/*
 * Takes a process in the family of a file, made if it is the first of it. `maps_ino`: its inode number as mappings show it; 0:
 * not known. `sites` by group, of their cookies way and kind count;
 * `layout` is what a template needs, its `open_since` and mode do not count. Both are copied. 0 or -errno.
 */
int families__enter(struct families *f, int image_fd, uint64_t maps_ino, const struct uprobe_sites sites[FAMILY_GROUPS],
		    const struct gil_family *layout, struct family **ret);

/*
 * Has exactly these groups (bit per group), those of `mode`, planted. 0, -EXDEV (somebody who maps the file runs other code
 * there, or that is not known: from here on its processes share nothing) or -errno: some may be missing then.
 */
int family__set_groups(struct families *f, struct family *family, uint32_t groups, enum gil_mode mode);

/* Takes a child in that one of them forked, or that executed the file. */
void family__born(struct family *family);

/* The mode that its probes are planted in; GIL_MODE_OFF: they are not. */
enum gil_mode family__mode(const struct family *family);

/* When the last of its probes was planted, ns, CLOCK_MONOTONIC: of a process that begins later nothing is missed. */
uint64_t family__planted_at(const struct family *family);

/* Whether probes are planted in everybody who maps the file with that inode number. */
bool families__are_planted(const struct families *f, uint64_t maps_ino);

/* Its number, as cookies and events have it; GIL_FAMILIES: one too many to have a template. The family of a number, or NULL. */
uint32_t family__number(const struct family *family);
struct family *families__by_number(struct families *f, uint32_t number);

/* Its file, open; the family's. Its inode number as mappings show it. Its sites by group, to be told apart by process. */
int family__image(const struct family *family);
uint64_t family__ino(const struct family *family);
const struct uprobe_sites *family__sites(const struct family *family, int group);

/* Of those who entered or were born: one is no more, or is let go. With the last one the probes are lifted. */
void family__leave(struct families *f, struct family *family);

#endif
