/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is judged is an average: of a process that has just begun, or that did something else at the end than at the beginning, it
 * tells neither of the two. That is said, so that somebody looks again.
 */
#include "verdict_inside.h"

#include <math.h>

#define YOUNG_US 10e6     /* most programs have imported and loaded what they need by then */
#define UTIL_CHANGED 0.4  /* of the time: how much more or less the GIL was held */
#define WAIT_CHANGED 1.0  /* threads on average, */
#define WAIT_TIMES 3.0    /* and so many times as many */

static bool is_other(double first, double last)
{
	return fabs(first - last) >= WAIT_CHANGED && fmax(first, last) >= WAIT_TIMES * fmin(first, last);
}

void verdict_change__say(const struct verdict_input *in, char *text, size_t size)
{
	const struct verdict_part *a = &in->first, *b = &in->last;
	char age[32];

	if (in->age_us > 0 && in->age_us < YOUNG_US)
		text__append(text, size, "It had started %s before: what was seen may be its start-up. ",
			     verdict__ms(age, in->age_us));
	if (!(a->us > 0) || !(b->us > 0))
		return;
	if (fabs(a->util - b->util) >= UTIL_CHANGED)
		text__append(text, size, "It changed meanwhile: in the first third of the time the GIL was held for %.0f %%, in "
			     "the last for %.0f %%; look again at the part that matters. ", 100 * a->util, 100 * b->util);
	else if (is_other(a->waiters, b->waiters))
		text__append(text, size, "It changed meanwhile: in the first third of the time %.1f threads waited on average, "
			     "in the last %.1f; look again at the part that matters. ", a->waiters, b->waiters);
}
