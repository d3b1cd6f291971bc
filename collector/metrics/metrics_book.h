/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Samples added up to what Prometheus scrapes: counters since a process is observed, as the rows in Redis have them (the same
 * microseconds), and the text that shows them. Pure: time is given.
 *
 * A quantity that the newest sample does not know is withdrawn: its series is left out until it is known again, and meanwhile the
 * observed seconds of that quantity stand still, so that rate / rate is right over any gap. The number of series is limited:
 * threads and processes beyond it are added up in one called "other", for good, so that a counter never falls.
 */
#ifndef GILSCOPE_METRICS_BOOK_H
#define GILSCOPE_METRICS_BOOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "collector/schema/schema.h"
#include "collector/sink/sink.h"

#define METRICS_EDGES 16 /* of a histogram */

struct metrics_book;

/*
 * NULL: no memory. `max_series`: most series of its text. `label`: what the user calls the processes; NULL: nothing.
 * `now_ns`: see metrics_book__pass().
 */
struct metrics_book *metrics_book__new(uint32_t max_series, const char *label, uint64_t now_ns);
void metrics_book__free(struct metrics_book *b);

/* The calls of a sample_sink (sample_sink.h). Without memory a process or thread is counted as folded. */
void metrics_book__begin(struct metrics_book *b, const char *id, const struct proc_ident *who);
void metrics_book__sample(struct metrics_book *b, const char *id, const struct proc_sample *s);
void metrics_book__end(struct metrics_book *b, const char *id);

/*
 * Forgets who ended METRICS_KEEP_MS ago or more: until then the last values can be scraped. To be called with the end of each
 * interval (ns of a clock that only runs on).
 */
#define METRICS_KEEP_MS 300000
void metrics_book__pass(struct metrics_book *b, uint64_t now_ns);

enum metrics_format {
	METRICS_OPEN, /* OpenMetrics 1.0.0 */
	METRICS_TEXT, /* Prometheus's text format 0.0.4 */
};

/* All series as text, to be freed; its length in *ret_len. NULL: no memory. `history` may be NULL. */
char *metrics_book__text(const struct metrics_book *b, enum metrics_format format, const struct sink_stats *history,
			 size_t *ret_len);

#endif
