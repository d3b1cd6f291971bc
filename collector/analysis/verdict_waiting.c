/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * All waiting, divided by holder and by what that did meanwhile: stuck, asleep, without a CPU, collecting garbage, running C code
 * that does not let go, bytecode that lets go when it is asked, or holds that end before anybody asks. Each nanosecond of it is
 * counted once, so that shares of findings are disjoint.
 *
 *   for whom  the pairs of victim and holder; or what its places say, if that is more (pairs are bounded)
 *   how       the kinds of time of its places; where there are none, those of its holds
 *   running   how late it lets go after a request, if that is known; else the lengths of its holds and of others' waits
 */
#include "verdict_inside.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "collector/series/overs.h"

#define LATE_WAIT 1.6       /* switch intervals, if one waits at a time: who waits for longer does not wait for bytecode */
#define ASKED_SHARE 0.2     /* of what it ran with the GIL: holds that others asked to end, at least a switch interval each */
#define BRIEF_US (1.5 * SWITCH_US)
#define IS_STARVED 0.5      /* of a thread's holds without a CPU: its longest one is taken to be of that kind, too */
#define SLEEPS 0.2          /* of a thread's holds asleep: its longest one may be of that kind */
#define PLACES_TELL 0.3     /* of what others waited for a thread: if its places have that much, they tell what it did */
#define SOME_EXTENSIONS 0.3 /* of what others waited while it ran: an extension's code was seen there */
#define EXTENSIONS 0.5
#define GC_EXPLAINS 0.5     /* of a thread's holds: what is long of them is that */

/* ---- for whom ---- */

static double paired(const struct verdict_input *in, size_t holder)
{
	double us = 0;

	for (size_t i = 0; i < in->pairs_n; i++)
		if (in->pairs[i].holder == holder && in->pairs[i].victim != holder)
			us += in->pairs[i].us;
	return us;
}

static double placed(const struct verdict_input *in, size_t holder, double us[TIME_KINDS])
{
	double all = 0;

	for (size_t k = 0; k < TIME_KINDS; k++)
		us[k] = 0;
	for (size_t i = 0; i < in->places_n; i++)
		for (size_t k = 0; in->places[i].thread == holder && k < TIME_KINDS; k++)
			us[k] += in->places[i].blame_us[k];
	for (size_t k = 0; k < TIME_KINDS; k++)
		all += us[k];
	return all;
}

double verdict_waiting__blame_of(const struct verdict_input *in, size_t holder)
{
	double us[TIME_KINDS];

	return fmax(paired(in, holder), placed(in, holder, us));
}

size_t verdict_waiting__worst_victim(const struct verdict_input *in, size_t holder)
{
	const struct verdict_pair *worst = NULL;

	for (size_t i = 0; i < in->pairs_n; i++)
		if (in->pairs[i].holder == holder && in->pairs[i].victim != holder && (!worst || in->pairs[i].us > worst->us))
			worst = &in->pairs[i];
	return worst ? worst->victim : SIZE_MAX;
}

/* ---- how it runs ---- */

/* Of what others waited while it ran, the share in places where an extension's code was seen. */
static double share_of_extensions(const struct verdict_input *in, size_t thread)
{
	double extensions = 0, all = 0;

	for (size_t i = 0; i < in->places_n; i++) {
		const struct verdict_place *p = &in->places[i];

		if (p->thread != thread)
			continue;
		all += p->blame_us[TIME_RUNS];
		extensions += p->extension && !p->gc ? p->blame_us[TIME_RUNS] : 0;
	}
	return all > 0 ? extensions / all : 0;
}

/*
 * Its longest holds may be others than those in which it runs: without a CPU, asleep. What is left of them on a CPU tells; where
 * it lacked one for most of its holds, the longest ones lacked it for even more, so twice as much must be left.
 */
static bool long_for_another_reason(const struct verdict_input *in, size_t thread)
{
	const struct verdict_load *t = &in->threads[thread];
	double kept_off = verdict__kept_off(t), left_us = t->hold_p99 * (1 - kept_off);

	if (verdict__asleep(t) >= SLEEPS && share_of_extensions(in, thread) < SOME_EXTENSIONS)
		return true;
	if (kept_off >= IS_STARVED)
		return !(left_us >= 2 * LONG_US);
	return kept_off >= MAY_BE_STARVED && t->forced >= FORCED_SHARE * t->n && !(left_us >= LONG_US);
}

