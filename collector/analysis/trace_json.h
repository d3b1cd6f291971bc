/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A timeline as Chrome trace JSON ("JSON Object Format" of the Trace Event Format), which ui.perfetto.dev, speedscope and
 * chrome://tracing load. Written as it comes, nothing is kept but names. Pure: a FILE and no clock.
 *
 * A GIL is a process to the viewer (the main one under the real PID), with a track for each thread ("held", "waiting",
 * "hand-off"), one for who holds the GIL, and a counter of waiting threads. Times are microseconds since recording began, exact
 * to the nanosecond; `otherData` has the wall clock at that moment, and what was lost.
 */
#ifndef GILSCOPE_TRACE_JSON_H
#define GILSCOPE_TRACE_JSON_H

#include <stdio.h>
#include <sys/types.h>

#include "collector/series/sample.h"
#include "trace.h"

/* What is known when recording begins. Strings are copied. */
struct trace_json_head {
	pid_t pid;
	const char *id, *label, *python, *version; /* version: gilscope's */
	uint64_t begin_ns; /* CLOCK_MONOTONIC: time 0 of the file */
	int64_t wall_ns;   /* the same moment, since the epoch */
	/*
	 * The name of a thread as far as it can be had at this moment, "" if it can't; true: it is Python's, and good for ever.
	 * Asked anew at times until it is. NULL: nobody knows names.
	 */
	bool (*name)(void *arg, uint32_t tid, char name[THREAD_NAME_SIZE]);
	void *arg;
};

/* What is known at its end. */
struct trace_json_tail {
	uint64_t end_ns;   /* CLOCK_MONOTONIC */
	uint64_t events, lost;
	uint64_t unobserved_ns; /* trace__unobserved_ns() */
	const char *ended; /* "duration", "max-events", "exit" ... */
};

struct trace_json;

/* Writes the beginning to `to`, which stays the caller's. NULL: no memory. */
struct trace_json *trace_json__new(FILE *to, const struct trace_json_head *head);

/* Where trace.h's slices go. */
struct trace_out trace_json__out(struct trace_json *j);

/* What a thread is called that nobody has named so far. */
void trace_json__name(struct trace_json *j, uint32_t tid, const char *name);

/* Bytes written so far. */
uint64_t trace_json__size(const struct trace_json *j);

/* Writes the rest, and frees. 0, -ENOMEM, or -errno of the stream. */
int trace_json__close(struct trace_json *j, const struct trace_json_tail *tail);

#endif
