/* SPDX-License-Identifier: GPL-2.0-only */
/* See guard.h. */
#include "guard.h"

#include <math.h>

#define SECOND 1000000000ull

#define QUEUE_LONG 200      /* threads */
#define QUEUE_LOOKS 2
#define SUSPICIOUS 0.03     /* of a CPU, in any probe: below that they don't stall anybody */
#define FALLEN 3.0          /* a third of the way that it made */
#define SUSPECTED_LOOKS 2
#define RELAPSE_NS (10 * SECOND) /* a queue that the probes have made may last under the few that are left */
#define RELAPSE_LOOKS 5
#define SLOW 20.0           /* switches a second: a process that made no more way has nothing to lose */
#define LEARNS 0.1          /* a look's part of the reference: a program's own change of phase is forgotten within seconds */
#define SETTLE_NS (SECOND / 5)  /* after lifting: what queues must get by first */
#define COMES_BACK_NS (SECOND * 2 / 5)
#define GIVEN_UP_NS (SECOND * 3 / 2)
#define RECOVERED 2.0       /* half of the way that it made */
#define STANDS_NS (SECOND * 10)
#define COMES_BACK 1.3      /* times the rate under the probes */
#define CLEARED_NS (60 * SECOND)
#define REST_FIRST_NS (30 * SECOND)
#define REST_MAX_NS (600 * SECOND)
#define HOUR_NS (3600 * SECOND)

static void enter(struct guard *g, enum guard_state state, uint64_t now)
{
	g->state = state;
	g->since = now;
	g->strained = g->suspected = 0;
	g->checked_ns = 0;
	g->checked = 0;
}

void guard__begin(struct guard *g, double rate, uint64_t now)
{
	*g = (struct guard){.reference = rate, .rest_ns = REST_FIRST_NS};
	enter(g, GUARD_WATCHING, now);
}

/* When probes may return, as far as the hour's number is concerned. */
static uint64_t may_return_at(const struct guard *g)
{
	uint64_t oldest = g->returns[g->returns_n % GUARD_RETURNS];

	return oldest ? oldest + HOUR_NS : 0;
}

static void note_return(struct guard *g, uint64_t now)
{
	g->returns[g->returns_n++ % GUARD_RETURNS] = now;
}

/* The probes are fewer from here on for another reason: they return as from any rest. */
static void begin_rest(struct guard *g, uint64_t now)
{
	/* It went well for long: this is a new story. */
	if (g->state == GUARD_WATCHING && now - g->since > REST_MAX_NS)
		g->rest_ns = REST_FIRST_NS;
	enter(g, GUARD_RESTING, now);
	g->retry_at = now + g->rest_ns;
	if (g->retry_at < may_return_at(g))
		g->retry_at = may_return_at(g);
	g->rest_ns = 2 * g->rest_ns < REST_MAX_NS ? 2 * g->rest_ns : REST_MAX_NS;
}

void guard__changed(struct guard *g, uint64_t now)
{
	g->since = now;
}

unsigned int guard__rest_s(const struct guard *g, uint64_t now)
{
	return g->retry_at > now + SECOND ? (unsigned int)((g->retry_at - now) / SECOND) : 1;
}

static double rate_of(const struct guard_look *look)
{
	return look->switches * (double)SECOND / (double)look->span_ns;
}

static void learn(struct guard *g, const struct guard_look *look)
{
	g->reference += (rate_of(look) - g->reference) * (g->reference > 0 ? LEARNS : 1);
}

static bool queue_is_long(struct guard *g, const struct guard_look *look)
{
	g->strained = look->waiters >= QUEUE_LONG && look->now >= g->cleared_until ? g->strained + 1 : 0;
	return g->strained >= QUEUE_LOOKS;
}

static bool may_relapse(const struct guard *g, uint64_t now)
{
	return g->state == GUARD_RESTING && now - g->since < RELAPSE_NS;
}

