/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * Records, enums and limits shared by the BPF programs and userland.
 *
 * Everything that crosses the kernel border is defined here and only here: fixed-width types,
 * explicit padding, sizes asserted. This file includes nothing of ours; the bucket arithmetic of
 * the histograms is in gil_hist.h, the state machine that fills the records in gil_core.bpf.h.
 */
#ifndef GILSCOPE_GIL_TYPES_H
#define GILSCOPE_GIL_TYPES_H

#ifndef __BPF__
#include <linux/types.h>
#endif

/*
 * Histogram of durations: 8 linear buckets of 64 ns, then 8 buckets per octave up to 2^41 ns
 * (36 minutes); what is longer lands in the last one. A bucket is at most 12.5 % wide.
 */
#define GIL_HIST_SHIFT 6      /* log2 of the linear buckets' width in ns */
#define GIL_HIST_SUB_BITS 3   /* log2 of the buckets per octave */
#define GIL_HIST_TOP_BIT 41   /* first power of two that is off the scale */
#define GIL_HIST_BUCKETS 264  /* 8 + (41 - 9) * 8 */

#define GIL_PER_PROC 32       /* GILs told apart in one process at a time; further ones are counted, not measured */
#define GIL_RING_LEN 256      /* changes of holder remembered per GIL, a power of two */

/* Slots of the thread table with a meaning of their own. */
#define GIL_SLOT_NONE 0u      /* nobody: never handed out */
#define GIL_SLOT_SEED 1u      /* whoever held the GIL when the probes were armed, until its release tells */
#define GIL_SLOT_OTHER 2u     /* + process slot: its threads for which no record was left */
/* + place of the GIL, in keys of ticks: who has held it since before arming. */
#define GIL_SLOT_UNTOLD 0x80000000u
/* Ordinary threads have the slots from GIL_SLOT_OTHER + max_procs on. */

/* What a probe site is, carried in its attach cookie. */
enum gil_site_kind {
	GIL_SITE_SIGNAL = 1,  /* call pthread_cond_signal: ACQUIRED or RELEASED, by argument */
	GIL_SITE_WAIT = 2,    /* call pthread_cond_timedwait: a wait begins or is tried again */
	GIL_SITE_HANDOFF = 3, /* call pthread_cond_wait: a forced-out thread waits to be succeeded */
	GIL_SITE_WAKE = 4,    /* conditional jump behind the timedwait: light mode's ACQUIRED */
	GIL_SITE_GC_START = 5, /* a garbage collection begins: collector/plan/gc_sites.h */
	GIL_SITE_GC_DONE = 6,
	GIL_SITES_END,
};

/*
 * cookie = way << 32 | process slot << 8 | kind. The way is how far behind _PyRuntime the site lies (a signed number; 0: not
 * known): a site knows where it was hit, and so where _PyRuntime is in that process.
 */
#define GIL_COOKIE(proc, kind) (((__u64)(proc) << 8) | (kind))
#define GIL_COOKIE_WAY(cookie) ((__s32)((cookie) >> 32))
#define GIL_COOKIE_SLOT(cookie) ((__u32)((cookie) >> 8) & 0xffffffu)
#define GIL_COOKIE_KIND(cookie) ((__u32)(cookie) & 0xffu)

/* Process slots with a meaning of their own, in cookies and in events. */
#define GIL_FAMILIES 32          /* families whose children count from their exec on */
#define GIL_PROC_SHARED 0xff0000u /* + number of a family, in cookies: whose hit it is, `tgids` tells */
#define GIL_PROC_NONE 0xffffffu   /* it has none */

enum gil_mode {
	GIL_MODE_OFF = 0,
	GIL_MODE_FULL = 1,
	GIL_MODE_LIGHT = 2,
	GIL_MODE_HOLDS = 3,   /* as full, but nobody is looked at who queues */
	GIL_MODE_GUARDED = 4, /* nothing is planted, since the process did badly with it (collector/look/guard.h) */
	GIL_MODE_LOOK = 5,    /* nothing is planted: its memory is looked at again and again (collector/look/looker.h) */
	GIL_MODES,
};

/* Where CPython keeps "a waiter wants the GIL": it moved twice. */
enum gil_drop_request {
	GIL_DROP_NONE = 0,     /* not known for this build: forced releases are told from hand-offs alone */
	GIL_DROP_ADDRESS = 1,  /* 3.8: int at a fixed address */
	GIL_DROP_INTERP = 2,   /* 3.9 to 3.12: int in the interpreter, at an offset */
	GIL_DROP_TSTATE = 3,   /* 3.13 on: bit 0 of the holder's eval_breaker, at an offset */
};

/*
 * What can be lost or contradict the expected order, by name. One list for kernel, screen and Redis:
 * X(identifier, field name, explanation).
 */
