/* SPDX-License-Identifier: GPL-2.0-only */
/* Holds that end before anybody asks, but too many of them: together they are what others wait for. */
#include "verdict_inside.h"

#include <stdint.h>

/* Those that others waited for in that way at all. */
static size_t count(const struct judging *j, double *ret_hold_us, double *ret_n)
{
	size_t n = 0;

	*ret_hold_us = *ret_n = 0;
	for (size_t i = 0; j->holders && i < j->in->threads_n; i++) {
		if (!(j->holders[i].waited_us[HOW_UNASKED] >= EXPLAINS * j->how_us[HOW_UNASKED]))
			continue;
		n++;
		*ret_hold_us += j->in->threads[i].hold_us;
		*ret_n += j->in->threads[i].n;
	}
	return n;
}

void verdict_short_holds__find(const struct judging *j, struct verdict *v)
{
	size_t worst = verdict_waiting__worst(j, HOW_UNASKED), n;
	const struct verdict_input *in = j->in;
	struct verdict_finding *f;
	double hold_us, holds;
	char a[32];

	if (worst == SIZE_MAX || !verdict__explains(j, j->how_us[HOW_UNASKED]))
		return;
	n = count(j, &hold_us, &holds);
	f = verdict__claim(v, PATTERN_SHORT_HOLDS, worst);
	f->waited_us = j->how_us[HOW_UNASKED];
	SAY(f->evidence, "%s", in->threads[worst].name);
	verdict__say_more(f, n - 1);
	SAY(f->evidence, " let%s go of the GIL before others ask, but %s it %.0f times a second, %.1f %% of the time in all: "
	    "others waited %s for that.", n > 1 ? "" : "s", n > 1 ? "take" : "takes", holds / (in->observed_us / 1e6),
	    100 * verdict__share(in, hold_us), verdict__ms(a, f->waited_us));
	verdict_code__say(j, f, HOW_UNASKED, SIZE_MAX);
	SAY(f->todo, "do less under the GIL there, or in larger pieces, or spread the work over processes.");
	SAY(f->remedy, "Each hold is short: what counts is their sum. Do less under the GIL there (larger pieces per call, "
	    "caching, native code that releases the GIL), or spread the work over processes.");
}
