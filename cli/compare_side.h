/* SPDX-License-Identifier: GPL-2.0-only */
/* One of the two times that `compare` holds against each other: what Redis has of it, interval by interval. */
#ifndef GILSCOPE_COMPARE_SIDE_H
#define GILSCOPE_COMPARE_SIDE_H

#include "collector/redis/query.h"
#include "collector/schema/schema_marks.h"

#define SIDE_NAME_SIZE 320

/* What one thread or function did: us in each interval, or piece. */
struct side_series {
	char name[SIDE_NAME_SIZE]; /* of a thread; "function (file)" */
	double *hold, *other;      /* other: a thread's waiting; how long others waited for a function */
	double sum;                /* of both */
};

struct side_list {
	struct side_series *list;
	size_t n, of; /* each has `of` values */
};

struct compare_side {
	struct query_proc proc;
	struct query_range range;
	enum tier tier;
	struct schema_row *rows;
	double *observed_us;         /* of each row */
	size_t n;
	struct side_list threads;    /* by rows */
	struct side_list functions;  /* by pieces of several rows: code is asked for in sums */
	double *piece_us;            /* observed */
	struct schema_mark *marks;   /* of the range, in the order of time */
	size_t marks_n;
	bool estimated;              /* holds are, in part of it */
};

/* Held, exactly or about; NAN: not known. */
double compare_side__held(const struct schema_row *row);

/* Reads what is stored of proc in range, which are set. 0 or -errno (-ENODATA: nothing is). */
int compare_side__read(struct compare_side *s, struct query *q, int64_t now_ms, struct reason *why);
void compare_side__free(struct compare_side *s);

#endif