#define GIL_LOSSES(X) \
	X(ACQUIRE_OWNED, "acquire_owned", "acquire of a GIL that another thread still owned") \
	X(RELEASE_UNOWNED, "release_unowned", "release of a GIL that nobody owned") \
	X(RELEASE_FOREIGN, "release_foreign", "release by a thread that is not the owner (ignored)") \
	X(NO_SLOT, "no_slot", "threads without a record of their own, counted as \"other\"") \
	X(NO_GIL_SLOT, "no_gil_slot", "events of GILs beyond those that can be told apart at a time") \
	X(READ_FAULT, "read_fault", "target memory that could not be read in a probe") \
	X(RING_LAPPED, "ring_lapped", "waits whose holders were forgotten before they were charged") \
	X(BLAME_FULL, "blame_full", "victim-holder pairs beyond the table, charged to unknown") \
	X(WAIT_NO_START, "wait_no_start", "wake-ups of a wait whose start was not seen") \
	X(EVENT_DROPPED, "event_dropped", "process events that found the ring buffer full") \
	X(TORN_READ, "torn_read", "records that would not hold still while they were read") \
	X(NO_PROC, "no_proc", "children beyond the number of processes that can be observed at once") \
	X(STACK_DROPPED, "stack_dropped", "stacks, long holds and long waits that found the ring buffer full") \
	X(STACK_FULL, "stack_full", "times of stacks beyond the table") \
	X(SCRATCH_TAKEN, "scratch_taken", "stacks not looked at, since two threads were in the GIL's calls at once") \
	X(EVENT_MISSED, "event_missed", "events of threads and processes that the kernel left out, anywhere on the machine") \
	X(WENT_BACK, "went_back", "sums that seemed to shrink or to exceed their time, and were cut") \
	X(MOVED_UNSEEN, "moved_unseen", "looks at a GIL that had changed hands without an event: its time is not observed") \
	X(GC_UNPAIRED, "gc_unpaired", "garbage collections of which the beginning or the end was not seen")

enum gil_loss {
#define X(id, name, text) GIL_LOSS_##id,
	GIL_LOSSES(X)
#undef X
	GIL_LOSS_COUNT,
};

/*
 * The interval in force. Userland publishes `end` before it is reached and moves both on, `start`
 * first, after it has collected; a record that sees a boundary pass puts its state aside (snap).
 */
struct gil_clock {
	__u64 start; /* ns, CLOCK_MONOTONIC: the boundary at which the running interval began */
	__u64 end;   /* ns: the boundary at which it ends */
};

/*
 * Instead of an address in gil_proc.gil_addr:
 *
 *   NEVER or FREE --(programs: a new GIL)--> TAKEN --> its address --(its interpreter has ended)--> ENDED
 *     ^                                                                                               |
 *     +------------------------(userland: its last numbers are collected)-----------------------------+
 */
enum gil_place {
	GIL_PLACE_NEVER = 0, /* nor any place behind it */
	GIL_PLACE_FREE = 1,
	GIL_PLACE_ENDED = 2,
	GIL_PLACE_TAKEN = 3, /* for a moment, while `gil_owner` is filled in */
	GIL_PLACE_LAST = GIL_PLACE_TAKEN,
};

/* Whose GIL it is: one in the memory of an ended interpreter is another one, whatever its address says. */
struct gil_owner {
	__u64 interp; /* address of the PyInterpreterState; 0: not needed, the GIL is the only one */
	__u64 id;     /* its id, which no other interpreter of the process ever has; 0: the main one */
	__u64 since;  /* ns: when the GIL was first seen; 0: before arming */
};

/* What becomes of the children that an observed process forks. */
enum gil_follow {
	GIL_FOLLOW_NOT = 0,
	GIL_FOLLOW_TOLD = 1,    /* userland is told, and plants in them as soon as it can */
	GIL_FOLLOW_COUNTED = 2, /* they inherit probes that count for them too: a slot is made ready before they run */
};

/* ---- Python stacks ---- */

#define GIL_STACK_DEPTH 128   /* innermost frames kept */
#define GIL_STACK_SKIPS 32    /* frames of the interpreter itself that are stepped over besides */
#define GIL_FRAME_BYTES 128   /* read of a frame at once, at most */
#define GIL_CODE_WORDS 4      /* pointers in the print: filename, name, qualname and line table; up to 3.10 no qualname */
#define GIL_NO_OFFSET 0xffffffffu

/* Frame owners from this one on are no Python function: a C function that runs the interpreter (pycore_frame.h, 3.12+). */
#define GIL_OWNER_INTERPRETER 3

