/* SPDX-License-Identifier: GPL-2.0-only */
/* A holder that a tracer, a signal or the freezer has stopped: not the program's doing. */
#include "verdict_inside.h"

#include <ctype.h>
#include <stdint.h>
#include <stdio.h>

static bool is_much(const struct judging *j)
{
	return verdict__is_much(j->in, j->in->all.hold_stopped, j->in->all.wait_stopped);
}

static size_t worst_stopped(const struct verdict_input *in)
{
	size_t worst = SIZE_MAX;

	for (size_t i = 0; i < in->threads_n; i++)
		if (in->threads[i].hold_stopped > 0 &&
		    (worst == SIZE_MAX || in->threads[i].hold_stopped > in->threads[worst].hold_stopped))
			worst = i;
	return worst;
}

/* "py-spy (PID 4711)": who stops holders the most, or "something". Whether it is a tracer. */
static bool who_stops(const struct verdict_input *in, char words[WHYS_WORDS_SIZE])
{
	const struct why *most = in->whys ? whys__most(in->whys, true) : NULL;
	char one[WHY_WORDS_SIZE];

	if (most && most->kind == GIL_WHY_TRACER)
		return whys__tracers(in->whys, words)[0] != '\0';
	snprintf(words, WHYS_WORDS_SIZE, "%s", most ? why__words(most, one) : "Something");
	words[0] = (char)toupper((unsigned char)words[0]);
	return false;
}

/* What a tracer does to the program is not the program's doing; and two profilers at once are one too many. */
void verdict_stopped_holder__find(const struct judging *j, struct verdict *v)
{
	const struct verdict_input *in = j->in;
	size_t worst = worst_stopped(in);
	char who[WHYS_WORDS_SIZE], a[32];
	struct verdict_finding *f;

	if (worst == SIZE_MAX || verdict_stuck__is_claimed(v, PATTERN_STANDSTILL) ||
	    (!is_much(j) && !verdict__explains(j, j->how_us[HOW_STOPPED])))
		return;
	f = verdict__claim(v, PATTERN_STOPPED_HOLDER, worst);
	f->waited_us = j->how_us[HOW_STOPPED];
	SAY(f->todo, "find who stops it, and look with one profiler or debugger at a time.");
	if (who_stops(in, who))
		SAY(f->remedy, "Two profilers or debuggers at once disturb each other: what it does to the program is in all "
		    "numbers here, as holds and waits that the program alone would not have. Look with one at a time; py-spy "
		    "--nonblocking does not stop the program.");
	else
		SAY(f->remedy, "Find who stops the process (SIGSTOP, a shell's job control, the freezer of its control group).");
	SAY(f->evidence, "%s stopped the holder for %s (%.0f %% of the time), most of it %s.", who,
	    verdict__ms(a, in->all.hold_stopped), 100 * verdict__share(in, in->all.hold_stopped), in->threads[worst].name);
	verdict__say_who_waited(j, worst, f);
}
