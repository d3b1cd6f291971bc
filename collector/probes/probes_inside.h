/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The inside of struct probes, shared by its own files only: probes.c has the life cycle, process slots, planting and arming;
 * probes_load.c brings the programs into the kernel, in one of the two forms that probes_programs.c has; probes_tables.c maps
 * their tables, probes_kin.c is about followed processes, those that others gave birth to, and who shares probes with whom.
 */
#ifndef GILSCOPE_PROBES_INSIDE_H
#define GILSCOPE_PROBES_INSIDE_H

#include "families.h"
#include "planter.h"
#include "probes.h"

enum site_group {
	GROUP_CONTENDED, /* WAIT and HANDOFF: full and light */
	GROUP_SIGNAL,    /* full, and holds, which is full without the others */
	GROUP_WAKE,      /* light */
	GROUP_GC,        /* both ends of a garbage collection: full and holds, which know who has the GIL */
	GROUP_COUNT,
};

_Static_assert((int)GROUP_COUNT == FAMILY_GROUPS, "families plant the same groups");

struct proc_slot {
	bool used;
	pid_t pid;
	int image_fd;
	enum gil_mode mode;
	struct uprobe_sites sites[GROUP_COUNT];
	uint64_t ino;                /* of their file, as mappings have it */
	uint32_t links[GROUP_COUNT]; /* the planter's numbers, 0: not planted */
	struct family *family;  /* whose probes it has instead of its own, or NULL */
	int pidfd;              /* the target's; -1: gone already */
	bool told;              /* `tgids` knows it: what becomes of it is told with its slot */
	uint64_t runtime;       /* of the one that a family begins with, as `off` */
	const struct pyoffsets *off;
};

/* The programs' tables, mapped. */
struct tables {
	struct gil_proc *procs;
	struct gil_state *gils;
	struct gil_thread *threads;
	struct gil_family *templates;
	size_t procs_len, gils_len, threads_len, templates_len;
	size_t threads_mapped;  /* bytes of the thread table that are there; the rest is reserved */
	int threads_fd;
};

struct probes {
	struct probes_opts opts;
	struct probes_features features;
	uint64_t missed;               /* probes__missed_events(), the most so far */
	enum shadow_fate shadow_fate;  /* once it mattered */
	struct reason off_cpu_refusal; /* of the programs with those at context switches: features.off_cpu_why */
	struct gil_bpf *skel;
	struct planter *planter;
	struct families *families; /* NULL: nobody shares probes */
	struct tables tables;
	struct proc_slot *slots;
};

/* How many no program has seen: of those that the last one was left out of, those that no other saw. */
static inline uint64_t gil_comings__missed(const struct gil_comings *c, uint64_t left_out_of_last)
{
	uint64_t only_early = c->early > c->both ? c->early - c->both : 0;

	return left_out_of_last > only_early ? left_out_of_last - only_early : 0;
}

/* Thread slots, those of `other` included. */
static inline uint32_t probes_opts__thread_slots(const struct probes_opts *opts)
{
	return GIL_SLOT_OTHER + opts->max_procs + opts->max_threads;
}

/* One each, and some for the few programs that have more: a process's share if there is but one. */
static inline uint32_t probes_opts__gil_slots(const struct probes_opts *opts)
{
	return opts->max_procs + (opts->max_procs / 2 > GIL_PER_PROC - 1 ? opts->max_procs / 2 : GIL_PER_PROC - 1);
}

static inline bool group__is_wanted(enum site_group group, enum gil_mode mode)
{
	static const uint32_t groups[GIL_MODES] = {
		[GIL_MODE_FULL] = 1u << GROUP_CONTENDED | 1u << GROUP_SIGNAL | 1u << GROUP_GC,
		[GIL_MODE_LIGHT] = 1u << GROUP_CONTENDED | 1u << GROUP_WAKE,
		[GIL_MODE_HOLDS] = 1u << GROUP_SIGNAL | 1u << GROUP_GC,
	};

	return groups[mode] >> group & 1;
}

/* ---- probes.c ---- */

/* Makes a process slot ready for whoever gets it next: a process of ours, or a child in the moment of its fork. 0 or -errno. */
int probes_slot__free(struct probes *p, uint32_t slot);

/* ---- probes_programs.c ---- */

/* The programs, opened, in the form that every supported kernel takes if `older`. NULL, with errno. */
struct gil_bpf *probes_programs__open(bool older);

/* ---- probes_load.c ---- */

/* Fills p->skel and p->features, by what the kernel takes and a child of ours shows to work. 0 or -errno with the reason. */
int probes_load__skeleton(struct probes *p, struct reason *why);

/* ---- probes_tables.c ---- */

/* 0 or -ENOMEM with the reason: tables__unmap() is due then, too. */
int tables__map(struct tables *t, const struct gil_bpf *skel, const struct probes_opts *opts, struct reason *why);
void tables__unmap(struct tables *t);

/* The record of a thread slot, mapped if it was not yet. */
struct gil_thread *tables__thread(struct tables *t, uint32_t slot);

/* ---- probes_kin.c ---- */

/* Whether a process is followed and has no slot yet. */
bool probes_kin__is(const struct probes *p, pid_t pid);

/*
 * From here on the process is that of this slot. A followed one can be given a slot by the programs as well (families.h): whoever
 * is first has it. 0, -EALREADY (they were), -ESRCH (it has just ended) or -errno.
 */
int probes_kin__tell(struct probes *p, uint32_t slot);

/* The same for a followed one that was armed a moment ago: says since when it counts. On failure it is disarmed. */
int probes_kin__tell_armed(struct probes *p, uint32_t slot);

/* What becomes of that process is told with this slot no more. */
void probes_kin__forget(struct probes *p, pid_t pid, uint32_t slot);

/*
 * Plants a process's probes shared with all who map the file: a newcomer's in the mode that its relatives have, if there are any,
 * else everybody's in `mode`. 0 or -errno: it is in no family then.
 */
int probes_kin__plant(struct probes *p, struct proc_slot *s, enum gil_mode mode);

/* Lets go of its family; none is legal. */
void probes_kin__leave(struct probes *p, struct proc_slot *s);

#endif
