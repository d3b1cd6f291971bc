/* SPDX-License-Identifier: GPL-2.0-only */
/* See top_frame.h. Both ways go through schema_row, so that top, the other verbs and Redis cannot disagree. */
#include "top_frame.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/functions.h"
#include "cli/rows.h"
#include "collector/base/text.h"

#define MAX_MS 9e15 /* of a stamp that somebody else wrote */

void top_frame__free(struct top_frame *f)
{
	if (!f)
		return;
	free(f->gils);
	free(f->threads);
	free(f->pairs);
	free(f->code);
	free(f->places);
	free(f);
}

size_t top_frame__find(const struct top_frame *f, const char *thr, uint32_t gil)
{
	for (size_t i = 0; i < f->threads_n; i++)
		if (f->threads[i].gil == gil && strcmp(f->threads[i].thr, thr) == 0)
			return i;
	return SIZE_MAX;
}

/* ---- numbers ---- */

static double over(double value, double time)
{
	return time > 0 ? value / time : NAN;
}

/* What is known exactly, else what is known about; NAN: neither. */
static double known_or_estimated(const struct schema_row *row, enum schema_field known, enum schema_field estimated)
{
	double exact = rows__field(row, known);

	return isnan(exact) ? rows__field(row, estimated) : exact;
}

static struct top_numbers numbers_of(const struct schema_row *row, double observed_us)
{
	double seconds = observed_us / 1e6;

	return (struct top_numbers){
		.hold = over(known_or_estimated(row, FIELD_HOLD, FIELD_HOLD_EST), observed_us),
		.wait = over(rows__field(row, FIELD_WAIT), observed_us),
		.n = over(rows__field(row, FIELD_N), seconds),
		.c = over(rows__field(row, FIELD_C), seconds),
		.forced = over(rows__field(row, FIELD_FORCED), seconds),
		.hold_p50 = rows__field(row, FIELD_HOLD_P50),
		.hold_p99 = rows__field(row, FIELD_HOLD_P99),
		.hold_max = rows__field(row, FIELD_HOLD_MAX),
		.wait_p50 = rows__field(row, FIELD_WAIT_P50),
		.wait_p99 = rows__field(row, FIELD_WAIT_P99),
		.wait_max = rows__field(row, FIELD_WAIT_MAX),
		.hold_off = rows__off(row, FIELD_HOLD),
		.wait_off = rows__off(row, FIELD_WAIT),
		.gc = rows__gc(row),
	};
}

/* The process; an unknown part that is not written is none. */
static void set_process(struct top_frame *f, const struct schema_row *all)
{
	double cov = rows__field(all, FIELD_COV), unknown = rows__field(all, FIELD_UNKNOWN);
	double t = rows__field(all, FIELD_T);

	f->end_ms = t > 0 && t < MAX_MS ? (int64_t)t : 0;
	f->d_us = rows__field(all, FIELD_D);
	f->observed_us = isnan(cov) ? f->d_us : f->d_us * cov;
	f->is = numbers_of(all, f->observed_us);
	f->is.hold = known_or_estimated(all, FIELD_UTIL, FIELD_UTIL_EST);
	f->looked = !isnan(rows__field(all, FIELD_LOOKS));
	f->estimated = isnan(rows__field(all, FIELD_UTIL)) && !isnan(f->is.hold);
	f->handover = over(rows__field(all, FIELD_HANDOVER), f->observed_us);
	f->unknown = isnan(unknown) ? 0 : over(unknown, f->observed_us);
	f->threads_alive = rows__field(all, FIELD_THREADS);
	f->cpu = over(rows__field(all, FIELD_CPU), f->d_us);
	f->cost = over(rows__field(all, FIELD_COST), f->observed_us);
	f->lost = rows__field(all, FIELD_LOST);
	whys__tracers(&all->whys, f->tracers);
}

static struct top_frame *new_frame(size_t threads, size_t gils, size_t pairs, size_t code)
{
	struct top_frame *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->threads = calloc(threads + 1, sizeof(*f->threads));
	f->gils = calloc(gils + 1, sizeof(*f->gils));
	f->pairs = calloc(pairs + 1, sizeof(*f->pairs));
	f->code = calloc(code + 1, sizeof(*f->code));
	f->places = calloc(code + 1, sizeof(*f->places));
	if (f->threads && f->gils && f->pairs && f->code && f->places)
		return f;
	top_frame__free(f);
	return NULL;
}

/* ---- who waited for whom ---- */

static int larger_first(const void *a_, const void *b_)
{
	const struct top_pair *a = a_, *b = b_;

	if (a->share != b->share)
		return a->share < b->share ? 1 : -1;
	return a->victim < b->victim ? -1 : a->victim > b->victim;
}

/* The part of the waiting that `us` are, and the holder's share of it all. */
static void add_pair(struct top_frame *f, size_t victim, size_t holder, double us)
{
	double share = over(us, f->observed_us);

	f->pairs[f->pairs_n++] = (struct top_pair){victim, holder, share};
	f->threads[holder].blame += share;
}

