/* SPDX-License-Identifier: GPL-2.0-only */
/* It is not the GIL: the time goes elsewhere. */
#include "verdict_inside.h"

#include <math.h>
#include <stdint.h>

#define SOME_CPU 0.1 /* of a CPU, without the GIL: is said to be part of where the time goes */

/* What explains some waiting, but not where the time of a process goes that hardly waits. */
static bool leaves_time_unexplained(const struct verdict *v)
{
	for (size_t i = 0; i < v->findings_n; i++)
		if (v->findings[i].pattern != PATTERN_STARVED_HOLDER && v->findings[i].pattern != PATTERN_HANDOVER &&
		    v->findings[i].pattern != PATTERN_GARBAGE)
			return false;
	return true;
}

/* Somebody has it, and it is not known what for: no advice is better than a wrong one. */
static void held_unseen(const struct verdict_input *in, struct verdict *v)
{
	struct verdict_finding *f = verdict__claim(v, PATTERN_FINE, SIZE_MAX);

	SAY(f->evidence, "The GIL was held %.1f %% of the time, and of %.0f %% of that it is not known whether the holder ran.",
	    100 * in->util, 100 * verdict__unseen(&in->all));
	if (!isnan(in->cpu_us))
		SAY(f->evidence, " The process used %.1f %% of a CPU.", 100 * verdict__share(in, in->cpu_us));
	SAY(f->todo, "look at what the holder does now (gilscope dump).");
	SAY(f->remedy, "gilscope dump shows who has it, and what that thread does now.");
}

static void say_evidence(const struct verdict_input *in, struct verdict_finding *f)
{
	double cpu = verdict__share(in, in->cpu_us), outside = verdict__without_gil(in);

	if (isnan(in->util))
		SAY(f->evidence, "Hardly anybody waited for the GIL, %.2f threads on average", verdict__waiters(in));
	else
		SAY(f->evidence, "The GIL was free %.1f %% of the time", 100 * (1 - in->util));
	if (cpu < IDLE_CPU)
		SAY(f->evidence, ", and the process did next to nothing: it used %.1f %% of a CPU", 100 * cpu);
	else if (!isnan(cpu))
		SAY(f->evidence, ", and the process used %.1f %% of a CPU", 100 * cpu);
	if (outside >= IDLE_CPU)
		SAY(f->evidence, ", %.1f %% of it without the GIL", fmin(100, 100 * outside / cpu));
	SAY(f->evidence, ".");
}

static void say_remedy(const struct verdict_input *in, struct verdict_finding *f)
{
	double outside = verdict__without_gil(in);

	if (outside >= SOME_CPU)
		SAY(f->todo, "profile native code and system calls (perf): the GIL is not what limits it.");
	else
		SAY(f->todo, "look at what its threads wait for, not at the GIL: I/O, services, locks.");
	if (outside >= BUSY)
		SAY(f->remedy, "The time goes into native code that has released the GIL, or system calls: profile that (perf).");
	else if (outside >= SOME_CPU)
		SAY(f->remedy, "Part of the time goes into native code that has released the GIL, or system calls: profile that "
		    "(perf). The rest goes elsewhere: I/O, other services, locks, CPUs that are busy with others.");
	else
		SAY(f->remedy, "The time goes elsewhere: look at I/O, at other services and locks; gilscope dump shows where all "
		    "threads are.");
}

void verdict_fine__find(const struct judging *j, struct verdict *v)
{
	const struct verdict_input *in = j->in;
	struct verdict_finding *f;

	if (j->bound != BOUND_NO || !leaves_time_unexplained(v))
		return;
	if (in->util >= SOME_HELD && verdict__unseen(&in->all) >= 0.5) {
		held_unseen(in, v);
		return;
	}
	f = verdict__claim(v, PATTERN_FINE, SIZE_MAX);
	say_evidence(in, f);
	say_remedy(in, f);
}
