/* SPDX-License-Identifier: GPL-2.0-only */
/* C code that keeps the GIL though others ask for it; or a holder of which it is not known what it did meanwhile. */
#include "verdict_inside.h"

#include <math.h>
#include <stdint.h>

#include "collector/series/overs.h"

#define MOSTLY 0.5 /* of its holds */
#define P99_NEEDS 100  /* holds: of fewer the largest is all that there is to say */
#define P99_TELLS 0.95 /* of the largest: above it is no other number */

/* If it was mostly off the CPU and the process had no CPU time for all of its holds, what is not known of it is no C code. */
static double waited_unseen(const struct judging *j, size_t thread)
{
	const struct verdict_load *t = &j->in->threads[thread];
	double off = verdict__asleep(t) + verdict__kept_off(t);

	return off >= MOSTLY && !verdict__may_compute(j->in, t->hold_us) ? 0 : j->holders[thread].waited_us[HOW_UNSEEN];
}

static double waited_for(const struct judging *j, size_t thread)
{
	return j->holders[thread].waited_us[HOW_LATE] + waited_unseen(j, thread);
}

/* For all threads. */
static double waited_in_all(const struct judging *j)
{
	double us = 0;

	for (size_t i = 0; i < j->in->threads_n; i++)
		us += waited_for(j, i);
	return us;
}

/* The thread that others waited for the most in that way, and how many there are. */
static size_t worst_of(const struct judging *j, size_t *ret_n)
{
	size_t worst = SIZE_MAX;

	*ret_n = 0;
	for (size_t i = 0; j->holders && i < j->in->threads_n; i++) {
		if (!(verdict__share(j->in, waited_for(j, i)) >= LONG_BLAME) && !verdict__explains(j, waited_for(j, i)))
			continue;
		(*ret_n)++;
		if (worst == SIZE_MAX || waited_for(j, i) > waited_for(j, worst))
			worst = i;
	}
	return worst;
}

/* What it was, as far as that is known of all holds of the thread. */
static void say_kind(const struct judging *j, size_t worst, struct verdict_finding *f)
{
	const struct verdict_load *t = &j->in->threads[worst];
	const double *waited = j->holders[worst].waited_us;

	if (waited[HOW_UNSEEN] > waited[HOW_LATE])
		SAY(f->evidence, "C code that does not let go, or a holder that slept or had no CPU: which is not known%s",
		    verdict__may_compute(j->in, t->hold_us) ? "." : ", but the process had no CPU time for the first.");
	else if (verdict__kept_off(t) >= MAY_BE_STARVED && verdict__stopped(t) >= verdict__starved(t))
		SAY(f->evidence, "C code that does not let go, or a holder that was stopped: it was for %.0f %% of its holds.",
		    100 * verdict__stopped(t));
	else if (verdict__kept_off(t) >= MAY_BE_STARVED)
		SAY(f->evidence, "C code that does not let go, or a holder without a CPU: it lacked one for %.0f %% of its "
		    "holds.",
		    100 * verdict__starved(t));
	else if (isnan(verdict__starved(t)))
		SAY(f->evidence, "C code that does not let go, or a holder that slept or had no CPU.");
	else
		SAY(f->evidence, "C code that does not let go.");
}

static void say_evidence(const struct judging *j, size_t worst, struct verdict_finding *f)
{
	const struct verdict_load *t = &j->in->threads[worst];
	size_t victim = verdict_waiting__worst_victim(j->in, worst);
	char a[32], b[32];

	if (t->hold_max > 0)
		SAY(f->evidence, "%s kept the GIL for up to %s at a stretch", t->name, verdict__ms(a, t->hold_max));
	else
		SAY(f->evidence, "%s kept the GIL", t->name);
	if (t->hold_p99 >= LONG_US && t->n >= P99_NEEDS && t->hold_p99 < P99_TELLS * t->hold_max)
		SAY(f->evidence, " (p99 %s)", verdict__ms(a, t->hold_p99));
	SAY(f->evidence, " and so made others wait %s in all", verdict__ms(a, waited_for(j, worst)));
	if (victim != SIZE_MAX)
		SAY(f->evidence, ", %s the most, for up to %s at a time", j->in->threads[victim].name,
		    verdict__ms(a, j->in->threads[victim].wait_max));
	SAY(f->evidence, ". Python code that runs gives it up 5 ms after somebody asks: this is ");
	say_kind(j, worst, f);
	if (overs__kind(t->over_n, t->over_late) == LETS_GO_LATE)
		SAY(f->evidence, " Asked to let go %.0f times, it went on for %s on average, %s at most.", t->over_n,
		    verdict__ms(a, t->over_us / t->over_n), verdict__ms(b, t->over_max));
}

/* What is known to help against that very operation; else whoever wrote the extension can do something, if there is one. */
static void advise(const struct verdict_place *place, struct verdict_finding *f)
{
	const struct operation *known = place ? verdict_operation__of(place) : NULL;

	if (known) {
		SAY(f->evidence, " It %s.", known->what);
		SAY(f->todo, "%s", known->todo);
		SAY(f->remedy, "%s", known->remedy);
		return;
	}
	SAY(f->todo, place && !place->extension ? "do less at a time there, or in another process." :
	    "have that call release the GIL (Py_BEGIN_ALLOW_THREADS, \"with nogil\"), or run it in another process.");
	if (!place || place->extension)
		SAY(f->remedy, "An extension can release the GIL around it (Py_BEGIN_ALLOW_THREADS, \"with nogil\"). ");
	SAY(f->remedy, "What never does wants smaller pieces, or a process of its own.");
}

void verdict_long_hold__find(const struct judging *j, struct verdict *v)
{
	struct verdict_finding *f;
	size_t n, worst = worst_of(j, &n);

	if (worst == SIZE_MAX)
		return;
	f = verdict__claim(v, PATTERN_LONG_HOLD, worst);
	f->waited_us = waited_in_all(j);
	say_evidence(j, worst, f);
	verdict_code__say(j, f, j->how_us[HOW_LATE] >= j->how_us[HOW_UNSEEN] ? HOW_LATE : HOW_UNSEEN, SIZE_MAX);
	verdict__say_others(f, n - 1, "did the same");
	if (verdict__starved(&j->in->threads[worst]) >= MAY_BE_STARVED)
		SAY(f->remedy, "See first that it gets a CPU. If it stays so: ");
	if (!f->code)
		SAY(f->remedy, "Find the call: gilscope dump, while it lasts, shows the stack of who has the GIL. ");
	advise(verdict_code__named(j, f), f);
}
