/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Numbers to sentences: is this process bound by the GIL, what would it gain at best without it, who makes whom wait in which
 * known pattern, and what usually helps. Pure: no clock, no I/O.
 *
 * All waiting is divided (verdict_waiting.c) by whom it was for and what that did: each finding explains a part of it that no
 * other does, and names only code that this part rests on. A pattern is a row of VERDICT_PATTERNS and a file, which has its
 * thresholds. Every sentence carries its number, and no pattern is claimed without its evidence. Numbers that are not known
 * are NAN and claim nothing.
 */
#ifndef GILSCOPE_VERDICT_H
#define GILSCOPE_VERDICT_H

#include <stdbool.h>
#include <stddef.h>

#include "collector/series/holding.h"
#include "collector/series/whys.h"

#define VERDICT_TEXT 960
#define VERDICT_LINE 200

/* One thread (or process) over the time looked at. Durations in microseconds, NAN: not known. */
struct verdict_load {
	const char *name; /* cleaned */
	double hold_us, wait_us;
	double n, c, forced; /* acquires, those that waited, releases asked for */
	double rate, brief_us; /* acquires a second while they were counted (a part of the time, maybe); a hold's mean then */
	double hold_p50, hold_p99, hold_max;
	double wait_p50, wait_p99, wait_max;
	double hold_blocked, hold_preempted; /* of hold_us: asleep, without a CPU */
	double hold_stopped; /* of hold_us: by a tracer, a signal or the freezer */
	double hold_unseen; /* of hold_us: whether it ran is not known; what is left was on a CPU */
	double wait_blocked, wait_preempted, wait_stopped; /* of wait_us: the holder was */
	double gc_us; /* of hold_us: it collected garbage */
	double over_us, over_n, over_late, over_max; /* of holds that were asked for: struct gil_over, overs.h */
};

/* What a holder did with a time. */
enum verdict_time {
	TIME_RUNS,
	TIME_ASLEEP,
	TIME_STARVED, /* it had no CPU */
	TIME_STOPPED, /* it could not run: a tracer, a signal or the freezer */
	TIME_UNSEEN,  /* which of these is not known */
	TIME_KINDS,
};

/* What a thread did in a function. Texts are the caller's. */
struct verdict_place {
	size_t thread;
	const char *code;     /* as it is shown: "save (shop.py:31) -> json.dumps -> _json: encode" */
	const char *called;   /* what the application called in a library's Python code, "json.dumps"; NULL or "": nothing */
	const char *native;   /* the C code inside, "_json.cpython-311-x86_64-linux-gnu.so: encode"; NULL or "": not known */
	const char *function; /* the same for all of its lines and threads, and for no other */
	double hold_us[TIME_KINDS];
	double blame_us[TIME_KINDS]; /* others waited meanwhile, summed over them */
	double over_us;       /* asked to let go there, it went on for so long */
	bool extension; /* C code was seen there, and `code` names it: not the interpreter's, which is in all that runs */
	bool gc;     /* which is garbage collection */
};

/* `us` of the victim's waiting fell into holds of the holder. Indices into threads. */
struct verdict_pair {
	size_t victim, holder;
	double us;
};

/* What a thread was seen doing in one place, at looks at all threads. */
struct verdict_stay {
	const char *name;     /* of the thread, cleaned */
	const char *code;     /* as verdict_place has it; "": none */
	const char *call;     /* the system call that it slept in; "": none, or not known */
	bool locked;          /* asleep in futex() called by the application's own code: a lock, or a queue in C */
	bool callback;        /* it runs an event loop, and that was in a callback */
	double share;         /* of the looks, 0..1 */
	double longest_us;    /* in one sleep, at least */
};

/* A place where threads were blocked, and whether they come through one by one. */
struct verdict_gate {
	const char *code, *held; /* what the one inside did: "asleep in connect"; "": it ran */
	double share;         /* of the looks: somebody was blocked there, */
	double blocked;       /* so many on average then, */
	double inside, crowded; /* share of those: one thread was inside of that function; more than one were */
};

/* A part of the time; NAN: not known. */
struct verdict_part {
	double us, util, waiters; /* us 0: there is no such part */
};

struct verdict_input {
	double observed_us;             /* > 0, or nothing can be said */
	double age_us;                  /* of the process, when that began; 0: not known */
	struct verdict_part first, last; /* thirds of it */
	double cov;                     /* observed share of the time looked at */
	struct verdict_load all;        /* name unused */
	double util;                    /* of the busiest GIL, 0..1 */
	double handover_us, unknown_us; /* of all.wait_us */
	double cpu_us;                  /* CPU time of the process */
	double rss_kib;                 /* memory of the process; NAN: not known */
	double gc_err_us;               /* standard error of all.gc_us; NAN: that is exact */
	double gc_wait_us, gc_max_us;   /* others waited meanwhile; the longest, where sampled at least that */
	double gc_n[3];                 /* collections, by generation */
	double jammed;                  /* share of the time in which the GIL was busy and threads queued (VERDICT_JAMMED_*) */
	double lost;                    /* events lost or out of order */
	int cpus;                       /* that the process may use, >= 1 */
	const char *cpu_users;          /* sentences on how many it may use, and who used them; NULL or "": not known */
	double throttled_us;            /* so long its cgroup's limit kept it from running */
	unsigned int gils;              /* > 1: interpreters with GILs of their own */
	bool sampled;                   /* light mode: blame is sampled, */
	double about_held, about_held_err; /* and so are holds: share of the time, its error; 0: not known, or exactly */
	double gil_looks;               /* all of it rests on so many looks, and there was no probe; 0: there were probes */
	const struct holding *holding;  /* what was seen by looking at the process; NULL: nothing */
	const struct whys *whys;        /* of all holders: why they slept, who stopped them; NULL: not known */
	size_t holder;                  /* index of the thread that `holding` is about; SIZE_MAX: none of them */
	double waiting;                 /* threads that wait at the end, for whomever */
	const struct verdict_load *threads;
	size_t threads_n;
	const struct verdict_place *places;
	size_t places_n;
	const struct verdict_pair *pairs;
	size_t pairs_n;
	double looks;                   /* at all threads; 0: none */
	const struct verdict_stay *stays;
	size_t stays_n;
	const struct verdict_gate *gates;
	size_t gates_n;
};

