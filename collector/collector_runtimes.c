/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which of several Pythons in one process is observed (struct runtimes in target.h): said at the beginning, and again when
 * another gets an interpreter. One of them is observed at a time; where it has no interpreter, a host that loads both and starts
 * the other later is observed anew from there.
 */
#include "collector_inside.h"

void runtimes__tell(struct collector *c, struct observed *o)
{
	char text[RUNTIMES_TEXT_SIZE];

	if (runtimes__text(&o->target->runtimes, text)[0])
		collector__notice(c, o, "%s", text);
}

static const struct runtime *another_that_runs(const struct runtimes *r)
{
	for (size_t i = 0; i < r->n; i++)
		if (i != r->chosen && r->of[i].state == RUNTIME_RUNS)
			return &r->of[i];
	return NULL;
}

void runtimes__mind(struct collector *c, struct observed *o)
{
	struct runtimes *r = &o->target->runtimes, before = *r;

	if (!r->n || !runtimes__look(r, o->target->pid))
		return;
	for (size_t i = 0; i < r->n; i++)
		if (i != r->chosen && r->of[i].state == RUNTIME_RUNS && before.of[i].state != RUNTIME_RUNS)
			collector__notice(c, o, "another Python of process %d has an interpreter now: CPython %s in %s",
					  (int)o->target->pid, r->of[i].python, r->of[i].path);
	if (r->of[r->chosen].state == RUNTIME_IDLE && another_that_runs(r))
		procs__begin_anew(c, o);
}
