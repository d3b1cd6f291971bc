/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who is related to whom, and which processes are meant by `attach --all`. Reads /proc only.
 */
#ifndef GILSCOPE_FINDER_H
#define GILSCOPE_FINDER_H

#include <regex.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "target.h"

/* Which processes are wanted; zeroed: every one. */
struct finder_filter {
	bool by_user;
	uid_t uid;
	const char *cgroup;   /* path below the cgroup root: that one and those below it; NULL: any */
	const regex_t *match; /* on the label; NULL: any */
};

/*
 * Whether a process can be wanted, by its user and its control group alone: told by /proc, before anything that is its own is
 * looked at. Never gilscope itself.
 */
bool finder__may_fit(const struct finder_filter *filter, pid_t pid);

/* Whether a process is wanted. Never gilscope itself. */
bool finder__fits(const struct finder_filter *filter, const struct target *t);

/* Whether `line`, one of /proc/PID/cgroup, names `cgroup` or one below it. */
bool finder__is_in_cgroup(const char *line, const char *cgroup);

/* Every child, grandchild ... of `root` now, parents before their children. *ret malloc'd. 0 or -errno. */
int finder__descendants(pid_t root, pid_t **ret, size_t *ret_n);

/* The processes that there were at the last look around. Zeroed: nobody is known. */
struct finder_known {
	pid_t *pids; /* in ascending order */
	size_t n;
	unsigned int turn;
};

/*
 * Who is there that was not known. A PID that is used again between two looks is not noticed; so each one that is known is handed
 * out again (*ret_again) once in FINDER_TURNS looks: it may have become another program. *ret malloc'd. 0 or -errno.
 */
#define FINDER_TURNS 32
struct finder_newcomer {
	pid_t pid;
	bool again;
};
int finder__newcomers(struct finder_known *known, struct finder_newcomer **ret, size_t *ret_n);
void finder_known__free(struct finder_known *known);

#endif
