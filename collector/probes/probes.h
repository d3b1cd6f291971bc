/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The BPF side as one object: open, load, plant, arm, lift. What the kernel can do is found out here.
 *
 * A process slot goes through: probes__add (plan known, nothing planted) -> probes__plant (all sites live, programs
 * still return at once) -> probes__arm (counting) -> probes__disarm -> probes__lift. Next: reader.h.
 */
#ifndef GILSCOPE_PROBES_H
#define GILSCOPE_PROBES_H

#include <stdbool.h>
#include <stdint.h>

#include "bpf/gil_types.h"
#include "collector/base/reason.h"
#include "collector/cpython/pyver.h"
#include "collector/plan/sites.h"
#include "collector/python/pygils.h"
#include "collector/target/shadow_stack.h"
#include "collector/target/target.h"

enum plant_method {
	PLANT_MULTI,   /* one uprobe_multi link per group of sites */
	PLANT_PERF,    /* a perf event per site */
	PLANT_FAMILY,  /* either, for all that map the file: families.h */
};

/* Which stacks the programs walk (gil_stack.bpf.h). */
struct stack_opts {
	bool on;
	uint64_t threshold_ns;   /* holds and waits from here on; 0: every hold that made somebody wait */
	uint64_t long_hold_ns;   /* told one by one from here on; 0: none */
	uint64_t long_wait_ns;
	uint64_t tick_ns;        /* of a holder's CPU time between two looks at its code (ticks.h); 0: the usual */
};

struct probes_opts {
	uint32_t max_procs;      /* 1 .. 1024 */
	uint32_t max_threads;    /* thread slots, default 2048 for one process */
	uint32_t max_pairs;      /* blame pairs, default 65536 */
	struct stack_opts stacks; /* zeroed: none, at no cost */
	bool no_multi;           /* never use uprobe_multi (tests, bench) */
	bool no_off_cpu;         /* don't look at context switches: what holders do off the CPU is unknown */
	bool empty_programs;     /* plant programs that do nothing (bench: the limit) */
	bool follow;             /* children of observed processes are told of, and followed through exec */
	uint32_t trace_bytes;    /* size of the ring buffer for a trace, a power of two of pages; 0: none is recorded */
	bool handed_down;        /* they count from their birth, but others may meet the probes (families.h); needs `follow` */
};

struct probes_features {
	bool older;              /* the programs are those for kernels that lack something (bpf/gil_older.bpf.c) */
	bool multi;              /* uprobe_multi works and its PID filter covers all threads and no other process */
	const char *multi_why;   /* "" or why not */
	double price_ns;         /* calibrated: added cost of one hit on an emulated instruction */
	double stepped_price_ns; /* the same on a single-stepped one */
	bool off_cpu;            /* what holders do off the CPU is seen, in full mode */
	const char *off_cpu_why; /* "" or why not */
	bool timer;              /* holders that run can be looked at by timers of their CPU time; false without stacks */
	bool timer_needs_admin;  /* CAP_SYS_ADMIN, that is */
	const char *timer_why;   /* "" or why not */
	uint64_t planter_rights; /* the capabilities that the planter took in the rehearsal (caps.h) */
};

struct probes;

/*
 * For the whole process and for good: starts the planter (planter.h), which tries later what it needs, and gives up what
 * observing does not take (caps__keep()). Before any thread is started. 0 or -errno with the sentence.
 */
int probes__give_up_rights(bool signals_others, struct reason *why);

/*
 * The same for a while: a file may have to be written afterwards. *ret_aside is for caps__take_back(). 0 or -errno with
 * the sentence.
 */
int probes__set_rights_aside(uint64_t *ret_aside, struct reason *why);

/* Loads the programs and checks the features on a child of our own (about 50 ms). 0, -EPERM (capability), -errno. */
int probes__open(const struct probes_opts *opts, struct probes **ret, struct reason *why);
void probes__close(struct probes *p);
const struct probes_features *probes__features(const struct probes *p);
const struct stack_opts *probes__stack_opts(const struct probes *p);

/* What becomes of a process with a shadow stack at a probe, tried on a child of ours when it is first asked for. */
enum shadow_fate probes__shadow_fate(struct probes *p);

/*
 * Forks, execs and exits of the whole machine that the kernel has left out since the programs were loaded, because each program
 * was at another one on that CPU (recursion_misses of struct bpf_prog_info, bpf/gil_again.bpf.h); what it will not tell counts as
 * none. It never becomes less; what happens at this moment may be counted by the next call.
 */
uint64_t probes__missed_events(struct probes *p);

/* What a process is; all of it outlives the process's slot. */
struct probes_subject {
	const struct target *target;
	const struct site_plan *plan;
	const struct pyoffsets *offsets;
	uint64_t runtime;               /* address of _PyRuntime; 0: not known */
	const struct gil_address *gils; /* as pygils__find() gave them; none for a program that starts. Copied */
	int gils_n;
};

/* Takes a process slot. 0, -ENOSPC, -ESRCH (it has just ended) or -errno. */
int probes__add(struct probes *p, const struct probes_subject *who, uint32_t *ret_slot, struct reason *why);

/* Plants the sites of `mode`. On failure nothing is left planted. 0 or -errno. */
int probes__plant(struct probes *p, uint32_t slot, enum gil_mode mode, struct reason *why);

