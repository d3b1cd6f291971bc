/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A made-up history in a server, written as the collector writes it (aggr, schema, sink), and what it was made of: so
 * that a test can work out every answer by itself, from single holds and waits.
 *
 * Twenty minutes of six threads, up to the current minute's begin. Within it a gap in which nothing was observed, and
 * a thread that is idle for a while.
 */
#ifndef GILSCOPE_TESTS_SEEDED_H
#define GILSCOPE_TESTS_SEEDED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf/gil_types.h"
#include "private_redis.h"

#define SEEDED_THREADS 6
#define SEEDED_SECONDS 1200
#define SEEDED_GAP 300       /* first second that is missing */
#define SEEDED_GAP_END 345
#define SEEDED_IDLE 5        /* thread that does nothing from SEEDED_IDLE_FROM to SEEDED_IDLE_END */
#define SEEDED_IDLE_FROM 500
#define SEEDED_IDLE_END 700

/*
 * Where a thread was: half of each second's holds in the first of its lines (SEEDED_LINE and its number), where others waited
 * for a third of what they waited for it; the rest of the holds in the second, which all share, and all of its waiting.
 */
#define SEEDED_FUNCTION "handle"
#define SEEDED_FILE "srv/app.py"
#define SEEDED_LINE 10
#define SEEDED_ODD_FUNCTION "Odd.\"<lambda>\""
#define SEEDED_ODD_FILE "srv/back\\slash.py"
#define SEEDED_ODD_LINE 99

/* Long holds: one each SEEDED_LONG_STEP seconds, of each thread in turn, told while it goes on and at its end. */
#define SEEDED_LONG_STEP 50

/* One thread's second. */
struct seeded_cell {
	uint64_t hold_ns, wait_ns, handover_ns, hold_max_ns, wait_max_ns;
	uint64_t hold_off_ns[GIL_OFF_KINDS]; /* of hold_ns */
	uint32_t n, c, forced;
	uint64_t blamed_ns[SEEDED_THREADS]; /* by holder */
};

/* One hold or wait. */
struct seeded_event {
	uint32_t second;
	uint8_t thread;
	bool wait;
	uint64_t ns;
};

struct seeded {
	char id[96];
	int64_t start_ms;    /* second i ends at start_ms + (i + 1) * 1000 */
	struct seeded_cell cells[SEEDED_SECONDS][SEEDED_THREADS];
	struct seeded_event *events;
	size_t events_n;
};

/* tid and name of thread i. */
uint32_t seeded__tid(int i);
const char *seeded__name(int i);

/* Makes it up and writes it to a running server. Fails the test if that does not work. */
struct seeded *seeded__write(struct private_redis *redis);
void seeded__free(struct seeded *s);

/*
 * Another history, of `observed_s` seconds up to now: four threads at ordinary work, but from `began_s_ago` to `ended_s_ago`
 * (0: still) the first held the GIL without letting go while the others waited for it.
 */
void seeded__write_hold(struct private_redis *redis, int observed_s, int began_s_ago, int ended_s_ago);

/* How long the others waited for `holder` in second i, ns. */
uint64_t seeded__blamed_ns(const struct seeded *s, uint32_t i, int holder);

/* Length of the long hold told in second i, us; 0: there is none. */
uint64_t seeded__long_us(uint32_t i);

/* End of second i, ms. */
int64_t seeded__end_ms(const struct seeded *s, uint32_t second);

/* Whether second i was observed, and lies in (from, to]. */
bool seeded__in(const struct seeded *s, uint32_t second, int64_t from, int64_t to);

#endif
