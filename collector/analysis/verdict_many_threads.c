/* SPDX-License-Identifier: GPL-2.0-only */
/* A long queue: it makes every other cause worse, and explains no waiting by itself. */
#include "verdict_inside.h"

#include <stdint.h>

#define QUEUE 8.0

void verdict_many_threads__find(const struct judging *j, struct verdict *v)
{
	const struct verdict_input *in = j->in;
	struct verdict_finding *f;

	if (!(verdict__waiters(in) >= QUEUE))
		return;
	f = verdict__claim(v, PATTERN_MANY_THREADS, SIZE_MAX);
	SAY(f->evidence, "%.1f threads queue for the GIL on average: each has to let all others go first.", verdict__waiters(in));
	SAY(f->todo, "use fewer threads.");
	SAY(f->remedy, "A pool much smaller than %zu threads would do the same work with less waiting per task.", in->threads_n);
}
