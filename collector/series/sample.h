/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the reader measures and everything behind it passes on: one process during one interval.
 *
 * Plain data, integer nanoseconds; microseconds appear only in schema.c and on screen. Owned and freed
 * as a whole. The same structure carries a raw interval, a merged window of a tier, and the totals since
 * attach.
 */
#ifndef GILSCOPE_SAMPLE_H
#define GILSCOPE_SAMPLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "collector/base/thread_name.h"
#include "hist.h"
#include "holding.h"
#include "stack_cells.h"
#include "whys.h"

/* Stands for the GILs that were told apart no more: windows and totals keep a bounded number. */
#define GIL_NUMBER_OTHER UINT32_MAX

/* A thread for good: a tid is used again, a tid with its start time is not. */
struct thread_key {
	uint32_t tid;         /* as the collector's PID namespace counts; 0: pseudo-threads, see enum below */
	uint32_t inside;      /* its id in the target's PID namespace; 0: that is the collector's. No part of the key */
	uint64_t start_ticks; /* clock ticks since boot, 0 for pseudo-threads */
};

/* Pseudo-threads: tid 0, told apart by start_ticks. */
enum pseudo_thread {
	PSEUDO_OTHER = 1,   /* threads merged because a cap was reached */
	PSEUDO_UNKNOWN = 2, /* a holder that could not be named */
};

/* Which fields are known (bits of metrics.known). What is not known is left out everywhere. */
enum known {
	KNOWN_HOLD = 1,     /* hold_*, handed out only in full mode */
	KNOWN_ACQUIRES = 2,
	KNOWN_WAIT = 4,
	KNOWN_FORCED = 8,
	KNOWN_HANDOVER = 16,    /* light cannot tell it from blame */
	KNOWN_OFF_CPU = 32,     /* hold_off, wait_off */
	KNOWN_GC = 64,          /* gc.hold_ns, gc.max_ns */
	KNOWN_GC_WAIT = 128,    /* gc.wait_ns */
	KNOWN_GC_NUMBERS = 256, /* gc.n */
	KNOWN_GC_EXACT = 512,   /* the times of gc are measured, else sampled */
	KNOWN_HOLD_EST = 1024,  /* hold_est; where holds are known, it is they */
	KNOWN_WAIT_EST = 2048,  /* wait_ns, about; where waits are known, it is they */
	KNOWN_ALL = 4095,
};

#define KNOWN_OF_GC (KNOWN_GC | KNOWN_GC_WAIT | KNOWN_GC_NUMBERS | KNOWN_GC_EXACT)

/* Garbage collection: parts of what the metrics beside it have, while the thread that collects has the GIL. */
struct gc_time {
	uint64_t hold_ns;       /* of hold_ns */
	uint64_t wait_ns;       /* of all others' wait_ns: they waited meanwhile */
	uint64_t max_ns;        /* longest that ended in the interval or was open at its end; sampled: at least that long */
	double err2;            /* square of hold_ns's standard error, ns^2; 0: exact */
	uint64_t n[3];          /* collections, by generation: 0 the youngest */
};

/* Holds that no event told of, from ticks of the holder's CPU time: an estimate, and never part of what is exact. */
struct hold_estimate {
	uint64_t ns;
	double err2;            /* square of its standard error, ns^2; 0: exact */
};

/* "full", "light", "holds", "guarded", "look"; `other` where an interval had several, or none. */
const char *gil_mode__name(enum gil_mode mode, const char *other);

struct metrics {
	uint32_t known;         /* enum known */
	uint32_t waiting;       /* waits open at the end */
	uint64_t hold_ns;
	uint64_t wait_ns;       /* = blame + handover_ns + unknown_ns */
	uint64_t handover_ns;
	uint64_t unknown_ns;
	uint64_t acquires;
	uint64_t contended;
	uint64_t forced;
	struct gil_off hold_off; /* of hold_ns: the holder did not run; the rest it did */
	struct gil_off wait_off; /* of wait_ns: the holder did not run */
	struct gil_over over;   /* how long holds went on once they were asked for; light: those that ended in a hand-off */
	uint64_t inferred;      /* light: hand-offs whose end no waiter saw, timed by what followed */
	uint64_t hold_max_ns;   /* longest that ended in the interval or was open at its end */
	uint64_t wait_max_ns;
	struct gc_time gc;
	struct hold_estimate hold_est; /* light: held on a CPU */
	double wait_err2;       /* square of wait_ns's standard error, ns^2; 0: exact */
	uint64_t looks;         /* at the GIL, that what is known rests on; 0: it is measured */
	uint64_t switches;      /* changes of holder, exact; looks see them */
	struct hist hold;       /* ended in the interval, at full length */
	struct hist wait;
	struct hist hold_open;  /* open at the end, at the age so far */
	struct hist wait_open;
};

struct thread_sample {
	struct thread_key key;
	char name[THREAD_NAME_SIZE]; /* cleaned; "" if not known */
	uint32_t gil;           /* whose GIL: the id of its interpreter, 0 = the main one */
	bool exited;            /* the thread is gone: this is its last sample */
	struct metrics m;
};

