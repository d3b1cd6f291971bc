/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What `query` and `report` read of a process's past: which process, which stretch of time, its series and what each of its
 * threads adds up to. Read from Redis through query.h; no output.
 */
#ifndef GILSCOPE_PAST_H
#define GILSCOPE_PAST_H

#include <sys/types.h>

#include "collector/redis/query.h"
#include "collector/schema/schema_marks.h"
#include "history.h"
#include "options.h"

struct past_thread {
	struct query_thread thread;
	struct schema_row sum;      /* over the range */
};

struct past {
	const struct options *o;
	struct history history;
	struct query *q;
	struct query_proc proc;
	struct query_range range;
	int64_t now_ms;             /* the server's */
	enum tier tier;             /* of `rows` */
	struct schema_row *rows;    /* the process's series, or that of one thread */
	size_t rows_n;
	struct past_thread *threads; /* heaviest first */
	size_t threads_n;
	struct schema_mark *marks;  /* of the range, in the order of time */
	size_t marks_n;
};

/* Connects, names the process and sets the range (--since counts back from the last sample of one that ended). 0 or -errno. */
int past__open(struct past *p, const struct options *o, const char *word, const char *default_since, struct reason *why);

/*
 * PROCESS for a verb that reads the past or looks by itself: the past of a process that is observed now, of one that has ended or
 * that a time was asked of (--since). *ret_pid is 0 then and `p` open; else it is the process here to be looked at. 0 or -errno.
 */
int past__open_or_pid(struct past *p, const struct options *o, const char *word, const char *default_since, pid_t *ret_pid,
		      struct reason *why);

/* Fetches a series ("p", "t:<thr>") into `rows`. 0 or -errno. */
int past__fetch(struct past *p, const char *series, struct reason *why);

/* Fetches what each thread that was seen in the range adds up to. 0 or -errno. */
int past__fetch_threads(struct past *p, struct reason *why);

/* Fetches the marks of the range. 0 or -errno. */
int past__fetch_marks(struct past *p, struct reason *why);

/* Observed time of the rows in us: idle stretches of a thread are left out of its series, so shares are of the process's. */
double past__span_us(const struct past *p);

/* Says what was left out, gives everything back. A zeroed one is legal. */
void past__close(struct past *p);

#endif
