/* SPDX-License-Identifier: GPL-2.0-only */
/* See look_tally.h. */
#include "look_tally.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "look_error.h"

#define THREADS_MAX 4096 /* of one process in one interval; further ones are its unknown */
#define SEEN_ENOUGH 0.98 /* of an interval: less is said */
#define NOBODY UINT32_MAX

/* One thread on one GIL, in one interval. */
struct thread_tally {
	uint32_t tid;             /* 0: of all that have no name */
	uint32_t gil;
	bool blamed;              /* it had the GIL when another queued */
	uint32_t looks;           /* that found it holding */
	uint32_t reads, queued;   /* looks at it, and those that found it queueing */
	uint32_t changes;         /* how often it began or ceased to be the holder, from look to look */
	double held[LOOK_BLOCKS]; /* ns */
	double waits[LOOK_BLOCKS];/* looks that found it queueing */
	/* Over intervals: */
	uint64_t queued_since, queued_switches; /* it has queued since then at least; 0: it does not */
	uint64_t wait_max_ns;
};

/* `n` looks found that one queueing while this one had the GIL. */
struct pair_tally {
	uint32_t victim, holder; /* places; holder NOBODY: nobody had it */
	uint32_t n;
};

/* `n` looks found that one in that stack with the GIL, while `waiters` queued, in sum. */
struct code_tally {
	uint32_t place, n;
	uint64_t hash, waiters;
};

struct gil_tally {
	uint64_t looks;
	double seen[LOOK_BLOCKS], held[LOOK_BLOCKS], waits[LOOK_BLOCKS]; /* ns */
	double counted_ns;           /* of `seen`: the number of waiters was known */
	uint32_t waiters;            /* at the last look */
	uint32_t changes;            /* between held and free, from look to look */
	uint32_t last_holder;        /* place of the thread; NOBODY */
	uint64_t switches, first_switches;
	bool has_switches;           /* first_switches is known: of the end of the interval before */
};

struct look_tally {
	struct thread_tally *threads;
	size_t threads_n, room;
	struct pair_tally *pairs;
	size_t pairs_n, pairs_room;
	struct code_tally *codes;
	size_t codes_n, codes_room;
	struct gil_tally gils[LOOK_GILS];
	uint64_t rounds, idle_rounds; /* of looks at threads, and those in which nobody queued */
};

struct look_tally *look_tally__new(void)
{
	return calloc(1, sizeof(struct look_tally));
}

void look_tally__free(struct look_tally *t)
{
	if (!t)
		return;
	free(t->threads);
	free(t->pairs);
	free(t->codes);
	free(t);
}

/* ---- errors ---- */

/* What `changes` between two looks leave open: each lies somewhere between them. */
static double error2_of_changes(uint32_t changes, double apart_ns)
{
	return changes * apart_ns * apart_ns / 12;
}

static double total(const double *blocks)
{
	double sum = 0;

	for (size_t i = 0; i < LOOK_BLOCKS; i++)
		sum += blocks[i];
	return sum;
}

static struct hold_estimate estimate(const double *blocks, double scale, uint32_t changes, double apart_ns)
{
	double err2 = fmax(look_error__square(blocks, LOOK_BLOCKS), error2_of_changes(changes, apart_ns));

	return (struct hold_estimate){.ns = (uint64_t)(total(blocks) * scale), .err2 = err2 * scale * scale};
}

/* ---- noting ---- */

/* NOBODY: there is no more room. */
static uint32_t place_of(struct look_tally *t, uint32_t tid, uint32_t gil)
{
	struct thread_tally *more;

	for (size_t i = 0; i < t->threads_n; i++)
		if (t->threads[i].tid == tid && t->threads[i].gil == gil)
			return (uint32_t)i;
	if (t->threads_n == t->room) {
		more = t->room < THREADS_MAX ? reallocarray(t->threads, t->room * 2 + 16, sizeof(*more)) : NULL;
		if (!more)
			return NOBODY;
		t->threads = more;
		t->room = t->room * 2 + 16;
	}
	t->threads[t->threads_n] = (struct thread_tally){.tid = tid, .gil = gil};
	return (uint32_t)t->threads_n++;
}

static size_t block_of(uint64_t at, uint64_t start, uint64_t end)
{
	uint64_t len = end > start ? end - start : 1;
	size_t block = at > start ? (size_t)((double)(at - start) / (double)len * LOOK_BLOCKS) : 0;

	return block < LOOK_BLOCKS ? block : LOOK_BLOCKS - 1;
}