/* Where one interpreter's frames keep what is needed; offsets in bytes. frame_bytes 0: not known. */
struct gil_frame_layout {
	__u32 tstate_frame;  /* PyThreadState: the innermost frame, or the CFrame that has it */
	__u32 cframe_frame;  /* 3.11, 3.12; else GIL_NO_OFFSET */
	__u32 frame_bytes;   /* of a frame that must be read; at most GIL_FRAME_BYTES */
	__u32 previous;
	__u32 code;
	__u32 at;            /* an int, or where code_bytes is known a pointer into the code */
	__u32 owner;         /* a byte; GIL_NO_OFFSET: none */
	__u32 code_words;    /* in the code object: GIL_CODE_WORDS pointers, or one less */
	__u32 code_words_n;
	__u32 code_line;     /* co_firstlineno */
	__u32 code_bytes;    /* where instructions begin; GIL_NO_OFFSET: frames count themselves */
	__u32 pad;
};

struct gil_frame {
	__u64 code;          /* address of the code object */
	__u32 at;            /* as the version counts: 3.8, 3.9 bytes; 3.10 instructions; later bytes */
	__u32 print;         /* gil_code_print() of the code object at that moment; 0: it could not be read */
};

/* What the open hold of a GIL has gathered for stacks (gil_stack.bpf.h). */
struct gil_account {
	__u64 counted_at;        /* ns: waited_ns counts up to here */
	__u64 waited_ns;         /* waiting of others during this hold, in sum */
	__u64 sampled_at;        /* ns: what was before is a stack's already */
	__u64 sampled_waited_ns; /* of waited_ns */
	__u64 last_hash;         /* the stack that the holder was last seen in, 0: none in this hold */
	__u64 told;              /* it has been told as a long one */
	__u64 asked_hash;        /* the stack that the holder was in when it was asked to let go, 0: not seen */
};

/* Where a thread's innermost frame was: it has moved on if any of this differs. */
struct gil_top {
	__u64 tstate;
	__u64 frame;
	__u64 at;                /* as gil_frame_layout.at finds it, not reckoned from anything */
	__u64 code;              /* where `at` alone does not tell one function from another; else 0 */
};

/* A stack of a thread: its frames' hash. */
struct gil_stack_key {
	__u64 hash;
	__u64 tstate;            /* of a thread without a slot, else 0 */
	__u32 slot;              /* in the thread table, or GIL_SLOT_NONE */
	__u32 proc;
};

struct gil_stack_sum {
	__u64 hold_ns;           /* held in this stack, of holds over the threshold */
	__u64 blame_ns;          /* others waited meanwhile, in sum */
	__u64 wait_ns;           /* waited in this stack, of waits over the threshold */
	__u64 over_ns;           /* asked to let go in this stack, it went on for so long (struct gil_over) */
	__u64 times;
};

enum gil_stack_what {
	GIL_STACK_SEEN = 1,      /* frames for a sum to come */
	GIL_STACK_HOLD_LASTS = 2,/* a long hold that goes on; the holder's frames */
	GIL_STACK_HOLD_ENDED = 3,/* its frames; none: those with that hash */
	GIL_STACK_WAIT_LASTS = 4,/* a long wait that goes on; the holder's frames, `other` waits */
	GIL_STACK_WAIT_ENDED = 5,/* the frames of the one that waited */
};

/* What is to be done with a walk. */
struct gil_stack_job {
	__u32 what, proc_slot, slot, gil, other, waiters;
	__u64 tstate, at, since, waited_ns;
	__u64 hold_ns, blame_ns, wait_ns, over_ns;
	__u64 hash;              /* set by the walk, */
	struct gil_top top;      /* and this */
};

/* Only the first `depth` frames leave the kernel, the innermost first. */
struct gil_stack_event {
	__u32 what;              /* enum gil_stack_what */
	__u32 proc;
	__u32 slot;              /* whose frames: in the thread table, or GIL_SLOT_NONE: see tstate */
	__u32 other;
	__u32 depth;
	__u32 more;              /* there are frames further out */
	__u32 waiters;
	__u32 gil;               /* place of the GIL in its process */
	__u64 tstate;
	__u64 hash;
	__u64 at;                /* ns, CLOCK_MONOTONIC */
	__u64 since;             /* ns: when the long hold or wait began */
	__u64 waited_ns;         /* others during this hold, in sum; or the wait itself */
	struct gil_frame frames[GIL_STACK_DEPTH];
};

/* How a holder can be off the CPU: places of struct gil_off, the states of enum gil_cpu_state but ON. */
#define GIL_OFF_KINDS 4
#define GIL_CPU_OF_KIND(kind) ((kind) + 1)
#define GIL_OFF_BLOCKED 0
#define GIL_OFF_PREEMPTED 1
#define GIL_OFF_UNSEEN 2
#define GIL_OFF_STOPPED 3

/* ---- ticks (gil_tick.bpf.h) ---- */

/* Instead of a hash. */
#define GIL_TICK_NOWHERE 0       /* the frames could not be read, or the table had no room */
#define GIL_TICK_WITHOUT 1       /* light: the thread ran, and did not hold the GIL */

