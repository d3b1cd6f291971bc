/* SPDX-License-Identifier: GPL-2.0-only */
/* Garbage collection: in whichever thread, for much of the time, or while others wait. */
#include "verdict_inside.h"

#include <math.h>
#include <stdint.h>

#define GC_TIME 0.05    /* of the time: garbage collection is a finding from here on, ... */
#define GC_WAITING 0.02 /* ... or where others waited for it for so much of it, ... */
#define GC_SURE 2.0     /* ... standard errors of what is sampled left out */

static size_t worst_collector(const struct verdict_input *in)
{
	size_t worst = SIZE_MAX;

	for (size_t i = 0; i < in->threads_n; i++)
		if (in->threads[i].gc_us > 0 && (worst == SIZE_MAX || in->threads[i].gc_us > in->threads[worst].gc_us))
			worst = i;
	return worst;
}

/* How many collections there were, where that is known. */
static void say_collections(const struct verdict_input *in, struct verdict_finding *f)
{
	if (isnan(in->gc_n[0] + in->gc_n[1] + in->gc_n[2]))
		return;
	SAY(f->evidence, ", in %.0f full collection%s and %.0f of the young generations", in->gc_n[2],
	    in->gc_n[2] == 1 ? "" : "s", in->gc_n[0] + in->gc_n[1]);
}

static void say_longest(const struct verdict_input *in, struct verdict_finding *f)
{
	char a[32];

	if (in->gc_max_us > 0)
		SAY(f->evidence, ", the longest %s%s", isnan(in->gc_err_us) ? "" : "at least ", verdict__ms(a, in->gc_max_us));
}

/* What of the times of garbage collection is sure. */
static double surely(const struct verdict_input *in, double us)
{
	return us - (isnan(in->gc_err_us) ? 0 : GC_SURE * in->gc_err_us);
}

static void say_evidence(const struct judging *j, size_t worst, struct verdict_finding *f)
{
	const struct verdict_input *in = j->in;
	char a[32], b[32];

	SAY(f->evidence, "Garbage collection held the GIL for %s (%.0f %% of the time", verdict__ms(a, in->all.gc_us),
	    100 * verdict__share(in, in->all.gc_us));
	if (in->all.hold_us > 0)
		SAY(f->evidence, ", %.0f %% of all that it was held", 100 * in->all.gc_us / in->all.hold_us);
	SAY(f->evidence, ")");
	say_collections(in, f);
	say_longest(in, f);
	if (in->gc_wait_us > 0)
		SAY(f->evidence, "; others waited %s meanwhile", verdict__ms(b, in->gc_wait_us));
	SAY(f->evidence, ".");
	if (worst == SIZE_MAX)
		return;
	SAY(f->evidence, " %s ran the most of it, %s: a collection is run by whoever happens to make the object that is one too "
	    "many.", in->threads[worst].name, verdict__ms(b, in->threads[worst].gc_us));
	verdict_code__say(j, f, HOW_GC, SIZE_MAX);
}

void verdict_garbage_collection__find(const struct judging *j, struct verdict *v)
{
	const struct verdict_input *in = j->in;
	size_t worst = worst_collector(in);
	struct verdict_finding *f;
	char a[32];

	if (!(surely(in, in->all.gc_us) >= GC_TIME * in->observed_us) &&
	    !(surely(in, in->gc_wait_us) >= GC_WAITING * in->observed_us) &&
	    !verdict__explains(j, surely(in, j->how_us[HOW_GC])))
		return;
	f = verdict__claim(v, PATTERN_GARBAGE, worst);
	f->waited_us = j->how_us[HOW_GC];
	say_evidence(j, worst, f);
	if (!isnan(in->gc_err_us))
		SAY(f->evidence, " These times are sampled, give or take %s.", verdict__ms(a, in->gc_err_us));
	SAY(f->todo, "gc.freeze() after start-up, larger gc.set_threshold(), and no gc.collect() while others wait.");
	SAY(f->remedy, "gc.freeze() once all is loaded that stays takes it out of every collection. gc.set_threshold() with "
	    "larger numbers makes them rarer; gc.disable() around what is urgent, and gc.collect() where a pause hurts nobody, "
	    "moves them. What has no cycles is freed without.");
}