static void note_holder(struct look_tally *t, struct gil_tally *g, const struct look_record *r, size_t block)
{
	uint32_t holder = r->holder ? place_of(t, r->holder_tid, r->gil) : NOBODY;

	if (g->looks && holder != g->last_holder) {
		if (g->last_holder != NOBODY)
			t->threads[g->last_holder].changes++;
		if (holder != NOBODY)
			t->threads[holder].changes++;
		g->changes += (holder == NOBODY) != (g->last_holder == NOBODY);
	}
	g->last_holder = holder;
	if (!r->holder)
		return;
	g->held[block] += r->weight_ns;
	if (holder == NOBODY)
		return;
	t->threads[holder].held[block] += r->weight_ns;
	t->threads[holder].looks++;
}

static void note_gil(struct look_tally *t, const struct look_record *r, size_t block)
{
	struct gil_tally *g = &t->gils[r->gil];

	note_holder(t, g, r, block);
	if (!g->has_switches)
		g->first_switches = r->switches;
	g->has_switches = true;
	g->switches = r->switches;
	g->looks++;
	g->seen[block] += r->weight_ns;
	if (r->waiters == LOOK_WAITERS_UNKNOWN)
		return;
	g->counted_ns += r->weight_ns;
	g->waits[block] += (double)r->weight_ns * r->waiters;
	g->waiters = r->waiters;
}

static void add_pair(struct look_tally *t, uint32_t victim, uint32_t holder)
{
	struct pair_tally *more;

	if (holder != NOBODY)
		t->threads[holder].blamed = true;
	for (size_t i = 0; i < t->pairs_n; i++)
		if (t->pairs[i].victim == victim && t->pairs[i].holder == holder) {
			t->pairs[i].n++;
			return;
		}
	if (t->pairs_n == t->pairs_room) {
		more = reallocarray(t->pairs, t->pairs_room * 2 + 16, sizeof(*more));
		if (!more)
			return; /* its wait is unknown then */
		t->pairs = more;
		t->pairs_room = t->pairs_room * 2 + 16;
	}
	t->pairs[t->pairs_n++] = (struct pair_tally){victim, holder, 1};
}

/* Who queues now and did then has not had the GIL in between if it has changed hands once at most: each other taker counts. */
static void note_wait_length(struct thread_tally *t, const struct look_record *r)
{
	if (r->doing != LOOK_QUEUES) {
		t->queued_since = 0;
		return;
	}
	if (!t->queued_since || r->switches - t->queued_switches > 1) {
		t->queued_since = r->at;
		t->queued_switches = r->switches;
	} else if (r->at - t->queued_since > t->wait_max_ns) {
		t->wait_max_ns = r->at - t->queued_since;
	}
}

/* Where looks at it are counted that found it queueing for no GIL: on whichever it has a place. */
static uint32_t place_of_reads(struct look_tally *t, uint32_t tid)
{
	for (size_t i = 0; i < t->threads_n; i++)
		if (t->threads[i].tid == tid)
			return (uint32_t)i;
	return place_of(t, tid, 0);
}

static void end_waits(struct look_tally *t, uint32_t tid)
{
	for (size_t i = 0; i < t->threads_n; i++)
		if (!tid || t->threads[i].tid == tid)
			t->threads[i].queued_since = 0;
}

static void note_thread(struct look_tally *t, const struct look_record *r, size_t block)
{
	bool queues = r->doing == LOOK_QUEUES;
	uint32_t place = queues ? place_of(t, r->tid, r->gil) : place_of_reads(t, r->tid);

	if (place == NOBODY)
		return;
	t->threads[place].reads++;
	if (!queues) {
		end_waits(t, r->tid);
		return;
	}
	t->threads[place].queued++;
	t->threads[place].waits[block]++;
	note_wait_length(&t->threads[place], r);
	add_pair(t, place, r->holder ? place_of(t, r->holder_tid, r->gil) : NOBODY);
}

