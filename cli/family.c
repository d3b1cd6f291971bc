/* SPDX-License-Identifier: GPL-2.0-only */
/* See family.h. */
#include "family.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "collector/schema/schema.h"
#include "human.h"
#include "live.h"
#include "out.h"
#include "summary.h"

#define MS 1000000ull
#define LABEL_SIZE 128
#define LINES_MIN 3

/* One process; of a sample only what a table shows. */
struct row {
	char label[LABEL_SIZE];
	pid_t pid;
	char end[16];
	struct schema_row values;
	double span_us;
};

struct family_table {
	struct row *rows;
	size_t rows_n;
	size_t count, folded;
	uint64_t len_ns, observed_ns; /* of all together: what share was observed, */
	uint64_t wait_unseen_ns;      /* and of that without knowing who waited */
	int64_t begin_ms, end_ms;
	uint64_t longest_ns;
	struct proc_sample *sum;      /* its times are set when asked for */
};

struct family_table *family_table__new(void)
{
	struct family_table *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->rows = calloc(FAMILY_ROWS_MAX, sizeof(*f->rows));
	f->sum = proc_sample__new();
	if (!f->rows || !f->sum) {
		family_table__free(f);
		return NULL;
	}
	return f;
}

void family_table__free(struct family_table *f)
{
	if (!f)
		return;
	proc_sample__free(f->sum);
	free(f->rows);
	free(f);
}

void family_table__clear(struct family_table *f)
{
	struct proc_sample *sum = f->sum;
	struct row *rows = f->rows;

	proc_sample__empty(sum);
	sum->total.known = KNOWN_ALL;
	*f = (struct family_table){.rows = rows, .sum = sum};
}

static double field(const struct row *row, enum schema_field f)
{
	return row->values.has >> f & 1 ? row->values.value[f] : NAN;
}

static double weight(const struct row *row)
{
	double hold = field(row, FIELD_HOLD), wait = field(row, FIELD_WAIT);

	return isnan(hold) ? (isnan(wait) ? 0 : wait) : hold;
}

/* A row for a newcomer: a free one, or that of the least busy of those that ended. */
static struct row *row_for_one_more(struct family_table *f)
{
	struct row *least = NULL;

	if (f->rows_n < FAMILY_ROWS_MAX)
		return &f->rows[f->rows_n++];
	for (size_t i = 0; i < f->rows_n; i++)
		if (f->rows[i].end[0] && (!least || weight(&f->rows[i]) < weight(least)))
			least = &f->rows[i];
	f->folded++;
	return least;
}

static uint64_t known_or_zero(uint64_t value)
{
	return value == UINT64_MAX ? 0 : value;
}

static void add_to_sum(struct proc_sample *sum, const struct proc_sample *s, bool first)
{
	metrics__sum(&sum->total, &s->total);
	sum->mode = first || sum->mode == s->mode ? s->mode : GIL_MODE_OFF;
	sum->partial |= s->partial;
	sum->blame_sampled |= s->blame_sampled;
	sum->live_threads += s->live_threads;
	sum->cost_ns += s->cost_ns;
	sum->hits += s->hits;
	sum->cpu_ns = known_or_zero(sum->cpu_ns) + known_or_zero(s->cpu_ns);
	sum->rss_kib = known_or_zero(sum->rss_kib) + known_or_zero(s->rss_kib);
	for (int i = 0; i < GIL_LOSS_COUNT; i++)
		sum->lost[i] += s->lost[i];
}

static void add_times(struct family_table *f, const struct proc_sample *s)
{
	int64_t begin = s->end_ms - (int64_t)(s->len_ns / MS);

	if (!f->count || begin < f->begin_ms)
		f->begin_ms = begin;
	if (!f->count || s->end_ms > f->end_ms)
		f->end_ms = s->end_ms;
	if (s->len_ns > f->longest_ns)
		f->longest_ns = s->len_ns;
	f->len_ns += s->len_ns;
	f->observed_ns += s->observed_ns;
	f->wait_unseen_ns += s->wait_unseen_ns;
}

int family_table__add(struct family_table *f, const struct who *who, const struct proc_sample *s, const char *how)
{
	struct row *row = row_for_one_more(f);

	if (row) {
		*row = (struct row){.pid = who->pid, .span_us = (double)s->observed_ns / 1e3};
		snprintf(row->label, sizeof(row->label), "%s", who->label);
		snprintf(row->end, sizeof(row->end), "%s", how ? how : "");
		schema_row__from(s, &s->total, true, &row->values);
	}
	add_to_sum(f->sum, s, f->count == 0);
	add_times(f, s);
	f->count++;
	return 0;
}

size_t family_table__count(const struct family_table *f)
{
	return f->count;
}

static uint64_t part_of(uint64_t span, uint64_t part, uint64_t whole)
{
	return whole ? (uint64_t)((double)span * ((double)part / (double)whole)) : 0;
}