/*
 * Starts counting; fills *ret_armed_at (ns, CLOCK_MONOTONIC): a moment ago, or when the process began if no event of it can have
 * been missed since. -EALREADY: the programs were quicker and have given it another slot, of which GIL_EVENT_BORN tells.
 */
int probes__arm(struct probes *p, uint32_t slot, uint64_t *ret_armed_at);
void probes__disarm(struct probes *p, uint32_t slot);

/* Takes out the sites that `mode` has not; of a family's, nothing: probes__switch() does it. */
void probes__thin(struct probes *p, uint32_t slot, enum gil_mode mode);

/* Changes to another mode: disarms, swaps the sites that differ, arms again. 0 or -errno (then lifted). */
int probes__switch(struct probes *p, uint32_t slot, enum gil_mode mode, uint64_t *ret_armed_at, struct reason *why);

/* Takes the sites out of the process, keeps the slot's records for a last reading. */
void probes__lift(struct probes *p, uint32_t slot);

/* The same for a process that is gone: does not wait until they are out. */
void probes__drop(struct probes *p, uint32_t slot);

/* Takes all sites out of all processes: quicker than one by one at the end. */
void probes__lift_all(struct probes *p);

/*
 * The planter has lifted all, and all are disarmed: what processes share is planted anew, even if somebody who is gone still
 * counts as one of them, and what is planted from here on counts.
 */
void probes__begin_anew(struct probes *p);

/* Gives the slot back after the last reading. */
void probes__remove(struct probes *p, uint32_t slot);

/*
 * A child that the programs gave the slot `child_slot` when `parent_slot` forked it at `forked_at` (ns): takes it over, armed
 * and counting. `offsets`, of its interpreter, stay as long as it is there: its probes may be lifted and planted again.
 * *ret_late: not from its birth; disarm, discard and arm it anew. 0 or -errno (then it is not taken over, its slot is free
 * again).
 */
int probes__adopt(struct probes *p, uint32_t parent_slot, pid_t child, uint32_t child_slot, const struct pyoffsets *offsets,
		  uint64_t forked_at, bool *ret_late);

/*
 * The same for a process that the programs gave the slot `e->proc` at its first event (GIL_EVENT_BORN). -ENOENT: nobody knows
 * its family.
 */
int probes__adopt_newcomer(struct probes *p, const struct gil_event *e, const struct pyoffsets *offsets, bool *ret_late);

/* Number of the family that a process shares its probes with, GIL_FAMILIES: none. */
uint32_t probes__family(const struct probes *p, uint32_t slot);

/* Whether the open file is that of a family. */
bool probes__is_family_file(const struct probes *p, uint32_t family, int image_fd);

/* A slot that the programs gave to a child which nobody can take over: cleared and free again. */
void probes__disown(struct probes *p, uint32_t slot);

/* Whether the process shares its probes with others: then their modes are one. */
bool probes__is_kin(const struct probes *p, uint32_t slot);

/* Has every exec on the machine told, or not. */
void probes__tell_execs(struct probes *p, bool tell);

/* Whether a process is followed already, with a slot or without: then what becomes of it is told. */
bool probes__is_followed(const struct probes *p, pid_t pid);

/* Has the forks and execs of a process told that has no slot, and counts it from the moment that it is Python. Or no more. */
void probes__follow(struct probes *p, pid_t pid);
void probes__unfollow(struct probes *p, pid_t pid);

/* Removes the breakpoints that a forked child inherited. 0 or -errno. */
int probes__heal(struct probes *p, uint32_t slot, pid_t child);

/* In how many places of the process breakpoints stay until it ends, as it has changed its own code there (planter.h). */
uint32_t probes__kept(struct probes *p, uint32_t slot);

/* Whether what was planted still is: the process that planted it may have been killed. */
bool probes__are_alive(const struct probes *p);

/* Whether the probes that it has in its present mode are at both ends of its garbage collections (gc_sites.h). */
bool probes__see_gc(struct probes *p, uint32_t slot);

/* What the attach cookies call a site of that role. */
enum gil_site_kind probes__kind_of(enum site_role role);

enum plant_method probes__method(const struct probes *p, uint32_t slot);
enum gil_mode probes__mode(const struct probes *p, uint32_t slot);

pid_t probes__pid(const struct probes *p, uint32_t slot);

/* Empties the place of a GIL that has ended (gil_life.h). */
void probes__free_gil(struct probes *p, uint32_t slot, uint32_t gil);

/* Kernel memory of our maps in bytes, for tests. */
uint64_t probes__map_bytes(const struct probes *p);

/* For the reader: the tables, mapped; written by the programs at any moment (see the sequence numbers). */
struct gil_bpf;
struct gil_bpf *probes__skeleton(struct probes *p);
struct planter *probes__planter(struct probes *p); /* opens timers */
struct gil_proc *probes__proc(struct probes *p, uint32_t slot);
struct gil_state *probes__gil(struct probes *p, uint32_t slot, uint32_t gil); /* `gil`: a place that is used */
struct gil_thread *probes__thread(struct probes *p, uint32_t thread_slot); /* maps what is needed: don't walk idle slots */
uint32_t probes__first_thread(const struct probes *p);  /* first slot of an ordinary thread */
uint32_t probes__thread_slots(const struct probes *p);  /* end of the thread table */

#endif
