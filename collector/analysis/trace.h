/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From a trace's events to what a timeline shows: slices of threads, arrows from holder to victim, the number of waiters. Pure.
 *
 *     per thread and GIL:   WAIT ... ACQUIRED ......... RELEASED      HANDOFF ... anybody's ACQUIRED
 *                           [waiting][     held      ]               [  hand-off ]
 *
 * Slices of a thread on a GIL come in order and never overlap, but for those in which it collects garbage: each lies in a held
 * one, and comes before that; where a finalizer lets go in the middle, there are two.
 *
 * What is not known is not drawn: a slice that was open when recording began or ended is cut there and says so; where events
 * were lost, or the probes were lifted for a while, every open slice ends with the last event before the hole, and what is found
 * open behind it begins with the first event after it, or when the probes were back. Without losses the slices of a thread add up
 * to its hold and wait in the samples of the same time, to the nanosecond.
 *
 * Where the events come from: bpf/gil_trace.bpf.h; where slices go: trace_json.h.
 */
#ifndef GILSCOPE_TRACE_H
#define GILSCOPE_TRACE_H

#include <stdbool.h>
#include <stdint.h>

#include "bpf/gil_types.h"

enum trace_state {
	TRACE_HELD,
	TRACE_WAITING,
	TRACE_COLLECTING, /* garbage, with the GIL: lies inside of a HELD slice */
	TRACE_HANDOFF, /* forced to let go, kept until another has taken over: part of its waiting */
};

/* How well an end of a slice is known. */
enum trace_edge {
	EDGE_SEEN,      /* there was an event */
	EDGE_RECORDING, /* recording began or ended while it was open */
	EDGE_LOSS,      /* cut at a hole in the trace */
	EDGE_FIRST,     /* first sign of that thread: what was recorded first may be a retry of an older wait */
	EDGE_EXIT,      /* the thread ended */
};

struct trace_slice {
	enum trace_state state;
	enum trace_edge begin, end;
	uint32_t gil, tid; /* tid 0: not known who */
	uint64_t from, to; /* ns, CLOCK_MONOTONIC */
	bool forced;       /* HELD: it ended because a waiter asked */
};

/* Who let go, and the waiter that took the GIL next; the moments lie inside of the slices that they join. */
struct trace_flow {
	uint32_t gil;
	uint32_t from_tid, to_tid;
	uint64_t from_at, to_at;
};

/* Receives all of it. A thread's slices come when they end, everything else in the order of time per GIL. */
struct trace_out {
	void *arg;
	void (*slice)(void *arg, const struct trace_slice *s);
	void (*flow)(void *arg, const struct trace_flow *f);
	/* From `at` on. A wait whose begin lies in a hole is counted at its end only. */
	void (*waiters)(void *arg, uint32_t gil, uint64_t at, uint32_t n);
	/* Nothing is known of this GIL in (from, to): `n` events are missing; 0: it was not observed. */
	void (*loss)(void *arg, uint32_t gil, uint64_t from, uint64_t to, uint64_t n);
};

struct trace;

/* `out` is copied. NULL: no memory. */
struct trace *trace__new(const struct trace_out *out);
void trace__free(struct trace *t);

/* An event, in the order in which the ring buffer has them. 0 or -ENOMEM. */
int trace__event(struct trace *t, const struct gil_trace_event *e);

/* Events of a later moment are not part of it from here on: the first one of each GIL closes what is open at `end` (ns). */
void trace__end_at(struct trace *t, uint64_t end);

/* Closes the GILs whose END was not told, since their interpreter has ended: with their last events. */
void trace__close(struct trace *t);

/* Events taken so far, those of START and END left out; and how many were lost. */
uint64_t trace__events(const struct trace *t);
uint64_t trace__lost(const struct trace *t);

/* For how long (ns) nothing was observed, of the GIL of which it was longest. */
uint64_t trace__unobserved_ns(const struct trace *t);

#endif
