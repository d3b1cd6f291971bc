/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The answer in two sentences, from the side of those who wait: is it the GIL, who waits how much of their time for it, for whom
 * the most, in which code, and what that does. It rests on the first finding, so that nothing below says otherwise.
 */
#include "verdict_inside.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "thread_pools.h"

#define LATENCY 0.1  /* of the time of those who wait the most: as bad as a GIL that is always taken */
#define POOLS_SAID 2
#define CODE_PART 0.5 /* of what they wait for somebody: that finding's code is said to be it */

struct pools {
	struct thread_pool *list;
	size_t n, *of; /* of each thread */
};

static bool make_pools(const struct verdict_input *in, struct pools *p)
{
	const char **names = calloc(in->threads_n + 1, sizeof(*names));

	*p = (struct pools){.of = calloc(in->threads_n + 1, sizeof(*p->of))};
	for (size_t i = 0; names && i < in->threads_n; i++)
		names[i] = in->threads[i].name;
	if (names && p->of)
		p->list = thread_pools__make(names, in->threads_n, p->of, &p->n);
	free(names);
	return p->list != NULL;
}

static void free_pools(struct pools *p)
{
	free(p->list);
	free(p->of);
}

static double waited_by(const struct verdict_input *in, const struct pools *p, size_t pool, double *ret_max)
{
	double us = 0;

	*ret_max = NAN;
	for (size_t i = 0; i < in->threads_n; i++) {
		if (p->of[i] != pool)
			continue;
		us += in->threads[i].wait_us > 0 ? in->threads[i].wait_us : 0;
		*ret_max = fmax(*ret_max, in->threads[i].wait_max); /* NAN counts as none */
	}
	return us;
}

/* Who waits the most, all of the pool together. SIZE_MAX: nobody. */
static size_t worst_victims(const struct verdict_input *in, const struct pools *p)
{
	size_t worst = SIZE_MAX;
	double most = 0, us, longest;

	for (size_t i = 0; i < p->n; i++) {
		us = waited_by(in, p, i, &longest);
		if (us > most) {
			most = us;
			worst = i;
		}
	}
	return worst;
}

static double waited_for(const struct verdict_input *in, const struct pools *p, size_t victims, size_t holders)
{
	double us = 0;

	for (size_t i = 0; i < in->pairs_n; i++)
		if (p->of[in->pairs[i].victim] == victims && p->of[in->pairs[i].holder] == holders)
			us += in->pairs[i].us;
	return us;
}

static size_t worst_holders(const struct verdict_input *in, const struct pools *p, size_t victims, double *ret_us)
{
	size_t worst = SIZE_MAX;

	*ret_us = 0;
	for (size_t i = 0; i < p->n; i++) {
		double us = waited_for(in, p, victims, i);

		if (us > *ret_us) {
			*ret_us = us;
			worst = i;
		}
	}
	return worst;
}

/* ---- what the holders do ---- */

static void say_doing(const struct judging *j, const struct verdict_finding *f, struct verdict *v)
{
	const struct why *most = j->in->whys ? whys__most(j->in->whys, false) : NULL;
	char words[WHY_WORDS_SIZE];

	if (f->pattern == PATTERN_BLOCKED_HOLD)
		SAY(v->headline, ", asleep%s%s", most ? " in " : "", most ? why__words(most, words) : "");
	else if (f->pattern == PATTERN_STARVED_HOLDER)
		SAY(v->headline, ", which lacks a CPU");
	else if (f->pattern == PATTERN_STOPPED_HOLDER)
		SAY(v->headline, ", which is stopped");
	else if (f->pattern == PATTERN_GARBAGE)
		SAY(v->headline, ", collecting garbage");
	else if (f->pattern == PATTERN_FORK)
		SAY(v->headline, ", which forks (%.1f GiB)", j->in->rss_kib / (1024 * 1024));
	else if (f->pattern == PATTERN_LONG_HOLD)
		SAY(v->headline, ", C code that does not let go");
	else if (f->pattern == PATTERN_CONVOY || f->pattern == PATTERN_COMPUTING || f->pattern == PATTERN_CPU_SHARING)
		SAY(v->headline, ", which computes in Python");
}