static bool has_fallen(struct guard *g, const struct guard_look *look)
{
	bool may_be_us = may_relapse(g, look->now) || (g->state == GUARD_RESTING && look->share >= SUSPICIOUS);
	bool fallen = may_be_us && g->reference >= SLOW && rate_of(look) * FALLEN < g->reference;

	g->suspected = fallen ? g->suspected + 1 : 0;
	return g->suspected >= (may_relapse(g, look->now) ? RELAPSE_LOOKS : SUSPECTED_LOOKS);
}

static enum guard_order lift(struct guard *g, const struct guard_look *look)
{
	g->during = isnan(look->switches) ? 0 : rate_of(look);
	enter(g, GUARD_CHECKING, look->now);
	return GUARD_LIFT;
}

static enum guard_order watch(struct guard *g, const struct guard_look *look)
{
	if (queue_is_long(g, look))
		return lift(g, look);
	if (!isnan(look->switches) && look->share < SUSPICIOUS)
		learn(g, look);
	return GUARD_GO_ON;
}

static enum guard_order rest(struct guard *g, const struct guard_look *look)
{
	bool known = !isnan(look->switches);

	if (known && look->lifts && has_fallen(g, look))
		return lift(g, look);
	if (known && look->share < SUSPICIOUS && !may_relapse(g, look->now))
		learn(g, look);
	if (look->now < g->retry_at)
		return GUARD_GO_ON;
	note_return(g, look->now);
	enter(g, GUARD_WATCHING, look->now);
	return GUARD_RETRY;
}

/* It does as badly without them: its own doing. Nothing is held against it for a while, and each time for longer. */
static enum guard_order acquit(struct guard *g, uint64_t now)
{
	if (may_return_at(g) > now) {
		begin_rest(g, now);
		return GUARD_GO_ON;
	}
	note_return(g, now);
	enter(g, GUARD_WATCHING, now);
	g->cleared_ns = g->cleared_ns && 2 * g->cleared_ns < REST_MAX_NS ? 2 * g->cleared_ns :
			g->cleared_ns ? REST_MAX_NS : CLEARED_NS;
	g->cleared_until = now + g->cleared_ns;
	return GUARD_INNOCENT;
}

static bool came_back(const struct guard *g, double rate)
{
	return rate >= SLOW && rate >= COMES_BACK * g->during;
}

/* One that did well before may need some time to get over its queue: it is neither judged nor probed before it has. */
static bool gets_over_it(const struct guard *g, double rate, uint64_t now)
{
	double enough = came_back(g, rate) ? RECOVERED : FALLEN;

	return g->reference >= SLOW && rate * enough < g->reference && now - g->since < STANDS_NS;
}

static enum guard_order check(struct guard *g, const struct guard_look *look)
{
	double rate;

	if (look->now - g->since < SETTLE_NS + look->span_ns)
		return GUARD_GO_ON;
	g->checked += isnan(look->switches) ? 0 : look->switches;
	g->checked_ns += look->span_ns;
	if (g->checked_ns < COMES_BACK_NS)
		return GUARD_GO_ON;
	rate = g->checked * (double)SECOND / (double)g->checked_ns;
	g->checked_ns = 0;
	g->checked = 0;
	if (gets_over_it(g, rate, look->now))
		return GUARD_GO_ON;
	if (came_back(g, rate)) {
		g->reference = g->reference > 0 ? g->reference : rate;
		begin_rest(g, look->now);
		return GUARD_GUILTY;
	}
	if (look->now - g->since < GIVEN_UP_NS)
		return GUARD_GO_ON;
	g->reference = rate;
	return acquit(g, look->now);
}

enum guard_order guard__look(struct guard *g, const struct guard_look *look)
{
	switch (g->state) {
	case GUARD_CHECKING:
		return check(g, look);
	case GUARD_RESTING:
		return rest(g, look);
	default:
		return watch(g, look);
	}
}
