/* SPDX-License-Identifier: GPL-2.0-only */
/* A thread that takes the GIL thousands of times a second for microseconds, in one place: it asks again and again. */
#include "verdict_inside.h"

#include <stdint.h>
#include <string.h>

#define RATE 2000.0      /* takes a second */
#define SHORT_US 50.0    /* on average */
#define ONE_PLACE 0.8    /* of what it held, in one function */

static double held_us(const struct verdict_place *p)
{
	double us = 0;

	for (size_t k = 0; k < TIME_KINDS; k++)
		us += p->hold_us[k];
	return us;
}

/* What a thread held in a function; NULL: in all. */
static double held_in(const struct verdict_input *in, size_t thread, const char *function)
{
	double us = 0;

	for (size_t i = 0; i < in->places_n; i++)
		if (in->places[i].thread == thread && (!function || strcmp(in->places[i].function, function) == 0))
			us += held_us(&in->places[i]);
	return us;
}

/* The function in which it holds nearly always; NULL: there is no such one. */
static const struct verdict_place *one_place(const struct verdict_input *in, size_t thread)
{
	double all = held_in(in, thread, NULL);

	for (size_t i = 0; all > 0 && i < in->places_n; i++)
		if (in->places[i].thread == thread && held_in(in, thread, in->places[i].function) >= ONE_PLACE * all)
			return &in->places[i];
	return NULL;
}

static double rate_of(const struct verdict_input *in, size_t thread)
{
	return verdict__rate(in, &in->threads[thread]);
}

static bool polls(const struct verdict_input *in, size_t thread)
{
	const struct verdict_load *t = &in->threads[thread];

	return verdict__rate(in, t) >= RATE && verdict__each_us(t) <= SHORT_US && one_place(in, thread) != NULL;
}

/* Others wait for these takes: that is told, with what it is that takes it so often. */
static bool is_told(const struct verdict *v, size_t thread)
{
	for (size_t i = 0; i < v->findings_n; i++)
		if (v->findings[i].pattern == PATTERN_SHORT_HOLDS && v->findings[i].thread == thread)
			return true;
	return false;
}

void verdict_busy_poller__find(const struct judging *j, struct verdict *v)
{
	const struct verdict_input *in = j->in;
	const struct verdict_place *place;
	size_t worst = SIZE_MAX;
	struct verdict_finding *f;
	char a[32];

	for (size_t i = 0; i < in->threads_n; i++)
		if (polls(in, i) && !is_told(v, i) && (worst == SIZE_MAX || rate_of(in, i) > rate_of(in, worst)))
			worst = i;
	if (worst == SIZE_MAX)
		return;
	place = one_place(in, worst);
	f = verdict__claim(v, PATTERN_BUSY_POLLER, worst);
	f->code = place->code;
	f->holder = worst;
	f->leads = j->bound == BOUND_NO;
	SAY(f->evidence, "%s takes the GIL %.0f times a second, for %s each on average, in %s: a loop that asks again and again, "
	    "or does very little per turn.", in->threads[worst].name, rate_of(in, worst),
	    verdict__ms(a, verdict__each_us(&in->threads[worst])), place->code);
	SAY(f->todo, "wait for the event itself there (a blocking get, a timeout, select) instead of asking again.");
	SAY(f->remedy, "Wait with a timeout on what is waited for (queue.get(timeout=...), Event.wait(), select) instead of "
	    "sleeping for nothing in a loop, or do more per turn (larger reads).");
}