static bool collects(const struct verdict_load *t)
{
	return t->gc_us > 0 && t->gc_us >= GC_EXPLAINS * t->hold_us;
}

static bool holds_long(const struct verdict_input *in, size_t thread)
{
	const struct verdict_load *t = &in->threads[thread];
	size_t victim = verdict_waiting__worst_victim(in, thread);

	return t->hold_max - verdict_stuck__excused_us(in) >= LONG_US && victim != SIZE_MAX &&
	       verdict__share(in, verdict_waiting__blame_of(in, thread)) >= LONG_BLAME &&
	       in->threads[victim].wait_max >= LONG_US && !long_for_another_reason(in, thread) && !collects(t);
}

/* Half of the waits of who waits for it the most, while somebody has the GIL, are longer than those for bytecode. */
static bool makes_wait_for_long(const struct verdict_input *in, size_t thread)
{
	size_t victim = verdict_waiting__worst_victim(in, thread);
	double handover = in->handover_us > 0 ? in->handover_us / in->all.wait_us : 0;
	double most_us = verdict__waiters(in) > 1 ? LONG_US * verdict__waiters(in) : LATE_WAIT * SWITCH_US;

	return victim != SIZE_MAX && !(verdict__kept_off(&in->threads[thread]) >= OFF_CPU) &&
	       !(verdict__asleep(&in->threads[thread]) >= OFF_CPU) &&
	       in->threads[victim].wait_p50 * (1 - handover) >= most_us;
}

/* Holds that others asked to end are little of what it ran, or it never held for as long as it takes to be asked. */
static bool is_hardly_asked(const struct verdict_load *t)
{
	double off = t->hold_blocked + t->hold_preempted + t->hold_stopped;

	return t->hold_p99 < SWITCH_US ||
	       (t->forced * SWITCH_US < ASKED_SHARE * (t->hold_us - (isnan(off) ? 0 : off)) && t->hold_p99 < BRIEF_US);
}

static enum how how_it_runs(const struct verdict_input *in, size_t thread)
{
	const struct verdict_load *t = &in->threads[thread];
	enum lets_go asked = overs__kind(t->over_n, t->over_late);

	if (is_hardly_asked(t))
		return HOW_UNASKED;
	if (collects(t)) /* how long it holds, and how late it lets go, is that */
		return HOW_ASKED;
	if (asked == LETS_GO_LATE || asked == LETS_GO_SOON)
		return asked == LETS_GO_LATE ? HOW_LATE : HOW_ASKED;
	/* Some of it lets go late: C code, or bytecode that was kept from its CPU in ways that nobody tells. */
	if (asked == LETS_GO_MIXED)
		return share_of_extensions(in, thread) >= EXTENSIONS ? HOW_LATE : HOW_ASKED;
	if (holds_long(in, thread) || makes_wait_for_long(in, thread))
		return HOW_LATE;
	/* Without a CPU bytecode holds for long as well: lengths tell nothing. */
	if (verdict__kept_off(t) >= OFF_CPU && share_of_extensions(in, thread) >= EXTENSIONS)
		return HOW_LATE;
	return HOW_ASKED;
}

/* ---- how ---- */

/* What a thread did while others waited, in parts of it all: by its holds, where no place tells. */
static void shares_of_holds(const struct verdict_load *t, double share[TIME_KINDS])
{
	double asleep = verdict__asleep(t), starved = verdict__starved(t), stopped = verdict__stopped(t), left;

	share[TIME_ASLEEP] = isnan(asleep) ? 0 : fmin(1, asleep);
	share[TIME_STARVED] = isnan(starved) ? 0 : fmin(1 - share[TIME_ASLEEP], starved);
	left = 1 - share[TIME_ASLEEP] - share[TIME_STARVED];
	share[TIME_STOPPED] = isnan(stopped) ? 0 : fmin(left, stopped);
	left -= share[TIME_STOPPED];
	share[TIME_UNSEEN] = fmin(left, verdict__unseen(t));
	share[TIME_RUNS] = left - share[TIME_UNSEEN];
}

static void shares_of(const struct verdict_input *in, size_t thread, double share[TIME_KINDS])
{
	double all = placed(in, thread, share);

	if (!(all > 0) || all < PLACES_TELL * paired(in, thread)) {
		shares_of_holds(&in->threads[thread], share);
		return;
	}
	for (size_t k = 0; k < TIME_KINDS; k++)
		share[k] /= all;
}