/* A stack of a thread in one interval. */
struct gil_tick_key {
	__u64 hash;              /* of its frames; or GIL_TICK_NOWHERE, GIL_TICK_WITHOUT */
	__u64 bound;             /* ns: the boundary at which the interval began */
	__u32 slot;              /* in the thread table, or GIL_SLOT_UNTOLD + place of the GIL */
	__u32 proc;
};

struct gil_tick_sum {
	__u64 ticks;             /* of the timer of the thread's CPU time, while it held the GIL */
	__u64 on_ns;             /* light, and of a hold from before arming: the CPU time that they stand for */
	__u64 waited;            /* the numbers of threads that waited at them, added up */
	__u64 off_ns[GIL_OFF_KINDS];        /* held off the CPU, having left it in this stack; by GIL_OFF_* */
	__u64 off_waited_ns[GIL_OFF_KINDS]; /* others waited meanwhile, in sum */
};

/* ---- native stacks of holders (gil_native.bpf.h) ---- */

#define GIL_REGS 34            /* words: the longest of the machines' */
#define GIL_NATIVE_BYTES 8192  /* of a stack, from its top on */
#define GIL_NATIVE_PIECE 512   /* read at once */

/* Registers of a thread in its program, in the kernel's order (struct pt_regs; arm64: struct user_pt_regs). */
struct gil_regs {
	__u64 word[GIL_REGS];
};

enum gil_gc_seen {
	GIL_GC_NONE = 0,
	GIL_GC_GOES_ON = 1,      /* its interpreter, the main one, collects garbage: perhaps another thread of it */
	GIL_GC_ITS = 2,          /* it does */
};

/* A holder that others wait for, at one moment. */
struct gil_native_event {
	__u32 proc;
	__u32 slot;              /* in the thread table */
	__u32 stack_len;         /* bytes of `stack` that could be read */
	__u32 collecting;        /* enum gil_gc_seen */
	__u64 hash;              /* of the Python stack in which it was */
	__u64 at;                /* ns, CLOCK_MONOTONIC */
	struct gil_regs regs;
	__u8 stack[GIL_NATIVE_BYTES]; /* from the stack pointer on */
};

/* One observed process. Written by userland while disarmed, or copied from the parent's at a fork; counters by the programs. */
struct gil_proc {
	__u32 tgid;         /* in the PID namespace of the collector */
	__u32 armed;        /* 0: every program returns at once */
	__u32 mode;         /* enum gil_mode */
	__u32 arm_gen;      /* bumped at each arming; records of an older one are stale */
	__u64 armed_at;     /* ns, CLOCK_MONOTONIC */
	__u32 off_locked;   /* offsets inside the GIL struct */
	__u32 off_last_holder;
	__u32 off_cond;
	__u32 off_switch_cond;
	__u32 off_tstate_interp; /* PyThreadState.interp */
	__u32 off_interp_gil;    /* PyInterpreterState.ceval.gil; 0: the runtime's only GIL */
	__u32 off_interp_id; /* PyInterpreterState.id */
	__u32 drop_kind;    /* enum gil_drop_request */
	__u32 in_library;   /* the probes are at the C library's functions: its own calls hit them, too */
	__u32 follow;       /* enum gil_follow */
	__u32 relative;     /* as gil_kin.relative */
	__u32 off_tstate_id;/* PyThreadState.native_thread_id (3.11+), or .thread_id; 0: not known */
	__u64 drop_where;   /* address or offset, by drop_kind */
	__u64 gc_where;     /* address of the main interpreter's gc.collecting; 0: not known (yet) */
	__u32 gc_exact;     /* by userland: no collection was under way when the probes at both ends of one were armed */
	__u32 off_switches; /* as off_locked: switch_number, of which the lower 32 bits count */
	__u64 runtime;      /* address of its _PyRuntime; 0: not known */
	__u64 gil_addr[GIL_PER_PROC]; /* known GILs, or enum gil_place; [0] is the main one, further ones are learned */
	struct gil_owner gil_owner[GIL_PER_PROC];
	__u32 gil_slot[GIL_PER_PROC]; /* where in the table of GILs its state is; [0]: the process's own slot number */
	struct gil_frame_layout frames;
	__u64 hits[8];      /* per enum gil_site_kind: probe hits since attach, racy by a few */
	__u64 lost[24];     /* per enum gil_loss */
	__u64 ticks;        /* looked at (gil_tick.bpf.h) */
	__u64 tick_ns;      /* what those looks took, and those at switches */
	__u32 tick_thin;    /* by userland: a tick is looked at if a random number has none of these bits */
	__u32 off_pthread_id; /* of the thread's id in what .thread_id points at; 0: off_tstate_id has the id itself */
};