static void note_code(struct look_tally *t, const struct look_record *r)
{
	uint32_t place = place_of(t, r->holder_tid, r->gil), waiters = r->waiters == LOOK_WAITERS_UNKNOWN ? 1 : r->waiters;
	struct code_tally *more;

	for (size_t i = 0; i < t->codes_n; i++)
		if (t->codes[i].place == place && t->codes[i].hash == r->hash) {
			t->codes[i].n++;
			t->codes[i].waiters += waiters;
			return;
		}
	if (place == NOBODY)
		return;
	if (t->codes_n == t->codes_room) {
		more = reallocarray(t->codes, t->codes_room * 2 + 16, sizeof(*more));
		if (!more)
			return;
		t->codes = more;
		t->codes_room = t->codes_room * 2 + 16;
	}
	t->codes[t->codes_n++] = (struct code_tally){.place = place, .n = 1, .hash = r->hash, .waiters = waiters};
}

void look_tally__note(struct look_tally *t, const struct look_record *r, uint64_t start, uint64_t end)
{
	size_t block = block_of(r->at, start, end);

	if (r->kind == LOOK_AT_GIL) {
		note_gil(t, r, block);
	} else if (r->kind == LOOK_AT_THREAD) {
		note_thread(t, r, block);
	} else if (r->kind == LOOK_AT_CODE) {
		note_code(t, r);
	} else if (r->kind == LOOK_ROUND) {
		t->rounds++;
		t->idle_rounds += !r->waiters;
		if (!r->waiters)
			end_waits(t, 0);
	}
}

/* ---- into a sample ---- */

/* How a thread's looks become time. */
struct scales {
	double hold;             /* of what was seen with the GIL */
	double apart_ns;         /* between two looks at a GIL, on average */
	double busy;             /* share of the rounds in which somebody may have queued */
	double observed;         /* ns, */
	double waits;            /* and of which it is known who waited */
};

static uint32_t reads_of(const struct look_tally *t, uint32_t tid)
{
	uint32_t reads = 0;

	for (size_t i = 0; i < t->threads_n; i++)
		reads += t->threads[i].tid == tid ? t->threads[i].reads : 0;
	return reads;
}

static struct hold_estimate wait_of(const struct look_tally *t, const struct thread_tally *thread, const struct scales *scales)
{
	uint32_t reads = thread->queued ? reads_of(t, thread->tid) : 0;

	return reads ? estimate(thread->waits, scales->observed * scales->busy / reads, 0, 0) : (struct hold_estimate){0};
}

/*
 * What the GIL's own count of waiters says of all of them, beside what looks at threads say; 1: it says nothing. Before the place
 * of that count was known, nobody saw them.
 */
static double ratio_of_waits(const struct gil_tally *g, double by_threads, const struct scales *scales, double *ret_all)
{
	bool counted = g->counted_ns > 0;

	*ret_all = scales->waits == 0 ? 0 : counted ? total(g->waits) * scales->hold : by_threads;
	return (counted || scales->waits == 0) && by_threads > 0 ? *ret_all / by_threads : 1;
}

static int add_thread(struct look_tally *t, const struct look_gil *gils, uint32_t place, const struct scales *scales,
		      double ratio, uint32_t known, struct proc_sample *s)
{
	const struct thread_tally *from = &t->threads[place];
	struct hold_estimate wait = wait_of(t, from, scales);
	struct thread_sample *to = proc_sample__add_thread(s);

	if (!to)
		return -ENOMEM;
	to->key = (struct thread_key){.tid = from->tid, .start_ticks = from->tid ? 0 : PSEUDO_UNKNOWN};
	to->gil = gils[from->gil].number;
	to->m.known = known;
	to->m.looks = t->gils[from->gil].looks;
	to->m.hold_est = estimate(from->held, scales->hold, from->changes, scales->apart_ns);
	to->m.wait_ns = (uint64_t)((double)wait.ns * ratio);
	to->m.wait_err2 = wait.err2 * ratio * ratio;
	to->m.wait_max_ns = from->wait_max_ns;
	return 0;
}

/* Waits that found no holder are a hand-off's; those of which no pair is left are unknown. */
static int add_blame(const struct look_tally *t, const uint32_t *samples, uint32_t victim, struct blame_places *places,
		     struct proc_sample *s)
{
	struct metrics *m = &s->threads[samples[victim]].m;
	uint64_t left = m->wait_ns;
	int err = 0;