/*
 * What is not known of a thread's holds: little of it was as the rest is. More of it was no computing if the process had not the
 * CPU time for that: then it was off the CPU, as the rest that was.
 */
static void settle_unseen(const struct verdict_input *in, size_t thread, double share[TIME_KINDS])
{
	const struct verdict_load *t = &in->threads[thread];
	double off_us = (verdict__asleep(t) + verdict__kept_off(t)) * t->hold_us, unseen = share[TIME_UNSEEN];
	bool little = unseen < UNSEEN_SAID, ran = little || !(off_us > 0) || verdict__may_compute(in, t->hold_us - off_us);
	double as = share[TIME_ASLEEP] + share[TIME_STARVED] + share[TIME_STOPPED] + (ran ? share[TIME_RUNS] : 0);

	if (!(unseen > 0) || !(as > 0) || (ran && !little))
		return;
	share[TIME_ASLEEP] *= 1 + unseen / as;
	share[TIME_STARVED] *= 1 + unseen / as;
	share[TIME_STOPPED] *= 1 + unseen / as;
	share[TIME_RUNS] *= ran ? 1 + unseen / as : 1;
	share[TIME_UNSEEN] = 0;
}

/* Of the waiting for a thread that ran: garbage collection's part. */
static double collecting(const struct verdict_input *in, size_t thread, double runs_us)
{
	const struct verdict_load *t = &in->threads[thread];

	if (!(t->gc_us > 0) || !(in->all.gc_us > 0))
		return 0;
	if (in->gc_wait_us >= 0)
		return fmin(runs_us, in->gc_wait_us * t->gc_us / in->all.gc_us);
	return t->hold_us > 0 ? fmin(runs_us, runs_us * t->gc_us / t->hold_us) : 0;
}

static void divide_one(struct judging *j, size_t thread, double us)
{
	double *waited = j->holders[thread].waited_us, share[TIME_KINDS], gc_us;

	j->holders[thread].runs = how_it_runs(j->in, thread);
	if (verdict_stuck__is_holder(j->in, thread)) {
		waited[HOW_STUCK] = us;
		return;
	}
	shares_of(j->in, thread, share);
	settle_unseen(j->in, thread, share);
	gc_us = collecting(j->in, thread, us * share[TIME_RUNS]);
	waited[HOW_GC] = gc_us;
	waited[HOW_ASLEEP] = us * share[TIME_ASLEEP];
	waited[HOW_STARVED] = us * share[TIME_STARVED];
	waited[HOW_STOPPED] = us * share[TIME_STOPPED];
	waited[HOW_UNSEEN] = us * share[TIME_UNSEEN];
	waited[j->holders[thread].runs] = us * share[TIME_RUNS] - gc_us;
}

/* What has a holder: not more in all than that, whatever samples say. */
static double scale(const struct judging *j)
{
	const struct verdict_input *in = j->in;
	double held = in->all.wait_us - (isnan(in->handover_us) ? 0 : in->handover_us) - in->unknown_us, sum = 0;

	for (size_t i = 0; i < in->threads_n; i++)
		sum += verdict_waiting__blame_of(in, i);
	return sum > held && sum > 0 ? fmax(0, held) / sum : 1;
}

void verdict_waiting__divide(struct judging *j)
{
	double part = scale(j);

	j->holders = calloc(j->in->threads_n + 1, sizeof(*j->holders));
	for (size_t i = 0; j->holders && i < j->in->threads_n; i++) {
		divide_one(j, i, part * verdict_waiting__blame_of(j->in, i));
		for (size_t how = 0; how < HOW_COUNT; how++)
			j->how_us[how] += j->holders[i].waited_us[how];
	}
}

void verdict_waiting__free(struct judging *j)
{
	free(j->holders);
	j->holders = NULL;
}

size_t verdict_waiting__worst(const struct judging *j, enum how how)
{
	size_t worst = SIZE_MAX;
	double most = 0;

	for (size_t i = 0; j->holders && i < j->in->threads_n; i++)
		if (j->holders[i].waited_us[how] > most) {
			most = j->holders[i].waited_us[how];
			worst = i;
		}
	return worst;
}
