/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The reader's inside, shared by its own files only: reader.c has the life cycle and the sample of one process, reader_slots.c
 * which thread slots are in use and when they are given back, reader_names.c who a thread is, reader_stacks.c stacks and what
 * is told one by one, reader_trace.c the trace. What they share is copied out of the tables by record.c.
 */
#ifndef GILSCOPE_READER_INSIDE_H
#define GILSCOPE_READER_INSIDE_H

#include "collector/series/tick_share.h"
#include "blame_memo.h"
#include "reader.h"
#include "record.h"
#include "stack_sums.h"
#include "tick_sums.h"
#include "time_memo.h"

/* What is remembered of a thread slot between readings. */
struct memo {
	struct thread_key key;
	char name[THREAD_NAME_SIZE];
	uint32_t name_age;
	bool inside_asked;      /* key.inside is as well known as it will ever be */
	bool name_pythons;      /* the name is Python's: better than the kernel's, even if old */
	bool ticked;            /* ticks or switches have told where it spent its holds: they will */
	bool resting;           /* collected for good, to be given back later */
	uint64_t rests_since;   /* the boundary at which that was */
	uint32_t seq, state;    /* of the record when it was read last */
	uint32_t settled;       /* intervals since then, if nothing was open in it or left to tell, + 1; else 0 */
	struct time_memo times;
	struct blame_memo blame;
};

/* A process slot. */
struct watch {
	bool used, forgotten;
	bool collected;         /* its first interval has ended */
	struct pyoffsets off;
	uint64_t runtime;       /* address of _PyRuntime */
	struct pynames *names;
	struct pystack *stacks; /* NULL: frames of this version are not known, or not asked for */
	struct native *native;  /* NULL: not asked for yet */
	const struct gc_watch *gc; /* who collects garbage, the caller's; NULL: nobody knows */
	bool foreign;           /* the target counts its ids in another PID namespace */
	double price_ns[8];
	uint64_t hits[8], lost[GIL_LOSS_COUNT];
	uint32_t switches_missed[GIL_PER_PROC];
	uint64_t tick_cost_ns;
	uint64_t born_at;
	uint64_t torn, violations;
	uint64_t missed;        /* reader.missed, as far as the samples have told of it */
	uint64_t oldest_wait;   /* ns: no open wait is charged up to an earlier moment than this */
	struct task_spent spent[GIL_PER_PROC]; /* reader__explain() */
	uint64_t seed[GIL_PER_PROC]; /* PyThreadState that held the GIL when the probes were armed, 0: nobody */
};

/* What reader_stacks.c keeps. They come by ring buffers of their own: a burst pushes no process event out. */
struct stack_side {
	bool on;                /* else all of the rest is NULL and nobody is told */
	struct ring_buffer *ring, *native_ring;
	struct stack_book *book;
	struct native_files *native_files;
	struct ticks *ticks;
	uint64_t tick_ns;
	int sums_fd, ticks_fd;
	uint32_t sums_max, ticks_max;
	struct stack_sums sums; /* of all, as of `sums_bound` */
	struct tick_sums tick_sums;
	uint64_t sums_bound;
	void (*on_long)(void *arg, uint32_t slot, const struct long_event *e);
	void *on_long_arg;
	void (*on_stack)(void *arg, uint32_t slot, const struct stack_time *s);
	void *on_stack_arg;
};

struct trace_side {
	struct ring_buffer *ring; /* NULL: none is recorded */
	reader_trace_fn *on_event;
	void *on_event_arg;
};

struct reader {
	struct probes *probes;
	struct gil_clock *clock; /* the interval in force, as the programs read it */
	int blame_fd, free_slots_fd; /* maps */
	struct ring_buffer *ring; /* process events */
	int fd;                 /* readable when process events or stacks wait */
	struct watch *watches;
	uint32_t watches_n;
	struct gil_record *gils; /* GIL_PER_PROC of them: scratch of a collection */
	struct memo **memos;    /* by thread slot, made when first seen */
	uint32_t slots_n;
	uint32_t slots_end;     /* no slot from here on was ever in use */
	bool *gone;             /* by thread slot: being given back */
	bool *owes;             /* by thread slot: see read_blame() */
	uint32_t *first, *next; /* threads of each process as of `listed_bound`: by process slot, by thread slot; 0 ends */
	uint64_t listed_bound;
	uint64_t missed;        /* probes__missed_events() at `listed_bound` */
	struct blame_reading blame; /* all pairs, as of `blame_bound` */
	struct blame_places blame_places;
	uint64_t blame_bound;
	void (*on_event)(void *arg, const struct gil_event *e);
	void *on_event_arg;
	struct stack_side stacks;
	struct trace_side trace;
};

/* ---- reader_slots.c ---- */

/* Brings r->slots_end up to date. */
void reader_slots__find_end(struct reader *r);