/*
 * The processes of one interpreter file whose probes are shared (families.h): what a child that executes that file gets at its
 * first hit. Written by userland, while closed.
 */
struct gil_family {
	struct gil_proc proc;      /* nobody's; a drop_where that is an address is counted from _PyRuntime */
	__u64 open_since;          /* ns: from then on every probe of this mode is planted; 0: closed */
	__u32 runtime_gil;         /* 3.8 to 3.11: the GIL inside _PyRuntime; 0: it is the main interpreter's */
	__u32 runtime_interpreters;/* head of the list of interpreters in _PyRuntime */
	__u32 interp_next;
	__u32 pad;
};

/* A process that is followed but has no slot: it is not Python, not yet, or nobody has found it. */
struct gil_kin {
	__u64 began;      /* ns: its fork or its last exec; 0: it has its parent's memory (vfork) until it executes something */
	__u64 turned_away;/* ns: an event of it found no slot then; 0: none did */
	__u32 relative;   /* its nearest ancestor that had a slot when it was forked; 0: not known */
	__u32 pad;
};

struct gil_hist {
	__u32 count[GIL_HIST_BUCKETS];
};

/* What the holder of a GIL does, for the CPU. */
enum gil_cpu_state {
	GIL_CPU_ON = 0,
	GIL_CPU_BLOCKED = 1,   /* sleeps: in a system call, in a page fault */
	GIL_CPU_PREEMPTED = 2, /* could run, but another does, or a cgroup's limit is reached */
	GIL_CPU_UNSEEN = 3,    /* since arming no event has told */
	GIL_CPU_STOPPED = 4,   /* may not run: a tracer, a signal or the freezer of its cgroup has stopped it */
};

#define GIL_DELAY_UNKNOWN (~0ull) /* a kernel without CONFIG_SCHED_INFO */

/* What the kernel has of a thread's life, right while it has a CPU. */
struct gil_kernel_account {
	__u64 arrivals;     /* how often it got a CPU; GIL_DELAY_UNKNOWN: a kernel without CONFIG_SCHED_INFO */
	__u64 sleeps;       /* how often it left one of its own will */
	__u64 delay_ns;     /* how long it has waited for one */
	__u64 ran_ns;       /* how long it had one; brought up to date at each of the kernel's ticks only */
};

/* Time that was not spent on the CPU, or not known to be. */
struct gil_off {
	__u64 ns[GIL_OFF_KINDS];
};

/*
 * How long holders go on once a waiter has asked for the GIL, off the CPU left out: bytecode lets go at its next check, C code
 * when it is done. Buckets of powers of two: bucket 0 is below 2^GIL_OVER_SHIFT ns, the last one has no upper end.
 */
#define GIL_OVER_SHIFT 14
#define GIL_OVER_BUCKETS 16

struct gil_over {
	__u64 n;            /* holds that were asked for and have ended */
	__u64 ns;           /* from the request to the release, without what the holder was off the CPU */
	__u64 max_ns;       /* longest that ended in this interval */
	__u32 hist[GIL_OVER_BUCKETS];
};

/* Why a holder sleeps, or who has stopped it: X(identifier, name in JSON and Redis). */
#define GIL_WHYS(X) \
	X(CALL, "call")     /* it sleeps in a system call: `id` is the call's number */ \
	X(FAULT, "fault")   /* in none: it waits for memory */ \
	X(TRACER, "tracer") /* a debugger or tracer has stopped it: `id` is that process, `name` its name */ \
	X(SIGNAL, "signal") /* a signal has (SIGSTOP and its like) */ \
	X(FROZEN, "frozen") /* its control group is frozen */

enum gil_why_kind {
	GIL_WHY_NONE = 0,
#define X(id, name) GIL_WHY_##id,
	GIL_WHYS(X)
#undef X
	GIL_WHY_COUNT,
};

#define GIL_WHY_NAME 16

struct gil_why {
	__u32 kind;         /* enum gil_why_kind */
	__u32 id;           /* by kind; a process as the collector's PID namespace counts, 0: it has no number there */
	char name[GIL_WHY_NAME]; /* of a tracer: as the kernel has it */
};

struct gil_why_sum {
	struct gil_why why;
	__u64 ns;
};

#define GIL_WHYS_KEPT 8 /* told apart in an interval, per GIL; a power of two */

/* The holders' time asleep and stopped in the interval that began at `bound`, by reason. */
struct gil_why_sums {
	__u64 bound;
	__u64 rest_ns;      /* of further ones */
	struct gil_why_sum of[GIL_WHYS_KEPT];
};

