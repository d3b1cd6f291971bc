/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Samples as rows: which threads, in which order, under which names; the same for the live table, the closing summary and
 * JSON. Pure. Numbers come from schema_row__from(), so that the screen and Redis cannot disagree.
 */
#ifndef GILSCOPE_ROWS_H
#define GILSCOPE_ROWS_H

#include <jansson.h>
#include <math.h>
#include <stdio.h>

#include "collector/collector.h"
#include "out.h"

/* Who is shown. */
struct who {
	const char *id, *label, *python;
	const char *parent, *root; /* ids; "" or NULL: none */
	pid_t pid;
	uint32_t kept_sites;       /* places in which breakpoints stay, as the process has changed its code there */
};

struct who rows__who(const struct collector_proc *proc);

/* A field of a row, NAN where it is not known. */
static inline double rows__field(const struct schema_row *row, enum schema_field f)
{
	return row->has >> f & 1 ? row->value[f] : NAN;
}

/* A part of hold or wait (FIELD_HOLD_BLOCKED ...) in us. Known if the first of its kind is there; of nothing it is nothing. */
double rows__off_us(const struct schema_row *row, enum schema_field part);

/* What the holder did in the time that it held, or that others waited: shares of that time. NAN: not known, or there was none. */
struct off_shares {
	double on;      /* it ran on a CPU */
	double asleep;  /* blocked: in a system call or a page fault */
	double stopped; /* a tracer, a signal or the freezer kept it from running */
	double starved; /* it could have run, but had no CPU */
	double unseen;  /* not known */
};

/* Of FIELD_HOLD or FIELD_WAIT. */
struct off_shares rows__off(const struct schema_row *row, enum schema_field whole);

/* Garbage collection, as shares of the observed time; NAN: not known. */
struct gc_shares {
	double held;     /* the GIL was held for it */
	double err;      /* standard error of that; NAN: it is exact */
	double longest;  /* us; where it is sampled: at least that */
};

struct gc_shares rows__gc(const struct schema_row *row);

/* "garbage collection 12.1%, longest over 310 ms"; "": next to none, or not known. Returns buf. */
const char *rows__gc_words(const struct gc_shares *gc, char *buf, size_t size);

/* "62.0% on CPU, 30.0% asleep, 8.0% without CPU"; parts that are nothing are left out; "": not known. Returns buf. */
const char *rows__off_words(const struct off_shares *off, char *buf, size_t size);

/* How long it held, of the observed time: exactly, or about; NAN: neither is known. */
double rows__hold_share(const struct proc_sample *s, const struct metrics *m);

/* "busy 63.2%", or "~63.2%" of an estimate; "-": neither is known. Of FIELD_UTIL and FIELD_UTIL_EST. Returns buf (HUMAN_SIZE). */
const char *rows__busy(const struct schema_row *row, char *buf);

/* Its standard error, as a share of the observed time; NAN: it is exact, or not known. */
double rows__busy_error(const struct proc_sample *s);

/* Why holders slept and who stopped them, as Redis gets it. NULL: no memory. */
json_t *rows__why_json(const struct whys *w);

/* Why it is not known how long the GIL was held. */
const char *rows__busy_why(const struct proc_sample *s);

/* "full mode", "light mode", "holds mode", "guarded mode", "several modes" (changed within). */
const char *rows__mode(const struct proc_sample *s);

/*
 * The sample's threads, busiest first: by hold, then by wait; where holds are unknown by wait. Threads that did nothing
 * are left out. NULL-terminated array, caller frees, *ret_n (NULL: not wanted) in it; NULL: no memory.
 */
const struct thread_sample **rows__sorted(const struct proc_sample *s, size_t *ret_n);

/* What a thread is called on screen: its name, "(no name)", "other threads", and on a further GIL that one's name in front. */
const char *rows__name(const struct thread_sample *t, char *buf, size_t size);

/* What a GIL is called: "main", "#3" (of interpreter 3), "others" (GIL_NUMBER_OTHER). */
const char *rows__gil_name(uint32_t gil, char *buf, size_t size);

/* The sample's GILs, busiest first; where holds are unknown by wait. NULL-terminated, caller frees; NULL: no memory. */
const struct gil_sample **rows__gils(const struct proc_sample *s);

/* Share of the observed time, NAN where nothing was observed. */
double rows__share(const struct proc_sample *s, uint64_t ns);

/* The same of waiting, of the time in which it was known who waited. */
double rows__wait_share(const struct proc_sample *s, uint64_t ns);

/* Puts the row's longest wait into a cell; where it rests on looks, it was so long at least. */
void rows__put_longest_wait(struct out *table, size_t column, const struct schema_row *row);

/* Seconds of the observed time, for rates; never 0. */
double rows__seconds(const struct proc_sample *s);

uint64_t rows__lost(const struct proc_sample *s);

/* "lost 0", or each kind: "lost 12 (ring_lapped 10, no_slot 2)". */
const char *rows__losses(const struct proc_sample *s, char *buf, size_t size);

/* Bits of threads in `from` (to its NULL) summed up, for "and 480 more threads". */
struct rest {
	size_t n;
	uint64_t hold_ns, wait_ns;
};

struct rest rows__rest(const struct thread_sample *const *from);

/* One object of the --json stream. `how`: NULL for an interval, else how the run ended. NULL: no memory. */
json_t *rows__json(const struct who *who, const struct proc_sample *s, const char *how);

/* The same for the sum of `n` processes, of an interval or of the whole run. `root`: their family's; "" or NULL: several. */
json_t *rows__sum_json(const struct proc_sample *sum, size_t n, const char *root, bool last);

#endif