	for (size_t i = 0; !err && i < t->pairs_n; i++) {
		const struct pair_tally *p = &t->pairs[i];
		uint64_t ns;

		if (p->victim != victim)
			continue;
		ns = (uint64_t)((double)m->wait_ns * p->n / t->threads[victim].queued);
		ns = ns < left ? ns : left;
		left -= ns;
		if (p->holder == NOBODY)
			m->handover_ns += ns;
		else
			err = proc_sample__charge(s, places, samples[victim], samples[p->holder], ns);
	}
	m->unknown_ns += left;
	return err;
}

static bool has_done(const struct thread_tally *t)
{
	return t->looks || t->queued || t->blamed;
}

static int add_gil(struct look_tally *t, const struct look_gil *gils, uint32_t gil, struct scales *scales, uint32_t known,
		   uint32_t *samples, struct proc_sample *s)
{
	const struct gil_tally *g = &t->gils[gil];
	double seen = total(g->seen), by_threads = 0, all, ratio;
	struct gil_sample *to = proc_sample__add_gil(s);
	int err = to ? 0 : -ENOMEM;

	scales->hold = seen > 0 ? scales->observed / seen : 0;
	scales->apart_ns = g->looks ? seen / (double)g->looks : 0;
	for (size_t i = 0; i < t->threads_n; i++)
		by_threads += t->threads[i].gil == gil ? (double)wait_of(t, &t->threads[i], scales).ns : 0;
	ratio = ratio_of_waits(g, by_threads, scales, &all);
	for (uint32_t i = 0; !err && i < t->threads_n; i++) {
		samples[i] = t->threads[i].gil == gil ? (uint32_t)s->threads_n : samples[i];
		if (t->threads[i].gil == gil && has_done(&t->threads[i]))
			err = add_thread(t, gils, i, scales, ratio, known, s);
	}
	if (err)
		return err;
	*to = (struct gil_sample){.gil = gils[gil].number, .addr = gils[gil].addr};
	to->m.known = known;
	to->m.looks = g->looks;
	to->m.switches = g->switches - g->first_switches;
	to->m.waiting = g->waiters;
	to->m.hold_est = estimate(g->held, scales->hold, g->changes, scales->apart_ns);
	to->m.wait_ns = (uint64_t)all;
	to->m.wait_err2 = all > 0 ? look_error__square(g->waits, LOOK_BLOCKS) * scales->hold * scales->hold : 0;
	return 0;
}

/* Sums that threads have: blame is complete now. Of waits that no thread was seen in, nobody knows more. */
static void complete_gil(struct gil_sample *g, const struct proc_sample *s)
{
	uint64_t waits = 0;

	for (size_t i = 0; i < s->threads_n; i++) {
		const struct metrics *m = &s->threads[i].m;

		if (s->threads[i].gil != g->gil)
			continue;
		waits += m->wait_ns;
		g->m.handover_ns += m->handover_ns;
		g->m.unknown_ns += m->unknown_ns;
		g->m.wait_max_ns = m->wait_max_ns > g->m.wait_max_ns ? m->wait_max_ns : g->m.wait_max_ns;
	}
	if (g->m.wait_ns > waits)
		g->m.unknown_ns += g->m.wait_ns - waits;
	else
		g->m.wait_ns = waits;
}

/* All looks at code that found that thread holding, or what waited then. */
static double sum_of_codes(const struct look_tally *t, uint32_t place, bool waiters)
{
	double sum = 0;

	for (size_t i = 0; i < t->codes_n; i++)
		if (t->codes[i].place == place)
			sum += waiters ? (double)t->codes[i].waiters : t->codes[i].n;
	return sum;
}

/* A thread's hold and blame are parted as looks at its code were. */
static int give_codes(const struct look_tally *t, const uint32_t *samples, const struct look_code_taker *codes,
		      struct proc_sample *s)
{
	uint64_t *blamed = proc_sample__blamed(s);
	int err = blamed ? 0 : -ENOMEM;

	for (size_t i = 0; !err && i < t->codes_n; i++) {
		const struct code_tally *c = &t->codes[i];
		uint32_t thread = samples[c->place];
		double n = sum_of_codes(t, c->place, false), waiters = sum_of_codes(t, c->place, true);
		struct look_code code = {.thread = thread, .hash = c->hash, .times = c->n};

		if (!has_done(&t->threads[c->place]))
			continue;
		code.hold_ns = (uint64_t)((double)s->threads[thread].m.hold_est.ns * c->n / n);
		code.blame_ns = waiters > 0 ? (uint64_t)((double)blamed[thread] * (double)c->waiters / waiters) : 0;
		if (code.hold_ns + code.blame_ns)
			err = codes->take(codes->arg, s, &code);
	}
	free(blamed);
	return err;
}

