/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See verdict.h. The verdict as a whole: bound or not, the headline, what there is to gain, the findings in their order, what of
 * the waiting none of them explains, and what the numbers cannot say. The patterns have files of their own: verdict_inside.h.
 */
#include "verdict_inside.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JAMMED_PARTLY 0.05 /* of the time */
#define OFF_CPU_SAID 0.01  /* of the holds: that much is mentioned */
#define FREE_QUEUE 0.5 /* queueing for a GIL that is free, or whose holder has no CPU, counts from here on, ... */
#define GAIN_WORTH 1.1 /* ... if that much could be gained; else the CPUs are the limit */
#define COMPUTES 0.3   /* of what it held it used a CPU, or wanted one, or else it does not compute */
#define ENOUGH_US 200000.0 /* to say anything */
#define GAIN_SAID 1.05     /* less is next to nothing */
#define UNEXPLAINED_SAID 0.1 /* of the waiting, where the GIL is to blame; and where there is no finding at all */

double verdict__share(const struct verdict_input *in, double us)
{
	return us / in->observed_us;
}

double verdict__waiters(const struct verdict_input *in)
{
	return verdict__share(in, in->all.wait_us);
}

bool verdict__is_much(const struct verdict_input *in, double held_us, double waited_us)
{
	return verdict__share(in, held_us) >= OFF_CPU ||
	       (verdict__share(in, waited_us) >= OFF_CPU && waited_us >= OFF_CPU * in->all.wait_us);
}

bool verdict__explains(const struct judging *j, double waited_us)
{
	return j->bound >= BOUND_PARTLY && waited_us >= EXPLAINS * j->in->all.wait_us;
}

/*
 * How many of them wait because somebody has it: not while it is free, nor for a holder that waits for a CPU or is stopped.
 * Where that is not told apart (light mode): all.
 */
static double waiters_for_holders(const struct verdict_input *in)
{
	double for_cpu = isnan(in->all.wait_preempted) ? 0 : in->all.wait_preempted + in->all.wait_stopped;

	return verdict__share(in, in->all.wait_us - (isnan(in->handover_us) ? 0 : in->handover_us) - for_cpu);
}

double verdict__asleep(const struct verdict_load *t)
{
	return t->hold_blocked / t->hold_us;
}

double verdict__starved(const struct verdict_load *t)
{
	return t->hold_preempted / t->hold_us;
}

double verdict__stopped(const struct verdict_load *t)
{
	return t->hold_stopped / t->hold_us;
}

double verdict__kept_off(const struct verdict_load *t)
{
	return verdict__starved(t) + verdict__stopped(t);
}

double verdict__unseen(const struct verdict_load *t)
{
	return t->hold_unseen > 0 && t->hold_us > 0 ? t->hold_unseen / t->hold_us : 0;
}

bool verdict__may_compute(const struct verdict_input *in, double held_us)
{
	double wanted = in->all.hold_preempted > 0 ? in->all.hold_preempted : 0;

	return isnan(in->cpu_us) || in->cpu_us + wanted >= COMPUTES * held_us;
}

double verdict__without_gil(const struct verdict_input *in)
{
	const struct verdict_load *all = &in->all;
	double off = all->hold_blocked + all->hold_preempted + all->hold_stopped;

	if (isnan(in->cpu_us) || isnan(all->hold_us) || verdict__unseen(all) >= UNSEEN_SAID)
		return NAN;
	return fmax(0, verdict__share(in, in->cpu_us - (all->hold_us - (isnan(off) ? 0 : off))));
}

double verdict__rate(const struct verdict_input *in, const struct verdict_load *t)
{
	return isnan(t->n) ? t->rate : t->n / (in->observed_us / 1e6);
}

double verdict__each_us(const struct verdict_load *t)
{
	return isnan(t->n) || isnan(t->hold_us) ? t->brief_us : t->hold_us / t->n;
}

/* ---- words ---- */

const char *verdict__ms(char buf[32], double us)
{
	if (us < 1000)
		snprintf(buf, 32, "%.0f us", us);
	else if (us < 1000000)
		snprintf(buf, 32, "%.3g ms", us / 1000);
	else
		snprintf(buf, 32, "%.3g s", us / 1000000);
	return buf;
}

struct verdict_finding *verdict__claim(struct verdict *v, enum verdict_pattern pattern, size_t thread)
{
	struct verdict_finding *f = &v->findings[v->findings_n++];

	f->pattern = pattern;
	f->thread = thread;
	f->holder = SIZE_MAX;
	return f;
}

