/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What attach, run and the daemon share: from the options to a collector with its history, its metrics, and its choice among all
 * processes. Knows no screen.
 */
#ifndef GILSCOPE_OBSERVING_H
#define GILSCOPE_OBSERVING_H

#include <regex.h>

#include "collector/metrics/metrics.h"
#include "history.h"
#include "options.h"

struct observing {
	const struct options *options;
	struct collector_opts opts;
	struct history history;
	struct sample_sink *samples; /* --metrics; NULL: not */
	char metrics_at[METRICS_WHERE_SIZE]; /* "": not served */
	struct finder_filter filter;
	regex_t match;
	bool has_match;
};

/* Whether those options can be had with the rights that there are, before anything is opened. 0, or -errno with the reason. */
int observing__check(const struct options *o, struct reason *why);

/* What is observed with by those options, without a history and without a choice among all. */
struct collector_opts observing__opts_of(const struct options *o);

/*
 * Opens history and metrics, and gives up rights; `command`: what run starts, else NULL. 0, or -errno with the reason: nothing is
 * open then.
 */
struct spawn;
int observing__open(struct observing *ret, const struct options *o, const struct spawn *command, struct reason *why);

/* Closes them. Legal for one that is zeroed or closed. */
void observing__close(struct observing *g);

#endif
