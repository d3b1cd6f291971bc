/* SPDX-License-Identifier: GPL-2.0-only */
/* Holds that end before anybody asks, but too many of them: together they are what others wait for. */
#include "verdict_inside.h"

#include <stdint.h>

#define MANY 2000.0 /* takes a second */

/* Those that others waited for in that way at all. */
static size_t count(const struct judging *j, double *ret_share, double *ret_rate)
{
	size_t n = 0;

	*ret_share = *ret_rate = 0;
	for (size_t i = 0; j->holders && i < j->in->threads_n; i++) {
		if (!(j->holders[i].waited_us[HOW_UNASKED] >= EXPLAINS * j->how_us[HOW_UNASKED]))
			continue;
		n++;
		*ret_rate += verdict__rate(j->in, &j->in->threads[i]);
		*ret_share += verdict__rate(j->in, &j->in->threads[i]) * verdict__each_us(&j->in->threads[i]) / 1e6;
	}
	return n;
}

/* What calls Python back is seen now and then only: between the calls. */
static const struct operation *operation_of(const struct verdict_input *in, size_t thread)
{
	const struct operation *known = NULL;

	for (size_t i = 0; !known && i < in->places_n; i++)
		if (in->places[i].thread == thread)
			known = verdict_operation__of(&in->places[i]);
	return known;
}

void verdict_short_holds__find(const struct judging *j, struct verdict *v)
{
	size_t worst = verdict_waiting__worst(j, HOW_UNASKED), n;
	const struct verdict_input *in = j->in;
	struct verdict_finding *f;
	const struct operation *known;
	double share, rate;
	char a[32];

	if (worst == SIZE_MAX || !verdict__explains(j, j->how_us[HOW_UNASKED]))
		return;
	known = operation_of(in, worst);
	n = count(j, &share, &rate);
	f = verdict__claim(v, PATTERN_SHORT_HOLDS, worst);
	f->waited_us = j->how_us[HOW_UNASKED];
	SAY(f->evidence, "%s", in->threads[worst].name);
	verdict__say_more(f, n - 1);
	SAY(f->evidence, " let%s go of the GIL before others ask, but %s it %.0f times a second, %.1f %% of the time in all: "
	    "others waited %s for that.", n > 1 ? "" : "s", n > 1 ? "take" : "takes", rate, 100 * share,
	    verdict__ms(a, f->waited_us));
	verdict_code__say(j, f, HOW_UNASKED, SIZE_MAX);
	if (known && rate >= MANY) {
		SAY(f->evidence, " It %s.", known->what);
		SAY(f->todo, "%s", known->todo);
		SAY(f->remedy, "%s", known->remedy);
		return;
	}
	if (rate >= MANY) {
		SAY(f->todo, "have it taken less often: larger pieces per call, no C code that calls Python back for each item.");
		SAY(f->remedy, "Each take and each release has its price, for others too. A Python function that C code calls "
		    "for each item (of SQLite, ctypes, a parser) takes the GIL each time: let the C code do that itself (an "
		    "expression in SQL), or hand over many items at once. The same is true of a loop of very short reads or "
		    "sleeps.");
		return;
	}
	SAY(f->todo, "do less under the GIL there, or in larger pieces, or spread the work over processes.");
	SAY(f->remedy, "Each hold is short: what counts is their sum. Do less under the GIL there (larger pieces per call, "
	    "caching, native code that releases the GIL), or spread the work over processes.");
}
