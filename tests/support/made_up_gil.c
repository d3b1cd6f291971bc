/* SPDX-License-Identifier: GPL-2.0-only */
/* See made_up_gil.h. */
#include "made_up_gil.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define SWITCH_US 5000.0
#define CHECK_US 20.0     /* bytecode lets go that much after it is asked */
#define WAKE_US 60.0      /* until who is woken runs */
#define MOMENT_US 60.0    /* how long the others want the GIL, ... */
#define MOMENT_EVERY_US 8000.0 /* ... and how often, about */
#define LATE_US 524.288   /* OVERS_LATE_NS */

struct lengths {
	double *us;
	size_t n, room;
};

struct thread {
	double wants_at; /* it waits since then, or will want it then */
	double left_us;  /* of the work that it has begun */
	double over_us, over_max, over_n, over_late;
	struct lengths holds, waits;
};

/* A stretch of time in which the holder has, or lacks, its CPU. */
struct cpu {
	bool on;
	double until;
};

struct run {
	const struct made_up_program *p;
	struct made_up_rows *rows;
	struct thread threads[MADE_UP_THREADS];
	size_t n;
	struct cpu cpu;
	uint64_t seed;
	double now;
};

static double draw(struct run *r, double from, double to)
{
	r->seed = r->seed * 6364136223846793005ull + 1442695040888963407ull;
	return from + (to - from) * (double)(r->seed >> 11) / (double)(1ull << 53);
}

static void note(struct lengths *l, double us)
{
	if (l->n == l->room) {
		l->room = l->room ? 2 * l->room : 256;
		l->us = realloc(l->us, l->room * sizeof(*l->us));
	}
	l->us[l->n++] = us;
}

static bool is_worker(const struct run *r, size_t thread)
{
	return thread == 0 || r->p->pool;
}

static double work_of(const struct run *r, size_t thread)
{
	return is_worker(r, thread) ? r->p->hold_us : MOMENT_US;
}

static double pause_of(struct run *r, size_t thread)
{
	if (!is_worker(r, thread))
		return draw(r, 0.5 * MOMENT_EVERY_US, 1.5 * MOMENT_EVERY_US);
	return draw(r, 0.5, 1.5) * r->p->hold_us * (1 - r->p->wants) / r->p->wants;
}

/* ---- CPUs ---- */

static void pass(struct run *r)
{
	r->cpu.on = !r->cpu.on;
	r->cpu.until = r->now + (r->cpu.on ? draw(r, 2000, 6000) : draw(r, 2000, 8000));
}

static double woken_after(struct run *r)
{
	return r->p->cpu_short ? WAKE_US + draw(r, 0, 4000) : WAKE_US;
}

/* ---- a hold ---- */

/* When the first of those that wait asks: CPython's rule is a whole switch interval in which nobody else took it. */
static double asked_at(struct run *r, size_t holder, double since)
{
	double first = INFINITY;

	for (size_t i = 0; i < r->n; i++) {
		double at = r->threads[i].wants_at;

		if (i == holder)
			continue;
		if (at < since)
			at += SWITCH_US * ceil((since - at) / SWITCH_US);
		first = fmin(first, at + SWITCH_US + (r->p->cpu_short ? draw(r, 0, 2000) : 0));
	}
	return first;
}

static void charge(struct run *r, size_t holder, double from, double to, bool on)
{
	for (size_t i = 0; i < r->n; i++) {
		double us = to - fmax(from, r->threads[i].wants_at);

		if (i == holder || !(us > 0))
			continue;
		r->rows->pairs[i * MADE_UP_THREADS + holder].us += us;
		r->rows->places[holder].blame_us[on ? TIME_RUNS : TIME_STARVED] += us;
		if (!on)
			r->rows->starved_us += us;
		else if (is_worker(r, holder))
			r->rows->worker_runs_us += us;
		else
			r->rows->others_run_us += us;
	}
	r->rows->places[holder].hold_us[on ? TIME_RUNS : TIME_STARVED] += to - from;
}

/* Up to where the holder comes with the CPU that it has; true: it lets go there. */
static bool step(struct run *r, size_t holder, double asked, double *off_since_asked)
{
	struct thread *t = &r->threads[holder];
	bool heeds = !(is_worker(r, holder) && r->p->c_code);
	double from = r->now, to = from + t->left_us;
	bool ends = true;

	if (heeds && asked + CHECK_US < to)
		to = fmax(from, asked + CHECK_US);
	if (!r->cpu.on || (r->p->cpu_short && r->cpu.until < to)) {
		to = fmax(from, r->cpu.until);
		ends = false;
	}
	charge(r, holder, from, to, r->cpu.on);
	if (r->cpu.on)
		t->left_us -= to - from;
	else if (to > asked)
		*off_since_asked += to - fmax(asked, from);
	r->now = to;
	if (!ends)
		pass(r);
	return ends;
}

static void count_over(struct thread *t, double us)
{
	t->over_n++;
	t->over_us += us;
	t->over_max = fmax(t->over_max, us);
	t->over_late += us >= LATE_US;
}