static int same_together(const void *a_, const void *b_)
{
	const struct top_pair *a = a_, *b = b_;

	if (a->victim != b->victim)
		return a->victim < b->victim ? -1 : 1;
	return a->holder < b->holder ? -1 : a->holder > b->holder;
}

/* A sample may charge a pair in parts. */
static void merge_pairs(struct top_frame *f)
{
	size_t n = 0;

	qsort(f->pairs, f->pairs_n, sizeof(*f->pairs), same_together);
	for (size_t i = 0; i < f->pairs_n; i++)
		if (n && same_together(&f->pairs[n - 1], &f->pairs[i]) == 0)
			f->pairs[n - 1].share += f->pairs[i].share;
		else
			f->pairs[n++] = f->pairs[i];
	f->pairs_n = n;
}

static int guiltier_first(const void *a_, const void *b_)
{
	const struct top_code *a = a_, *b = b_;

	if (a->blame != b->blame)
		return a->blame < b->blame ? 1 : -1;
	return a->hold < b->hold ? 1 : a->hold > b->hold ? -1 : strcmp(a->place, b->place);
}

static bool is_same_place(const struct top_frame *f, const struct top_code *a, const struct top_code *b)
{
	return f->threads[a->thread].gil == f->threads[b->thread].gil && strcmp(a->place, b->place) == 0;
}

/* A pool of eight threads has one guilty line, not eight. */
static void sum_places(struct top_frame *f)
{
	for (size_t i = 0, j; i < f->code_n; i++) {
		const struct top_code *code = &f->code[i];

		for (j = 0; j < f->places_n && !is_same_place(f, &f->places[j], code); j++)
			;
		if (j == f->places_n) {
			f->places[f->places_n++] = *code;
			continue;
		}
		f->places[j].threads += code->blame > 0;
		f->places[j].hold += code->hold;
		f->places[j].blame += code->blame;
		f->places[j].wait += code->wait;
	}
	qsort(f->places, f->places_n, sizeof(*f->places), guiltier_first);
}

/* Without holds nobody knows which code they were in. */
static void finish(struct top_frame *f)
{
	for (size_t i = 0; isnan(f->is.hold) && i < f->code_n; i++)
		f->code[i].hold = NAN;
	qsort(f->code, f->code_n, sizeof(*f->code), guiltier_first);
	sum_places(f);
	merge_pairs(f);
	qsort(f->pairs, f->pairs_n, sizeof(*f->pairs), larger_first);
}

/* ---- of a sample ---- */

static void add_thread(struct top_frame *f, const struct proc_sample *s, const struct thread_sample *t)
{
	struct top_thread *to = &f->threads[f->threads_n++];
	struct schema_row row;

	schema_row__from(s, &t->m, false, &row);
	*to = (struct top_thread){.tid = t->key.tid, .inside = t->key.inside, .gil = t->gil};
	snprintf(to->thr, sizeof(to->thr), "%" PRIu32 ".%" PRIu64, t->key.tid, t->key.start_ticks);
	rows__name(t, to->name, sizeof(to->name));
	to->is = numbers_of(&row, f->observed_us);
}

static void add_gils(struct top_frame *f, const struct proc_sample *s)
{
	const struct gil_sample **sorted = s->gils_n > 1 ? rows__gils(s) : NULL;
	struct schema_row row;

	for (size_t i = 0; sorted && sorted[i]; i++) {
		schema_row__from(s, &sorted[i]->m, true, &row);
		f->gils[f->gils_n++] = (struct top_gil){sorted[i]->gil, numbers_of(&row, f->observed_us)};
	}
	free(sorted);
}

static void add_code(struct top_frame *f, const struct proc_sample *s, const struct code_cell *c)
{
	struct top_code *to = &f->code[f->code_n++];

	to->thread = c->thread;
	to->threads = 1;
	code__where(&(struct function_part){.function = c->function, .file = c->file, .line = c->line, .native = c->native,
					    .caller = c->caller}, to->place);
	to->hold = over((double)c->hold_ns / 1e3, f->observed_us);
	to->blame = over((double)c->blame_ns / 1e3, f->observed_us);
	to->wait = over((double)c->wait_ns / 1e3, f->observed_us);
}

struct top_frame *top_frame__of_sample(const struct proc_sample *s)
{
	struct top_frame *f = new_frame(s->threads_n, s->gils_n, s->blame_n, s->code_n);
	struct schema_row all;

