/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Many processes at once: a table of them, and their sum, of one interval or of a whole run. Text out, no terminal. Pure.
 *
 * The sum of processes is a sample like any other: holds, waits and counts add, histograms merge, so percentiles are those of
 * all together. Its busy share is the mean number of GILs held at a time, so it may exceed 100 %. Its time is that from the
 * first process's beginning to the last one's end; where a process was seen in part only, so is the sum.
 */
#ifndef GILSCOPE_FAMILY_H
#define GILSCOPE_FAMILY_H

#include <stdio.h>

#include "rows.h"

#define FAMILY_ROWS_MAX 512 /* processes kept apart; the least busy of those that ended beyond that are "others" */

struct family_table;

struct family_table *family_table__new(void);
void family_table__free(struct family_table *f);
void family_table__clear(struct family_table *f);

/* One process's sample; `how`: how it ended, NULL: it is there. 0 or -ENOMEM. */
int family_table__add(struct family_table *f, const struct who *who, const struct proc_sample *s, const char *how);

/* Processes that were added. */
size_t family_table__count(const struct family_table *f);

/* The sum; valid until the next call. NULL: nothing was added. */
const struct proc_sample *family_table__sum(struct family_table *f);

/* The PID of the busiest, 0: none. */
pid_t family_table__busiest(const struct family_table *f);

/* The table, busiest first, at most `lines` lines with titles and sum (0: all). */
void family_table__print(struct family_table *f, FILE *to, size_t width, size_t lines);

/* What closes a run: heading, the sum in words, the table. */
void family_table__summary(struct family_table *f, FILE *to, size_t width);

/* The sum of an interval in one line, as live__line() does it for one process. */
void family_table__line(struct family_table *f, FILE *to);

/* An object of the --json stream: "sum" of an interval or, with `last`, of the run. `root`: the family's, "" or NULL: several. */
json_t *family_table__json(struct family_table *f, const char *root, bool last);

#endif
