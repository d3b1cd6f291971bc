/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Callbacks that keep an event loop for long: all else on that loop waits, for no lock. One that sleeps is seen asleep in the
 * same sleep for long; one that computes keeps the GIL from one wait for events to the next, so that its holds are as long.
 */
#include "verdict_inside.h"

#include <stdint.h>
#include <string.h>

#define LOOKS 10           /* at least */
#define MUCH 0.3           /* of the looks, a callback ran */
#define LONG_SLEEP_US 30e3 /* seen in one sleep */
#define LONG_HOLD_US 20e3  /* its longer ones, without what it lacked the CPU for */

static const struct verdict_load *thread_of(const struct verdict_input *in, const char *name)
{
	for (size_t i = 0; i < in->threads_n; i++)
		if (strcmp(in->threads[i].name, name) == 0)
			return &in->threads[i];
	return NULL;
}

static double in_callbacks(const struct verdict_input *in, const char *name)
{
	double share = 0;

	for (size_t i = 0; i < in->stays_n; i++)
		if (in->stays[i].callback && strcmp(in->stays[i].name, name) == 0)
			share += in->stays[i].share;
	return share;
}

/* How long it keeps its loop at a time: a sleep at least, one in a hundred holds at least. 0: not long. */
static double keeps_us(const struct verdict_input *in, const struct verdict_stay *s)
{
	const struct verdict_load *t = thread_of(in, s->name);
	double off = t && t->hold_preempted > 0 ? verdict__starved(t) : 0, holds = t ? t->hold_p99 * (1 - off) : 0;

	if (s->call[0])
		return s->longest_us >= LONG_SLEEP_US ? s->longest_us : 0;
	return holds >= LONG_HOLD_US ? holds : 0;
}

static const struct verdict_stay *worst_stay(const struct verdict_input *in)
{
	const struct verdict_stay *worst = NULL;

	for (size_t i = 0; i < in->stays_n; i++) {
		const struct verdict_stay *s = &in->stays[i];

		if (s->callback && s->code[0] && keeps_us(in, s) > 0 && in_callbacks(in, s->name) >= MUCH &&
		    (!worst || s->share > worst->share))
			worst = s;
	}
	return worst;
}

void verdict_blocked_loop__find(const struct judging *j, struct verdict *v)
{
	const struct verdict_stay *s = j->in->looks >= LOOKS ? worst_stay(j->in) : NULL;
	const struct verdict_load *t;
	struct verdict_finding *f;
	char a[32];

	if (!s)
		return;
	t = thread_of(j->in, s->name);
	f = verdict__claim(v, PATTERN_BLOCKED_LOOP, t ? (size_t)(t - j->in->threads) : SIZE_MAX);
	f->code = s->code;
	f->leads = j->bound == BOUND_NO;
	SAY(f->evidence, "At %.0f %% of %.0f looks the event loop of %s was in a callback, mostly in %s", 100 *
	    in_callbacks(j->in, s->name), j->in->looks, s->name, s->code);
	if (s->call[0])
		SAY(f->evidence, ", asleep in %s for %s and more at a time", s->call, verdict__ms(a, keeps_us(j->in, s)));
	else
		SAY(f->evidence, ", which computes, for up to %s at a time", verdict__ms(a, keeps_us(j->in, s)));
	SAY(f->evidence, ". Nothing else on that loop runs meanwhile. It is not the GIL's.");
	SAY(f->todo, s->call[0] ? "await that instead, or run it with asyncio.to_thread() or an executor." :
	    "compute that in a process (ProcessPoolExecutor), or in pieces that await in between.");
	SAY(f->remedy, "Nothing in a coroutine may block: await an asynchronous call instead of a blocking one, hand what blocks "
	    "to asyncio.to_thread() or an executor, and what computes to a process. PYTHONASYNCIODEBUG=1 names slow callbacks.");
}
