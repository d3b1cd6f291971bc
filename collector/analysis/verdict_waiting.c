/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * All waiting, divided by holder and by what that did meanwhile: stuck, asleep, without a CPU, collecting garbage, running C code
 * that does not let go, bytecode that lets go when it is asked, or holds that end before anybody asks. Each nanosecond of it is
 * counted once, so that shares of findings are disjoint.
 *
 *   for whom  the pairs of victim and holder; or what its places say, if that is more (pairs are bounded)
 *   how       the kinds of time of its places; where there are none, those of its holds
 *   running   how late it lets go after a request, if that is known; else what was seen of its code, and lengths that leave no
 *             other way; else it is not certain, and no finding explains it
 */
#include "verdict_inside.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "collector/series/overs.h"

#define ASKED_SHARE 0.2     /* of what it ran with the GIL: holds that others asked to end, at least a switch interval each */
#define BRIEF_US (1.5 * SWITCH_US)
#define OVER_BRIEF_US (0.5 * SWITCH_US) /* late by less on average, it was no long C code, if it ran for no longer either */
#define ENOUGH_ASKED 12     /* times that it was asked, where nothing but that tells of bytecode, */
#define SOON_US 200.0       /* and that it let go so soon, on average and but for one time */
#define PLACES_TELL 0.3     /* of what others waited for a thread: if its places have that much, they tell what it did */
#define EXTENSIONS 0.5      /* of what others waited while it ran: an extension's code was seen there */
#define GC_EXPLAINS 0.5     /* of a thread's holds: what is long of them is that */
#define BYTECODE_US (2 * SWITCH_US) /* a waiter waits for as long at most for one thread's bytecode */
#define BRIEF_RATE 1000.0   /* takes a second */
#define BRIEF_HOLD_US 500.0 /* on average */
#define HAD_CPUS 0.9        /* of all holds: CPU time of the process, where it is not known who lacked a CPU when */
#define ONE_WAITS 0.7       /* threads on average: no queue, so that a wait is for one holder */
#define FORCED_SOON 1.4     /* switch intervals: nearly all waits for bytecode are that long, if one waits at a time */

/* ---- for whom ---- */

static double paired(const struct verdict_input *in, size_t holder)
{
	double us = 0;

	for (size_t i = 0; i < in->pairs_n; i++)
		if (in->pairs[i].holder == holder && in->pairs[i].victim != holder)
			us += in->pairs[i].us;
	return us;
}

/* In places where it forks, or in all others. */
static double placed_in(const struct verdict_input *in, size_t holder, bool forks, double us[TIME_KINDS])
{
	double all = 0;

	for (size_t k = 0; k < TIME_KINDS; k++)
		us[k] = 0;
	for (size_t i = 0; i < in->places_n; i++) {
		const struct verdict_place *p = &in->places[i];

		if (p->thread != holder || verdict_operation__is_long_fork(in, p) != forks)
			continue;
		for (size_t k = 0; k < TIME_KINDS; k++)
			us[k] += p->blame_us[k];
	}
	for (size_t k = 0; k < TIME_KINDS; k++)
		all += us[k];
	return all;
}

