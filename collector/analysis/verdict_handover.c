/* SPDX-License-Identifier: GPL-2.0-only */
/* Nobody held it for much of the waiting: the next thread was not there yet. */
#include "verdict_inside.h"

#include <stdint.h>

#define HANDOVER_SHARE 0.25 /* of the waiting */
#define HANDOVER_WAITERS 0.2

void verdict_handover__find(const struct judging *j, struct verdict *v)
{
	const struct verdict_input *in = j->in;
	double part = in->handover_us / in->all.wait_us;
	struct verdict_finding *f;
	char a[32];

	if (((!(verdict__waiters(in) >= HANDOVER_WAITERS) || !(part >= HANDOVER_SHARE)) &&
	     !verdict__explains(j, in->handover_us)) ||
	    verdict_stuck__still_share(in) >= STOOD_STILL_PARTLY)
		return;
	f = verdict__claim(v, PATTERN_HANDOVER, SIZE_MAX);
	f->waited_us = in->handover_us;
	SAY(f->evidence, "During %.0f %% of the waiting (%s) nobody held the GIL: it was free, and the next thread was still "
	    "being woken or had no CPU.", 100 * part, verdict__ms(a, in->handover_us));
	SAY(f->todo, "release the GIL less often (fewer threads, larger pieces), or give the process more CPU.");
	SAY(f->remedy, "Many short releases cost a wake-up each: fewer threads or larger pieces of I/O per call. If the "
	    "machine's CPUs are all busy, or a cgroup limits them, give it more.");
}