/* An interval counts as jammed from here on. */
#define VERDICT_JAMMED_UTIL 0.9
#define VERDICT_JAMMED_WAITERS 0.5

enum gil_bound {
	BOUND_UNKNOWN, /* too little was seen */
	BOUND_NO,
	BOUND_PARTLY,
	BOUND_YES,
};

/*
 * What is recognised: X(identifier, name in JSON, who finds it: verdict_<name>__find). What hangs comes first; of the others that
 * explain nothing of the waiting, the worst.
 */
#define VERDICT_PATTERNS(X) \
	X(STANDSTILL, standstill)     /* none of its threads can run: stopped, traced, frozen */ \
	X(GONE_HOLDER, gone_holder)   /* the GIL is held by a thread that is not there any more */ \
	X(STUCK_HOLDER, stuck_holder) /* a thread sleeps with the GIL, and goes on doing so */ \
	X(GARBAGE, garbage_collection) /* garbage is collected for much of the time, or while others wait */ \
	X(FORK, fork)                 /* a process with much memory is forked, with the GIL held */ \
	X(LONG_HOLD, long_hold)       /* C code keeps the GIL though others ask for it */ \
	X(BLOCKED_HOLD, blocked_hold) /* the GIL is held by a thread that sleeps */ \
	X(STOPPED_HOLDER, stopped_holder) /* the GIL is held by a thread that a tracer, or a signal, has stopped */ \
	X(STARVED_HOLDER, starved_holder) /* the GIL is held by a thread that has no CPU */ \
	X(CPU_SHARING, cpu_sharing)   /* several threads compute and share one GIL */ \
	X(CONVOY, convoy)             /* short holds pay a switch interval each time */ \
	X(COMPUTING, computing)       /* bytecode computes, and others are late for it */ \
	X(SHORT_HOLDS, short_holds)   /* holds are short, and too many */ \
	X(HANDOVER, handover)         /* nobody held it for much of the waiting */ \
	X(MANY_THREADS, many_threads) /* a long queue */ \
	X(APP_LOCK, app_lock)         /* not the GIL: threads go through a lock of the application's one by one */ \
	X(BLOCKED_LOOP, blocked_loop) /* not the GIL: callbacks keep an event loop for long */ \
	X(BUSY_POLLER, busy_poller)   /* a thread takes the GIL thousands of times a second, in one place */ \
	X(ONE_THREAD, one_thread)     /* one thread computes, nobody waits */ \
	X(FINE, fine)                 /* the time goes elsewhere */

/* Each is found at most once. */
enum verdict_pattern {
#define X(id, name) PATTERN_##id,
	VERDICT_PATTERNS(X)
#undef X
		PATTERN_COUNT,
};

struct verdict_finding {
	enum verdict_pattern pattern;
	size_t thread; /* index of the one that is worst, or SIZE_MAX: no single one */
	double waited_us; /* of all.wait_us: what it explains, and no other finding does */
	const char *code; /* verdict_place.code of the worst place that it rests on; NULL: not known */
	size_t holder;    /* whose place that is; SIZE_MAX: nobody's */
	bool leads;       /* it is what the answer is about, though nobody waits for the GIL */
	char evidence[VERDICT_TEXT];
	char remedy[VERDICT_TEXT];
	char todo[VERDICT_LINE]; /* the remedy in short, of one line: "Dump less at a time, or in another process." */
};

struct verdict {
	enum gil_bound bound;
	/*
	 * Whether it is the GIL, and for whom: at most two sentences, from the side of those who wait. "GIL: YES (latency).
	 * api-0..3 wait 23 % of their time for it, up to 61 ms at a time; 94 % of that for geo, in locate (geo.py:40), asleep in
	 * connect."
	 */
	char headline[VERDICT_TEXT];
	char todo[VERDICT_LINE]; /* what to do first, one line; "": nothing is known to help */
	char numbers[VERDICT_TEXT]; /* how much it was held and waited for; "": too little was seen */
	double gain_max; /* times as much work per second without the GIL, at best; NAN: not known */
	char gain[VERDICT_TEXT];
	struct verdict_finding findings[PATTERN_COUNT]; /* the more it explains the earlier, but first what hangs */
	size_t findings_n;
	double unexplained; /* share of the waiting that no finding explains, 0..1; NAN: nobody waited, or no verdict */
	char cause[VERDICT_TEXT]; /* that it was not found, where that is much; else "" */
	char limits[VERDICT_TEXT]; /* what the numbers cannot say, "" if nothing */
};

void verdict__reach(const struct verdict_input *in, struct verdict *ret);

const char *gil_bound__name(enum gil_bound bound); /* "yes", "partly", "no", "unknown" */
const char *verdict_pattern__name(enum verdict_pattern p);

#endif
