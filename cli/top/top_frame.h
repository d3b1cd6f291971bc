/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One moment of a process as `top` shows it: the process, its GILs, its threads, who waited for whom. Pure.
 *
 * Made of a sample (of a process that gilscope observes itself) or of rows out of Redis (of one that somebody else observes);
 * from here on nobody needs to know which. Shares are of the observed time, rates per observed second, lengths microseconds;
 * what is not known is NAN.
 */
#ifndef GILSCOPE_TOP_FRAME_H
#define GILSCOPE_TOP_FRAME_H

#include "cli/code.h"
#include "cli/rows.h"
#include "collector/schema/schema.h"
#include "collector/schema/schema_blame.h"
#include "collector/schema/schema_code.h"
#include "collector/series/sample.h"

#define TOP_NAME_SIZE (THREAD_NAME_SIZE + 16)
#define TOP_LOSSES_SIZE 512

/* What is known of a process, a GIL or a thread alike. */
struct top_numbers {
	double hold, wait;         /* shares; of a process that has several GILs `hold` is the busiest one's */
	double n, c, forced;       /* rates: acquires, those that waited, releases asked for */
	double hold_p50, hold_p99, hold_max;
	double wait_p50, wait_p99, wait_max;
	struct off_shares hold_off, wait_off; /* what the holder did meanwhile */
	struct gc_shares gc;
};

struct top_thread {
	char thr[BLAME_THR_SIZE];  /* <thr> as in Redis; with `gil` what tells it apart */
	char name[TOP_NAME_SIZE];
	uint32_t tid, inside;      /* 0: not a thread of its own; no other PID namespace */
	uint32_t gil;
	struct top_numbers is;
	double blame;              /* share: how many threads waited for it, on average */
};

struct top_gil {
	uint32_t gil;
	struct top_numbers is;
};

/* The victim waited while the holder had the GIL, for this share of the time. Indices into threads. */
struct top_pair {
	size_t victim, holder;
	double share;
};

/* What a thread did in one line of its code, as far as its holds and waits were asked where they are (code.h). Shares. */
struct top_code {
	size_t thread;             /* index into threads */
	size_t threads;            /* how many of its GIL's it is of */
	char place[CODE_TEXT_SIZE]; /* "function (dir/file.py:12)" */
	double hold, blame, wait;
};

struct top_frame {
	int64_t end_ms;            /* wall clock */
	double d_us, observed_us;  /* its length, and how much of that was observed */
	bool no_gil;               /* there is nothing to measure */
	bool sampled;              /* blame comes from samples */
	bool estimated;            /* so do all holds */
	bool looked;               /* without a probe: a longest wait is a lower bound */
	struct top_numbers is;
	double handover, unknown;  /* shares: waiting that nobody is to blame for, or nobody knows who */
	double threads_alive, cpu, cost, lost;
	char standing[HOLDING_WORDS_SIZE]; /* what hangs or stands still (holding__words()); "": nothing */
	char tracers[WHYS_WORDS_SIZE]; /* who stops holders (whys__tracers()); "": nobody */
	char losses[TOP_LOSSES_SIZE]; /* by name; "": none, or only their number is known */
	struct top_gil *gils;      /* where there are several, busiest first */
	size_t gils_n;
	struct top_thread *threads;
	size_t threads_n;
	struct top_pair *pairs;    /* largest first */
	size_t pairs_n;
	bool code_known;           /* holds and waits were asked */
	struct top_code *code;     /* who made others wait the most first */
	size_t code_n;
	struct top_code *places;   /* the same, added up over the threads of each GIL */
	size_t places_n;
};

/* Of a sample; NULL: no memory. */
struct top_frame *top_frame__of_sample(const struct proc_sample *s);

/* A thread's row out of Redis, all of its rows in the time added up; `row.has` 0: it did nothing. */
struct top_row {
	const char *thr, *name;
	struct schema_row row;
};

/* One of the GILs of a process that has several. */
struct top_gil_row {
	uint32_t gil;
	struct schema_row row;
};

/* Of rows of the same time; `all` is the process's. NULL: no memory. */
struct top_frame *top_frame__of_rows(const struct schema_row *all, const struct top_row *rows, size_t rows_n,
				     const struct top_gil_row *gils, size_t gils_n, const struct blame_sum *blame,
				     const struct code_sum *code);

void top_frame__free(struct top_frame *f);

/* Index of the thread; SIZE_MAX: it is not there. */
size_t top_frame__find(const struct top_frame *f, const char *thr, uint32_t gil);

#endif