void verdict__say_others(struct verdict_finding *f, size_t others, const char *doing)
{
	if (others)
		SAY(f->evidence, " %zu other thread%s %s.", others, others == 1 ? "" : "s", doing);
}

void verdict__say_more(struct verdict_finding *f, size_t others)
{
	if (others)
		SAY(f->evidence, " and %zu other thread%s", others, others == 1 ? "" : "s");
}

void verdict__say_who_waited(const struct judging *j, size_t holder, struct verdict_finding *f)
{
	size_t victim = holder == SIZE_MAX ? SIZE_MAX : verdict_waiting__worst_victim(j->in, holder);
	char a[32];

	if (!(f->waited_us >= 1) || victim == SIZE_MAX)
		SAY(f->evidence, " Nobody else wanted it meanwhile.");
	else
		SAY(f->evidence, " Others waited %s for that, %s the most.", verdict__ms(a, f->waited_us),
		    j->in->threads[victim].name);
}

/* ---- the whole ---- */

/*
 * Without the GIL whoever waits could run, as far as there are CPUs: at most (work now + waiting) / work now times as much, work
 * being holds and what runs without the GIL anyway. An upper bound: other locks, memory and the work itself may allow less.
 */
static double wanted_cpus(const struct verdict_input *in)
{
	double outside = verdict__without_gil(in);

	return in->util + (isnan(outside) ? 0 : outside) + verdict__waiters(in);
}

/* Of them those that would be busy: who sleeps with the GIL, or is stopped, is not. */
static double busy_cpus(const struct verdict_input *in)
{
	double off = in->all.hold_blocked + in->all.hold_stopped;

	return wanted_cpus(in) - (off > 0 ? verdict__share(in, off) : 0);
}

static double most_gained(const struct verdict_input *in)
{
	double wanted = wanted_cpus(in);

	if (isnan(in->util) || !(in->util > 0.001) || in->gils > 1 || verdict__unseen(&in->all) >= UNSEEN_SAID ||
	    verdict_stuck__still_share(in) >= STOOD_STILL_PARTLY)
		return NAN;
	return fmax(1, fmin(wanted, in->cpus) / (wanted - verdict__waiters(in)));
}

/* Does it queue without anybody's computing, and not just because its work fills the CPUs? */
static bool queues_anyway(const struct verdict_input *in)
{
	return verdict__waiters(in) >= FREE_QUEUE && !(most_gained(in) < GAIN_WORTH);
}

static enum gil_bound judge(const struct verdict_input *in)
{
	if (!(in->observed_us >= ENOUGH_US) || isnan(verdict__waiters(in)) || verdict_stuck__still_share(in) >= STOOD_STILL)
		return BOUND_UNKNOWN;
	if (in->util >= BUSY && verdict__waiters(in) >= VERDICT_JAMMED_WAITERS)
		return BOUND_YES;
	if (waiters_for_holders(in) >= SOME_WAITERS || in->jammed >= JAMMED_PARTLY || queues_anyway(in))
		return BOUND_PARTLY;
	return BOUND_NO; /* in light mode, too: who queues is known there */
}

static void say_off_cpu(const struct verdict_load *all, char *text, size_t size)
{
	if (verdict__asleep(all) >= OFF_CPU_SAID || verdict__starved(all) >= OFF_CPU_SAID)
		text__append(text, size, " %.0f %% of that asleep and %.0f %% without a CPU,", 100 * verdict__asleep(all),
			     100 * verdict__starved(all));
	if (verdict__stopped(all) >= OFF_CPU_SAID)
		text__append(text, size, " %.0f %% stopped,", 100 * verdict__stopped(all));
	if (verdict__unseen(all) >= UNSEEN_SAID)
		text__append(text, size, " of %.0f %% of that it is not known whether the holder ran,",
		    100 * verdict__unseen(all));
}

static void say_numbers(const struct verdict_input *in, struct verdict *v)
{
	if (v->bound == BOUND_UNKNOWN)
		return;
	if (in->gil_looks > 0)
		SAY(v->numbers, "The GIL was held about %.1f %% of the time,", 100 * in->about_held);
	else if (isnan(in->util))
		SAY(v->numbers, "How long the GIL was held is not known (light mode);");
	else
		SAY(v->numbers, "The GIL was held %.1f %% of the time%s,", 100 * in->util,
		    in->gils > 1 ? " (the busiest of several)" : "");
	if (!verdict_stuck__is_claimed(v, PATTERN_GONE_HOLDER))
		say_off_cpu(&in->all, v->numbers, sizeof(v->numbers));
	SAY(v->numbers, " %.2f threads waited for it on average", verdict__waiters(in));
	if (in->jammed > 0 && in->jammed < 1 && v->bound != BOUND_NO)
		SAY(v->numbers, "; it was jammed (held above 90 %%, others queueing) %.0f %% of the time",
		    100 * in->jammed);
	SAY(v->numbers, ".");
}