	if (!f)
		return NULL;
	schema_row__from(s, &s->total, true, &all);
	set_process(f, &all);
	f->no_gil = s->no_gil;
	f->sampled = s->blame_sampled;
	holding__words(&s->holding, f->standing);
	if (rows__lost(s))
		rows__losses(s, f->losses, sizeof(f->losses));
	for (size_t i = 0; i < s->threads_n; i++)
		add_thread(f, s, &s->threads[i]);
	for (size_t i = 0; i < s->blame_n; i++)
		if (s->blame[i].victim < s->threads_n && s->blame[i].holder < s->threads_n)
			add_pair(f, s->blame[i].victim, s->blame[i].holder, (double)s->blame[i].ns / 1e3);
	add_gils(f, s);
	f->code_known = s->code_known;
	for (size_t i = 0; i < s->code_n; i++)
		if (s->code[i].thread < s->threads_n)
			add_code(f, s, &s->code[i]);
	finish(f);
	return f;
}

/* ---- of rows ---- */

static const char *name_of(const struct top_row *row)
{
	if (strcmp(row->thr, "other") == 0)
		return "(other threads)";
	if (strcmp(row->thr, "unknown") == 0)
		return "(unknown)";
	return row->name[0] ? row->name : "(no name)";
}

static void add_row(struct top_frame *f, const struct top_row *row)
{
	struct top_thread *to = &f->threads[f->threads_n++];
	double gil = rows__field(&row->row, FIELD_G), inside = rows__field(&row->row, FIELD_INSIDE);
	char gil_name[16];
	size_t len;

	*to = (struct top_thread){.tid = (uint32_t)strtoul(row->thr, NULL, 10)};
	to->inside = inside > 0 && inside <= UINT32_MAX ? (uint32_t)inside : 0;
	to->gil = gil > 0 && gil <= UINT32_MAX ? (uint32_t)gil : 0;
	snprintf(to->thr, sizeof(to->thr), "%s", row->thr);
	if (to->gil)
		snprintf(to->name, sizeof(to->name), "%s ", rows__gil_name(to->gil, gil_name, sizeof(gil_name)));
	len = strlen(to->name);
	text__clean(to->name + len, sizeof(to->name) - len, name_of(row), strlen(name_of(row)));
	to->is = numbers_of(&row->row, f->observed_us);
}

/* An idle stretch of a thread has zeros at its ends. */
static bool did_something(const struct schema_row *row)
{
	return row->has && (known_or_estimated(row, FIELD_HOLD, FIELD_HOLD_EST) > 0 || rows__field(row, FIELD_WAIT) > 0 ||
			    rows__field(row, FIELD_N) > 0 || rows__field(row, FIELD_C) > 0);
}

static int busier_gil_first(const void *a_, const void *b_)
{
	const struct top_gil *a = a_, *b = b_;
	double x = isnan(a->is.hold) ? a->is.wait : a->is.hold, y = isnan(b->is.hold) ? b->is.wait : b->is.hold;

	return x < y ? 1 : x > y ? -1 : a->gil < b->gil ? -1 : a->gil > b->gil;
}

static size_t by_thr(const struct top_frame *f, const char *thr)
{
	for (size_t i = 0; i < f->threads_n; i++)
		if (strcmp(f->threads[i].thr, thr) == 0)
			return i;
	return SIZE_MAX;
}

/* Of a thread that has no row of its own nobody knows who it was. */
static void add_place(struct top_frame *f, const struct code_place *p)
{
	size_t thread = by_thr(f, p->thr);
	struct top_code *to = &f->code[f->code_n];

	if (thread == SIZE_MAX)
		return;
	f->code_n++;
	to->thread = thread;
	to->threads = 1;
	code__where(&(struct function_part){.function = p->function, .file = p->file, .line = p->line, .native = p->native,
					    .caller = p->caller}, to->place);
	to->hold = over(p->hold_us, f->observed_us);
	to->blame = over(p->blame_us, f->observed_us);
	to->wait = over(p->wait_us, f->observed_us);
}

struct top_frame *top_frame__of_rows(const struct schema_row *all, const struct top_row *rows, size_t rows_n,
				     const struct top_gil_row *gils, size_t gils_n, const struct blame_sum *blame,
				     const struct code_sum *code)
{
	struct top_frame *f = new_frame(rows_n, gils_n, blame->pairs_n, code->n);

	if (!f)
		return NULL;
	set_process(f, all);
	f->sampled = blame->sampled;
	for (size_t i = 0; i < rows_n; i++)
		if (did_something(&rows[i].row))
			add_row(f, &rows[i]);
	for (size_t i = 0; i < blame->pairs_n; i++) {
		size_t victim = by_thr(f, blame->pairs[i].victim), holder = by_thr(f, blame->pairs[i].holder);

		if (victim != SIZE_MAX && holder != SIZE_MAX && blame->pairs[i].us > 0)
			add_pair(f, victim, holder, blame->pairs[i].us);
	}
	for (size_t i = 0; i < gils_n; i++)
		f->gils[f->gils_n++] = (struct top_gil){gils[i].gil, numbers_of(&gils[i].row, f->observed_us)};
	qsort(f->gils, f->gils_n, sizeof(*f->gils), busier_gil_first);
	f->code_known = code->n > 0;
	for (size_t i = 0; i < code->n; i++)
		add_place(f, &code->places[i]);
	finish(f);
	return f;
}