/* What is summed up for one thread on one GIL: cumulative, except the two maxima. */
struct gil_totals {
	__u64 hold_ns;      /* ended holds */
	__u64 wait_ns;      /* charged waits, hand-offs included: blame + handover + unknown */
	__u64 handover_ns;  /* of wait_ns: nobody held the GIL */
	__u64 unknown_ns;   /* of wait_ns: holder not known any more */
	__u64 handoff_ns;   /* of handover_ns: inside a forced release */
	__u64 releases;     /* ended holds; acquires = releases - unseen + the open hold */
	__u64 unseen;       /* of releases: acquired before the probes were armed */
	__u64 contended;    /* acquires that waited */
	__u64 forced;       /* releases that a waiter asked for */
	__u64 retries;      /* further timedwait calls of a wait */
	__u64 inferred;     /* light: hand-offs whose end was not seen by a waiter */
	__u64 hold_max_ns;  /* longest hold that ended in this interval */
	__u64 wait_max_ns;  /* longest wait that ended in this interval */
	__u64 wait_place;   /* ns: an open wait is charged up to here; 0: not waiting */
	__u64 wait_since;   /* ns: when the open wait began; 0: not waiting */
	__u64 place_held;   /* the GIL's held clock at wait_place; light: the holder's PyThreadState, sampled there */
	__u64 place_head;   /* the GIL's ring head at wait_place; light: its `switches` there */
	__u64 handoff_since;/* ns: an open hand-off began; 0: none */
	__u64 handoff_len;  /* ns: ended hand-off that the next acquire adds to its wait */
	__u64 gc_ns;        /* of ended holds, or parts of them: it collected garbage */
	__u64 gc_wait_ns;   /* others waited meanwhile, in sum */
	__u64 gc_ended;     /* collections that it has ended */
	__u64 gc_max_ns;    /* longest that ended in this interval, as far as it had the GIL */
	__u64 gc_run;       /* a collection is under way: what gc_ns has of it, + 1; 0: there is none */
	__u64 gc_since;     /* ns: it has had the GIL since then, for that collection; 0: it does not have it */
	__u64 gc_place;     /* the GIL's queued clock at gc_since */
	struct gil_off hold_off;  /* of hold_ns */
	struct gil_off wait_off;  /* of wait_ns: what the holder did meanwhile */
	struct gil_off place_off; /* the GIL's off-CPU clocks at wait_place */
	struct gil_over over;     /* of its holds */
	struct gil_hist hold;
	struct gil_hist wait;
};

enum gil_thread_state {
	GIL_THREAD_FREE = 0,
	GIL_THREAD_LIVE = 1,
	GIL_THREAD_DEAD = 2, /* exited: userland collects it and gives the slot back */
	GIL_THREAD_LEFT = 3, /* the same because its GIL has ended; set by userland (gil_life.c) */
};

/* One thread on one GIL. */
struct gil_thread {
	__u32 seq;          /* odd while being written */
	__u32 state;        /* enum gil_thread_state */
	__u32 tid;
	__u32 proc;         /* process slot */
	__u32 gil;          /* index in gil_proc.gil_addr */
	__u32 arm_gen;
	__u64 tstate;       /* last seen PyThreadState, 0: not seen yet */
	__u64 start_boot_ns; /* task start, CLOCK_BOOTTIME: tells a reused tid from its predecessor */
	char comm[16];      /* kernel's name of the thread, when the record was made and at its exit */
	__u64 bound;        /* the newest boundary this record has seen */
	struct gil_totals cur;
	struct gil_totals snap; /* state at `bound` */
};

enum gil_owner_state {
	GIL_OWNER_UNKNOWN = 0, /* since arming no event told */
	GIL_OWNER_FREE = 1,
	GIL_OWNER_HELD = 2,
};

struct gil_ring_entry {
	__u64 held_at;      /* held clock at which this holder took over */
	__u32 slot;         /* the holder's slot in the thread table */
	__u32 pad;
};

/* What must be known of a GIL at one instant. */
struct gil_view {
	__u32 state;        /* enum gil_owner_state */
	__u32 owner_slot;
	__u32 owner_tid;
	__u32 waiters;
	__u64 acquired_at;  /* ns; meaningful while held */
	__u64 held_ns;      /* held clock: closed holds of everybody */
	__u64 head;         /* ring entries ever written */
	__u64 events;
	struct gil_off settled; /* of the off-CPU clocks: what belongs to ended holds */
	__u64 queued_ns;    /* queued clock: the number of waiters times time, ... */
	__u64 queued_at;    /* ns: ... up to here */
};

/* The off-CPU clocks of one GIL: cumulative over all its holds. */
struct gil_cpu_view {
	__u32 state;        /* enum gil_cpu_state */
	__u32 pad;
	__u64 since;        /* ns: in that state */
	struct gil_off off; /* before that */
	__u64 left;         /* off the CPU: hash of the stack in which the holder lost it; 0: not known */
	__u64 left_at;      /* ns: when that was */
	struct gil_why why; /* blocked or stopped; else zeroes */
};

