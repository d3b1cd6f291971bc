/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The maps. Sizes are userland's to set before load; each comment says what the key means and who deletes entries.
 */
#ifndef GILSCOPE_GIL_MAPS_BPF_H
#define GILSCOPE_GIL_MAPS_BPF_H

#include "gil_types.h"

/* Process slots that userland may hand out; also the number of "other" records in the thread table. */
const volatile __u32 cfg_max_procs = 1;

/* Whether every exec on the machine is told (written by userland). */
__u32 gil_tell_execs;

/*
 * Written by the planter (collector/probes/planter_process.c): it lifts the probes by itself, one after the other, and what those
 * see that are left is half of what happens. Userland takes it back before it plants anew.
 */
__u32 gil_being_lifted;

/* The interval in force (written by userland). */
struct gil_clock gil_clock;

/* Process slot -> who is observed. Userland fills and clears. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct gil_proc);
} procs SEC(".maps");

/*
 * GIL slot -> state of that GIL. Each process has the slot of its own number for its main GIL; the others are taken from
 * `free_gils` (gil_proc.gil_slot says which). Cleared by userland when a GIL or its process has ended.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, GIL_PER_PROC);
	__type(key, __u32);
	__type(value, struct gil_state);
} gils SEC(".maps");

/* Numbers of free GIL slots: taken by the programs, given back by userland, as free_slots. */
struct {
	__uint(type, BPF_MAP_TYPE_STACK);
	__uint(max_entries, GIL_PER_PROC);
	__type(value, __u32);
} free_gils SEC(".maps");

/*
 * Thread slot -> record. A slot outlives its thread: the exit marks it dead, userland collects it, clears it and puts
 * its number back into `free_slots`.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, struct gil_thread);
} threads SEC(".maps");

/*
 * Numbers of free thread slots: taken by the programs, given back by userland. Last in, first out, the lowest on top at
 * first: slots in use stay close together at the table's begin, the rest of it is never touched.
 */
struct {
	__uint(type, BPF_MAP_TYPE_STACK);
	__uint(max_entries, 64);
	__type(value, __u32);
} free_slots SEC(".maps");

/* Who made whom wait. Added by the programs, deleted by userland when a thread of the pair is collected. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct gil_blame_key);
	__type(value, struct gil_blame);
} blame SEC(".maps");

/*
 * Numbers of process slots that are free and cleared. Popped by userland for a process that it plants in, by the programs
 * for a child that counts from its birth; given back by userland.
 */
struct {
	__uint(type, BPF_MAP_TYPE_STACK);
	__uint(max_entries, 1);
	__type(value, __u32);
} free_procs SEC(".maps");

/*
 * Thread group id -> process slot, for fork, exec, exit and hits of probes that a family shares. Added by userland, and by
 * the programs for children of a followed process: who adds it first has the process. Deleted by the programs at exit, and at
 * the exec of a followed one; by userland when it lets go.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u32);
} tgids SEC(".maps");

/*
 * Thread group id -> a followed process that is not in `tgids`. Added by the programs at fork and exec, by userland for children
 * that it found; deleted by whoever gives it a slot, by the programs at exit.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct gil_kin);
} kin SEC(".maps");

/* Number of a family -> what a child that executes its file gets. Userland's. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, GIL_FAMILIES);
	__type(key, __u32);
	__type(value, struct gil_family);
} families SEC(".maps");

/* Rare process events for userland. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
} events SEC(".maps");

/* What a thread carries along. */
struct gil_task {
	__u32 slot[GIL_PER_PROC]; /* its records by index of the GIL, 0: none; whether one is still the thread's, it says */
	__u32 gil; /* the GIL that it took last: number in `gils` + 1; 0: none */
	__u32 tid; /* its id, as in gil_state.holder_tid */
	__u32 off; /* switched out while it held that GIL */
	__u32 making; /* one of `slot` is being made: a tick keeps away */
	__u32 light; /* light mode: the GIL that it held when it was switched out: number in `gils` + 1; 0: none */
	__u32 pad;
	__u64 native_at; /* ns: its native code was looked at last */
	__u64 seen_at; /* ns: its Python stack was looked at last (gil_tick.bpf.h), */
	__u64 seen_in; /* in the interval with that beginning, */
	__u64 seen; /* and was that; 0: not known */
	struct gil_top top; /* of it */
};

/* Freed with the task. (Under test-run there is one task only: the tests key by tid.) */
#ifndef GIL_TEST
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct gil_task);
} tasks SEC(".maps");
#else
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct gil_task);
} tasks SEC(".maps");
#endif

#endif
