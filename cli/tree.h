/* SPDX-License-Identifier: GPL-2.0-only */
/* query --tree: a family's processes out of Redis, their totals in a range side by side, and their sum. */
#ifndef GILSCOPE_TREE_H
#define GILSCOPE_TREE_H

#include "collector/redis/query.h"
#include "out.h"

/*
 * Adds what another process did in the same time: counts and times add, percentiles are those of both. Shares need
 * tree__set_shares() in the end.
 */
void tree__add(struct schema_row *sum, const struct schema_row *process);

/* Busy share and queue of a sum over `span_us`: means of GILs held, and of threads that waited. */
void tree__set_shares(struct schema_row *sum, double span_us);

/*
 * A table of `range`: one row per process of proc's family that was seen in it, the sum last. 0 or -errno with the reason; *ret
 * is out__free()'s.
 */
int tree__fetch(struct query *q, const struct query_proc *proc, const struct query_range *range, int64_t now_ms,
		struct out **ret, struct reason *why);

#endif