static void hold(struct run *r, size_t holder)
{
	struct thread *t = &r->threads[holder];
	double since = r->now, asked = asked_at(r, holder, since), off = 0;

	if (!(t->left_us > 0))
		t->left_us = work_of(r, holder);
	t->wants_at = INFINITY;
	if (!r->cpu.on)
		r->cpu = (struct cpu){.on = true, .until = since + draw(r, 2000, 6000)}; /* who takes it runs */
	while (!step(r, holder, asked, &off))
		;
	note(&t->holds, r->now - since);
	if (asked < r->now) {
		count_over(t, fmax(0, r->now - asked - off));
		r->rows->threads[holder].forced++;
	}
	t->wants_at = t->left_us > 1 ? r->now : r->now + pause_of(r, holder);
	if (!(t->left_us > 1))
		t->left_us = 0;
}

/* ---- between holds ---- */

/* Who has waited for the longest; a thread that was just made to let go last. */
static size_t next_holder(const struct run *r)
{
	size_t next = 0;

	for (size_t i = 1; i < r->n; i++)
		if (r->threads[i].wants_at < r->threads[next].wants_at)
			next = i;
	return next;
}

static void hand_over(struct run *r, size_t to)
{
	struct thread *t = &r->threads[to];
	double free_until = r->now + woken_after(r);

	if (t->wants_at > r->now) {
		r->now = t->wants_at;
		return;
	}
	for (size_t i = 0; i < r->n; i++)
		if (r->threads[i].wants_at < free_until)
			r->rows->handover_us += free_until - fmax(r->now, r->threads[i].wants_at);
	r->now = free_until;
	note(&t->waits, r->now - t->wants_at);
}

/* ---- rows ---- */

