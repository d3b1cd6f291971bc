/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One hold is one cause. C code, or a garbage collection, that lacks a CPU for a part of the time is found twice: for how it
 * holds, and for what it lacks. The reader has one thing to mend: the code, if that would be long on a CPU as well; else the
 * CPUs.
 */
#include "verdict_inside.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#define OWN_PART 0.2 /* of what both explain: with less, a CPU would help more than another code */

static struct verdict_finding *find(struct verdict *v, enum verdict_pattern pattern)
{
	for (size_t i = 0; i < v->findings_n; i++)
		if (v->findings[i].pattern == pattern)
			return &v->findings[i];
	return NULL;
}

static void drop(struct verdict *v, struct verdict_finding *f)
{
	size_t at = (size_t)(f - v->findings);

	v->findings_n--;
	memmove(f, f + 1, (v->findings_n - at) * sizeof(*f));
}

/* The same function of the same thread; where no code is known, the same thread. */
static bool is_same_code(const struct judging *j, const struct verdict_finding *a, const struct verdict_finding *b)
{
	const struct verdict_place *x = verdict_code__named(j, a), *y = verdict_code__named(j, b);

	if (!x || !y)
		return a->thread != SIZE_MAX && a->thread == b->thread;
	return strcmp(x->function, y->function) == 0;
}

/* It would hold for long, had it a CPU all the time, and that is no small part of what others waited. */
static bool is_long_itself(const struct judging *j, const struct verdict_finding *code, const struct verdict_finding *lack)
{
	const struct verdict_load *t = &j->in->threads[code->thread];

	if (code->pattern == PATTERN_LONG_HOLD && t->over_n > 0 && t->over_us < t->over_n * (LONG_US - SWITCH_US))
		return false;
	return code->waited_us >= OWN_PART * (code->waited_us + lack->waited_us);
}

static void join(const struct judging *j, struct verdict *v, enum verdict_pattern pattern)
{
	struct verdict_finding *code = find(v, pattern), *lack = find(v, PATTERN_STARVED_HOLDER);
	char a[32];

	if (!code || !lack || code->thread == SIZE_MAX || !is_same_code(j, code, lack))
		return;
	if (is_long_itself(j, code, lack)) {
		if (lack->waited_us >= 1)
			SAY(code->evidence, " For %s more others waited while it had no CPU.",
			    verdict__ms(a, lack->waited_us));
		code->waited_us += lack->waited_us;
		drop(v, lack);
		return;
	}
	if (pattern != PATTERN_LONG_HOLD)
		return;
	SAY(lack->evidence, " It is C code that does not let go: for %s more others waited while it ran.",
	    verdict__ms(a, code->waited_us));
	lack->waited_us += code->waited_us;
	drop(v, code);
}

/* A fork makes a child that takes a CPU at once: that is no other cause. */
static void join_fork(struct verdict *v)
{
	struct verdict_finding *fork = find(v, PATTERN_FORK), *lack = find(v, PATTERN_STARVED_HOLDER);

	if (fork && lack && fork->thread == lack->thread && lack->waited_us < OWN_PART * (fork->waited_us + lack->waited_us))
		drop(v, lack);
}

void verdict_causes__join(const struct judging *j, struct verdict *v)
{
	join(j, v, PATTERN_LONG_HOLD);
	join(j, v, PATTERN_GARBAGE);
	join_fork(v);
}