/* For whom: the finding names the code, if it is of those threads and much of what is waited for them. */
static void say_holders(const struct judging *j, const struct pools *p, size_t victims, double wait_us, struct verdict *v)
{
	const struct verdict_finding *f = v->findings_n ? &v->findings[0] : NULL;
	double us, all = j->in->all.wait_us;
	size_t holders = worst_holders(j->in, p, victims, &us);

	if (j->in->handover_us > us) {
		SAY(v->headline, "; %.0f %% of that while nobody held it: the next thread was not awake yet or had no CPU",
		    fmin(100, 100 * j->in->handover_us / all));
		return;
	}
	if (holders == SIZE_MAX)
		return;
	SAY(v->headline, "; %.0f %% of that for %s", fmin(100, 100 * us / wait_us), holders != victims ? p->list[holders].name :
	    "each other");
	if (!f || f->waited_us < CODE_PART * all * us / wait_us)
		return;
	if (f->code && f->holder < j->in->threads_n && p->of[f->holder] == holders)
		SAY(v->headline, ", in %s", f->code);
	say_doing(j, f, v);
}

/* It is the GIL in another way than that it is always taken. */
static const char *kind_of(const struct verdict *v, double share)
{
	if (v->findings_n && v->findings[0].pattern == PATTERN_STARVED_HOLDER)
		return v->bound == BOUND_YES ? "YES (for lack of CPU)" : "PARTLY (for lack of CPU)";
	if (v->bound == BOUND_YES)
		return "YES";
	return share >= LATENCY ? "YES (latency)" : "PARTLY (latency)";
}

static void say_victims(const struct judging *j, const struct pools *p, struct verdict *v)
{
	const struct verdict_input *in = j->in;
	size_t victims = worst_victims(in, p);
	double longest, us, share;
	char a[32];

	if (victims == SIZE_MAX) {
		SAY(v->headline, "GIL: %s.", v->bound == BOUND_YES ? "YES" : "PARTLY");
		return;
	}
	us = waited_by(in, p, victims, &longest);
	share = verdict__share(in, us) / (double)p->list[victims].n;
	SAY(v->headline, "GIL: %s. %s wait%s %.0f %% of %s time for it", kind_of(v, share), p->list[victims].name,
	    p->list[victims].n > 1 ? "" : "s", fmin(100, 100 * share), p->list[victims].n > 1 ? "their" : "its");
	if (!isnan(longest))
		SAY(v->headline, in->gil_looks > 0 ? ", for %s and more at a time" : ", up to %s at a time",
		    verdict__ms(a, longest));
	say_holders(j, p, victims, us, v);
	SAY(v->headline, ".");
}

/* ---- not the GIL ---- */

static void say_computing(const struct judging *j, const struct verdict_finding *f, struct verdict *v)
{
	SAY(v->headline, " %s computes alone%s%s.", j->in->threads[f->thread].name, f->code ? ", in " : "",
	    f->code ? f->code : "");
}

/* The names of the threads that are blocked there, as pools: "web-0..7". */
static void say_stayers(const struct verdict_input *in, const char *code, struct verdict *v)
{
	const char **names = calloc(in->stays_n + 1, sizeof(*names));
	size_t *pool_of = calloc(in->stays_n + 1, sizeof(*pool_of)), n = 0, pools_n = 0;
	struct thread_pool *pools;

	for (size_t i = 0; names && i < in->stays_n; i++)
		if (in->stays[i].locked && strcmp(in->stays[i].code, code) == 0)
			names[n++] = in->stays[i].name;
	pools = names && pool_of ? thread_pools__make(names, n, pool_of, &pools_n) : NULL;
	for (size_t i = 0; pools && i < pools_n && i < POOLS_SAID; i++)
		SAY(v->headline, "%s%s", i ? ", " : "", pools[i].name);
	if (pools_n > POOLS_SAID)
		SAY(v->headline, " and others");
	free(pools);
	free(pool_of);
	free(names);
}

static void say_lock(const struct judging *j, const struct verdict_finding *f, struct verdict *v)
{
	SAY(v->headline, " A lock of the application serialises ");
	say_stayers(j->in, f->code, v);
	SAY(v->headline, ": they go one by one through %s.", f->code);
}

