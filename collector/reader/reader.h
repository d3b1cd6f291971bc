/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From the maps to typed samples: collects each interval's exact state at its end, names threads, gives dead
 * slots back, drains the ring buffer of process events.
 */
#ifndef GILSCOPE_READER_H
#define GILSCOPE_READER_H

#include "collector/probes/probes.h"
#include "collector/series/long_event.h"
#include "collector/series/sample.h"
#include "collector/series/stack_time.h"

struct reader;

int reader__new(struct probes *p, struct reader **ret, struct reason *why);
void reader__free(struct reader *r);

/*
 * Begins to follow a process slot. `off` is copied; `runtime` is the address of _PyRuntime, where names begin; `price_ns` is
 * the cost of a hit by enum gil_site_kind (8 entries); before `born_at` (ns, CLOCK_MONOTONIC) there was nothing to observe: its
 * first interval begins then. Call between probes__add() and probes__arm(), or after probes__adopt().
 */
int reader__watch(struct reader *r, uint32_t slot, const struct pyoffsets *off, uint64_t runtime, uint64_t born_at,
		  const double price_ns[8]);

/*
 * What was read of a GIL after arming: held by the thread `tstate` belongs to. Counts only as long as no event of that
 * GIL has been seen.
 */
void reader__seed(struct reader *r, uint32_t slot, uint32_t gil, uint64_t tstate);

/* Who knows which of its threads collects garbage: its C code is called that then. Outlives the process's slot. */
struct gc_watch;
void reader__ask_gc(struct reader *r, uint32_t slot, const struct gc_watch *gc);
/*
 * What the holder of a GIL did in the running interval, of a hold that was there before the probes: the next collection parts
 * the hold and what others waited meanwhile by it.
 */
void reader__explain(struct reader *r, uint32_t slot, uint32_t gil, const struct task_spent *spent);

/* What Python calls the thread of a PyThreadState, of one that is gone too; "" if that is not known. */
void reader__tstate_name(struct reader *r, uint32_t slot, uint64_t tstate, char name[THREAD_NAME_SIZE]);

/*
 * The innermost Python code of a thread that stands still, "f (dir/a.py:3)"; "" if it is not known, or no stacks are asked for.
 */
void reader__place(struct reader *r, uint32_t slot, uint64_t tstate, char *buf, size_t size);

/* Looks where the holder of a GIL, asleep, is in its native code: of the stack that it was last seen in. */
void reader__see_native(struct reader *r, uint32_t slot, uint32_t gil, pid_t tid);

/* Publishes the first interval [start, end) (ns, CLOCK_MONOTONIC). Call before arming. */
#define CODE_CELLS 64       /* of one process and interval; what more there is goes to code_rest */
#define STACK_CELLS 256     /* the same of whole stacks */
#define READER_NO_END (UINT64_MAX / 2) /* its end is not known yet: reader__cut() says it later */
void reader__begin(struct reader *r, uint64_t start_ns, uint64_t end_ns);

/*
 * Collects the interval that ended at the published boundary, for one process slot. Call a little after the boundary,
 * for every slot, then reader__advance(). end_ms, cpu_ns, rss_kib and observed_ns (set to the time since arming, or the whole
 * interval) are the caller's to fill in or correct. 0 or -errno.
 */
int reader__collect(struct reader *r, uint32_t slot, struct proc_sample **ret);

/* When the running interval began, ns. */
uint64_t reader__interval_start(struct reader *r);

/* When it ends, ns. */
uint64_t reader__interval_end(struct reader *r);

/*
 * A process's probes are disarmed and will be armed anew: what is open now will never be told of, and what was told of it at
 * `from`, the last boundary that was collected, is forgotten. 0 or -errno.
 */
int reader__forget_open(struct reader *r, uint32_t slot, uint64_t from);

/* Moves the published boundary forward in time: the running interval is to end at `end_ns`, a little ahead of now. */
void reader__cut(struct reader *r, uint64_t end_ns);

/* Publishes the next boundary and gives the slots of dead threads back. `end_ns` must lie ahead. */
void reader__advance(struct reader *r, uint64_t end_ns);

/* Sum of all hits since attach, by kind. */
uint64_t reader__hits(struct reader *r, uint32_t slot, enum gil_site_kind kind);

/*
 * Forgets what was known of process slots and frees their threads' records. Call after probes__lift(), for all that end at one
 * time at once: it takes a look at every pair and thread there is.
 */
void reader__forget(struct reader *r, const uint32_t *slots, size_t n);

/* Who is told of long holds and waits, from reader__drain() and reader__collect(); NULL: nobody. */
void reader__on_long(struct reader *r, void (*on_long)(void *arg, uint32_t slot, const struct long_event *e), void *arg);

/* Who is told of each, from reader__collect(); NULL: nobody. */
void reader__on_stack(struct reader *r, void (*on_stack)(void *arg, uint32_t slot, const struct stack_time *s), void *arg);

/* Readable when process events or long ones wait. */
int reader__fd(const struct reader *r);
int reader__drain(struct reader *r, void (*on_event)(void *arg, const struct gil_event *e), void *arg);

/* ---- a trace (probes_opts.trace_bytes) ---- */

typedef void reader_trace_fn(void *arg, const struct gil_trace_event *e);

/*
 * Tells of each GIL that nothing of it was seen for a while, until its probes were armed again (GIL_TRACE_GAP). Call right after
 * that, the buffer having been drained when they were lifted.
 */
void reader__gap_in_trace(struct reader *r, uint32_t slot, reader_trace_fn *on_event, void *arg);

/* Tells of each GIL that is there that it was (GIL_TRACE_START). Call after arming, before the first reader__drain_trace(). */
void reader__begin_trace(struct reader *r, uint32_t slot, reader_trace_fn *on_event, void *arg);

/* Hands on what has been recorded since, of whatever process. 0 or -errno. */
int reader__drain_trace(struct reader *r, reader_trace_fn *on_event, void *arg);

/* Tells of each GIL that is still there that recording ended at `end_ns` (GIL_TRACE_END). */
void reader__end_trace(struct reader *r, uint32_t slot, uint64_t end_ns, reader_trace_fn *on_event, void *arg);

/*
 * What a live thread is called now: by Python, else by the kernel; "" if it is gone. True if the name is Python's. Reads the
 * target's memory when it is time (pynames.h).
 */
bool reader__thread_name(struct reader *r, uint32_t slot, pid_t tid, char name[THREAD_NAME_SIZE]);

/* Threads that a process has now; 0: not known. */
uint32_t reader__live_threads(pid_t pid);

#endif
