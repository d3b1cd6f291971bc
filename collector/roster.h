/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who is observed, who may be in a moment, and how many had to be turned away. Bookkeeping only: what happens when somebody
 * comes or goes is collector_procs.c's.
 *
 *                exec of a Python, fork (told)           gone_at set        boundary passed
 *   (unknown) ---------------------------> pending ----> observed ----------> gone ---------> (unknown)
 *        |                                    |             ^
 *        |      not Python after two seconds  |             | fork, first event after an exec (armed by the kernel's side)
 *        <------------------------------------+-------------+
 *
 * A process that exec'd is two: the old one is gone, the new one pending. A PID is found among the living only, so one that is
 * used again, or that two programs had in turn, never stands for the wrong one; events name the kernel's process slot, which
 * is not given to another before its process has been let go.
 *
 * Pending ones are looked at when they exec (or fork), then ever more rarely: an interpreter is mapped within milliseconds of
 * its exec, but a program may become Python later (a wrapper, a loader), and most are none and cost a look each.
 *
 * What children can be counted from their first acquire on, and how (families.h has the kernel side):
 *
 *   fork, probes handed down     the fork itself gives the child a process slot, armed, before it runs      nothing is missed
 *   fork, otherwise              planted when userland has heard of it                                      see `cov`
 *   exec of a family's file      breakpoints are there from its mapping on, its first event gives it a slot nothing is missed
 *   exec of another Python       planted when its interpreter is mapped                                     see `cov`
 *
 * `cov` is exact in all of these: a process's first interval begins with its fork or exec, observed time with its arming.
 */
#ifndef GILSCOPE_ROSTER_H
#define GILSCOPE_ROSTER_H

#include "observed.h"

#define ROSTER_PENDING_MAX 1024

/* A process that may be Python in a moment. */
struct pending {
	pid_t pid;
	uint64_t next_try, wait_ns, deadline; /* ns, monotonic */
	uint64_t born_at;
	char parent[SCHEMA_ID_SIZE], root[SCHEMA_ID_SIZE];
	bool was_observed;      /* its end is told: it was somebody before */
	bool wanted;            /* a family's, or one that was named: no filter applies */
	bool is_fork;           /* of a Python that is observed, so Python itself */
	bool over;              /* it has ended; kept for a while, for what it forked is Python too */
};

struct roster {
	struct observed **places; /* made when first needed, then used again */
	size_t max;
	struct pending *pending;
	size_t pending_n;
	uint64_t turned_away;   /* processes that found no place */
	uint64_t missed;        /* children that ended before they could be observed */
	uint64_t unseen;        /* programs that ended before it was known whether they are Python */
};

int roster__init(struct roster *r, size_t max);
/* All must have been stopped. */
void roster__free(struct roster *r);

/* A place that is free, or NULL: all are taken (or no memory). */
struct observed *roster__place(struct roster *r);

/* The i-th place if somebody has it, else NULL. i < r->max */
static inline struct observed *roster__at(const struct roster *r, size_t i)
{
	return r->places[i] && r->places[i]->used ? r->places[i] : NULL;
}

/* By process slot; by PID among those that live; by PID, living or just gone. NULL: nobody. */
struct observed *roster__by_slot(const struct roster *r, uint32_t slot);
struct observed *roster__by_pid(const struct roster *r, pid_t pid);
struct observed *roster__latest_by_pid(const struct roster *r, pid_t pid);

/* All that are observed, and those of them that live. */
size_t roster__count(const struct roster *r);
size_t roster__living(const struct roster *r);

/* Adds one to be looked at now; the newer one of a PID replaces the older. false: too many wait. */
bool roster__await(struct roster *r, const struct pending *p);

/* The one that waits with that PID, or NULL. */
struct pending *roster__find_pending(const struct roster *r, pid_t pid);

/* Not yet: looked at again later. false: it has waited long enough, and is out of the list. */
bool roster__postpone(struct roster *r, struct pending *p, uint64_t now);
void roster__drop(struct roster *r, struct pending *p);

/* Whether anybody waits who has not ended. */
bool roster__awaits(const struct roster *r);

/* When the next pending one is due, UINT64_MAX: never. */
uint64_t roster__next_try(const struct roster *r);

#endif
