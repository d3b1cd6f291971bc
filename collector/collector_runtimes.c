/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which of several Pythons in one process is observed (struct runtimes in target.h): said at the beginning, and again when
 * another gets an interpreter, or is loaded. One of them is observed at a time; where it has no interpreter, a host that loads
 * both and starts the other later is observed anew from there.
 */
#include "collector_inside.h"

#include "collector/base/clock.h"

#define HUNT_PART 100 /* of the time at most is spent on looking through mappings */

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

static void tell_loaded(struct collector *c, struct observed *o, size_t n)
{
	const struct runtimes *r = &o->target->runtimes;

	for (size_t i = r->n - n; i < r->n; i++)
		collector__notice(c, o, "process %d has loaded another Python: CPython %s in %s", (int)o->target->pid,
				  r->of[i].python, r->of[i].path);
	observed__tell_runtimes(o, &c->shop);
}

/* A library, or whatever else that can be executed, was mapped since the last look, or went: a Python may be among them. */
static void hunt(struct collector *c, struct observed *o)
{
	uint64_t kib = target__libraries_kib(o->target->pid), begun = clock__mono_ns(), end;
	size_t n;

	if (!kib || kib == o->libraries_kib || begun < c->shop.next_hunt)
		return;
	o->libraries_kib = kib;
	n = target__list_loaded_runtimes(o->target, c->shop.memory);
	end = clock__mono_ns();
	c->shop.next_hunt = end + HUNT_PART * (end - begun);
	if (n)
		tell_loaded(c, o, n);
}

void runtimes__mind(struct collector *c, struct observed *o)
{
	struct runtimes *r = &o->target->runtimes, before;

	hunt(c, o);
	before = *r;
	if (!r->n || !runtimes__look(r, o->target->pid))
		return;
	for (size_t i = 0; i < r->n; i++)
		if (i != r->chosen && r->of[i].state == RUNTIME_RUNS && before.of[i].state != RUNTIME_RUNS)
			collector__notice(c, o, "another Python of process %d has an interpreter now: CPython %s in %s",
					  (int)o->target->pid, r->of[i].python, r->of[i].path);
	if (r->of[r->chosen].state == RUNTIME_IDLE && another_that_runs(r))
		procs__begin_anew(c, o);
}