/* Brings r->first and r->next up to date, for the boundary `bound`. */
void reader_slots__list(struct reader *r, uint64_t bound);

/* What is remembered of a thread slot; NULL: no memory. */
struct memo *reader_slots__memo(struct reader *r, uint32_t slot);

/* Gives back those of dead threads that have rested long enough. */
void reader_slots__free_rested(struct reader *r);

/* Gives back all slots of threads of the watches that are `forgotten`, and those that are marked in r->gone. */
void reader_slots__free_forgotten(struct reader *r);

/* At the reader's end. */
void reader_slots__free_memos(struct reader *r);

/* ---- reader_names.c ---- */

/* Who a thread is. Valid as long as nobody is collected. Begins zeroed. */
struct who {
	struct thread_key key;
	const char *name;
	char buf[THREAD_NAME_SIZE]; /* for `name` */
};

/* Notes key and name of the thread in slot `slot` of process `proc`, by its record. */
void reader_names__note(struct reader *r, uint32_t proc, uint32_t slot, const struct record *rec);

/* The same by the record that there is now, which may come later in this round. Needs a memo. */
void reader_names__look(struct reader *r, uint32_t proc, uint32_t slot);

/* Who has a thread slot. False: no memory, or no such slot. */
bool reader_names__of_slot(struct reader *r, uint32_t proc, uint32_t slot, struct who *ret);

/* Whom a PyThreadState belongs to: often a thread that has never met a probe. False: not known. */
bool reader_names__of_tstate(struct reader *r, uint32_t proc, uint64_t tstate, struct who *ret);

/* Its thread id alone, 0: not known. *ret_inside is set where the target has a PID namespace of its own: the id in that. */
pid_t reader_names__tid_of_tstate(struct reader *r, uint32_t proc, uint64_t tstate, uint32_t *ret_inside);

/* ---- reader.c: one process at one boundary ---- */

struct collection {
	struct reader *r;
	uint32_t slot;
	struct watch *watch;
	struct gil_proc proc;   /* copied */
	uint64_t from, bound;   /* the interval */
	struct gil_record *gils;
	struct proc_sample *sample;
};

/* Index in the sample of a thread on a GIL, added if need be; `who` NULL: it could not be named. -1: no memory. */
long collection__thread(struct collection *c, const struct who *who, uint32_t gil);

/* ---- reader_stacks.c ---- */

struct stack_tables {
	int events_fd, native_fd, sums_fd, ticks_fd;
	uint32_t sums_max, ticks_max;
	int sampler_fd;
	uint64_t tick_ns; /* 0: TICKS_USUAL_NS */
};

/* 0 or -errno; reader_stacks__close() is due in any case. */
int reader_stacks__open(struct reader *r, const struct stack_tables *tables);
void reader_stacks__close(struct reader *r);

/* Begins to follow a process: its watch has its offsets. 0 or -ENOMEM. */
int reader_stacks__watch(struct reader *r, uint32_t slot);

/* Takes what waits in the rings. 0 or -errno. */
int reader_stacks__drain(struct reader *r);

/* Takes the sums of the interval that ended at `bound`, of everybody, if that was not done yet. 0 or -errno. */
int reader_stacks__read(struct reader *r, uint64_t bound);

/* One process's part of what was read, into its sample. 0 or -ENOMEM. */
int reader_stacks__add(struct collection *c);

/* What was found to have been spent in a stack. */
struct stack_part {
	uint64_t hold_ns, blame_ns, wait_ns, over_ns;
	struct gil_off hold_off, blame_off; /* of both: off the CPU, or it is not known */
	uint64_t times, ticks;  /* looks; of them ticks that `hold_ns` rests on */
};

/* A part of a thread (its index in the sample) and stack, into the sample. 0 or -ENOMEM. */
int reader_stacks__give(struct collection *c, uint32_t thread, uint64_t hash, const struct stack_part *part);

/* The slot is to be another process's. */
void reader_stacks__forget(struct reader *r, uint32_t slot);

/* ---- reader_ticks.c ---- */

/*
 * What one process's holders spent their time in, by their ticks, into its sample. *ret_ticked, the caller's to free: whether
 * it was seen of a thread, by its index in the sample at that moment. 0 or -ENOMEM.
 */
int reader_ticks__add(struct collection *c, bool **ret_ticked);

/* Whether every thread of the process has ticks, so that in light mode they tell how long each held. */
bool reader_ticks__tell_of_all(const struct collection *c);

/* What ticks have cost the process in this interval, ns; has fewer of them looked at if that is too much. */
uint64_t reader_ticks__cost(struct collection *c);

/* ---- reader_trace.c ---- */

/* 0 or -errno. */
int reader_trace__open(struct reader *r, int map_fd);
void reader_trace__close(struct reader *r);

#endif