static void gain(const struct verdict_input *in, struct verdict *v)
{
	double outside = verdict__without_gil(in);
	char a[32], b[32];

	/* What hangs does no work, so there is nothing to compare with. */
	v->gain_max = v->bound == BOUND_UNKNOWN || verdict_stuck__for_ever(v) ? NAN : most_gained(in);
	if (isnan(v->gain_max))
		return;
	if (v->gain_max < GAIN_SAID)
		SAY(v->gain, "Without the GIL it would gain next to nothing: at best %.2f times the work.",
		    v->gain_max);
	else if (v->bound == BOUND_NO)
		SAY(v->gain, "All that there is to gain without the GIL is the waiting for it: %s of all threads together, in "
			     "%s.",
		    verdict__ms(a, in->all.wait_us), verdict__ms(b, in->observed_us));
	else
		SAY(v->gain,
		    "Without the GIL it could do at best %.2f times the work: threads that hold it%s wait for it%s would keep "
		    "%.2f CPUs busy, and there %s %d.",
		    v->gain_max, outside >= 0.01 ? "," : " or", outside >= 0.01 ? " or run without it" : "",
		    busy_cpus(in), in->cpus == 1 ? "is" : "are", in->cpus);
	if (v->bound != BOUND_NO && v->gain_max >= GAIN_SAID && verdict__starved(&in->all) >= MAY_BE_STARVED)
		SAY(v->gain, " That takes CPUs to be free: holders lacked one for %.0f %% of their time.",
		    100 * verdict__starved(&in->all));
}

static void limits(const struct verdict_input *in, struct verdict *v)
{
	char tracers[WHYS_WORDS_SIZE], a[32];

	verdict_change__say(in, v->limits, sizeof(v->limits));
	if (in->cov < 0.99)
		SAY(v->limits, "Only %.1f %% of the time was observed. ", 100 * in->cov);
	if (in->lost > 0)
		SAY(v->limits, "%.0f events were lost or out of order. ", in->lost);
	if (in->whys && whys__ns(in->whys, GIL_WHY_TRACER) && !verdict_stuck__is_claimed(v, PATTERN_STOPPED_HOLDER))
		SAY(v->limits, "%s stopped holders for %s: two profilers or debuggers at once disturb each other. ",
		    whys__tracers(in->whys, tracers), verdict__ms(a, (double)whys__ns(in->whys, GIL_WHY_TRACER) / 1e3));
	if (in->gil_looks > 0)
		SAY(v->limits, "Look mode: all times are estimates from %.0f looks, and how often the GIL was taken and how long "
			       "a single hold lasted is unknown; --mode full tells more, where probes are possible. ",
		    in->gil_looks);
	else if (in->sampled)
		SAY(v->limits, "Light mode: who made whom wait is sampled, single holds are unknown; --mode full tells more, at "
			       "a higher cost to the process. ");
	if (in->about_held > 0)
		SAY(v->limits, "About %.1f %% of the time the GIL was held, give or take %.1f (an estimate). ",
		    100 * in->about_held, 100 * in->about_held_err);
	if (in->unknown_us > 0.01 * in->all.wait_us)
		SAY(v->limits, "Of %.1f %% of the waiting the holder is unknown. ",
		    100 * in->unknown_us / in->all.wait_us);
	if (v->limits[0])
		v->limits[strlen(v->limits) - 1] = '\0';
}

/* ---- the findings ---- */

static bool hangs(const struct verdict_finding *f)
{
	return f->pattern <= PATTERN_STUCK_HOLDER;
}

/* First what hangs, then what it is if not the GIL, then who explains the most, then as in the table. */
static int by_weight(const void *a_, const void *b_)
{
	const struct verdict_finding *a = a_, *b = b_;

	if (hangs(a) != hangs(b))
		return hangs(a) ? -1 : 1;
	if (a->leads != b->leads)
		return a->leads ? -1 : 1;
	if (!hangs(a) && a->waited_us != b->waited_us)
		return a->waited_us > b->waited_us ? -1 : 1;
	return (int)a->pattern - (int)b->pattern;
}

