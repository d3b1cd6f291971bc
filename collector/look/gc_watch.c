/* SPDX-License-Identifier: GPL-2.0-only */
/* See gc_watch.h. */
#include "gc_watch.h"

#include <stdlib.h>
#include <string.h>

#include "collector/base/clock.h"

#define UNSEEN_MOST 0.1         /* of an interval, ... */
#define UNSEEN_ANYWAY_NS 50000000ull /* ... or so much */

struct by_thread {
	uint32_t tid;
	uint64_t ns;
};

/* What is summed up for one interval. */
struct gc_sums {
	struct gc_time time;
	uint64_t seen_ns;        /* of the interval: between looks */
	struct by_thread threads[GC_WATCH_THREADS];
	uint32_t threads_n;
};

/* A collection that is going on, as far as it was seen. */
struct gc_run {
	uint64_t collector;      /* its thread state; 0: none is going on */
	uint64_t ended;          /* as gc_look.ended: another number, another collection */
	uint64_t surely_ns;      /* between its looks: it has lasted at least so long, with the GIL */
	double first_gap;        /* ns, before its first look */
	uint32_t looks;
};

struct gc_gil {
	bool used;
	uint32_t number;
	struct gc_look last;
	uint64_t bound;          /* of the last look's interval, which may lie behind it */
	bool has_last;
	struct gc_run run;
	struct gc_sums now, next; /* the running interval; what is behind its end already */
	uint64_t collections[GC_GENERATIONS]; /* at the last look that could tell */
	uint64_t settled[GC_GENERATIONS];     /* at the last boundary */
	bool counted, settled_known;
};

#define LAST_COLLECTORS 4

struct gc_watch {
	struct gc_gil gils[GC_WATCH_GILS];
	uint64_t collectors[LAST_COLLECTORS]; /* thread states on the main GIL, the newest first */
};

struct gc_watch *gc_watch__new(void)
{
	return calloc(1, sizeof(struct gc_watch));
}

void gc_watch__free(struct gc_watch *w)
{
	free(w);
}

/* ---- times ---- */

static void give_thread(struct gc_sums *sums, uint32_t tid, uint64_t ns)
{
	for (uint32_t i = 0; i < sums->threads_n; i++)
		if (sums->threads[i].tid == tid) {
			sums->threads[i].ns += ns;
			return;
		}
	if (tid && sums->threads_n < GC_WATCH_THREADS)
		sums->threads[sums->threads_n++] = (struct by_thread){tid, ns};
}

static void give(struct gc_sums *sums, const struct gc_look *look, uint64_t ns)
{
	sums->time.hold_ns += ns;
	sums->time.wait_ns += ns * look->waiters;
	give_thread(sums, look->tid, ns);
}

/* The time from `from` to `to` is `look`'s: of this interval up to `bound`, of the next one behind it. `collects`: it counts. */
static void spend(struct gc_gil *g, const struct gc_look *look, bool collects, uint64_t from, uint64_t to, uint64_t bound)
{
	uint64_t cut = to <= bound ? to : from >= bound ? from : bound;

	g->now.seen_ns += cut - from;
	g->next.seen_ns += to - cut;
	if (!collects)
		return;
	give(&g->now, look, cut - from);
	give(&g->next, look, to - cut);
}

/* An error is of the interval in which it was found out. */
static void doubt(struct gc_gil *g, double err2, uint64_t at, uint64_t bound)
{
	(at <= bound ? &g->now : &g->next)->time.err2 += err2;
}

static bool is_held(const struct gc_gil *g, const struct gc_look *look)
{
	return g->run.collector && look->locked && look->holder == g->run.collector;
}

static void note_longest(struct gc_sums *sums, uint64_t ns)
{
	if (ns > sums->time.max_ns)
		sums->time.max_ns = ns;
}

/*
 * How wrong the time of a collection may be, squared. It begins and ends anywhere between two looks, and the middle is taken: a
 * uniform distribution. One that was seen once may have been much shorter than what it was given, and others like it were missed.
 */
static double run_error(const struct gc_run *run, double last_gap)
{
	if (run->looks < 2)
		return run->first_gap * last_gap;
	return (run->first_gap * run->first_gap + last_gap * last_gap) / 12;
}

static void end_run(struct gc_gil *g, const struct gc_look *look, uint64_t bound)
{
	if (!g->run.collector)
		return;
	doubt(g, run_error(&g->run, (double)(look->at - g->last.at)), look->at, bound);
	note_longest(look->at <= bound ? &g->now : &g->next, g->run.surely_ns);
	g->run.collector = 0;
}

