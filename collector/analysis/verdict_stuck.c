/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See verdict_inside.h. Rests on what was seen by looking at the process (holding.h), not on probes: it stands still; the GIL's
 * holder is not there any more; one sleeps with the GIL and goes on doing so.
 */
#include "verdict_inside.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define STILL_SAID 0.05 /* of the time */
#define GONE_SAID 0.01
#define STUCK_PART 0.5  /* of the time: a hold that goes on has lasted so long, or began before anybody looked */
#define SECOND_NS 1e9

static double part(const struct verdict_input *in, double ns)
{
	return ns / 1e3 / in->observed_us;
}

double verdict_stuck__still_share(const struct verdict_input *in)
{
	return in->holding ? fmin(1, part(in, (double)holding__still_ns(in->holding))) : 0;
}

double verdict_stuck__excused_us(const struct verdict_input *in)
{
	return in->holding ? (double)holding__still_ns(in->holding) / 1e3 : 0;
}

bool verdict_stuck__is_claimed(const struct verdict *v, enum verdict_pattern pattern)
{
	for (size_t i = 0; i < v->findings_n; i++)
		if (v->findings[i].pattern == pattern)
			return true;
	return false;
}

bool verdict_stuck__for_ever(const struct verdict *v)
{
	return verdict_stuck__is_claimed(v, PATTERN_GONE_HOLDER) || verdict_stuck__is_claimed(v, PATTERN_STUCK_HOLDER);
}

/* ---- who waits ---- */

static void say_waiters(const struct verdict_input *in, const char *how, char *text, size_t size)
{
	if (in->waiting >= 0.5)
		text__append(text, size, " %.0f thread%s wait%s %s.", in->waiting, in->waiting < 1.5 ? "" : "s",
			     in->waiting < 1.5 ? "s" : "", how);
	else
		text__append(text, size, " Nobody waits for it.");
}

/* ---- the patterns ---- */

void verdict_standstill__find(const struct judging *j, struct verdict *v)
{
	const struct verdict_input *in = j->in;
	const struct holding *h = in->holding;
	enum standstill kind = h ? holding__mostly(h) : STANDSTILL_NONE;
	struct verdict_finding *f;
	char a[32];

	if (kind == STANDSTILL_NONE || !(in->observed_us > 0) || (verdict_stuck__still_share(in) < STILL_SAID && !h->standstill))
		return;
	f = verdict__claim(v, PATTERN_STANDSTILL, SIZE_MAX);
	SAY(f->evidence, "The process %s%s", h->standstill ? "" : "was seen to stand still: it ", standstill__words(kind));
	if (h->tracer)
		SAY(f->evidence, ", process %d", (int)h->tracer);
	SAY(f->evidence, ". For %s (%.0f %% of the time) at least none of its threads could run%s.",
	    verdict__ms(a, fmin(in->observed_us, verdict_stuck__excused_us(in))), 100 * verdict_stuck__still_share(in),
	    h->standstill ? "" : "; then it went on");
	SAY(f->remedy, "%s", standstill__remedy(kind));
	SAY(f->todo, "let it run again: it %s.", standstill__words(kind));
}

static void say_place(const struct judging *j, struct verdict_finding *f)
{
	if (j->in->holder != SIZE_MAX)
		verdict_code__say(j, f, HOW_STUCK, j->in->holder);
	if (!f->code && j->in->holding->place[0])
		SAY(f->evidence, " It is in %s.", j->in->holding->place);
}

static bool is_gone(const struct verdict_input *in)
{
	return in->holding && in->observed_us > 0 && holder_kind__is_gone(in->holding->by) &&
	       part(in, (double)in->holding->gone_ns) >= GONE_SAID;
}

/* Since before anybody looked, or for most of the time; and it does not move. */
static bool is_stuck(const struct verdict_input *in)
{
	const struct holding *h = in->holding;

	return h && in->observed_us > 0 && h->by == HOLDER_THREAD && !h->standstill && strchr("SD", h->task.letter) &&
	       h->task.letter && (h->before || part(in, (double)h->lasted_ns) >= STUCK_PART);
}

bool verdict_stuck__is_holder(const struct verdict_input *in, size_t thread)
{
	return is_gone(in) || (is_stuck(in) && thread == in->holder);
}

void verdict_gone_holder__find(const struct judging *j, struct verdict *v)
{
	const struct verdict_input *in = j->in;
	const struct holding *h = in->holding;
	struct verdict_finding *f;
	char a[32];

	if (!is_gone(in))
		return;
	f = verdict__claim(v, PATTERN_GONE_HOLDER, in->holder);
	f->waited_us = j->how_us[HOW_STUCK];
	SAY(f->evidence, "The GIL is held by %s", holder_kind__words(h->by));
	if (h->name[0])
		SAY(f->evidence, " (%s)", h->name);
	SAY(f->evidence, ": nobody can take it, for %s at least.",
	    verdict__ms(a, fmin(in->observed_us, (double)h->gone_ns / 1e3)));
	say_waiters(in, "for ever", f->evidence, sizeof(f->evidence));
	if (h->place[0])
		SAY(f->evidence, " It was in %s.", h->place);
	SAY(f->todo, "restart the process: nobody can take the GIL again. Then see what ended its holder.");
	SAY(f->remedy, "%s", holder_kind__remedy(h->by));
}

void verdict_stuck_holder__find(const struct judging *j, struct verdict *v)
{
	const struct verdict_input *in = j->in;
	const struct holding *h = in->holding;
	struct verdict_finding *f;
	char words[TASK_DOING_SIZE], a[32];

	if (!is_stuck(in))
		return;
	f = verdict__claim(v, PATTERN_STUCK_HOLDER, in->holder);
	f->waited_us = j->how_us[HOW_STUCK];
	SAY(f->evidence, "%s has held the GIL %s%s%s and goes on: it is %s", h->name[0] ? h->name : "A thread",
	    h->before ? "since before gilscope looked, for " : "for ", verdict__ms(a, (double)h->lasted_ns / 1e3),
	    h->before ? " at least," : "", task_state__words(&h->task, words));
	if (!isnan(in->cpu_us))
		SAY(f->evidence, ", and the process used %.1f %% of a CPU", 100 * in->cpu_us / in->observed_us);
	SAY(f->evidence, ".");
	say_waiters(in, "for it", f->evidence, sizeof(f->evidence));
	say_place(j, f);
	SAY(f->todo, "find what that call waits for: who has to take the GIL first to end it never will (a deadlock).");
	SAY(f->remedy,
	    "Find what that call waits for, and who is to end it (gilscope dump shows all stacks). Who has to take the GIL first "
	    "to end it never will: that is a deadlock. Have the call release the GIL (Py_BEGIN_ALLOW_THREADS; ctypes.CDLL "
	    "instead of PyDLL).");
}