static void say_elsewhere(const struct judging *j, struct verdict *v)
{
	const struct verdict_input *in = j->in;
	const struct verdict_finding *f = v->findings_n ? &v->findings[0] : NULL;
	double cpu = verdict__share(in, in->cpu_us);

	if (f && f->pattern == PATTERN_APP_LOCK)
		say_lock(j, f, v);
	else if (f && f->pattern == PATTERN_BLOCKED_LOOP)
		SAY(v->headline, " An event loop is blocked by %s.", f->code);
	else if (f && f->pattern == PATTERN_BUSY_POLLER && f->thread < in->threads_n)
		SAY(v->headline, " %s takes it %.0f times a second%s%s.", in->threads[f->thread].name,
		    verdict__rate(in, &in->threads[f->thread]), f->code ? ", in " : "", f->code ? f->code : "");
	else if (f && f->pattern == PATTERN_FORK && f->thread < in->threads_n)
		SAY(v->headline, " That is while %s forks %.1f GiB%s%s.", in->threads[f->thread].name,
		    in->rss_kib / (1024 * 1024), f->code ? ", in " : "", f->code ? f->code : "");
	else if (f && f->pattern == PATTERN_ONE_THREAD && f->thread < in->threads_n)
		say_computing(j, f, v);
	else if (f && f->pattern == PATTERN_STARVED_HOLDER)
		SAY(v->headline, " It lacks CPU: threads that held the GIL could run, but had no CPU for %.0f %% of that time.",
		    100 * verdict__starved(&in->all));
	else if (f && f->pattern == PATTERN_BLOCKED_HOLD && f->thread < in->threads_n)
		SAY(v->headline, " %s sleeps with it%s%s, but no other thread wants it meanwhile.", in->threads[f->thread].name,
		    f->code ? ", in " : "", f->code ? f->code : "");
	else if (f && f->pattern == PATTERN_GARBAGE)
		SAY(v->headline, " Garbage collection takes %.0f %% of the time%s%s.", 100 * verdict__share(in, in->all.gc_us),
		    f->code ? ", most in " : "", f->code ? f->code : "");
	else if (!isnan(in->util) && !isnan(cpu))
		SAY(v->headline, " It was free %.1f %% of the time, and the process used %.1f %% of a CPU.", 100 * (1 - in->util),
		    100 * cpu);
}

static void say_no(const struct judging *j, const struct pools *p, struct verdict *v)
{
	const struct verdict_input *in = j->in;
	size_t victims = worst_victims(in, p);
	double longest = NAN, us = victims == SIZE_MAX ? 0 : waited_by(in, p, victims, &longest);
	double share = victims == SIZE_MAX ? 0 : verdict__share(in, us) / (double)p->list[victims].n;
	char a[32];

	SAY(v->headline, "GIL: NO.");
	if (share < 0.001 && !(v->findings_n && v->findings[0].leads))
		SAY(v->headline, " Hardly any thread waits for it.");
	else if (share >= 0.001)
		SAY(v->headline, " %s wait%s for it the most: %.1f %% of the time, at most %s at once.",
		    p->list[victims].name, p->list[victims].n > 1 ? "" : "s", 100 * share,
		    isnan(longest) ? "an unknown time" : verdict__ms(a, longest));
	say_elsewhere(j, v);
}

/* ---- what hangs ---- */

static void say_stuck(const struct judging *j, struct verdict *v)
{
	const struct verdict_finding *f = &v->findings[0];

	SAY(v->headline, "GIL: YES (stuck).");
	if (f->pattern == PATTERN_STUCK_HOLDER && f->thread < j->in->threads_n)
		SAY(v->headline, " %s has it and does not let go%s%s; %.0f threads wait.", j->in->threads[f->thread].name,
		    f->code ? ", in " : "", f->code ? f->code : "", j->in->waiting);
	else
		SAY(v->headline, " Nobody can take it any more; %.0f threads wait.", j->in->waiting);
}

static void say_headline(const struct judging *j, const struct pools *p, struct verdict *v)
{
	if (verdict_stuck__still_share(j->in) >= STOOD_STILL)
		SAY(v->headline, "GIL: UNKNOWN. The process stood still nearly all the time.");
	else if (v->bound == BOUND_UNKNOWN)
		SAY(v->headline, "GIL: UNKNOWN. Not enough was seen to tell.");
	else if (verdict_stuck__for_ever(v))
		say_stuck(j, v);
	else if (v->bound == BOUND_NO)
		say_no(j, p, v);
	else
		say_victims(j, p, v);
}

void verdict_answer__say(const struct judging *j, struct verdict *v)
{
	struct pools p;

	if (make_pools(j->in, &p))
		say_headline(j, &p, v);
	/* Where it is not the GIL, how it is handed on is nothing to mend. */
	if (v->findings_n && !(v->bound == BOUND_NO && v->findings[0].pattern == PATTERN_HANDOVER))
		SAY(v->todo, "%s", v->findings[0].todo);
	free_pools(&p);
}
