/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One observed process: from its PID to armed probes, and from a collected sample to batches.
 *
 * target -> elffile -> pyver -> sites -> probes on the way in, reader -> aggr -> schema -> sink on the way out. The loop
 * that calls this is collector.c's.
 */
#ifndef GILSCOPE_OBSERVED_H
#define GILSCOPE_OBSERVED_H

#include "collector/cpython/gil_words.h"
#include "collector/look/guard.h"
#include "collector/look/sight.h"
#include "collector/plan/recipe.h"
#include "collector/python/pygils.h"
#include "collector/reader/reader.h"
#include "collector.h"
#include "observed_events.h"
#include "observed_look.h"
#include "observed_looked.h"

/* Whether what its GILs do is seen: collector_sight.c. */
struct sights {
	struct sight gils[GIL_PER_PROC];
	struct sight_sleeper sleeper; /* light mode; its count: of the main GIL's events at the last look */
	uint32_t arm_gen;          /* of the last look */
	uint32_t unseen;           /* looks of the running interval at which a GIL had moved unseen */
	bool blind;                /* since such a look, until events are seen again */
};

/* One GIL when its memory was last looked at; 0: not yet. */
struct guard_place {
	uint64_t addr, switches;
};

/* What the guard's last look saw. */
struct guard_hits {
	uint64_t at, memory_at;    /* ns */
	uint64_t hits[8];          /* by enum gil_site_kind */
};

struct observed {
	bool used;
	uint32_t slot;
	struct target *target;
	const struct recipe *recipe;
	uint64_t runtime;          /* address of _PyRuntime */
	struct aggr *aggr;
	struct schema_writer *writer;
	struct collector_proc pub; /* what callbacks see */
	char id[SCHEMA_ID_SIZE];
	char parent[SCHEMA_ID_SIZE], root[SCHEMA_ID_SIZE]; /* "": none that is observed; no family is followed */
	int lock_fd;
	uint64_t begun_at;         /* ns, monotonic: what was found out of it is of later */
	uint64_t born_at;          /* ns, monotonic: before that there was nothing to observe; 0: long ago */
	uint64_t gone_at;          /* ns, monotonic: it ended then, its last sample is still to be taken; 0: not gone */
	enum collector_end gone_how;
	bool exit_watched;         /* its pidfd is among those that wake the loop */
	bool published;            /* its first sample is sent */
	uint64_t paused_at;        /* ns: disarmed for a change since then; 0: not */
	bool spoilt;               /* the running interval: see observed__spoil() */
	uint64_t armed_before_ns;  /* of the running interval: counted in the mode before, until it was disarmed for a change */
	bool finalized;            /* it had no interpreter at the last boundary */
	uint64_t open_since;       /* ns: what was held since then ended, with it, at a time that is not known; 0: not just now */
	uint64_t cpu_ns;           /* at the last sample */
	double price_ns[8];        /* by enum gil_site_kind */
	bool sighted, blind;       /* an acquire was seen; the main GIL changes and no probe sees it: see note_sight() */
	uint32_t strange_looks;    /* at a GIL that was taken, as it seems, without a probe's telling */
	struct gil_words armed_as;  /* its fields just after arming */
	uint64_t seeds[GIL_PER_PROC]; /* who had each GIL just after arming, PyThreadState; 0: nobody, or not known */
	uint64_t libraries_kib;    /* target__libraries_kib() when its mappings were looked through last */
	struct observed_look look;
	struct observed_news told;  /* of what was found by looking, people were told */
	struct untold untold;
	struct sights sights;
	struct looked looked;       /* in place of probes */
	struct gc_watch *gc;       /* NULL: of its garbage collection nothing is known */
	uint64_t gc_state;         /* address of its main interpreter's garbage collector, 0: not found yet */
	/* auto mode */
	uint64_t hits_cost_ns;     /* cost at the last look */
	uint64_t looked_at;        /* ns, monotonic */
	uint64_t over_budget;      /* looks in a row above the budget */
	uint64_t light_since, retry_after_ns;
	/* collector_guard.c */
	struct guard guard;
	struct guard_hits guard_hits;
	struct guard_place guard_places[GIL_PER_PROC];
	enum gil_mode guard_from;    /* the mode that it returns to after a rest, */
	enum gil_mode guard_before;  /* and that it had when all probes were lifted */
};

struct workshop {
	const struct collector_opts *opts;
	struct probes *probes;
	struct reader *reader;     /* both NULL: processes are looked at, */
	struct looks *looks;       /* by this; else NULL */
	struct observed *looked[LOOK_SUBJECTS]; /* by its places */
	struct stack_book *looked_code; /* stacks that looks have seen, by place; NULL: none are asked for */
	struct recipes recipes;
	struct target_memory *memory; /* NULL: none */
	bool begun;                /* the first interval has: with the first process's arming */
	uint64_t next_look;        /* ns: at who collects garbage (gc_looks.h); 0: at nobody */
	uint64_t look_cost;        /* ns, of our own time */
	uint32_t look_jitter;
	uint64_t next_hunt;        /* ns: before that nobody's mappings are looked through for Pythons (collector_runtimes.c) */
	struct event_ids host_events; /* the newest of the host's stream that was given */
	uint64_t told_dropped;     /* points that the sink lost, of which a stream was told */
	int64_t told_dropped_ms;
};

