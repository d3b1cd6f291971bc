/* SPDX-License-Identifier: GPL-2.0-only */
/* Several threads compute bytecode and take the GIL from each other. */
#include "verdict_inside.h"

#include <stdint.h>

#define WORKER_HOLD 0.1        /* of the time: who holds that much and is forced to let go computes */
#define SMALL_WORKER_HOLD 0.01 /* where there are many, each has little: they count if together ... */
#define SMALL_WORKERS_HOLD 0.5 /* ... they have that much */

struct workers {
	double floor; /* of the time: what each holds at least */
	size_t n, heaviest;
	double held_us, forced;
};

static bool is_worker(const struct judging *j, size_t thread, double floor)
{
	const struct verdict_load *t = &j->in->threads[thread];

	return verdict__share(j->in, t->hold_us) >= floor && t->forced >= FORCED_SHARE * t->n && t->forced >= 1 && j->holders &&
	       j->holders[thread].runs == HOW_ASKED;
}

/* Who holds that much of the time and is made to let go by others. */
static struct workers workers_above(const struct judging *j, double floor)
{
	struct workers w = {.floor = floor};

	for (size_t i = 0; i < j->in->threads_n; i++) {
		const struct verdict_load *t = &j->in->threads[i];

		if (!is_worker(j, i, floor))
			continue;
		if (!w.n++ || t->hold_us > j->in->threads[w.heaviest].hold_us)
			w.heaviest = i;
		w.held_us += t->hold_us;
		w.forced += t->forced;
	}
	return w;
}

/* What workers waited for workers that ran bytecode. */
static double waited_us(const struct judging *j, const struct workers *w)
{
	double us = 0;

	for (size_t i = 0; j->holders && i < j->in->pairs_n; i++) {
		const struct verdict_pair *p = &j->in->pairs[i];
		double blame = verdict_waiting__blame_of(j->in, p->holder);

		if (p->victim != p->holder && blame > 0 && is_worker(j, p->victim, w->floor))
			us += p->us * j->holders[p->holder].waited_us[HOW_ASKED] / blame;
	}
	return us;
}

void verdict_cpu_sharing__find(const struct judging *j, struct verdict *v)
{
	struct workers w = workers_above(j, WORKER_HOLD), small = workers_above(j, SMALL_WORKER_HOLD);
	const struct verdict_input *in = j->in;
	struct verdict_finding *f;

	if (w.n < 2 && verdict__share(in, small.held_us) >= SMALL_WORKERS_HOLD &&
	    in->threads[small.heaviest].hold_us < small.held_us / 2)
		w = small;
	if (w.n < 2 || !(verdict__waiters(in) >= SOME_WAITERS) ||
	    !verdict__may_compute(in, w.held_us - verdict_stuck__excused_us(in)))
		return;
	f = verdict__claim(v, PATTERN_CPU_SHARING, w.heaviest);
	f->waited_us = waited_us(j, &w);
	SAY(f->evidence, "%zu threads compute and share one GIL: together they held it %.1f %% of the time and had it taken away "
	    "%.0f times a second.", w.n, 100 * verdict__share(in, w.held_us), w.forced / (in->observed_us / 1e6));
	verdict_code__say(j, f, HOW_ASKED, SIZE_MAX);
	SAY(f->todo, "use processes instead of threads for that: they share one GIL.");
	SAY(f->remedy, "More threads do not make this faster. Use processes (multiprocessing, a prefork server), native code "
	    "that releases the GIL (numpy, compiled extensions), or a free-threaded Python.");
}