double verdict_waiting__blame_of(const struct verdict_input *in, size_t holder)
{
	double us[TIME_KINDS];

	return fmax(paired(in, holder), placed_in(in, holder, false, us) + placed_in(in, holder, true, us));
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

static bool collects(const struct verdict_load *t)
{
	return t->gc_us > 0 && t->gc_us >= GC_EXPLAINS * t->hold_us;
}

/* Asleep, without a CPU, stopped; 0 where that is not known. */
static double off_us(const struct verdict_load *t)
{
	double off = t->hold_blocked + t->hold_preempted + t->hold_stopped;

	return isnan(off) ? 0 : off;
}

/* Of what it held it lacked the CPU for some, or slept: lengths have that in them. */
static bool is_often_off(const struct verdict_load *t)
{
	return verdict__asleep(t) + verdict__kept_off(t) + verdict__unseen(t) >= OFF_CPU;
}

/* Of its holds, or of what is known of them: whoever held had a CPU, as far as the CPU time of the process tells. */
static bool had_cpus(const struct verdict_input *in)
{
	double held_us = isnan(in->all.hold_us) ? in->about_held * in->observed_us : in->all.hold_us;

	return isnan(in->cpu_us) || (held_us > 0 && in->cpu_us >= HAD_CPUS * held_us);
}

/*
 * It would not have been asked, had it not lacked a CPU: it runs for less than a switch interval at a time, and ends soon after,
 * though not at once, as bytecode does.
 */
static bool is_asked_for_lack_of_cpus(const struct verdict_load *t)
{
	return verdict__kept_off(t) >= OFF_CPU && t->hold_us - off_us(t) < t->n * SWITCH_US &&
	       t->over_us < t->over_n * OVER_BRIEF_US;
}

/* Holds that others asked to end are little of what it ran, or it never held for as long as it takes to be asked. */
static bool is_hardly_asked(const struct verdict_load *t)
{
	return t->hold_p99 < SWITCH_US ||
	       (t->forced * SWITCH_US < ASKED_SHARE * (t->hold_us - off_us(t)) && t->hold_p99 < BRIEF_US);
}

/* Where single holds are unknown: as long as they were counted they were too many and too short to be asked for. */
static bool is_brief(const struct verdict_input *in, size_t thread)
{
	const struct verdict_load *t = &in->threads[thread];
	size_t victim = verdict_waiting__worst_victim(in, thread);

	return isnan(t->hold_p99) && t->rate >= BRIEF_RATE && t->brief_us < BRIEF_HOLD_US && victim != SIZE_MAX &&
	       in->threads[victim].wait_p99 < BYTECODE_US;
}

/* How many threads it waits for. */
static size_t count_holders(const struct verdict_input *in, size_t victim)
{
	size_t n = 0;

	for (size_t i = 0; i < in->pairs_n; i++)
		n += in->pairs[i].victim == victim && in->pairs[i].holder != victim;
	return n;
}

/*
 * Most holds are long, and most waits of who waits for it the most: both as bytecode's never are that is asked. That somebody
 * waited is no request, so neither the longest hold nor the longest wait tells anything.
 */
static bool is_long_as_a_rule(const struct verdict_input *in, size_t thread)
{
	const struct verdict_load *t = &in->threads[thread];
	size_t victim = verdict_waiting__worst_victim(in, thread);
	double most_us = fmax(LONG_US, BYTECODE_US * (double)count_holders(in, victim));

	return victim != SIZE_MAX && !is_often_off(t) && had_cpus(in) && in->threads[victim].wait_p50 >= most_us &&
	       (isnan(t->hold_p50) || t->hold_p50 >= LONG_US);
}

/* Nobody queues, and nearly all waits last for a switch interval and hardly more, whoever holds. */
static bool is_forced_soon(const struct verdict_input *in, size_t thread)
{
	size_t victim = verdict_waiting__worst_victim(in, thread);
	const struct verdict_load *v = &in->threads[victim == SIZE_MAX ? thread : victim];

	return victim != SIZE_MAX && verdict__waiters(in) < ONE_WAITS && v->wait_p50 >= SWITCH_US &&
	       v->wait_p99 < FORCED_SOON * SWITCH_US;
}

/*
 * Without requests that tell, only what was seen of its code does, and lengths that leave no other way. Else nothing is certain:
 * neither is a thread's longest hold, which may have lacked a CPU, slept, or been wanted by nobody.
 */
static enum how runs_as_it_seems(const struct verdict_input *in, size_t thread)
{
	const struct verdict_load *t = &in->threads[thread];

	if (is_often_off(t) && t->hold_us - off_us(t) < t->n * SWITCH_US)
		return HOW_UNSURE;
	if (share_of_extensions(in, thread) >= EXTENSIONS || is_long_as_a_rule(in, thread))
		return HOW_LATE;
	return is_forced_soon(in, thread) ? HOW_ASKED : HOW_UNSURE;
}

/* By how often it is late; but what is late rarely, and for so long that it is most of what others wait, is C code as well. */
static enum lets_go lets_go(const struct verdict_load *t)
{
	enum lets_go kind = overs__kind(t->over_n, t->over_late);

	return kind != LETS_GO_UNKNOWN && t->over_us >= t->over_n * SWITCH_US ? LETS_GO_LATE : kind;
}

/* As a rule, for a switch interval and more on average; and what it lacked its CPU is not in that. */
static bool is_late_by_code(const struct verdict_input *in, size_t thread)
{
	const struct verdict_load *t = &in->threads[thread];
	double us[TIME_KINDS];

	return placed_in(in, thread, false, us) > 0 && lets_go(t) == LETS_GO_LATE && t->over_us >= t->over_n * SWITCH_US;
}

/*
 * In light mode its holds are not known, and how late it lets go is, with what it lacked its CPU in it, at times: a process that
 * had CPUs for all that was held lacked none to speak of. Where there are places, switches of holders were looked at, and so
 * lateness that no bytecode has tells in any case. C calls that end soon after a switch interval look like bytecode once, not
 * again and again.
 */
static enum how runs_in_light(const struct verdict_input *in, size_t thread)
{
	const struct verdict_load *t = &in->threads[thread];
	bool soon = t->over_n >= ENOUGH_ASKED && t->over_us - t->over_max < (t->over_n - 1) * SOON_US;

	if (!had_cpus(in))
		return is_late_by_code(in, thread) ? HOW_LATE : runs_as_it_seems(in, thread);
	switch (lets_go(t)) {
	case LETS_GO_SOON:
		return soon && share_of_extensions(in, thread) < EXTENSIONS ? HOW_ASKED : HOW_UNSURE;
	case LETS_GO_LATE:
		return HOW_LATE;
	default:
		return runs_as_it_seems(in, thread);
	}
}

static enum how how_it_runs(const struct verdict_input *in, size_t thread)
{
	const struct verdict_load *t = &in->threads[thread];

	if (is_hardly_asked(t) || is_brief(in, thread))
		return HOW_UNASKED;
	if (collects(t)) /* how long it holds, and how late it lets go, is that */
		return HOW_ASKED;
	if (isnan(t->hold_us) && t->over_n > 0)
		return runs_in_light(in, thread);
	switch (lets_go(t)) {
	case LETS_GO_SOON:
		return share_of_extensions(in, thread) >= EXTENSIONS && is_asked_for_lack_of_cpus(t) ? HOW_UNASKED : HOW_ASKED;
	case LETS_GO_LATE:
		if (is_asked_for_lack_of_cpus(t))
			return HOW_UNASKED;
		/* Where it is not known when it lacked a CPU, it may have let go late for that. */
		return isnan(verdict__kept_off(t)) && !had_cpus(in) ? runs_as_it_seems(in, thread) : HOW_LATE;
	case LETS_GO_MIXED:
		/* Some of it lets go late: C code, or bytecode that was kept from its CPU in ways that nobody tells. */
		if (share_of_extensions(in, thread) < EXTENSIONS)
			return isnan(verdict__kept_off(t)) ? HOW_UNSURE : HOW_ASKED;
		return is_asked_for_lack_of_cpus(t) ? HOW_UNASKED : HOW_LATE;
	default:
		return runs_as_it_seems(in, thread);
	}
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
	double all = placed_in(in, thread, false, share), us[TIME_KINDS], forking = placed_in(in, thread, true, us);

	if (!(all > 0) || all + forking < PLACES_TELL * paired(in, thread)) {
		shares_of_holds(&in->threads[thread], share);
		return;
	}
	for (size_t k = 0; k < TIME_KINDS; k++)
		share[k] /= all;
	/* Of a hold from before it was looked at, its thread's own account may be known where that of its place is not. */
	if (share[TIME_UNSEEN] >= verdict__unseen(&in->threads[thread]) + UNSEEN_SAID)
		shares_of_holds(&in->threads[thread], share);
}

/*
 * What is not known of a thread's holds: little of it was as the rest is. More of it was no computing if the process had not the
 * CPU time for that: then it was off the CPU, as the rest that was.
 */
static void settle_unseen(const struct verdict_input *in, size_t thread, double share[TIME_KINDS])
{
	const struct verdict_load *t = &in->threads[thread];
	double off = off_us(t), unseen = share[TIME_UNSEEN];
	bool little = unseen < UNSEEN_SAID, ran = little || !(off > 0) || verdict__may_compute(in, t->hold_us - off);
	double as = share[TIME_ASLEEP] + share[TIME_STARVED] + share[TIME_STOPPED] + (ran ? share[TIME_RUNS] : 0);

	if (!(unseen > 0) || !(as > 0) || (ran && !little))
		return;
	share[TIME_ASLEEP] *= 1 + unseen / as;
	share[TIME_STARVED] *= 1 + unseen / as;
	share[TIME_STOPPED] *= 1 + unseen / as;
	share[TIME_RUNS] *= ran ? 1 + unseen / as : 1;
	share[TIME_UNSEEN] = 0;
}

/* Of the waiting for a thread: the part that was for its forks. */
static double share_of_forks(const struct verdict_input *in, size_t thread)
{
	double us[TIME_KINDS], forking = placed_in(in, thread, true, us), all = forking + placed_in(in, thread, false, us);

	return all > 0 && all >= PLACES_TELL * paired(in, thread) ? forking / all : 0;
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

/*
 * Whether what is not known of its holds may have been a long one: not where it never had one, nor where it is known to let go
 * soon or unasked. Then it lacked a CPU, slept, or was as the rest.
 */
static bool may_be_long(const struct judging *j, size_t thread)
{
	enum how runs = j->holders[thread].runs;

	return j->in->threads[thread].hold_max >= LONG_US && (runs == HOW_LATE || runs == HOW_UNSURE);
}

static void divide_one(struct judging *j, size_t thread, double us)
{
	double *waited = j->holders[thread].waited_us, share[TIME_KINDS], gc_us;

	j->holders[thread].runs = how_it_runs(j->in, thread);
	if (verdict_stuck__is_holder(j->in, thread)) {
		waited[HOW_STUCK] = us;
		return;
	}
	waited[HOW_FORK] = us * share_of_forks(j->in, thread);
	us -= waited[HOW_FORK];
	shares_of(j->in, thread, share);
	settle_unseen(j->in, thread, share);
	gc_us = collecting(j->in, thread, us * share[TIME_RUNS]);
	waited[HOW_GC] = gc_us;
	waited[HOW_ASLEEP] = us * share[TIME_ASLEEP];
	waited[HOW_STARVED] = us * share[TIME_STARVED];
	waited[HOW_STOPPED] = us * share[TIME_STOPPED];
	waited[may_be_long(j, thread) ? HOW_UNSEEN : HOW_UNSURE] = us * share[TIME_UNSEEN];
	waited[j->holders[thread].runs] += us * share[TIME_RUNS] - gc_us;
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