/* Time spent on planning is no time observed: the first interval begins with the first process, or by this. */
void observed__begin(struct workshop *shop);

/*
 * Finds the GILs of its process, at most GIL_PER_PROC: none of an interpreter that is still starting. `starting`: there is
 * nothing to be read in its memory yet. 0 or -errno.
 */
int observed__find_gils(struct observed *o, bool starting, struct gil_address gils[], int *ret_n, struct reason *why);

/* Where a process comes from. Zeroed: it was there before we came. */
struct origin {
	bool starting;             /* it stands where its interpreter has just been mapped, and nothing of that has run */
	uint64_t born_at;          /* ns, monotonic: before that there was nothing to observe; 0: long ago */
	const char *parent, *root; /* ids, NULL: none */
	const struct finder_filter *only; /* -ESRCH unless it is one of these; NULL: whoever it is */
};

/*
 * Plans, plants and arms. `origin->starting`: there is nothing to be read in its memory yet. 0, or -errno with nothing
 * planted.
 */
int observed__start(struct observed *o, struct workshop *shop, pid_t pid, const struct origin *origin, struct reason *why);

/*
 * Takes over a child that counts since its parent forked it, or was meant to: `e` is the fork. It may have ended already: what it
 * counted is there (gone_at is set then). 0 or -errno; the child's slot is free again then.
 */
int observed__adopt(struct observed *o, struct workshop *shop, const struct observed *parent, const struct gil_event *e,
		    struct reason *why);

/*
 * Takes over a process that counts since it first took the GIL of its family's interpreter: `e` says so (GIL_EVENT_BORN).
 * `relative`: another of its family, for what cannot be read of it any more; NULL: none. It may have ended, as above. 0 or
 * -errno; its slot is free again then.
 */
int observed__adopt_newcomer(struct observed *o, struct workshop *shop, const struct observed *relative,
			     const struct gil_event *e, const struct origin *origin, struct reason *why);

/* The process has more Pythons than it had: meta is to say which is observed. */
void observed__tell_runtimes(struct observed *o, struct workshop *shop);

/* A batch to fill; NULL: nothing is stored, or no memory. And to the sink with it, unless it failed. */
struct batch *observed__batch(const struct workshop *shop);
void observed__send(struct workshop *shop, struct batch *b, int err);

/* Tells the sink what the server must know of this process, and has the next sample set every time to live again. */
void observed__announce(struct observed *o, struct workshop *shop);

/*
 * Call at each boundary before its sample is collected: where the process has no interpreter any more (Py_Finalize), nobody holds
 * its GIL, though no event and up to 3.11 not even the GIL itself says so.
 */
void observed__mind_interpreter(struct observed *o, struct workshop *shop);

/*
 * What is open in it is open no more: nobody knows when it ended. Armed again at once. `what`: the occasion, for the log.
 */
void observed__forget_open(struct observed *o, struct workshop *shop, const char *what);

/*
 * The probes were lifted without our knowing, some time in the running interval: of what is open nobody knows any more, and the
 * interval counts as not observed.
 */
void observed__spoil(struct observed *o, struct workshop *shop);

/*
 * The guard begins here (collector_guard.c). `bare`: there are no probes yet, so of a process with many threads the rate is taken
 * first, which takes 0.1 s.
 */
void observed__guard(struct observed *o, struct workshop *shop, bool bare);

/* Stops counting, for a change of mode to come: observed__switch() ends it. */
void observed__pause(struct observed *o, struct workshop *shop);

/* Takes out what `mode` has not, of a paused one: observed__switch() is to follow. */
void observed__thin(struct observed *o, struct workshop *shop, enum gil_mode mode);

/* Changes the mode, at a boundary. 0, or -errno: the probes are lifted then. */
int observed__switch(struct observed *o, struct workshop *shop, enum gil_mode mode, struct reason *why);

/* Cost inside the target since the last call, as a share of one core; the time since then in *ret_span_ns. */
double observed__cost_share(struct observed *o, struct workshop *shop, uint64_t now_ns, uint64_t *ret_span_ns);

/* Whether its interval has anything in it: not if it ended before `from` (ns) and the last one has told of that. */
static inline bool observed__was_there(const struct observed *o, uint64_t from)
{
	return !o->gone_at || o->gone_at > from || !o->published;
}

/*
 * Completes a collected sample, which ends at `bound` (ns), and sends what follows from it to the sink. `partial`: the interval
 * was cut short. 0 or -errno.
 */
int observed__publish(struct observed *o, struct workshop *shop, struct proc_sample *s, uint64_t bound, bool partial);

/* Whether its threads' rows are now kept shorter than asked for, the first time: true once. How long, in seconds, by tier. */
bool observed__kept_shorter(struct observed *o, uint32_t ret_s[TIER_COUNT]);

/* Writes the windows begun and the end into the sink. `how` goes to meta. */
void observed__finish(struct observed *o, struct workshop *shop, int64_t end_ms, const char *how);

/* Lifts the probes and frees everything. */
void observed__stop(struct observed *o, struct workshop *shop);

/* The same in steps, for many at once: lift all, have the reader forget all (reader__forget()), free all. */
void observed__lift(struct observed *o, struct workshop *shop);
void observed__free(struct observed *o, struct workshop *shop);

#endif
