/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The collector's inside, shared by its own files only: collector.c has the loop, collector_modes.c what the probes may cost,
 * collector_guard.c whether they stall a process, collector_procs.c who comes and goes, collector_pulse.c a loop that stands
 * still, collector_runtimes.c which Python of a process, collector_sight.c whether the probes see what it does,
 * collector_trace.c the trace.
 */
#ifndef GILSCOPE_COLLECTOR_INSIDE_H
#define GILSCOPE_COLLECTOR_INSIDE_H

#include "collector/series/grid.h"
#include "collector/target/finder.h"
#include "collector.h"
#include "roster.h"

#define COLLECTOR_MS 1000000ull
#define COLLECTOR_SECOND (1000 * COLLECTOR_MS)
#define COLLECTOR_TICK_NS (250 * COLLECTOR_MS)
#define COLLECTOR_PROCS_MAX 256 /* processes observed at once, where they find themselves */

struct collector {
	const struct collector_opts *opts;
	const struct collector_events *events;
	struct workshop shop;
	struct grid grid;
	struct roster roster;
	struct finder_known known;   /* without probes: whom the last look around has found */
	int signal_fd, timer_fd;
	int exits_fd;                /* an epoll of its own: with 200 processes, a look at each pidfd is what waking up costs */
	uint64_t started, deadline;  /* ns, monotonic; deadline UINT64_MAX: none */
	uint64_t boundary, next_tick, next_guard, forgot_at;
	int64_t boundary_ms;
	enum collector_end end;
	bool stop;
	int err;                     /* why it stopped, if not in good order */
	struct reason *why;
	pid_t child;                 /* collector__spawn()'s own, 0: none */
	int child_status;
	bool sink_was_away;
	bool samples_lost;           /* nobody takes opts->samples any more */
	bool said_full, said_not_shared; /* these notices come once */
	bool said_policy, said_keys_lost;
	uint64_t keys_evicted, keys_lost; /* the same */
	uint64_t reconnects;         /* of the sink, when last looked */
	uint64_t refused;            /* commands that Redis refused so far, and what was said of it */
	struct observed *traced;     /* NULL: nobody yet, or nobody any more */
	uint32_t times_lost;         /* pulse__times_lost(), when last looked */
	uint64_t next_drain;         /* ns; 0: not begun; UINT64_MAX: over */
	struct reason no_probes;     /* why there are looks in their place; "": there are probes, or looks were asked for */
	char refusal[sizeof(((struct sink_stats *)NULL)->trouble)];
};

/* ---- collector.c ---- */

/* One sentence for people. */
void collector__notice(struct collector *c, struct observed *o, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The same of what needs somebody's attention: an event, too. */
void collector__alert(struct collector *c, struct observed *o, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Collects the interval that ended, of everybody. */
void collector__collect_all(struct collector *c, bool partial);

/* Ends the running interval now, and publishes the next boundary. */
void collector__cut_interval(struct collector *c);
void collector__advance(struct collector *c);

/* ---- collector_modes.c ---- */

/* Looked at each tick: at once if far above the budget, else when above it over about an interval. */
void modes__mind_budget(struct collector *c, struct observed *o, uint64_t now);

/* Another mode, or the same planted anew; a process with which that fails is let go, and that is said. */
void modes__switch_one(struct collector *c, struct observed *o, enum gil_mode mode);

/* Changes the mode of `o`, and of those that share its probes; the interval is cut short for it. */
void modes__change(struct collector *c, struct observed *o, enum gil_mode mode);

/* ---- collector_guard.c ---- */

/* To be called whenever the loop wakes up: looks when it is time. */
void guarding__mind(struct collector *c, uint64_t now);

/* ---- collector_pulse.c ---- */

/*
 * At each turn, first of all, and at the end: whether the loop stood still so long that its probes were lifted. They are planted
 * again then.
 */
void standstill__mind(struct collector *c);

/* A thread that ends gilscope if it is told to while its loop stands still; from the set-up to its end. */
void standstill__watch(void);
void standstill__unwatch(void);

/* ---- collector_runtimes.c ---- */

/* At the beginning: says which of several Pythons in a process is observed. */
void runtimes__tell(struct collector *c, struct observed *o);

/* At each boundary: one that is loaded or starts later is said, and observed in place of one that has no interpreter. */
void runtimes__mind(struct collector *c, struct observed *o);

/* ---- collector_sight.c ---- */

/* Each tick and at each boundary: compares what a process's GILs did with what the probes saw of it. */
void sights__mind(struct collector *c, struct observed *o);

/* ---- collector_trace.c ---- */

/* With opts->trace: recording begins with the first process armed, and ends for good with its end or ours. */
void tracing__begin(struct collector *c, struct observed *o);
void tracing__drain(struct collector *c, uint64_t now);
void tracing__end(struct collector *c, uint64_t end_ns);

/* The probes were lifted: what they saw is handed on, before they are planted anew. They are back: a gap lies before that. */
void tracing__lifted(struct collector *c);
void tracing__is_back(struct collector *c);

/* ---- collector_procs.c ---- */

/* Observes `pid`; NULL: *ret_err and the reason say why not. */
struct observed *procs__start(struct collector *c, pid_t pid, const struct origin *origin, struct reason *why, int *ret_err);

/* The children that `pid` has already, and theirs. */
void procs__start_descendants(struct collector *c, pid_t pid);

/* Every Python there is, and those to come. 0, or -errno with the reason why nobody can be found. */
int procs__start_all(struct collector *c, struct reason *why);

/* Its observation ends with the boundary that is being collected, and it is observed anew: another Python of it runs. */
void procs__begin_anew(struct collector *c, struct observed *o);

/* Pending ones that are due. */
void procs__try_pending(struct collector *c, uint64_t now);

/* A fork, exec or exit. */
void procs__on_event(void *arg, const struct gil_event *e);

/* Without probes, at the beginning and each tick: who has come since, and who is another program by now. */
void procs__look_around(struct collector *c);

/* A pidfd says that it ended. */
void procs__on_exit_of(struct collector *c, struct observed *o);

/* The end of those who are gone: at the boundary that ends the interval for all, or now if nobody else lives. */
void procs__bury_the_gone(struct collector *c);
void procs__end_early(struct collector *c);

/* At the end: who could not be observed. */
void procs__tell_missed(struct collector *c);

/* Good-bye to these. `how`: the end of those who are not gone. */
void procs__let_go(struct collector *c, struct observed *const *who, size_t n, enum collector_end how);

#endif
