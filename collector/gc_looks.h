/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * When to look whether observed processes collect garbage, and where: the timer of gc_watch.h, and what joins it to a process.
 * Where probes show both ends of a collection (gc_sites.h), only how often was collected is looked at.
 */
#ifndef GILSCOPE_GC_LOOKS_H
#define GILSCOPE_GC_LOOKS_H

#include "observed.h"
#include "roster.h"

/* Begins with a process that counts since a moment ago. Without memory, or a known layout, nothing is told. */
void gc_looks__begin(struct observed *o, struct workshop *shop);

/*
 * Its probes have just been armed. They tell its collections' times if none was under way then: of one that was, nobody knows
 * when it began. Asked again at each interval's end until they do.
 */
void gc_looks__armed(struct observed *o, struct workshop *shop);

/*
 * Looks at all of them if it is time to (`now`, ns; `bound`: the end of the running interval). Looks are some milliseconds apart,
 * not evenly, lest they keep step with what the process does; and further the more they cost: gilscope's own time for them stays
 * below a hundredth of a core.
 */
void gc_looks__turn(struct roster *roster, struct workshop *shop, uint64_t now, uint64_t bound);

/* When it is time next; UINT64_MAX: nobody needs to be looked at. */
uint64_t gc_looks__next(const struct workshop *shop);

/* Into the sample of the interval that ended at `bound`. */
void gc_looks__settle(struct observed *o, struct workshop *shop, struct proc_sample *s, uint64_t bound);

#endif
