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

#include "../bpf/gil_types.h"
#include "pyver.h"
#include "reason.h"
#include "sites.h"
#include "target.h"

enum plant_method {
	PLANT_MULTI,   /* one uprobe_multi link per group of sites */
	PLANT_PERF,    /* a perf event per site */
};

struct probes_opts {
	uint32_t max_procs;      /* 1 .. 1024 */
	uint32_t max_threads;    /* thread slots, default 2048 for one process */
	uint32_t max_pairs;      /* blame pairs, default 65536 */
	bool no_multi;           /* never use uprobe_multi (tests, bench) */
	bool empty_programs;     /* plant programs that do nothing (bench: the limit) */
};

struct probes_features {
	bool multi;              /* uprobe_multi works and its PID filter covers all threads and no other process */
	const char *multi_why;   /* "" or why not */
	double price_ns;         /* calibrated: added cost of one hit on an emulated instruction */
	double stepped_price_ns; /* the same on a single-stepped one */
};

struct probes;

/* Loads the programs and checks the features on a child of our own (about 50 ms). 0, -EPERM (capability), -errno. */
int probes__open(const struct probes_opts *opts, struct probes **ret, struct reason *why);
void probes__close(struct probes *p);
const struct probes_features *probes__features(const struct probes *p);

/* Takes a process slot. `gils` as pyver__find_gils() gave them (none for a program that starts). 0 or -ENOSPC. */
int probes__add(struct probes *p, const struct target *t, const struct site_plan *plan, const struct pyoffsets *off,
		const struct gil_address *gils, int gils_n, uint32_t *ret_slot, struct reason *why);

/* Plants the sites of `mode`. On failure nothing is left planted. 0 or -errno. */
int probes__plant(struct probes *p, uint32_t slot, enum gil_mode mode, struct reason *why);

/* Starts counting; fills *ret_armed_at (ns, CLOCK_MONOTONIC). */
int probes__arm(struct probes *p, uint32_t slot, uint64_t *ret_armed_at);
void probes__disarm(struct probes *p, uint32_t slot);

/* Changes between full and light: disarms, swaps the sites that differ, arms again. 0 or -errno (then lifted). */
int probes__switch(struct probes *p, uint32_t slot, enum gil_mode mode, uint64_t *ret_armed_at, struct reason *why);

/* Takes the sites out of the process, keeps the slot's records for a last reading. */
void probes__lift(struct probes *p, uint32_t slot);

/* Gives the slot back after the last reading. */
void probes__remove(struct probes *p, uint32_t slot);

/* Removes the breakpoints that a forked child inherited. 0 or -errno. */
int probes__heal(struct probes *p, uint32_t slot, pid_t child);

/* Whether what was planted still is: the process that planted it may have been killed. */
bool probes__are_alive(const struct probes *p);

enum plant_method probes__method(const struct probes *p);
enum gil_mode probes__mode(const struct probes *p, uint32_t slot);

pid_t probes__pid(const struct probes *p, uint32_t slot);

/* Kernel memory of our maps in bytes, for doctor. */
uint64_t probes__map_bytes(const struct probes *p);

/* For the reader: the tables, mapped; written by the programs at any moment (see the sequence numbers). */
struct gil_bpf;
struct gil_bpf *probes__skeleton(struct probes *p);
struct gil_proc *probes__proc(struct probes *p, uint32_t slot);
struct gil_state *probes__gil(struct probes *p, uint32_t slot, uint32_t gil);
struct gil_thread *probes__thread(struct probes *p, uint32_t thread_slot); /* maps what is needed: don't walk idle slots */
uint32_t probes__first_thread(const struct probes *p);  /* first slot of an ordinary thread */
uint32_t probes__thread_slots(const struct probes *p);  /* end of the thread table */

#endif
