/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Wires everything behind `attach` and `run`: one loop over signals, the interval timer, target exit, fork and exec;
 * reader -> aggr -> schema -> sink. Knows no screen: what happens is told through callbacks.
 */
#ifndef GILSCOPE_COLLECTOR_H
#define GILSCOPE_COLLECTOR_H

#include "collector/probes/probes.h"
#include "collector/reader/reader.h"
#include "collector/schema/schema.h"
#include "collector/series/aggr.h"
#include "collector/sink/sample_sink.h"
#include "collector/sink/sink.h"
#include "collector/target/finder.h"

enum mode_wish {
	MODE_AUTO,
	MODE_FULL,
	MODE_LIGHT,
	MODE_LOOK,  /* no probe at all */
};

struct collector;
struct collector_proc;

/* A trace of single events beside the samples, of the first process that is observed. */
struct collector_trace {
	void *arg;
	uint32_t ring_bytes;       /* a power of two of pages: what may happen between two looks, 20 ms apart */
	/* Recording began at `armed_at` (ns, CLOCK_MONOTONIC). `c` stays valid until `end`: collector__thread_name(). */
	void (*begin)(void *arg, struct collector *c, const struct collector_proc *proc, uint64_t armed_at);
	/* False: enough, the run is to end. */
	bool (*event)(void *arg, const struct gil_trace_event *e);
	/* What is of a later moment than `end_ns` is no longer part of it; some events before may still come. */
	void (*end)(void *arg, uint64_t end_ns);
};

struct collector_opts {
	uint64_t interval_ns;      /* 100 ms .. 1 h */
	uint64_t duration_ns;      /* 0: until exit or signal */
	enum mode_wish mode;
	double max_overhead;       /* of one core per process, 0.02 */
	uint32_t look_rate;        /* looks a second at each process, at most; MODE_LOOK */
	bool may_look;             /* MODE_AUTO: looks will do where probes can't be had */
	const char *label;         /* NULL: the target's */
	const char *host;          /* NULL: this host's name */
	struct schema_opts schema;
	struct sink *sink;         /* NULL: no store; not owned */
	struct sample_sink *samples; /* who wants samples beside; NULL: nobody; not owned */
	struct stack_opts stacks;  /* which code is asked for (probes.h) */
	bool no_multi;
	bool no_off_cpu;           /* see probes.h */
	bool follow;               /* observe children too, and theirs */
	bool handed_down;          /* children count from their birth, but others may meet the probes: probes.h */
	const struct collector_trace *trace; /* NULL: none; with MODE_FULL only */
	const struct finder_filter *all; /* every Python process that fits, those to come included; NULL: those named */
};

/* Who is observed, for tables and meta. Strings are the collector's. */
struct collector_proc {
	const char *id;
	const struct target *target;
	const struct pyver *python;
	const struct site_plan *plan;
	const struct probes_features *features; /* NULL: it is looked at, and so are plan and method of no use */
	const char *parent, *root; /* ids, "": none observed; no family is followed */
	enum plant_method method;
	enum gil_mode mode;
	uint32_t kept_sites;       /* the most places so far in which breakpoints have to stay (probes__kept()) */
	bool gil_disabled;         /* free-threaded, GIL off now: there is nothing to measure */
};

/* How the observation of a process ends, by the name that meta, --json and a trace give it: X(identifier, name). */
#define COLLECTOR_ENDS(X) \
	X(EXIT, "exit")         /* the target exited */ \
	X(EXEC, "exec")         /* it became another program (not Python) */ \
	X(RUNTIME, "runtime")   /* another Python of the process has an interpreter, and this one has none */ \
	X(DURATION, "duration") \
	X(SIGNAL, "signal") \
	X(ERROR, "error")

enum collector_end {
#define X(id, name) END_##id,
	COLLECTOR_ENDS(X)
#undef X
};

const char *collector_end__name(enum collector_end how);

struct collector_events {
	void *arg;
	/* Probes armed; once per process (again after exec). plan_ms: start to first armed probe. */
	void (*armed)(void *arg, const struct collector_proc *proc, double plan_ms);
	/* One interval. */
	void (*sample)(void *arg, const struct collector_proc *proc, const struct proc_sample *s);
	/* After the samples of one interval, of however many processes there are; NULL: not. */
	void (*interval)(void *arg, int64_t end_ms);
	/* What one stack adds to an interval, before its sample; NULL: not. */
	void (*stack)(void *arg, const struct collector_proc *proc, const struct stack_time *s);
	/* A hold or wait over its threshold in opts.stacks, while it lasts and at its end; NULL: not. */
	void (*lasting)(void *arg, const struct collector_proc *proc, const struct long_event *e);
	/* One sentence worth telling (mode changed, exec, fork healed, Redis away and back). */
	void (*notice)(void *arg, const struct collector_proc *proc, const char *sentence);
	/* Once per process at its end. */
	void (*ended)(void *arg, const struct collector_proc *proc, const struct proc_sample *totals,
		      enum collector_end how);
	/* SIGHUP: true ends the run like a signal, false has it go on; NULL: it ends. */
	bool (*hangup)(void *arg);
	/* Called about four times a second, for a progress line; NULL: not. remaining_ns UINT64_MAX: no end set. */
	void (*tick)(void *arg, uint64_t elapsed_ns, uint64_t remaining_ns);
};

/* What the probes are opened with for that many processes. */
struct probes_opts collector__probes_opts(const struct collector_opts *opts, size_t procs);

/*
 * Observes the processes `pids` (none with opts->all), and with opts->follow all their children, until all are gone, the
 * duration ends, or SIGINT/SIGTERM; flushes the last partial interval, lifts the probes. 0, or -errno
 * when it could not start (why says it).
 */
int collector__run(const struct collector_opts *opts, const pid_t *pids, size_t pids_n,
		   const struct collector_events *events, struct reason *why);

/* What a thread of the traced process is called now; true if the name is Python's. "" if it is not known. */
bool collector__thread_name(struct collector *c, pid_t tid, char name[THREAD_NAME_SIZE]);

/* Starts a program (spawn.h) and observes it from its first acquire. *ret_status: its wait status. Own failures: -errno. */
struct spawn;
int collector__spawn(const struct collector_opts *opts, struct spawn *spawn, const struct collector_events *events,
		     int *ret_status, struct reason *why);

#endif
