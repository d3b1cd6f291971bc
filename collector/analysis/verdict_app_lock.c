/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Threads that go through a lock of the application's one by one. What is seen of it: at nearly all looks threads are blocked in
 * one function, and one thread, never more, is inside of it. A queue that is written in C looks the same as long as each item is
 * taken when the last one is done, so the sentence says so.
 */
#include "verdict_inside.h"

#include <stdint.h>
#include <string.h>

#define LOOKS 10       /* at least */
#define NEARLY_ALL 0.8 /* of the looks, somebody is blocked */
#define MOSTLY 0.6     /* of those, one is inside */
#define HARDLY 0.2     /* of those, more than one is inside: a look takes some time, in which one goes and another comes */
#define BLOCKED 1.0    /* threads on average */

static bool is_serial(const struct verdict_gate *g)
{
	return g->share >= NEARLY_ALL && g->blocked >= BLOCKED && g->inside >= MOSTLY && g->crowded <= HARDLY;
}

/* Through how many threads' hands it goes. */
static size_t count_threads(const struct verdict_input *in, const char *code)
{
	size_t n = 0;

	for (size_t i = 0; i < in->stays_n; i++)
		n += in->stays[i].locked && strcmp(in->stays[i].code, code) == 0;
	return n;
}

static const struct verdict_gate *worst_gate(const struct verdict_input *in)
{
	const struct verdict_gate *worst = NULL;

	for (size_t i = 0; i < in->gates_n; i++)
		if (is_serial(&in->gates[i]) && count_threads(in, in->gates[i].code) >= 2 &&
		    (!worst || in->gates[i].blocked > worst->blocked))
			worst = &in->gates[i];
	return worst;
}

void verdict_app_lock__find(const struct judging *j, struct verdict *v)
{
	const struct verdict_gate *g = j->in->looks >= LOOKS ? worst_gate(j->in) : NULL;
	struct verdict_finding *f;

	if (!g)
		return;
	f = verdict__claim(v, PATTERN_APP_LOCK, SIZE_MAX);
	f->code = g->code;
	f->leads = j->bound == BOUND_NO;
	SAY(f->evidence, "At %.0f %% of %.0f looks threads were blocked in %s, %.1f of %zu on average, while one at a time was "
	    "inside of that function%s%s: a lock of the application (or a queue) lets them in one by one. It is not the GIL's.",
	    100 * g->share, j->in->looks, g->code, g->blocked, count_threads(j->in, g->code), g->held[0] ? ", " : "", g->held);
	SAY(f->todo, g->held[0] ? "hold that lock for less: nothing that sleeps belongs inside of it." :
	    "hold that lock for less, or give each part of the data a lock of its own.");
	SAY(f->remedy, "Take the lock only around what it protects, with no I/O and no sleep inside; or split it, so that "
	    "different data have different locks. More threads do not help: one at a time gets through.");
}
