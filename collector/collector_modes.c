/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the probes may cost: full mode while that is within the budget, else light.
 *
 * Processes that share probes (families.h) share their mode as well: what one of them exceeds, all of them change for.
 */
#include "collector_inside.h"

#include <stdlib.h>

#include "collector/base/clock.h"

#define URGENT 4.0                  /* times the budget within a tick: do not wait for the interval's end */
#define RETRY_FULL_MAX_NS (600 * COLLECTOR_SECOND)

static bool is_kin(const struct collector *c, const struct observed *o)
{
	return probes__is_kin(c->shop.probes, o->slot);
}

/* Those whose mode changes with that of `o`. */
static bool changes_with(const struct collector *c, const struct observed *o, const struct observed *other)
{
	return other == o || (is_kin(c, o) && is_kin(c, other) && other->recipe == o->recipe);
}

void modes__switch_one(struct collector *c, struct observed *o, enum gil_mode mode)
{
	struct reason why = {{0}};

	if (!observed__switch(o, &c->shop, mode, &why))
		return;
	/* It ended, or runs another program: no failure, and its pidfd or its exec is heard of at the next turn. */
	if (!target__is_same(o->target))
		return;
	collector__notice(c, o, "changing to %s mode failed, the process is let go: %s",
			  gil_mode__name(mode, "no"), why.text);
	o->gone_at = clock__mono_ns();
	o->gone_how = END_ERROR;
}

/* At the end of an interval, which is cut short for it: no sample mixes two modes. */
void modes__change(struct collector *c, struct observed *o, enum gil_mode mode)
{
	struct observed **group = calloc(c->roster.max, sizeof(struct observed *));
	size_t n = 0;

	if (!group)
		return;
	for (size_t i = 0; i < c->roster.max; i++) {
		struct observed *other = roster__at(&c->roster, i);

		if (other && !other->gone_at && changes_with(c, o, other))
			group[n++] = other;
	}
	collector__cut_interval(c);
	/* Nobody may count while the sites that he shares are changed for another. */
	for (size_t i = 0; i < n; i++)
		observed__pause(group[i], &c->shop);
	/* What does harm goes first. */
	for (size_t i = 0; i < n; i++)
		observed__thin(group[i], &c->shop, mode);
	collector__collect_all(c, true);
	for (size_t i = 0; i < n; i++)
		modes__switch_one(c, group[i], mode);
	for (size_t i = 0; i < n; i++)
		group[i]->light_since = clock__mono_ns();
	free(group);
	collector__advance(c);
}

/* Light mode would put the probes of a long queue back. */
static void fall_from_holds(struct collector *c, struct observed *o, double share)
{
	modes__change(c, o, GIL_MODE_GUARDED);
	collector__notice(c, o, "the probes at takes and drops alone cost %.1f %% of a core, above the budget of %.1f %%, and so "
			  "many threads queue that light mode would stall them: all probes are lifted (mode guarded: nothing is "
			  "known meanwhile, and cov says so)", 100 * share, 100 * c->opts->max_overhead);
}

static void fall_back(struct collector *c, struct observed *o, double share)
{
	if (o->pub.mode == GIL_MODE_HOLDS) {
		fall_from_holds(c, o, share);
		return;
	}
	if (!o->recipe->plan->light) {
		if (!o->light_since)
			collector__notice(c, o, "the probes cost %.1f %% of a core, above the budget of %.1f %%, but light "
					  "mode is not possible on this interpreter",
					  100 * share, 100 * c->opts->max_overhead);
		o->light_since = clock__mono_ns();
		return;
	}
	modes__change(c, o, GIL_MODE_LIGHT);
	collector__notice(c, o, "full mode cost %.1f %% of a core, above the budget of %.1f %%: changed to light mode (waits "
			  "stay exact, holds and uncontended acquires are unknown; --mode full avoids that)",
			  100 * share, 100 * c->opts->max_overhead);
}

/* A burst should not cost the details for ever: look again now and then, ever more rarely. */
static void maybe_retry_full(struct collector *c, struct observed *o, uint64_t now)
{
	if (now < o->light_since + o->retry_after_ns) /* it may have changed with another a moment ago */
		return;
	o->retry_after_ns = 2 * o->retry_after_ns > RETRY_FULL_MAX_NS ? RETRY_FULL_MAX_NS : 2 * o->retry_after_ns;
	modes__change(c, o, GIL_MODE_FULL);
	o->looked_at = 0; /* its price counts from now on */
	o->over_budget = 0;
	collector__notice(c, o, "trying full mode again");
}

void modes__mind_budget(struct collector *c, struct observed *o, uint64_t now)
{
	uint64_t span;
	double share;

	if (c->opts->mode != MODE_AUTO || o->gone_at || o->pub.mode == GIL_MODE_GUARDED)
		return;
	if (o->pub.mode == GIL_MODE_LIGHT) {
		maybe_retry_full(c, o, now);
		return;
	}
	if (o->looked_at && now - o->looked_at < COLLECTOR_TICK_NS / 2)
		return;
	share = observed__cost_share(o, &c->shop, now, &span);
	o->over_budget = span && share > c->opts->max_overhead ? o->over_budget + 1 : 0;
	if (o->over_budget * COLLECTOR_TICK_NS >= COLLECTOR_SECOND ||
	    (o->over_budget && share > URGENT * c->opts->max_overhead))
		fall_back(c, o, share);
}
