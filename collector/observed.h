/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One observed process: from its PID to armed probes, and from a collected sample to batches.
 *
 * target -> elffile -> pyver -> sites -> probes on the way in, reader -> aggr -> schema -> sink on the way out. The loop
 * that calls this is collector.c's.
 */
#ifndef GILSCOPE_OBSERVED_H
#define GILSCOPE_OBSERVED_H

#include "collector.h"
#include "reader.h"

/* What changes in a GIL that is used. */
struct gil_look {
	uint64_t holder, switches;
	uint32_t locked;
};

struct observed {
	bool used;
	uint32_t slot;
	struct target *target;
	struct elffile *elf;       /* until the probes are planted */
	struct site_plan *plan;
	struct pyver python;
	struct pyoffsets offsets;
	uint64_t runtime; /* address of _PyRuntime in the process */
	struct aggr *aggr;
	struct schema_writer *writer;
	struct collector_proc pub; /* what callbacks see */
	char id[SCHEMA_ID_SIZE];
	int lock_fd;
	uint64_t gone_at;          /* ns, monotonic: seen to have exited, its last sample is still to be taken; 0: not gone */
	uint64_t unarmed_ns;       /* of the running interval, during a change of mode */
	uint64_t cpu_ns;           /* at the last sample */
	double price_ns[8];        /* by enum gil_site_kind */
	bool blind;                /* the main GIL changes and no probe sees it: see note_sight() */
	struct gil_look armed_as;  /* its fields just before arming */
	/* auto mode */
	uint64_t hits_cost_ns;     /* cost at the last look */
	uint64_t looked_at;        /* ns, monotonic */
	uint64_t over_budget;      /* looks in a row above the budget */
	uint64_t light_since, retry_after_ns;
};

struct workshop {
	const struct collector_opts *opts;
	struct probes *probes;
	struct reader *reader;
	bool begun;                /* the first interval has: with the first process's arming */
};

/*
 * Plans, plants and arms. `starting`: the process stands where its interpreter has just been mapped and none of it has
 * run; there is nothing to be read in its memory yet. 0, or -errno with nothing planted.
 */
int observed__start(struct observed *o, struct workshop *shop, pid_t pid, bool starting, struct reason *why);

/* Tells the sink what the server must know of this process, and has the next sample set every time to live again. */
void observed__announce(struct observed *o, struct workshop *shop);

/* Reads locked and last_holder of each GIL after arming: the seed. */
void observed__seed(struct observed *o, struct workshop *shop);

/* Changes the mode, at a boundary. 0, or -errno: the probes are lifted then. */
int observed__switch(struct observed *o, struct workshop *shop, enum gil_mode mode, struct reason *why);

/* Cost inside the target since the last call, as a share of one core; the time since then in *ret_span_ns. */
double observed__cost_share(struct observed *o, struct workshop *shop, uint64_t now_ns, uint64_t *ret_span_ns);

/* Completes a collected sample and sends what follows from it to the sink. 0 or -errno. */
int observed__publish(struct observed *o, struct workshop *shop, struct proc_sample *s);

/* Writes the windows begun and the end into the sink. `how` goes to meta. */
void observed__finish(struct observed *o, struct workshop *shop, int64_t end_ms, const char *how);

/* Lifts the probes and frees everything. */
void observed__stop(struct observed *o, struct workshop *shop);

#endif