struct gil_cpu {
	__u64 bound;
	struct gil_cpu_view cur;
	struct gil_cpu_view snap; /* state at `bound` */
};

/* A holder that the GIL itself names (gil_light.bpf.h), that lost its CPU and has none yet, or had none at the last boundary. */
struct gil_left {
	__u64 at;           /* ns: when that was; 0: there is none */
	__u64 stack;        /* its hash, or GIL_TICK_NOWHERE */
	__u64 bound;        /* of `was`: the boundary */
	__u32 slot;         /* as gil_tick_key.slot */
	__u32 kind;         /* GIL_OFF_*: what becomes of it there */
	__u32 proc;
	__u32 pad;
};

/* A charge that is under way: the ring entries that overlap a span of the held clock. The programs' own. */
struct gil_walk {
	__u64 from, to;     /* span of the held clock */
	__u64 first, head;  /* ring entries [first, head) */
	__u64 charged;      /* ns given to somebody */
	__u64 bound;
	__u32 victim;
	__u32 full;         /* pairs that found no room */
};

/*
 * One GIL of one process. Every writer holds gil->mutex in the target, so writes never overlap; `cpu` and `cpu_turn` have rules
 * of their own (gil_cpu.bpf.h).
 */
struct gil_state {
	__u32 seq;
	__u32 arm_gen;
	__u64 addr;
	__u64 last_at;      /* newest event time: keeps the clock monotonic across CPUs */
	__u64 bound;
	__u64 since;        /* ns: from here on no event of it was missed */
	__u64 last_owner;   /* slot << 32 | tid of the last owner; cleared when that thread exits */
	__u32 handoff_slot; /* thread inside a hand-off, 0: none */
	__u32 handoff_tid;  /* its tid: the slot may have been given to another since */
	__u32 seed_slot;    /* who GIL_SLOT_SEED turned out to be at its release; 0: not known yet */
	__u32 trace_lost;   /* events of it that found a trace's ring buffer full: no loss to what is counted */
	struct gil_view cur;
	struct gil_view snap;
	struct gil_account account;
	struct gil_top top; /* of the stack account.last_hash */
	__u32 holder_tid;   /* whose switches count; 0: nobody's */
	__u32 cpu_turn;     /* cpu[cpu_turn & 1] is whole, the other one may be being written */
	__u32 settled_turn; /* the turn at which cur.settled was right */
	__u32 queue_seq;    /* odd while the number of waiters and its clock are being written */
	__u32 gc_away;      /* threads that let go of it while they collected garbage, and have not taken it again */
	__u32 switches;     /* light: its own count of changes of holder, as the newest wait found it */
	__u64 asked_at;     /* ns: when a waiter first asked for the hold that goes on; 0: none has */
	__u64 asked_off_ns; /* the off-CPU clocks then, in sum; light: what the holder lacked its CPU since */
	__u64 left_delay_ns; /* how long its holder has waited for a CPU in its life, when it last lost one; GIL_DELAY_UNKNOWN */
	__u32 switches_missed; /* of holders, that the kernel did not tell of */
	__u32 asked_switches; /* light: `switches` at asked_at */
	struct gil_kernel_account taken; /* of its holder, when it took it: counts go on with what is told since, */
	struct gil_kernel_account now;   /* and as it was looked at last */
	__u64 left_waited_ns; /* of others in this hold, when its holder last lost its CPU */
	struct gil_left left, was; /* the holder's own (gil_light.bpf.h) */
	struct gil_cpu cpu[2];
	__u32 whys_turn;    /* whys[whys_turn & 1]: of the newest interval that has any; the other one: of one before */
	__u32 pad2;
	struct gil_why_sums whys[2];
	struct gil_walk walk;
	struct gil_ring_entry ring[GIL_RING_LEN];
};

/* Who made whom wait. In light mode the holder is known by its PyThreadState only. */
struct gil_blame_key {
	__u32 victim;       /* thread slot */
	__u32 holder;       /* thread slot, or GIL_SLOT_NONE */
	__u64 holder_tstate;/* light: sampled PyThreadState; else 0 */
};

struct gil_blame {
	__u64 bound;
	__u64 cur_ns;
	__u64 snap_ns;
};

/* Rare events that do leave the kernel one by one. */
enum gil_event_kind {
	GIL_EVENT_EXIT = 1, /* the whole process is gone */
	GIL_EVENT_EXEC = 2,
	GIL_EVENT_FORK = 3, /* child = the new process */
	GIL_EVENT_BORN = 4, /* a followed process has taken the GIL of its family's interpreter: it has a slot now, armed */
};