struct gil_sample {
	uint32_t gil;           /* id of the interpreter it belongs to; GIL_NUMBER_OTHER: several that have no place */
	uint64_t addr;          /* 0: it has ended */
	struct metrics m;
};

/* `ns` of victim's waiting happened while holder held the GIL. Indices into proc_sample.threads. */
struct blame_cell {
	uint32_t victim;
	uint32_t holder;
	uint64_t ns;
};

#define CODE_FUNCTION_SIZE 96
#define CODE_FILE_SIZE 128
#define CODE_NATIVE_SIZE 128
#define CODE_CALLER_SIZE 192

/*
 * What one thread did to others in one line of its code: of holds over a threshold where it was while it held, of waits over it
 * where it was while it waited. The place is that of the innermost Python frame.
 */
struct code_cell {
	uint32_t thread;        /* index into proc_sample.threads */
	uint32_t line;          /* 0: not known */
	uint32_t firstlineno;   /* of the function */
	uint32_t times;         /* looks at it */
	uint64_t ticks;         /* of the thread's CPU time, in all that `hold_ns` rests on; 0: it rests on looks */
	double hold_var;        /* ns^2: the variance of hold_ns by chance, from those ticks */
	uint64_t place;         /* hash of function, file and line, for quick comparison */
	char function[CODE_FUNCTION_SIZE]; /* cleaned; "?": not known; "": no Python code ran */
	char file[CODE_FILE_SIZE];         /* cleaned; a long path has lost its beginning */
	char caller[CODE_CALLER_SIZE]; /* the application's code, if this is none: "f (app.py:3) -> json.dumps", what it called */
	uint64_t hold_ns;       /* held here */
	uint64_t blame_ns;      /* others waited meanwhile, summed over them */
	uint64_t wait_ns;       /* waited here */
	uint64_t over_ns;       /* asked to let go here, it went on for so long */
	struct gil_off hold_off, blame_off; /* of hold_ns and blame_ns: the holder was off the CPU, or whether is not known */
	char native[CODE_NATIVE_SIZE]; /* "module.so: function" of C code that was seen there mostly; "": none, or not known */
	uint64_t native_ns;     /* hold and blame of what `native` was known of */
};

/* The same of what found no place. */
struct code_rest {
	uint64_t hold_ns, blame_ns, wait_ns;
};

struct proc_sample {
	int64_t end_ms;         /* wall clock, ms since the epoch: the interval's end on the grid */
	uint64_t len_ns;        /* length of the interval */
	uint64_t observed_ns;   /* of which the probes were armed; cov = observed / len */
	uint64_t wait_unseen_ns; /* of observed_ns: looks could not tell who waited; no part of what is said of waits */
	enum gil_mode mode;     /* of the whole interval; OFF where it changed within: see cov and known */
	bool blame_sampled;     /* light mode: blame comes from samples at retries */
	bool partial;           /* cut short: first, last, or mode change */
	bool no_gil;            /* free-threaded, its GIL off all the time: nothing to measure, observed_ns is 0 */
	uint64_t no_gil_ns;     /* of len_ns: how long that was so */
	uint32_t live_threads;  /* threads of the process now */
	struct metrics total;   /* sum over threads and GILs */
	uint64_t cost_ns;       /* estimated own cost inside the target */
	uint64_t hits;          /* probe hits */
	uint64_t cpu_ns;        /* CPU time of the process in the interval; UINT64_MAX: not known */
	uint64_t rss_kib;       /* at the end; UINT64_MAX: not known */
	uint64_t lost[GIL_LOSS_COUNT]; /* in this interval */
	struct gil_sample *gils;
	size_t gils_n;
	struct thread_sample *threads; /* each (thread, GIL) that did anything; unordered */
	size_t threads_n;
	struct blame_cell *blame;
	size_t blame_n;
	struct code_cell *code; /* unordered; none where stacks are not asked for */
	size_t code_n;
	struct code_rest code_rest;
	bool code_known;        /* stacks are asked for */
	struct holding holding; /* what was seen by looking at the process; in windows the last of it, and sums */
	uint64_t switches_missed; /* of holders, that the kernel did not tell of: its own account told of them */
	struct whys whys;       /* total.hold_off asleep and stopped, by reason */
	struct stack_cells stacks; /* the same looks, by whole stacks; totals have none */
};

/*
 * An empty sample, or NULL (no memory). It is neutral: adding to its total keeps what is known (known = KNOWN_ALL);
 * cpu and rss are not known.
 */
struct proc_sample *proc_sample__new(void);
void proc_sample__free(struct proc_sample *s);

/* Zeroes it, but keeps its arrays for what is added next. */
void proc_sample__empty(struct proc_sample *s);

/*
 * Takes back what it says of threads, GILs and code, since it was not what happened: observed_ns is 0. The interval, the
 * process, costs and losses stay.
 */
void proc_sample__withhold(struct proc_sample *s);

/*
 * What is to be said of a process without a GIL, wherever its numbers would stand. Its threads do wait for each other, which is
 * not measured: unknown is not zero.
 */
