/* SPDX-License-Identifier: GPL-2.0-only */
/* The closing summary: what was found since attach, what it cost, and how to read the history. Text out, no terminal. */
#ifndef GILSCOPE_SUMMARY_H
#define GILSCOPE_SUMMARY_H

#include <stdio.h>

#include "rows.h"

struct summary_opts {
	size_t width;            /* columns */
	size_t max_threads;      /* rows before "and N more", 0: all */
	enum collector_end how;
};

void summary__print(FILE *to, const struct who *who, const struct proc_sample *totals, const struct summary_opts *opts);

/* The same facts of several processes together, without threads. `who`: what to call them. */
void summary__sum(FILE *to, const char *who, const struct proc_sample *sum);

/* What the lines to paste are made of; see history.h. */
struct summary_history {
	const char *where;          /* "gilscope's own store (...)" */
	const char *client;         /* what stands in front of a Redis command: "gilscope store cli" */
	const char *query;          /* "gilscope query" */
	const char *query_options;  /* "" or " --redis ..." */
	bool no_holds;              /* light mode: boards of holds are empty, */
	bool no_waits;              /* and of waits, look mode */
	bool family;                /* the process is one of several that belong together */
	const char *prefix;         /* of keys, NULL: the default */
};

void summary__history(FILE *to, const struct summary_history *h, const char *id);

#endif
