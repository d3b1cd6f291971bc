/* SPDX-License-Identifier: GPL-2.0-only */
/* See compare_side.h. */
#include "compare_side.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "collector/schema/schema_code.h"
#include "code.h"
#include "rows.h"

#define PIECES_MAX 40
#define FUNCTIONS_MAX 2000

double compare_side__held(const struct schema_row *row)
{
	double hold = rows__field(row, FIELD_HOLD);

	return isnan(hold) ? rows__field(row, FIELD_HOLD_EST) : hold;
}

/* ---- lists ---- */

/* The series of that name, a new one of zeros if need be. NULL: no memory, or no room for more. */
static struct side_series *series_of(struct side_list *l, const char *name, size_t max)
{
	struct side_series *list, *one;

	for (size_t i = 0; i < l->n; i++)
		if (strcmp(l->list[i].name, name) == 0)
			return &l->list[i];
	if (l->n == max)
		return NULL;
	list = reallocarray(l->list, l->n + 1, sizeof(*list));
	if (!list)
		return NULL;
	l->list = list;
	one = &list[l->n];
	*one = (struct side_series){.hold = calloc(l->of + 1, sizeof(double)), .other = calloc(l->of + 1, sizeof(double))};
	if (!one->hold || !one->other) {
		free(one->hold);
		free(one->other);
		return NULL;
	}
	snprintf(one->name, sizeof(one->name), "%s", name);
	l->n++;
	return one;
}

static void add(struct side_series *s, size_t at, double hold, double other)
{
	s->hold[at] += hold;
	s->other[at] += other;
	s->sum += (isnan(hold) ? 0 : hold) + (isnan(other) ? 0 : other);
}

static void free_list(struct side_list *l)
{
	for (size_t i = 0; i < l->n; i++) {
		free(l->list[i].hold);
		free(l->list[i].other);
	}
	free(l->list);
}

/* ---- threads ---- */

/* Where a thread has no row it did nothing. Both are in the order of time. */
static void take_thread(struct compare_side *s, struct side_series *series, const struct schema_row *rows, size_t n)
{
	size_t at = 0;

	for (size_t i = 0; i < n; i++) {
		double t = rows__field(&rows[i], FIELD_T);

		while (at < s->n && rows__field(&s->rows[at], FIELD_T) < t)
			at++;
		if (at == s->n)
			return;
		if (rows__field(&s->rows[at], FIELD_T) == t)
			add(series, at, compare_side__held(&rows[i]), rows__field(&rows[i], FIELD_WAIT));
	}
}

static int read_threads(struct compare_side *s, struct query *q, struct reason *why)
{
	struct query_thread *all = NULL;
	size_t all_n = 0;
	int err = query__threads(q, s->proc.id, s->range.since_ms, &all, &all_n, why);

	s->threads.of = s->n;
	for (size_t i = 0; !err && i < all_n; i++) {
		struct side_series *series = series_of(&s->threads, all[i].name[0] ? all[i].name : all[i].thr, SIZE_MAX);
		struct schema_row *rows = NULL;
		char name[64];
		size_t n = 0;

		snprintf(name, sizeof(name), "t:%s", all[i].thr);
		err = series ? query__series(q, s->proc.id, name, s->tier, &s->range, &rows, &n, why) :
			       reason__set(why, -ENOMEM, "not enough memory");
		if (!err)
			take_thread(s, series, rows, n);
		free(rows);
	}
	free(all);
	return err;
}

/* ---- functions ---- */

/* A line that has moved is in the same function. */
static void take_code(struct compare_side *s, const struct code_sum *code, size_t piece)
{
	for (size_t i = 0; i < code->n; i++) {
		const struct code_place *p = &code->places[i];
		char name[CODE_TEXT_SIZE];
		struct side_series *series = series_of(&s->functions, code__place(p->function, p->file, 0, name), FUNCTIONS_MAX);

		if (series)
			add(series, piece, p->hold_us, p->blame_us);
	}
}

static int read_piece(struct compare_side *s, struct query *q, size_t piece, size_t from, size_t end, struct reason *why)
{
	struct code_sum code = {0};
	struct query_range range = s->range;
	int err;

	range.since_ms = from ? (int64_t)s->rows[from - 1].value[FIELD_T] : s->range.since_ms;
	range.until_ms = (int64_t)s->rows[end - 1].value[FIELD_T];
	for (size_t i = from; i < end; i++)
		s->piece_us[piece] += s->observed_us[i];
	err = query__code(q, s->proc.id, s->tier, &range, &code, why);
	if (!err)
		take_code(s, &code, piece);
	code_sum__free(&code);
	return err;
}

static int read_functions(struct compare_side *s, struct query *q, struct reason *why)
{
	size_t each = (s->n + PIECES_MAX - 1) / PIECES_MAX;
	int err = 0;

	s->functions.of = (s->n + each - 1) / each;
	s->piece_us = calloc(s->functions.of + 1, sizeof(double));
	if (!s->piece_us)
		return reason__set(why, -ENOMEM, "not enough memory");
	for (size_t i = 0; !err && i < s->functions.of; i++)
		err = read_piece(s, q, i, i * each, (i + 1) * each < s->n ? (i + 1) * each : s->n, why);
	return err;
}

/* ---- all of it ---- */

static int measure(struct compare_side *s, struct reason *why)
{
	s->observed_us = calloc(s->n + 1, sizeof(double));
	if (!s->observed_us)
		return reason__set(why, -ENOMEM, "not enough memory");
	for (size_t i = 0; i < s->n; i++) {
		double cov = rows__field(&s->rows[i], FIELD_COV), d = rows__field(&s->rows[i], FIELD_D);

		s->observed_us[i] = isnan(d) ? 0 : d * (isnan(cov) ? 1 : cov);
		s->estimated = s->estimated || s->rows[i].has >> FIELD_HOLD_EST & 1;
	}
	return 0;
}

int compare_side__read(struct compare_side *s, struct query *q, int64_t now_ms, struct reason *why)
{
	enum tier all = query__tier(&s->proc, &s->range, false, now_ms), threads = query__tier(&s->proc, &s->range, true, now_ms);
	int err;

	s->tier = s->range.step_s || all > threads ? all : threads;
	err = query__series(q, s->proc.id, "p", s->tier, &s->range, &s->rows, &s->n, why);
	if (!err && !s->n)
		err = reason__set(why, -ENODATA, "nothing was stored of %s in that time", s->proc.id);
	err = err ? err : measure(s, why);
	err = err ? err : query__marks(q, s->proc.id, s->range.since_ms, s->range.until_ms, &s->marks, &s->marks_n, why);
	err = err ? err : read_threads(s, q, why);
	return err ? err : read_functions(s, q, why);
}

void compare_side__free(struct compare_side *s)
{
	free(s->rows);
	free(s->observed_us);
	free(s->piece_us);
	free(s->marks);
	free_list(&s->threads);
	free_list(&s->functions);
}