static void begin_run(struct gc_gil *g, const struct gc_look *look)
{
	g->run = (struct gc_run){
		.collector = look->holder, .ended = look->ended,
		.first_gap = g->has_last ? (double)(look->at - g->last.at) : 0,
	};
}

static void note_times(struct gc_gil *g, const struct gc_look *look, uint64_t bound)
{
	uint64_t middle = g->has_last ? g->last.at + (look->at - g->last.at) / 2 : look->at;
	bool held = g->has_last && is_held(g, &g->last), same = look->collecting && look->ended == g->run.ended;
	bool goes_on = g->run.collector && same;

	if (g->has_last)
		spend(g, &g->last, held, g->last.at, middle, bound);
	if (!goes_on) {
		end_run(g, look, bound);
		if (look->collecting)
			begin_run(g, look);
	}
	if (g->has_last)
		spend(g, look, is_held(g, look), middle, look->at, bound);
	if (goes_on && held && is_held(g, look))
		g->run.surely_ns += look->at - g->last.at;
	g->run.looks++;
}

static void remember_collector(struct gc_watch *w, uint64_t tstate)
{
	if (!tstate || w->collectors[0] == tstate)
		return;
	memmove(w->collectors + 1, w->collectors, sizeof(w->collectors) - sizeof(w->collectors[0]));
	w->collectors[0] = tstate;
}

bool gc_watch__collects(const struct gc_watch *w, uint64_t tstate)
{
	for (int i = 0; i < LAST_COLLECTORS; i++)
		if (tstate && w->collectors[i] == tstate)
			return true;
	return false;
}

void gc_watch__note(struct gc_watch *w, uint32_t gil, uint32_t number, const struct gc_look *look, uint64_t bound)
{
	struct gc_gil *g = &w->gils[gil];

	if (!g->used || g->number != number)
		*g = (struct gc_gil){.used = true, .number = number};
	if (look->gone || (g->has_last && look->at < g->last.at)) {
		g->has_last = false;
		g->run.collector = 0;
		return;
	}
	note_times(g, look, bound);
	if (number == 0)
		remember_collector(w, g->run.collector);
	g->bound = bound;
	g->last = *look;
	g->has_last = true;
}

/* ---- numbers ---- */

static void note_numbers(struct gc_gil *g, const struct gc_words *words)
{
	if (!words->counted)
		return;
	memcpy(g->collections, words->collections, sizeof(g->collections));
	if (!g->counted) {
		memcpy(g->settled, words->collections, sizeof(g->settled));
		g->settled_known = true;
	}
	g->counted = true;
}

/* ---- looking ---- */

static uint64_t sum_of(const struct gc_words *words)
{
	uint64_t sum = 0;

	for (int i = 0; i < GC_GENERATIONS; i++)
		sum += words->collections[i];
	return words->counted ? sum : 0;
}

/* Without an interpreter nothing is collected. */
static int read_both(pid_t pid, const struct pyoffsets *off, const struct gc_subject *subject, struct gc_words *gc,
		     struct gil_words *gil)
{
	int err = subject->state ? gc_words__read(pid, off, subject->state, gc) : 0;

	if (!err && gc->collecting)
		err = gil_words__read(pid, off, subject->gil, gil);
	return err;
}

void gc_watch__look(struct gc_watch *w, pid_t pid, const struct pyoffsets *off, const struct gc_subject *subjects, uint32_t n,
		    uint64_t bound)
{
	for (uint32_t i = 0; i < n && i < GC_WATCH_GILS; i++) {
		struct gc_words gc = {0};
		struct gil_words gil = {0};
		int err = read_both(pid, off, &subjects[i], &gc, &gil);
		struct gc_look look = {
			.at = clock__mono_ns(), .holder = gil.last_holder, .locked = gil.locked == 1, .collecting = gc.collecting,
			.ended = sum_of(&gc), .waiters = subjects[i].waiters, .tid = subjects[i].holder_tid, .gone = err != 0,
		};

		gc_watch__note(w, i, subjects[i].number, &look, bound);
		if (!err)
			note_numbers(&w->gils[i], &gc);
	}
}