#define NO_GIL_SAYS "The GIL is disabled in this process: nobody holds it and nobody waits for it. What its threads wait for " \
	"instead, locks of objects, a Lock, a stopped world, is not measured."

/* What kind of process it was: "gil", "per-interpreter" (it had several), "free-threaded" (it had none). */
const char *proc_sample__gil_kind(const struct proc_sample *s);

/* Appends a zeroed element and returns it, or NULL (no memory). Invalidates earlier pointers into the array. */
struct thread_sample *proc_sample__add_thread(struct proc_sample *s);
struct gil_sample *proc_sample__add_gil(struct proc_sample *s);
struct blame_cell *proc_sample__add_blame(struct proc_sample *s);

/* Where the cells of a sample are, for proc_sample__charge(). Zeroed is empty; never wrong about another sample. */
struct blame_places {
	struct blame_place {
		uint32_t as_holder;  /* the newest cell that charges this thread */
		uint32_t as_victim;  /* its first cell */
		bool came_back;      /* it was charged for after others were */
	} *threads;
	size_t room;
};

/*
 * Adds to the one cell of that victim and holder (indices of threads), made if need be. Quick as long as all of a victim's
 * holders come in a row. 0 or -ENOMEM.
 */
int proc_sample__charge(struct proc_sample *s, struct blame_places *places, uint32_t victim, uint32_t holder, uint64_t ns);
void blame_places__free(struct blame_places *places);

/* How long each thread was waited for, in ns by its index; the caller's to free. NULL: no memory. */
uint64_t *proc_sample__blamed(const struct proc_sample *s);

/*
 * Adds to the cell of the same thread and place, or to a new one; with `max` cells there already, to the rest. 0 or -ENOMEM.
 * `cell->place` is set by code_cell__set_place().
 */
int proc_sample__add_code(struct proc_sample *s, const struct code_cell *cell, size_t max);

/* Sets function, file (cut at their end, at their beginning) and line, and the hash of all. */
void code_cell__set_place(struct code_cell *cell, const char *function, const char *file, uint32_t line, uint32_t firstlineno);

/* Says who called it: another caller, another place. After set_place(). */
void code_cell__set_caller(struct code_cell *cell, const char *caller);

/* Says which native code the cell's hold and blame (set before) were in; "" or NULL: not known. */
void code_cell__set_native(struct code_cell *cell, const char *native);

/* The cells, the worst first: by blame, then hold, then wait. Array of code_n, caller frees; NULL: no memory. */
const struct code_cell **proc_sample__sorted_code(const struct proc_sample *s);

/* Keeps the worst `max` cells, and adds the others to the rest. 0 or -ENOMEM. */
int proc_sample__cap_code(struct proc_sample *s, size_t max);

/* Index of a thread on a GIL, or -1. */
long proc_sample__find_thread(const struct proc_sample *s, const struct thread_key *key, uint32_t gil);

/*
 * dst += src: sums, maxima, histograms; what is open is src's (the later one). known = intersection, here and in
 * metrics__sum(): a dst that starts empty starts with KNOWN_ALL. 0, or -ENOMEM: dst's histograms are then short of src's.
 */
int metrics__merge(struct metrics *dst, const struct metrics *src);

/* dst += src of the same interval, another thread: sums including what is open. 0 or -ENOMEM, as above. */
int metrics__sum(struct metrics *dst, const struct metrics *src);

/* Sums, and the larger maximum. */
void gc_time__add(struct gc_time *dst, const struct gc_time *src);

/* Forgets what is open. */
void metrics__clear_open(struct metrics *m);

/*
 * What is known of both together: what is known of either. Only of waits that looks see a part is enough, of the time that
 * wait_unseen_ns leaves.
 */
uint32_t metrics__known_of_both(const struct metrics *a, const struct metrics *b);

/* Frees what it owns; it is zeroed then. */
void metrics__clear(struct metrics *m);

/* Of how long it is known who waited, if anybody did. */
static inline uint64_t proc_sample__waits_observed(const struct proc_sample *s)
{
	return s->observed_ns > s->wait_unseen_ns ? s->observed_ns - s->wait_unseen_ns : 0;
}

/* Whether it is known how long it held, but only about. */
static inline bool metrics__is_estimate(const struct metrics *m)
{
	return (m->known & (KNOWN_HOLD | KNOWN_HOLD_EST)) == KNOWN_HOLD_EST;
}

/* Whether it is known how long it waited, if only about. */
static inline bool metrics__knows_wait(const struct metrics *m)
{
	return m->known & (KNOWN_WAIT | KNOWN_WAIT_EST);
}

/* How long it held: exactly where that is known, else about. */
static inline uint64_t metrics__held(const struct metrics *m)
{
	return m->known & KNOWN_HOLD ? m->hold_ns : m->hold_est.ns;
}

static inline bool thread_key__equal(const struct thread_key *a, const struct thread_key *b)
{
	return a->tid == b->tid && a->start_ticks == b->start_ticks;
}

#endif
