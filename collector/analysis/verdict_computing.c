/* SPDX-License-Identifier: GPL-2.0-only */
/* Bytecode that computes in one thread or several, and lets go when it is asked: others are late by a switch interval. */
#include "verdict_inside.h"

#include <stdint.h>

/* What others waited for bytecode, but for those who compute themselves or are in a convoy: other patterns explain that. */
static double left_us(const struct judging *j, const struct verdict *v)
{
	double us = j->how_us[HOW_ASKED];

	for (size_t i = 0; i < v->findings_n; i++)
		if (v->findings[i].pattern == PATTERN_CPU_SHARING || v->findings[i].pattern == PATTERN_CONVOY)
			us -= v->findings[i].waited_us;
	return us;
}

static void say_evidence(const struct judging *j, size_t worst, struct verdict_finding *f)
{
	const struct verdict_load *t = &j->in->threads[worst];
	size_t victim = verdict_waiting__worst_victim(j->in, worst);
	char a[32];

	SAY(f->evidence, "%s computes in Python", t->name);
	if (t->hold_us > 0)
		SAY(f->evidence, " (it held the GIL %.1f %% of the time)", 100 * verdict__share(j->in, t->hold_us));
	SAY(f->evidence, " and lets go when it is asked, 5 ms after another begins to wait: others waited %s for that",
	    verdict__ms(a, f->waited_us));
	if (victim != SIZE_MAX)
		SAY(f->evidence, ", %s the most, half of its waits %s or longer", j->in->threads[victim].name,
		    verdict__ms(a, j->in->threads[victim].wait_p50));
	SAY(f->evidence, ".");
}

void verdict_computing__find(const struct judging *j, struct verdict *v)
{
	size_t worst = verdict_waiting__worst(j, HOW_ASKED);
	double us = left_us(j, v);
	struct verdict_finding *f;

	if (worst == SIZE_MAX || !verdict__explains(j, us))
		return;
	f = verdict__claim(v, PATTERN_COMPUTING, worst);
	f->waited_us = us;
	say_evidence(j, worst, f);
	verdict_code__say(j, f, HOW_ASKED, SIZE_MAX);
	SAY(f->todo, "move that computing to another process, or make it faster.");
	SAY(f->remedy, "Move that work to another process (multiprocessing, a task queue), or make it faster. Where it has to "
	    "stay, a shorter sys.setswitchinterval() (say 0.0005) lets others in sooner, at the cost of throughput.");
}
