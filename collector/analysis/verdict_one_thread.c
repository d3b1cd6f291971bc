/* SPDX-License-Identifier: GPL-2.0-only */
/* One thread computes, and hardly anybody waits: it is not the GIL. */
#include "verdict_inside.h"

#include <math.h>
#include <stdint.h>

static size_t heaviest_thread(const struct verdict_input *in)
{
	size_t best = SIZE_MAX;

	for (size_t i = 0; i < in->threads_n; i++)
		if (best == SIZE_MAX || in->threads[i].hold_us > in->threads[best].hold_us)
			best = i;
	return best;
}

/* Of what it held it was seen on a CPU for the most part, or wanting one; and the process used that much. */
static bool runs_mostly(const struct verdict_input *in, const struct verdict_load *t)
{
	double ours = t->hold_us - verdict_stuck__excused_us(in);
	double off = isnan(t->hold_blocked + t->hold_stopped) ? 0 : t->hold_blocked + t->hold_stopped;

	return verdict__unseen(t) < 0.5 && off - verdict_stuck__excused_us(in) < 0.5 * ours && verdict__may_compute(in, ours);
}

void verdict_one_thread__find(const struct judging *j, struct verdict *v)
{
	const struct verdict_input *in = j->in;
	size_t who = heaviest_thread(in);
	struct verdict_finding *f;

	if (!(in->util >= BUSY) || verdict__waiters(in) >= SOME_WAITERS || who == SIZE_MAX || verdict_stuck__is_holder(in, who) ||
	    verdict_stuck__is_claimed(v, PATTERN_BLOCKED_LOOP) || !runs_mostly(in, &in->threads[who]))
		return;
	f = verdict__claim(v, PATTERN_ONE_THREAD, who);
	SAY(f->evidence, "%s computes by itself (it held the GIL %.1f %% of the time) and hardly anybody wants it meanwhile: "
	    "%.2f threads waited on average.", in->threads[who].name, 100 * verdict__share(in, in->threads[who].hold_us),
	    verdict__waiters(in));
	verdict_code__say(j, f, j->holders ? j->holders[who].runs : HOW_ASKED, who);
	SAY(f->todo, "make that code faster, or spread the work over processes.");
	SAY(f->remedy, "The GIL is not what limits it: make that code faster, or spread the work over processes. gilscope flame "
	    "--weight hold shows where its time goes.");
}
