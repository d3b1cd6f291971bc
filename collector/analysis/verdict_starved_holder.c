/* SPDX-License-Identifier: GPL-2.0-only */
/* A holder that could run but has no CPU. */
#include "verdict_inside.h"

#include <stdint.h>

#define THROTTLED 0.05 /* of the time: then it is the limit, whoever else there is */

static bool is_much(const struct judging *j)
{
	return verdict__is_much(j->in, j->in->all.hold_preempted, j->in->all.wait_preempted);
}

static size_t worst_starved(const struct verdict_input *in)
{
	size_t worst = SIZE_MAX;

	for (size_t i = 0; i < in->threads_n; i++)
		if (in->threads[i].hold_preempted > 0 &&
		    (worst == SIZE_MAX || in->threads[i].hold_preempted > in->threads[worst].hold_preempted))
			worst = i;
	return worst;
}

void verdict_starved_holder__find(const struct judging *j, struct verdict *v)
{
	const struct verdict_input *in = j->in;
	size_t worst = worst_starved(in);
	struct verdict_finding *f;
	char a[32];

	if (worst == SIZE_MAX || (!is_much(j) && !verdict__explains(j, j->how_us[HOW_STARVED])))
		return;
	f = verdict__claim(v, PATTERN_STARVED_HOLDER, worst);
	f->waited_us = j->how_us[HOW_STARVED];
	SAY(f->evidence, "The GIL was held for %s (%.0f %% of the time) by threads that could have run but had no CPU, most "
	    "of it by %s.", verdict__ms(a, in->all.hold_preempted), 100 * verdict__share(in, in->all.hold_preempted),
	    in->threads[worst].name);
	verdict__say_who_waited(j, worst, f);
	verdict_code__say(j, f, HOW_STARVED, SIZE_MAX);
	if (in->cpu_users && in->cpu_users[0])
		SAY(f->evidence, " %s", in->cpu_users);
	if (in->throttled_us >= THROTTLED * in->observed_us) {
		SAY(f->todo, "raise the CPU limit of its cgroup (cpu.max): that stopped it for %s.",
		    verdict__ms(a, in->throttled_us));
		SAY(f->remedy, "The limit of its cgroup stops all of its threads, the holder of the GIL too, until the next "
		    "period begins. Raise or remove it, or let fewer threads compute at once: they use it up earlier.");
		return;
	}
	SAY(f->todo, "give the process more CPU (it may run on %d), or take load away.", in->cpus);
	SAY(f->remedy, "Too few CPUs: look at the machine's load and at the cgroup's limit (nr_throttled in its cpu.stat). "
	    "Give the process more CPU, or take load away; it may run on %d.", in->cpus);
}