static double explained_us(const struct verdict *v)
{
	double us = 0;

	for (size_t i = 0; i < v->findings_n; i++)
		us += v->findings[i].waited_us;
	return us;
}

/* Who had it then, and why that does not tell enough. */
static void say_unsure(const struct judging *j, struct verdict *v)
{
	size_t thread = verdict_waiting__worst(j, HOW_UNSURE);
	const struct verdict_place *place = verdict_code__worst(j, HOW_UNSURE);

	if (thread == SIZE_MAX || j->how_us[HOW_UNSURE] < EXPLAINS * j->in->all.wait_us)
		return;
	SAY(v->cause, " For %.0f %% of it threads had the GIL, %s the most%s%s, that were asked to let go too rarely, or of "
	    "which too little is known: whether that was C code that does not let go, Python code, or a thread without a CPU "
	    "is not certain.", 100 * j->how_us[HOW_UNSURE] / j->in->all.wait_us, j->in->threads[thread].name,
	    place ? ", mostly in " : "", place ? place->code : "");
}

/* What is left, and why it is: that the holder is not known, or what it did, or that it is in pieces. */
static void unexplained(const struct judging *j, struct verdict *v)
{
	const struct verdict_input *in = j->in;
	double left_us = fmax(0, in->all.wait_us - explained_us(v));

	v->unexplained = in->all.wait_us > 0 ? left_us / in->all.wait_us : NAN;
	if (v->bound < BOUND_PARTLY || (v->findings_n && !(v->unexplained >= UNEXPLAINED_SAID)))
		return;
	SAY(v->cause, "%s: %.0f %% of the waiting is not explained", v->findings_n ? "The rest of the cause was not found" :
	    "Cause not found", 100 * v->unexplained);
	if (in->unknown_us > 0)
		SAY(v->cause, ", of %.0f %% the holder is not known", 100 * in->unknown_us / in->all.wait_us);
	SAY(v->cause, ".");
	say_unsure(j, v);
	SAY(v->cause, " gilscope dump shows who has the GIL, who waits, and the stacks of all.");
}

static void say_shares(const struct verdict_input *in, struct verdict *v)
{
	for (size_t i = 0; v->bound >= BOUND_PARTLY && i < v->findings_n; i++) {
		struct verdict_finding *f = &v->findings[i];

		if (f->waited_us > 0)
			SAY(f->evidence, " That is %.0f %% of all waiting.", 100 * f->waited_us / in->all.wait_us);
	}
}

typedef void find_fn(const struct judging *j, struct verdict *v);

static void find(const struct judging *j, struct verdict *v)
{
	static find_fn *const finders[PATTERN_COUNT] = {
#define X(id, name) [PATTERN_##id] = verdict_##name##__find,
		VERDICT_PATTERNS(X)
#undef X
	};

	for (size_t p = 0; p < PATTERN_COUNT; p++)
		if (j->bound != BOUND_UNKNOWN || p <= PATTERN_STUCK_HOLDER)
			finders[p](j, v);
	qsort(v->findings, v->findings_n, sizeof(v->findings[0]), by_weight);
}

void verdict__reach(const struct verdict_input *in, struct verdict *ret)
{
	struct judging j = {.in = in, .bound = judge(in)};

	memset(ret, 0, sizeof(*ret));
	ret->bound = j.bound;
	ret->unexplained = NAN;
	verdict_waiting__divide(&j);
	find(&j, ret);
	verdict_causes__join(&j, ret);
	say_numbers(in, ret);
	verdict_answer__say(&j, ret);
	gain(in, ret);
	limits(in, ret);
	say_shares(in, ret);
	if (ret->bound != BOUND_UNKNOWN)
		unexplained(&j, ret);
	verdict_waiting__free(&j);
}

const char *gil_bound__name(enum gil_bound bound)
{
	static const char *const names[] = {
		[BOUND_UNKNOWN] = "unknown",
		[BOUND_NO] = "no",
		[BOUND_PARTLY] = "partly",
		[BOUND_YES] = "yes",
	};

	return names[bound];
}

const char *verdict_pattern__name(enum verdict_pattern p)
{
	static const char *const names[PATTERN_COUNT] = {
#define X(id, name) [PATTERN_##id] = #name,
		VERDICT_PATTERNS(X)
#undef X
	};

	return p < PATTERN_COUNT ? names[p] : "?";
}
