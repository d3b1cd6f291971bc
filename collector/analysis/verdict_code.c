/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The code that a part of the waiting rests on: of all places, those times count that are of that part's kind, of threads that
 * do that. So what sleeps is never said to be code that computes, whatever else the thread did. A function's lines and threads
 * are added up; its worst one is shown. Code that does not let go is where the holder was when it was asked to, and went on from:
 * what others waited for a thread may be for bytecode of its mostly.
 */
#include "verdict_inside.h"

#include <stdint.h>
#include <string.h>

#define CODE_SAID 0.1  /* of that part of the waiting, or of the holding: a place that has less says nothing of it */
#define CODE_MOST 0.5

enum by { BY_OVER, BY_BLAME, BY_HOLD };

struct search {
	enum how how;
	size_t thread;
	enum by by;
	double all, most; /* found: of all places, of the worst function */
};

/* A place's part of that: of what others waited, of what it held, or of how long it went on. */
static double part_of(const struct judging *j, const struct verdict_place *p, const struct search *s)
{
	const double *us = s->by == BY_HOLD ? p->hold_us : p->blame_us;
	bool forks = verdict_operation__is_long_fork(j->in, p);

	if (s->how != HOW_STUCK && (s->how == HOW_FORK) != forks)
		return 0;
	switch (s->how) {
	case HOW_GC:
		return p->gc ? us[TIME_RUNS] : 0;
	case HOW_ASLEEP:
		return us[TIME_ASLEEP];
	case HOW_STARVED:
		return us[TIME_STARVED];
	case HOW_STOPPED:
		return us[TIME_STOPPED];
	case HOW_UNSEEN:
		return us[TIME_UNSEEN];
	case HOW_STUCK:
	case HOW_FORK:
		return us[TIME_RUNS] + us[TIME_ASLEEP] + us[TIME_STARVED] + us[TIME_STOPPED] + us[TIME_UNSEEN];
	default:
		if (p->gc || !j->holders || j->holders[p->thread].runs != s->how)
			return 0;
		return s->by == BY_OVER ? p->over_us : us[TIME_RUNS];
	}
}

static bool is_asked_for(const struct search *s, const struct verdict_place *p)
{
	return s->thread == SIZE_MAX || p->thread == s->thread;
}

static double of_function(const struct judging *j, const struct search *s, const char *function)
{
	double us = 0;

	for (size_t i = 0; i < j->in->places_n; i++)
		if (is_asked_for(s, &j->in->places[i]) && strcmp(j->in->places[i].function, function) == 0)
			us += part_of(j, &j->in->places[i], s);
	return us;
}

/* The worst place of the worst function. */
static const struct verdict_place *search(const struct judging *j, struct search *s)
{
	const struct verdict_place *worst = NULL;
	double own_most = 0;

	for (size_t i = 0; i < j->in->places_n; i++) {
		const struct verdict_place *p = &j->in->places[i];
		double own = is_asked_for(s, p) ? part_of(j, p, s) : 0, all;

		if (!(own > 0))
			continue;
		s->all += own;
		all = of_function(j, s, p->function);
		if (all < s->most || (all == s->most && own <= own_most))
			continue;
		s->most = all;
		own_most = own;
		worst = p;
	}
	return worst;
}

/* Late code by how long it went on; else by what others waited, else by what was held: `s` says which. */
static const struct verdict_place *worst_of(const struct judging *j, enum how how, size_t thread, struct search *s)
{
	const struct verdict_place *p = NULL;

	for (enum by by = how == HOW_LATE ? BY_OVER : BY_BLAME; !p && by <= BY_HOLD; by++) {
		*s = (struct search){.how = how, .thread = thread, .by = by};
		p = search(j, s);
	}
	return p && s->most >= CODE_SAID * s->all ? p : NULL;
}

const struct verdict_place *verdict_code__worst(const struct judging *j, enum how how)
{
	struct search s;

	return worst_of(j, how, SIZE_MAX, &s);
}

const struct verdict_place *verdict_code__named(const struct judging *j, const struct verdict_finding *f)
{
	for (size_t i = 0; f->code && i < j->in->places_n; i++)
		if (j->in->places[i].code == f->code)
			return &j->in->places[i];
	return NULL;
}

void verdict_code__say(const struct judging *j, struct verdict_finding *f, enum how how, size_t thread)
{
	static const char *const words[] = {"asked to let go there it went on for ", "others waited ", ""};
	struct search s;
	const struct verdict_place *p = worst_of(j, how, thread, &s);
	char a[32];

	if (!p)
		return;
	f->code = p->code;
	f->holder = p->thread;
	SAY(f->evidence, " %s was in %s: ", s.most >= CODE_MOST * s.all ? "Most of that" : "The largest part of that", p->code);
	SAY(f->evidence, "%s%s.", words[s.by], verdict__ms(a, s.most));
}
