/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * --metrics: a sample sink whose samples Prometheus scrapes. What is counted is metrics_book.h, who serves it metrics_server.h.
 */
#ifndef GILSCOPE_METRICS_H
#define GILSCOPE_METRICS_H

#include "collector/sink/sample_sink.h"
#include "metrics_server.h"

struct metrics_opts {
	const struct metrics_address *at;
	uint32_t max_series;
	uint64_t interval_ns;
	const char *label;  /* that the user has given to what is observed; NULL: none */
};

/* Begins to serve: call it before any thread is started. 0, or -errno with the reason. */
int metrics__open(const struct metrics_opts *opts, struct sample_sink **ret, char where[METRICS_WHERE_SIZE], struct reason *why);

#endif