void gc_watch__count(struct gc_watch *w, pid_t pid, const struct pyoffsets *off, const struct gc_subject *subjects, uint32_t n)
{
	for (uint32_t i = 0; i < n && i < GC_WATCH_GILS; i++) {
		struct gc_gil *g = &w->gils[i];
		struct gc_words gc = {0};

		if (!g->used || g->number != subjects[i].number)
			*g = (struct gc_gil){.used = true, .number = subjects[i].number};
		if (subjects[i].state && !gc_words__read(pid, off, subjects[i].state, &gc))
			note_numbers(g, &gc);
	}
}

/* ---- into a sample ---- */

static bool is_seen(const struct gc_sums *sums, const struct proc_sample *s)
{
	uint64_t len = s->observed_ns < s->len_ns ? s->observed_ns : s->len_ns;
	uint64_t unseen = len > sums->seen_ns ? len - sums->seen_ns : 0;

	return unseen <= UNSEEN_ANYWAY_NS || (double)unseen <= UNSEEN_MOST * (double)len;
}

static void put_numbers(struct gc_gil *g, struct gc_time *time)
{
	for (int i = 0; i < GC_GENERATIONS; i++) {
		/* A new interpreter in the same place counts from 0 on. */
		time->n[i] = g->collections[i] >= g->settled[i] ? g->collections[i] - g->settled[i] : g->collections[i];
		g->settled[i] = g->collections[i];
	}
}

static struct metrics *metrics_of(struct proc_sample *s, uint32_t number)
{
	for (size_t i = 0; i < s->gils_n; i++)
		if (s->gils[i].gil == number)
			return &s->gils[i].m;
	return NULL;
}

static void put_threads(struct proc_sample *s, const struct gc_gil *g)
{
	for (uint32_t i = 0; i < g->now.threads_n; i++)
		for (size_t t = 0; t < s->threads_n; t++)
			if (s->threads[t].key.tid == g->now.threads[i].tid && s->threads[t].gil == g->number) {
				s->threads[t].m.gc.hold_ns = g->now.threads[i].ns;
				break;
			}
}

/* How long the collection that goes on had lasted when the interval ended. */
static uint64_t surely_at_bound(const struct gc_gil *g)
{
	uint64_t behind = g->last.at > g->bound ? g->last.at - g->bound : 0;

	return g->run.collector && g->run.surely_ns > behind ? g->run.surely_ns - behind : 0;
}

static void settle_gil(struct gc_gil *g, struct proc_sample *s, bool with_times, uint32_t *known)
{
	struct metrics *m = metrics_of(s, g->number);
	struct gc_time time = {0};

	if (with_times && is_seen(&g->now, s)) {
		note_longest(&g->now, surely_at_bound(g));
		time = g->now.time;
	} else if (g->number == 0) {
		*known &= ~(uint32_t)(KNOWN_GC | KNOWN_GC_WAIT);
	}
	if (g->counted)
		put_numbers(g, &time);
	else if (g->number == 0)
		*known &= ~(uint32_t)KNOWN_GC_NUMBERS;
	gc_time__add(&s->total.gc, &time);
	if (m)
		gc_time__add(&m->gc, &time);
	if (*known & KNOWN_GC)
		put_threads(s, g);
	g->now = g->next;
	g->next = (struct gc_sums){0};
}

/* Sampled parts are no more than the wholes, which are measured. */
static void bound_by_whole(struct metrics *m)
{
	if (m->known & KNOWN_HOLD && m->gc.hold_ns > m->hold_ns)
		m->gc.hold_ns = m->hold_ns;
}

void gc_watch__settle(struct gc_watch *w, struct proc_sample *s, bool with_times)
{
	uint32_t known = w->gils[0].used ? KNOWN_GC_NUMBERS | (with_times ? KNOWN_GC | KNOWN_GC_WAIT : 0) : 0;

	for (uint32_t i = 0; i < GC_WATCH_GILS; i++)
		if (w->gils[i].used)
			settle_gil(&w->gils[i], s, with_times, &known);
	if (!metrics__knows_wait(&s->total))
		known &= ~(uint32_t)KNOWN_GC_WAIT;
	if (s->total.gc.wait_ns > s->total.wait_ns)
		s->total.gc.wait_ns = s->total.wait_ns;
	s->total.known |= known;
	bound_by_whole(&s->total);
	for (size_t i = 0; i < s->gils_n; i++) {
		s->gils[i].m.known |= known;
		bound_by_whole(&s->gils[i].m);
	}
	for (size_t i = 0; i < s->threads_n; i++) {
		s->threads[i].m.known |= known & KNOWN_GC;
		bound_by_whole(&s->threads[i].m);
	}
}
