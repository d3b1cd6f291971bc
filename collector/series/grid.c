/* SPDX-License-Identifier: GPL-2.0-only */
/* See grid.h. */
#include "grid.h"

#include <stdlib.h>

#define MS 1000000ll
#define STEP_BELIEVED_NS (30ull * 1000 * MS) /* a step that lasts this long is the new truth */
#define STEP_MIN_NS (500 * MS)               /* less is drift, to be followed smoothly */
#define TOLERATED_NS MS                      /* less is how clocks are read, one after the other */

void grid__init(struct grid *g, uint64_t interval_ns, const struct grid_clocks *now)
{
	*g = (struct grid){
		.interval_ns = interval_ns,
		.offset_ns = now->wall_ns - (int64_t)now->mono_ns,
		.suspended_ns = now->boot_ns - now->mono_ns,
		.last_ms = INT64_MIN,
	};
}

static bool is_step(const struct grid *g, int64_t error_ns)
{
	int64_t limit = (int64_t)g->interval_ns / 2;

	return llabs(error_ns) >= (limit < STEP_MIN_NS ? limit : STEP_MIN_NS);
}

static void believe_suspend(struct grid *g, const struct grid_clocks *now)
{
	uint64_t suspended = now->boot_ns - now->mono_ns;
	int64_t more = (int64_t)(suspended - g->suspended_ns);

	if (more < TOLERATED_NS)
		return;
	g->offset_ns += more;
	g->suspended_ns = suspended;
}

static void follow(struct grid *g, const struct grid_clocks *now)
{
	int64_t error, most = (int64_t)g->interval_ns / 10;

	believe_suspend(g, now);
	error = now->wall_ns - (int64_t)now->mono_ns - g->offset_ns;
	if (llabs(error) < TOLERATED_NS) {
		g->step_since = 0;
	} else if (!is_step(g, error)) {
		g->step_since = 0;
		g->offset_ns += error > most ? most : error < -most ? -most : error;
	} else if (!g->step_since) {
		g->step_since = now->mono_ns;
	} else if (now->mono_ns - g->step_since >= STEP_BELIEVED_NS) {
		g->step_since = 0;
		g->offset_ns += error;
		g->last_ms = INT64_MIN; /* a new order of time begins */
	}
}

static int64_t floor_div(int64_t a, int64_t b)
{
	return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

uint64_t grid__next(struct grid *g, const struct grid_clocks *now, uint64_t margin_ns, int64_t *ret_end_ms)
{
	int64_t step = (int64_t)g->interval_ns, earliest, end;

	follow(g, now);
	earliest = (int64_t)(now->mono_ns + margin_ns) + g->offset_ns;
	end = (floor_div(earliest, step) + 1) * step;
	while (g->last_ms != INT64_MIN && end / MS <= g->last_ms)
		end += step;
	g->last_ms = end / MS;
	*ret_end_ms = g->last_ms;
	return (uint64_t)(end - g->offset_ns);
}

int64_t grid__stamp(struct grid *g, uint64_t mono_ns)
{
	/* The boundary that was planned is not going to happen: the next one may have its stamp. */
	g->last_ms = floor_div((int64_t)mono_ns + g->offset_ns, MS);
	return g->last_ms;
}