/* Stamps have a millisecond's grain: one process alone tells its time to the nanosecond. */
const struct proc_sample *family_table__sum(struct family_table *f)
{
	uint64_t span = (uint64_t)(f->end_ms - f->begin_ms) * MS;

	if (!f->count)
		return NULL;
	if (span < f->longest_ns + 2 * MS)
		span = f->longest_ns;
	f->sum->end_ms = f->end_ms;
	f->sum->len_ns = span;
	f->sum->observed_ns = part_of(span, f->observed_ns, f->len_ns);
	f->sum->wait_unseen_ns = part_of(span, f->wait_unseen_ns, f->len_ns);
	return f->sum;
}

pid_t family_table__busiest(const struct family_table *f)
{
	const struct row *best = NULL;

	for (size_t i = 0; i < f->rows_n; i++)
		if (!f->rows[i].end[0] && (!best || weight(&f->rows[i]) > weight(best)))
			best = &f->rows[i];
	return best ? best->pid : 0;
}

/* ---- the table ---- */

enum { LABEL, PID, BUSY, WAITING, ACQUIRES, FORCED, WAIT_P99, HOLD_MAX };

static const struct out_column columns[] = {
	[LABEL] = {"label", "PROCESS", OUT_TEXT, OUT_FLEX},
	[PID] = {"pid", "PID", OUT_ID, 0},
	[BUSY] = {"util", "BUSY", OUT_SHARE, 0},
	[WAITING] = {"waiters", "WAITING", OUT_REAL, 0},
	[ACQUIRES] = {"n", "ACQUIRES", OUT_COUNT, 0},
	[FORCED] = {"forced", "FORCED", OUT_COUNT, 0},
	[WAIT_P99] = {"wait_p99", "P99 WAIT", OUT_US, 0},
	[HOLD_MAX] = {"hold_max", "MAX HOLD", OUT_US, 0},
};

static void put_row(struct out *table, const char *label, pid_t pid, const struct schema_row *values)
{
	static const enum schema_field fields[] = {
		[BUSY] = FIELD_UTIL, [WAITING] = FIELD_WAITERS, [ACQUIRES] = FIELD_N,
		[FORCED] = FIELD_FORCED, [WAIT_P99] = FIELD_WAIT_P99, [HOLD_MAX] = FIELD_HOLD_MAX,
	};

	out__row(table);
	out__text(table, LABEL, label);
	if (pid)
		out__num(table, PID, pid);
	for (size_t c = BUSY; c <= HOLD_MAX; c++)
		if (values->has >> fields[c] & 1)
			out__num(table, c, values->value[fields[c]]);
}

static int busier_first(const void *a_, const void *b_)
{
	const struct row *a = a_, *b = b_;
	double x = weight(a), y = weight(b);

	return x < y ? 1 : x > y ? -1 : a->pid < b->pid ? -1 : a->pid > b->pid;
}

void family_table__print(struct family_table *f, FILE *to, size_t width, size_t lines)
{
	struct out *table = out__new(columns, sizeof(columns) / sizeof(columns[0]));
	const struct proc_sample *sum = family_table__sum(f);
	size_t room = lines < LINES_MIN + 1 ? LINES_MIN + 1 : lines, shown = f->rows_n;
	struct schema_row values;
	char words[64];

	if (lines && f->rows_n + 2 > room)
		shown = room - 3;
	qsort(f->rows, f->rows_n, sizeof(*f->rows), busier_first);
	for (size_t i = 0; table && i < shown; i++)
		put_row(table, f->rows[i].label, f->rows[i].pid, &f->rows[i].values);
	if (table && sum) {
		schema_row__from(sum, &sum->total, true, &values);
		snprintf(words, sizeof(words), "sum of %zu", f->count);
		put_row(table, words, 0, &values);
	}
	if (table && !out__error(table))
		out__table(table, to, width);
	out__free(table);
	if (f->count > shown)
		fprintf(to, "and %zu more, less busy (in the sum)\n", f->count - shown);
}

static const char *root_label(const struct family_table *f)
{
	return f->rows_n ? f->rows[0].label : "";
}

void family_table__summary(struct family_table *f, FILE *to, size_t width)
{
	const struct proc_sample *sum = family_table__sum(f);
	char words[LABEL_SIZE + 64];
	const struct who who = {.label = words, .python = ""};

	if (!sum)
		return;
	snprintf(words, sizeof(words), "%zu processes, first %s (pid %d)", f->count, root_label(f),
		 f->rows_n ? (int)f->rows[0].pid : 0);
	summary__sum(to, who.label, sum);
	fputc('\n', to);
	family_table__print(f, to, width, 0);
}

void family_table__line(struct family_table *f, FILE *to)
{
	const struct proc_sample *sum = family_table__sum(f);

	if (sum)
		live__sum(to, f->count, sum);
}

json_t *family_table__json(struct family_table *f, const char *root, bool last)
{
	const struct proc_sample *sum = family_table__sum(f);

	return sum ? rows__sum_json(sum, f->count, root, last) : NULL;
}
