/* SPDX-License-Identifier: GPL-2.0-only */
/* See tree.h. */
#include "tree.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { LABEL, ID, PID, LIVE, BUSY, WAITING, ACQUIRES, CONTENDED, FORCED, WAIT_P99, HOLD_MAX, COV };

static const struct out_column columns[] = {
	[LABEL] = {"label", "PROCESS", OUT_TEXT, OUT_FLEX},
	[ID] = {"id", "", OUT_TEXT, OUT_DETAIL},
	[PID] = {"pid", "PID", OUT_ID, 0},
	[LIVE] = {"live", "LIVE", OUT_BOOL, 0},
	[BUSY] = {"util", "BUSY", OUT_SHARE, 0},
	[WAITING] = {"waiters", "WAITING", OUT_REAL, 0},
	[ACQUIRES] = {"n", "ACQUIRES", OUT_TOTAL, 0},
	[CONTENDED] = {"c", "", OUT_TOTAL, OUT_DETAIL},
	[FORCED] = {"forced", "FORCED", OUT_TOTAL, 0},
	[WAIT_P99] = {"wait_p99", "P99 WAIT", OUT_US, 0},
	[HOLD_MAX] = {"hold_max", "MAX HOLD", OUT_US, 0},
	[COV] = {"cov", "", OUT_SHARE, OUT_DETAIL},
};

static bool has(const struct schema_row *row, enum schema_field f)
{
	return row->has >> f & 1;
}

static void set(struct schema_row *row, enum schema_field f, double value)
{
	row->has |= 1ull << f;
	row->value[f] = value;
}

void tree__add(struct schema_row *sum, const struct schema_row *process)
{
	static const enum schema_field side_by_side[] = {FIELD_THREADS, FIELD_RSS};
	double before[2];

	for (size_t i = 0; i < 2; i++)
		before[i] = has(sum, side_by_side[i]) ? sum->value[side_by_side[i]] : 0;
	schema_row__merge(sum, process);
	for (size_t i = 0; i < 2; i++)
		if (has(process, side_by_side[i]))
			set(sum, side_by_side[i], before[i] + process->value[side_by_side[i]]);
}

void tree__set_shares(struct schema_row *sum, double span_us)
{
	double seen = span_us * (has(sum, FIELD_COV) ? sum->value[FIELD_COV] : 1);

	set(sum, FIELD_D, span_us);
	if (!(seen > 0))
		return;
	if (has(sum, FIELD_HOLD))
		set(sum, FIELD_UTIL, sum->value[FIELD_HOLD] / seen);
	if (has(sum, FIELD_WAIT))
		set(sum, FIELD_WAITERS, sum->value[FIELD_WAIT] / seen);
}

static void put_row(struct out *table, const char *label, const struct query_proc *proc, const struct schema_row *row)
{
	static const enum schema_field fields[] = {
		[BUSY] = FIELD_UTIL, [WAITING] = FIELD_WAITERS, [ACQUIRES] = FIELD_N, [CONTENDED] = FIELD_C,
		[FORCED] = FIELD_FORCED, [WAIT_P99] = FIELD_WAIT_P99, [HOLD_MAX] = FIELD_HOLD_MAX, [COV] = FIELD_COV,
	};

	out__row(table);
	out__text(table, LABEL, label);
	if (proc) {
		out__text(table, ID, proc->id);
		out__num(table, PID, proc->pid);
		out__num(table, LIVE, proc->live);
	}
	for (size_t c = BUSY; c <= COV; c++)
		if (has(row, fields[c]))
			out__num(table, c, row->value[fields[c]]);
}

/* The family's time: from where the first row begins to where the last one ends. */
struct span {
	double from_us, to_us;
};

static void widen(struct span *span, const struct schema_row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		double to = rows[i].value[FIELD_T] * 1e3, from = to - rows[i].value[FIELD_D];

		if (span->to_us == 0 || from < span->from_us)
			span->from_us = from;
		if (to > span->to_us)
			span->to_us = to;
	}
}

static int add_process(struct query *q, const struct query_proc *proc, const struct query_range *range, int64_t now_ms,
		       struct out *table, struct schema_row *sum, struct span *span, struct reason *why)
{
	enum tier tier = query__tier(proc, range, false, now_ms);
	struct schema_row *rows = NULL, own;
	size_t n = 0;
	int err = query__series(q, proc->id, "p", tier, range, &rows, &n, why);

	if (!err && n) {
		schema_row__sum(rows, n, &own);
		put_row(table, proc->label, proc, &own);
		tree__add(sum, &own);
		widen(span, rows, n);
	}
	free(rows);
	return err;
}

int tree__fetch(struct query *q, const struct query_proc *proc, const struct query_range *range, int64_t now_ms,
		struct out **ret, struct reason *why)
{
	struct out *table = out__new(columns, sizeof(columns) / sizeof(columns[0]));
	struct query_proc *family = NULL;
	struct schema_row sum = {0};
	struct span span = {0};
	char words[48];
	size_t n = 0;
	int err = table ? query__family(q, proc, &family, &n, why) : reason__set(why, -ENOMEM, "not enough memory");

	for (size_t i = 0; !err && i < n; i++)
		err = add_process(q, &family[i], range, now_ms, table, &sum, &span, why);
	free(family);
	if (!err && out__rows(table)) {
		tree__set_shares(&sum, span.to_us - span.from_us);
		snprintf(words, sizeof(words), "sum of %zu", out__rows(table));
		put_row(table, words, NULL, &sum);
	}
	if (err) {
		out__free(table);
		return err;
	}
	*ret = table;
	return 0;
}
