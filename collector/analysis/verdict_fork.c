/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A process with much memory is forked: the kernel copies its tables of memory while the GIL is held, and the child takes a
 * CPU at once. Whether the parent ran meanwhile or lacked a CPU, the fork is what others waited for.
 */
#include "verdict_inside.h"

#include <stdint.h>

#define GIB (1024.0 * 1024)

/* Where it is not the GIL, as a long hold is much: of the time. */
static bool is_much(const struct judging *j)
{
	return verdict__explains(j, j->how_us[HOW_FORK]) || verdict__share(j->in, j->how_us[HOW_FORK]) >= LONG_BLAME;
}

static double starved_us(const struct judging *j)
{
	double us = 0;

	for (size_t i = 0; i < j->in->places_n; i++)
		if (verdict_operation__is_long_fork(j->in, &j->in->places[i]))
			us += j->in->places[i].blame_us[TIME_STARVED];
	return us;
}

void verdict_fork__find(const struct judging *j, struct verdict *v)
{
	size_t worst = verdict_waiting__worst(j, HOW_FORK), victim;
	const struct operation *operation = verdict_operation__fork();
	struct verdict_finding *f;
	double starved = starved_us(j);
	char a[32];

	if (worst == SIZE_MAX || !is_much(j))
		return;
	f = verdict__claim(v, PATTERN_FORK, worst);
	f->waited_us = j->how_us[HOW_FORK];
	f->leads = j->bound == BOUND_NO;
	victim = verdict_waiting__worst_victim(j->in, worst);
	SAY(f->evidence, "%s forks a process of %.1f GiB: its tables of memory are copied with the GIL held. Others waited %s "
	    "for that", j->in->threads[worst].name, j->in->rss_kib / GIB, verdict__ms(a, f->waited_us));
	if (victim != SIZE_MAX && j->in->threads[victim].wait_max > 0)
		SAY(f->evidence, ", %s the most, for up to %s at a time", j->in->threads[victim].name,
		    verdict__ms(a, j->in->threads[victim].wait_max));
	SAY(f->evidence, ".");
	verdict_code__say(j, f, HOW_FORK, SIZE_MAX);
	if (starved >= EXPLAINS * f->waited_us)
		SAY(f->evidence, " For %s of it the thread that forked lacked a CPU.", verdict__ms(a, starved));
	SAY(f->todo, "%s", operation->todo);
	SAY(f->remedy, "%s", operation->remedy);
}