static int by_length(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double of_rank(const struct lengths *l, double rank)
{
	return l->n ? l->us[(size_t)(rank * (double)(l->n - 1))] : NAN;
}

static double sum(const struct lengths *l)
{
	double us = 0;

	for (size_t i = 0; i < l->n; i++)
		us += l->us[i];
	return us;
}

static void fill_load(struct run *r, size_t i)
{
	static const char *const names[MADE_UP_THREADS] = {
		"t0", "t1", "t2", "t3", "t4", "t5", "t6", "t7", "t8", "t9", "t10", "t11",
	};
	struct verdict_load *row = &r->rows->threads[i];
	struct thread *t = &r->threads[i];

	qsort(t->holds.us, t->holds.n, sizeof(double), by_length);
	qsort(t->waits.us, t->waits.n, sizeof(double), by_length);
	*row = (struct verdict_load){
		.name = names[i], .forced = row->forced, .n = (double)t->holds.n, .c = (double)t->waits.n,
		.hold_us = sum(&t->holds), .wait_us = sum(&t->waits),
		.hold_p50 = of_rank(&t->holds, 0.5), .hold_p99 = of_rank(&t->holds, 0.99), .hold_max = of_rank(&t->holds, 1),
		.wait_p50 = of_rank(&t->waits, 0.5), .wait_p99 = of_rank(&t->waits, 0.99), .wait_max = of_rank(&t->waits, 1),
		.hold_preempted = r->rows->places[i].hold_us[TIME_STARVED],
		.over_us = t->over_us, .over_n = t->over_n, .over_late = t->over_late, .over_max = t->over_max, .gc_us = NAN,
	};
	free(t->holds.us);
	free(t->waits.us);
}

static void fill_place(struct run *r, size_t i)
{
	struct verdict_place *place = &r->rows->places[i];

	place->thread = i;
	place->extension = is_worker(r, i) && r->p->c_code;
	place->code = !is_worker(r, i) ? MADE_UP_MOMENT : r->p->c_code ? MADE_UP_C_WORK : MADE_UP_WORK;
	place->function = place->code;
}

static void add_to_all(struct verdict_input *in, const struct verdict_load *row, const struct verdict_place *place)
{
	in->all.hold_us += row->hold_us;
	in->all.wait_us += row->wait_us;
	in->all.n += row->n;
	in->all.c += row->c;
	in->all.forced += row->forced;
	in->all.hold_preempted += row->hold_preempted;
	in->all.wait_preempted += place->blame_us[TIME_STARVED];
	in->cpu_us += place->hold_us[TIME_RUNS];
}

/* Pairs that somebody waited for move to the front. */
static void fill_pairs(struct made_up_rows *rows, size_t n)
{
	for (size_t i = 0; i < n * MADE_UP_THREADS; i++)
		if (rows->pairs[i].us > 0)
			rows->pairs[rows->in.pairs_n++] = (struct verdict_pair){
				.victim = i / MADE_UP_THREADS, .holder = i % MADE_UP_THREADS, .us = rows->pairs[i].us,
			};
}

static void fill_input(struct run *r)
{
	struct made_up_rows *rows = r->rows;

	rows->in = (struct verdict_input){
		.observed_us = r->now, .cov = 1, .cpus = 4, .gils = 1, .threads = rows->threads, .threads_n = r->n,
		.pairs = rows->pairs, .places = rows->places, .places_n = r->n, .handover_us = rows->handover_us,
		.gc_err_us = NAN, .gc_wait_us = NAN, .gc_max_us = NAN, .gc_n = {NAN, NAN, NAN}, .holder = SIZE_MAX,
		.all = {.hold_p50 = NAN, .hold_p99 = NAN, .hold_max = NAN, .wait_p50 = NAN, .wait_p99 = NAN, .wait_max = NAN,
			.gc_us = NAN},
	};
	for (size_t i = 0; i < r->n; i++) {
		fill_load(r, i);
		fill_place(r, i);
		add_to_all(&rows->in, &rows->threads[i], &rows->places[i]);
	}
	fill_pairs(rows, r->n);
	rows->in.util = rows->in.all.hold_us / r->now;
	rows->in.jammed = rows->in.util >= VERDICT_JAMMED_UTIL && rows->in.all.wait_us >= VERDICT_JAMMED_WAITERS * r->now;
}

void made_up__run(const struct made_up_program *program, struct made_up_rows *ret)
{
	struct run r = {.p = program, .rows = ret, .n = program->waiters + 1, .seed = 17, .cpu = {.on = true, .until = 3000}};

	memset(ret, 0, sizeof(*ret));
	for (size_t i = 0; i < r.n; i++)
		r.threads[i].wants_at = draw(&r, 0, SWITCH_US);
	while (r.now < MADE_UP_OBSERVED_US) {
		size_t next = next_holder(&r);

		hand_over(&r, next);
		hold(&r, next);
	}
	fill_input(&r);
}

/* ---- what is not known ---- */

static void blur_load(struct verdict_load *row, enum made_up_blur blur, double off_us)
{
	if ((blur == BLUR_OFF_CPU || blur == BLUR_LIGHT) && row->over_n > 0) {
		/* As if it had been late by what it was off the CPU, in every other hold. */
		row->over_us += off_us / 2;
		row->over_late = fmax(row->over_late, off_us > 0 ? row->over_n / 2 : 0);
		row->over_max = fmax(row->over_max, off_us > 0 ? 6000 : 0);
	}
	if (blur == BLUR_REQUESTS || blur == BLUR_BOTH || (blur >= BLUR_LIGHT && !(row->over_n > 0)))
		row->over_us = row->over_n = row->over_late = row->over_max = NAN;
	if (blur >= BLUR_OFF_CPU)
		row->hold_blocked = row->hold_preempted = row->hold_stopped = row->hold_unseen = row->wait_blocked =
			row->wait_preempted = row->wait_stopped = NAN;
	if (blur >= BLUR_LIGHT)
		row->hold_us = row->n = row->hold_p50 = row->hold_p99 = row->hold_max = NAN;
}

static void blur_place(struct verdict_place *place)
{
	place->extension = false;
	place->hold_us[TIME_RUNS] += place->hold_us[TIME_STARVED];
	place->blame_us[TIME_RUNS] += place->blame_us[TIME_STARVED];
	place->hold_us[TIME_STARVED] = place->blame_us[TIME_STARVED] = 0;
}

/* Of a waiter's time with nobody, somebody is seen as the holder all the same: who was so at its looks. */
static void charge_all(struct verdict_input *in, struct verdict_pair *pairs)
{
	double sum[MADE_UP_THREADS] = {0};

	for (size_t i = 0; i < in->pairs_n; i++)
		sum[pairs[i].victim] += pairs[i].us;
	for (size_t i = 0; i < in->pairs_n; i++)
		pairs[i].us *= in->threads[pairs[i].victim].wait_us / sum[pairs[i].victim];
}

static void move_part(double us[TIME_KINDS], double part)
{
	for (size_t kind = 0; kind < TIME_UNSEEN; kind++) {
		us[TIME_UNSEEN] += part * us[kind];
		us[kind] -= part * us[kind];
	}
}

/* Of the first thread, as of one that held when the probes came. */
static void blur_seed(struct made_up_rows *rows, double part)
{
	struct verdict_load *row = &rows->threads[0];

	move_part(rows->places[0].hold_us, part);
	move_part(rows->places[0].blame_us, part);
	row->hold_unseen = rows->in.all.hold_unseen = rows->places[0].hold_us[TIME_UNSEEN];
	rows->in.all.hold_preempted -= part * row->hold_preempted;
	row->hold_preempted -= part * row->hold_preempted;
}

void made_up__blur(struct made_up_rows *rows, enum made_up_blur blur)
{
	struct verdict_input *in = &rows->in;

	if (blur == BLUR_SEED) {
		blur_seed(rows, 0.15);
		return;
	}

	for (size_t i = 0; i < in->threads_n; i++) {
		double off_us = rows->places[i].hold_us[TIME_STARVED];

		blur_load(&rows->threads[i], blur, off_us);
		if (blur >= BLUR_OFF_CPU)
			blur_place(&rows->places[i]);
	}
	blur_load(&in->all, blur, 0);
	if (blur >= BLUR_LIGHT) {
		in->about_held = in->util;
		in->util = in->handover_us = NAN;
		in->sampled = true;
		in->places_n = blur == BLUR_LIGHT ? 0 : in->places_n;
		charge_all(in, rows->pairs);
	}
}
