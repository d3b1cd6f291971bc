/* SPDX-License-Identifier: GPL-2.0-only */
/* See sight.h. */
#include "sight.h"

#define NOT_MADE UINT32_MAX /* gil->locked before its first use and after its end */
#define SLACK 2             /* one that is not counted yet, and one that another look may have counted, too */
#define INTERVALS 3
#define SLEEPS_MIN 3        /* a freezer makes a thread sleep elsewhere once */

void sight__restart(struct sight *s)
{
	*s = (struct sight){.begun = false};
}

static void begin(struct sight *s, const struct sight_look *look)
{
	*s = (struct sight){.begun = true, .last = look->words, .events = look->events_before};
}

/* Made anew: by Py_Initialize, or in a forked child. */
static bool is_another(const struct gil_words *was, const struct gil_words *is)
{
	return was->locked == NOT_MADE || is->locked == NOT_MADE || is->switches < was->switches;
}

/*
 * The words are not read at one moment, so only those that are compared with themselves count: each of n takers was another
 * than the one before, which so must have let go in between. A change of `locked` may belong to a taker that the look before
 * has counted.
 */
static uint64_t stores_between(struct sight *s, const struct gil_words *is)
{
	uint64_t takers = is->switches - s->last.switches;
	bool counted = s->switched;

	s->switched = takers > 0;
	if (takers)
		return 2 * takers - 1;
	return !counted && is->locked != s->last.locked;
}

enum sight_verdict sight__look(struct sight *s, const struct sight_look *look)
{
	uint64_t events;

	/* A count that has gone back began anew. */
	if (!s->begun || is_another(&s->last, &look->words) || look->events_after < s->events) {
		begin(s, look);
		return SIGHT_STILL;
	}
	s->stores += stores_between(s, &look->words);
	s->last = look->words;
	events = look->events_after - s->events;
	if (s->stores > events + SLACK)
		return SIGHT_BLIND;
	if (!events)
		return SIGHT_STILL;
	begin(s, look);
	return SIGHT_SEES;
}

bool sight_queue__is_blind(const struct sight_sleeper *was, const struct sight_sleeper *is, uint64_t interval_us)
{
	return was->tid && was->tid == is->tid && is->at > was->at && is->at - was->at > INTERVALS * interval_us * 1000 &&
	       is->sleeps >= was->sleeps + SLEEPS_MIN && is->events == was->events;
}
