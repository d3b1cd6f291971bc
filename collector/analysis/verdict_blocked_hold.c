/* SPDX-License-Identifier: GPL-2.0-only */
/* A holder that sleeps: in a system call or a page fault. */
#include "verdict_inside.h"

#include <math.h>
#include <stdint.h>

static bool is_much(const struct judging *j)
{
	const struct verdict_input *in = j->in;
	double stopped_us = in->all.hold_stopped > 0 ? in->all.hold_stopped : 0;
	double hold_us = in->all.hold_blocked - fmax(0, verdict_stuck__excused_us(in) - stopped_us);

	return verdict__is_much(in, hold_us, in->all.wait_blocked);
}

static size_t worst_sleeper(const struct verdict_input *in)
{
	size_t worst = SIZE_MAX;

	for (size_t i = 0; i < in->threads_n; i++)
		if (in->threads[i].hold_blocked > 0 &&
		    (worst == SIZE_MAX || in->threads[i].hold_blocked > in->threads[worst].hold_blocked))
			worst = i;
	return worst;
}

/* What most of it was in, where that is known. */
static const struct why *slept_in(const struct verdict_input *in, struct verdict_finding *f)
{
	const struct why *most = in->whys ? whys__most(in->whys, false) : NULL;
	char words[WHY_WORDS_SIZE], a[32];

	if (most)
		SAY(f->evidence, " They slept in %s for %s of that.", why__words(most, words), verdict__ms(a,
		    (double)most->ns / 1e3));
	return most;
}

static void advise(const struct why *most, struct verdict_finding *f)
{
	if (most && most->kind == GIL_WHY_FAULT) {
		SAY(f->todo, "give it memory: what it touches has to be brought in first (page faults).");
		SAY(f->remedy, "The program's memory is not there when it is touched: memory is short, or a file that is "
		    "mapped comes from slow storage.");
		return;
	}
	SAY(f->todo, "have that call release the GIL (ctypes.CDLL instead of PyDLL; Py_BEGIN_ALLOW_THREADS).");
	SAY(f->remedy, "This is a bug of an extension: it blocks (I/O, a lock, a sleep) without releasing the GIL. ");
	if (!f->code)
		SAY(f->remedy, "Find the call: gilscope dump, while it lasts, shows the stack of who has the GIL. ");
	SAY(f->remedy, "Have it release the GIL around the call (Py_BEGIN_ALLOW_THREADS; ctypes.CDLL instead of PyDLL).%s",
	    most ? "" : " If it is page faults, memory is short.");
}

void verdict_blocked_hold__find(const struct judging *j, struct verdict *v)
{
	const struct verdict_input *in = j->in;
	size_t worst = worst_sleeper(in);
	const struct why *most;
	struct verdict_finding *f;
	char a[32], b[32];

	if (worst == SIZE_MAX || verdict_stuck__is_holder(in, worst) ||
	    (!is_much(j) && !verdict__explains(j, j->how_us[HOW_ASLEEP])))
		return;
	f = verdict__claim(v, PATTERN_BLOCKED_HOLD, worst);
	f->waited_us = j->how_us[HOW_ASLEEP];
	SAY(f->evidence, "The GIL was held for %s (%.0f %% of the time) by threads that slept in a system call or a page "
	    "fault: by %s for %s.", verdict__ms(a, in->all.hold_blocked), 100 * verdict__share(in, in->all.hold_blocked),
	    in->threads[worst].name,
	    verdict__ms(b, in->threads[worst].hold_blocked));
	most = slept_in(in, f);
	verdict__say_who_waited(j, worst, f);
	verdict_code__say(j, f, HOW_ASLEEP, SIZE_MAX);
	advise(most, f);
}