static uint64_t observed_ns(const struct look_tally *t, uint64_t len_ns)
{
	double seen = total(t->gils[0].seen);

	return seen >= SEEN_ENOUGH * (double)len_ns ? len_ns : (uint64_t)seen;
}

/* What goes on into the next interval: how long a thread has queued, and how often the GILs have changed hands. */
static void begin_next(struct look_tally *t)
{
	size_t kept = 0;

	for (size_t i = 0; i < t->threads_n; i++) {
		struct thread_tally was = t->threads[i];

		if (!was.queued_since)
			continue;
		t->threads[kept++] = (struct thread_tally){
			.tid = was.tid, .gil = was.gil, .queued_since = was.queued_since, .queued_switches = was.queued_switches,
		};
	}
	t->threads_n = kept;
	t->pairs_n = 0;
	t->codes_n = 0;
	t->rounds = t->idle_rounds = 0;
	for (size_t i = 0; i < LOOK_GILS; i++)
		t->gils[i] = (struct gil_tally){
			.first_switches = t->gils[i].switches, .switches = t->gils[i].switches,
			.has_switches = t->gils[i].has_switches, .last_holder = NOBODY,
		};
}

/* With a C library in which nobody can be seen queueing, nobody is: that is no sign that nobody does. */
static bool sees_waits(const struct look_tally *t)
{
	bool any = false;

	for (size_t i = 0; i < LOOK_GILS; i++)
		any |= t->gils[i].counted_ns > 0;
	for (size_t i = 0; i < t->threads_n; i++)
		any |= t->threads[i].queued > 0;
	return t->rounds && any;
}

/* ns of the `observed` ones. Threads are looked at now and then all the time, which tells where there is no count of waiters. */
static double waits_observed(const struct look_tally *t, double observed)
{
	double seen = total(t->gils[0].seen), counted = t->gils[0].counted_ns;

	if (!sees_waits(t))
		return 0;
	return counted > 0 && counted < SEEN_ENOUGH * seen ? observed * counted / seen : observed;
}

static int settle(struct look_tally *t, const struct look_gil *gils, uint32_t gils_n, uint32_t *samples,
		  const struct look_code_taker *codes, struct proc_sample *s)
{
	double waits = waits_observed(t, (double)s->observed_ns);
	uint32_t known = KNOWN_HOLD_EST | (waits > 0 ? KNOWN_WAIT_EST | KNOWN_HANDOVER : 0);
	struct scales scales = {
		.observed = (double)s->observed_ns,
		.waits = waits,
		.busy = t->rounds ? (double)(t->rounds - t->idle_rounds) / (double)t->rounds : 0,
	};
	struct blame_places places = {0};
	int err = 0;

	s->total.known = known;
	s->wait_unseen_ns = s->observed_ns - (uint64_t)waits;
	for (uint32_t gil = 0; !err && gil < gils_n; gil++)
		err = add_gil(t, gils, gil, &scales, known, samples, s);
	for (uint32_t i = 0; !err && i < t->threads_n; i++)
		if (t->threads[i].queued && t->threads[i].gil < gils_n)
			err = add_blame(t, samples, i, &places, s);
	for (size_t i = 0; !err && i < s->gils_n; i++) {
		complete_gil(&s->gils[i], s);
		err = metrics__sum(&s->total, &s->gils[i].m);
	}
	blame_places__free(&places);
	if (!err && codes)
		err = give_codes(t, samples, codes, s);
	return err;
}

int look_tally__settle(struct look_tally *t, const struct look_gil *gils, uint32_t gils_n, uint64_t len_ns,
		       const struct look_code_taker *codes, struct proc_sample *s)
{
	uint32_t *samples = calloc(t->threads_n + 1, sizeof(*samples));
	int err = samples ? 0 : -ENOMEM;

	s->mode = GIL_MODE_LOOK;
	s->blame_sampled = true;
	s->len_ns = len_ns;
	s->observed_ns = gils_n ? observed_ns(t, len_ns) : 0;
	if (!err)
		err = settle(t, gils, gils_n, samples, codes, s);
	free(samples);
	begin_next(t);
	return err;
}