struct gil_event {
	__u32 kind;
	__u32 tgid;
	__u32 child;        /* of a fork; else gil_kin.relative, 0: not known */
	__u32 proc;         /* process slot of tgid, GIL_PROC_NONE: it has none */
	__u32 child_proc;   /* of a fork: the child's slot, armed; or GIL_PROC_NONE */
	__u32 family;       /* of a birth: its number */
	__u64 at;           /* ns, CLOCK_MONOTONIC */
	__u64 start_boot_ns;/* of a fork or a birth: when the new process began, CLOCK_BOOTTIME */
	__u64 began;        /* of a birth: gil_kin.began */
	__u64 start_stack;  /* of a birth: as /proc/PID/stat has it */
	char comm[16];      /* of a birth: what the kernel calls it */
};

/* What a trace is made of; leaves the kernel one by one, and only while one is recorded. */
enum gil_trace_kind {
	GIL_TRACE_WAIT = 1,     /* a wait begins; not its retries */
	GIL_TRACE_ACQUIRED = 2,
	GIL_TRACE_RELEASED = 3,
	GIL_TRACE_HANDOFF = 4,  /* the thread that was forced out waits to be succeeded; ends at the next ACQUIRED */
	GIL_TRACE_EXIT = 5,     /* the thread is gone, and with it what it held or waited for */
	GIL_TRACE_START = 6,    /* by userland: the GIL was there when recording began; tid: who seemed to hold it, 0: nobody */
	GIL_TRACE_END = 7,      /* by userland: recording has ended */
	GIL_TRACE_GC_START = 8, /* the thread begins to collect garbage; not always with the GIL until GC_DONE */
	GIL_TRACE_GC_DONE = 9,
	GIL_TRACE_GAP = 10,     /* by userland: the probes were lifted for a while; since `at` they are there again */
};

#define GIL_TRACE_FORCED 1 /* RELEASED: a waiter asked for it */
#define GIL_TRACE_WAITED 2 /* ACQUIRED: a wait ends */

struct gil_trace_event {
	__u64 at;           /* ns, CLOCK_MONOTONIC */
	__u32 tid;
	__u32 gil;          /* id of its interpreter, 0: the main one */
	__u32 lost;         /* events of this GIL that found no room, before this one */
	__u16 proc;         /* process slot */
	__u8 kind;          /* enum gil_trace_kind */
	__u8 flags;
};

/* Programs at the same tracepoint that do the same, where the kernel may leave one out (gil_again.bpf.h). */
#define GIL_ALIKE 3

enum gil_coming { GIL_COMING_EXIT, GIL_COMING_EXEC, GIL_COMINGS };

/* Exits or execs of the whole machine. */
struct gil_comings {
	__u64 early;        /* that a program before the last one saw */
	__u64 both;         /* of these, that the last one saw, too */
};

_Static_assert(sizeof(struct gil_trace_event) == 24, "gil_trace_event layout");
_Static_assert(sizeof(struct gil_hist) == 1056, "gil_hist layout");
_Static_assert(sizeof(struct gil_totals) == 49 * 8 + 2 * 1056, "gil_totals layout");
_Static_assert(sizeof(struct gil_thread) == 64 + 2 * sizeof(struct gil_totals), "gil_thread layout");
_Static_assert(sizeof(struct gil_view) == 96, "gil_view layout");
_Static_assert(sizeof(struct gil_cpu) == 184, "gil_cpu layout");
_Static_assert(sizeof(struct gil_ring_entry) == 16, "gil_ring_entry layout");
_Static_assert(sizeof(struct gil_blame_key) == 16, "gil_blame_key layout");
_Static_assert(sizeof(struct gil_event) == 72, "gil_event layout");
_Static_assert(sizeof(struct gil_family) == sizeof(struct gil_proc) + 24, "gil_family layout");
_Static_assert(sizeof(struct gil_kin) == 24, "gil_kin layout");
_Static_assert(sizeof(struct gil_owner) == 24, "gil_owner layout");
_Static_assert(sizeof(struct gil_frame_layout) == 48, "gil_frame_layout layout");
_Static_assert(sizeof(struct gil_frame) == 16, "gil_frame layout");
_Static_assert(sizeof(struct gil_stack_key) == 24, "gil_stack_key layout");
_Static_assert(sizeof(struct gil_tick_key) == 24, "gil_tick_key layout");
_Static_assert(sizeof(struct gil_stack_event) == 72 + GIL_STACK_DEPTH * 16, "gil_stack_event layout");
_Static_assert(sizeof(struct gil_native_event) == 32 + GIL_REGS * 8 + GIL_NATIVE_BYTES, "gil_native_event layout");
_Static_assert(GIL_NATIVE_BYTES % GIL_NATIVE_PIECE == 0, "stacks are read in whole pieces");
_Static_assert((GIL_PER_PROC & (GIL_PER_PROC - 1)) == 0, "indices of GILs are masked");
_Static_assert(GIL_LOSS_COUNT <= 24, "gil_proc.lost is too short");

#endif
