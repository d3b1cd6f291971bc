/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The Python processes of this machine, and whether each can be observed and how: for ls and for top's list. Works without
 * privileges as far as /proc lets it. Processes that share an interpreter's file share its analysis.
 */
#ifndef GILSCOPE_LOCAL_H
#define GILSCOPE_LOCAL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "collector/base/reason.h"

/* Strings are valid during the call only; NULL: not known. */
struct local_proc {
	pid_t pid;
	pid_t inside;            /* its PID in a namespace of its own, 0: none */
	size_t threads;          /* 0: not known */
	const char *label, *exe, *user, *python;
	const char *gil;         /* "gil", "per-interpreter", "free-threaded", "not started" */
	const char *container;   /* what its engine calls it, else what can be seen of it */
	const char *cgroup;
	const char *runtime;     /* which of several Pythons in it */
	const char *probe;       /* how it would be probed, or why not */
	const char *method;      /* how its places were found */
	bool can;                /* be observed */
};

struct local;

/* What is found out about files is kept from one list to the next. NULL: no memory. */
struct local *local__new(void);
void local__free(struct local *l);

/* Calls `visit` for each process. Stops when it returns non-zero, and returns that; else 0, or -errno with `why`. */
int local__each(struct local *l, int (*visit)(void *arg, const struct local_proc *p), void *arg, struct reason *why);

#endif
