/* SPDX-License-Identifier: GPL-2.0-only */
/* See blame_table.h. Every line is whole microseconds, cut; what that costs is among the other pairs. */
#include "blame_table.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "collector/schema/schema.h"
#include "rows.h"

enum { B_VICTIM, B_HOLDER, B_US, B_SHARE, COLUMNS_N };

#define COLUMNS_OF(holder_title) { \
	[B_VICTIM] = {"victim", "WHO WAITED", OUT_TEXT, OUT_FLEX | OUT_MIDDLE}, \
	[B_HOLDER] = {"holder", holder_title, OUT_TEXT, OUT_FLEX | OUT_MIDDLE}, \
	[B_US] = {"us", "TIME", OUT_US, 0}, \
	[B_SHARE] = {"share", "OF ALL WAITING", OUT_SHARE, 0}, \
}

static const struct out_column exact[COLUMNS_N] = COLUMNS_OF("FOR WHOM");
static const struct out_column sampled[COLUMNS_N] = COLUMNS_OF("FOR WHOM (SAMPLED)");

static void add_line(struct out *table, const char *victim, const char *holder, double us, double all)
{
	out__row(table);
	out__text(table, B_VICTIM, victim);
	out__text(table, B_HOLDER, holder);
	out__num(table, B_US, us);
	out__num(table, B_SHARE, us / all);
}

static double whole_us(double us)
{
	return us > 0 ? floor(us) : 0;
}

struct out *blame_table__new(const struct blame_input *in, size_t max)
{
	struct out *table = out__new(in->sampled ? sampled : exact, COLUMNS_N);
	double handover = whole_us(in->handover_us), unknown = whole_us(in->unknown_us);
	double all = whole_us(in->wait_us), rest = all - handover - unknown;

	for (size_t i = 0; table && i < in->n && i < max && in->lines[i].us >= 1; i++) {
		add_line(table, in->lines[i].victim, in->lines[i].holder, whole_us(in->lines[i].us), all);
		rest -= whole_us(in->lines[i].us);
	}
	if (table && rest > 0)
		add_line(table, "(all)", "(all other pairs)", rest, all);
	if (table && handover > 0)
		add_line(table, "(all)", "(nobody: handover)", handover, all);
	if (table && unknown > 0)
		add_line(table, "(all)", "(not known)", unknown, all);
	return table;
}

/* ---- names ---- */

static void add_thr(char name[BLAME_NAME_SIZE], const char *thr)
{
	size_t len = strlen(name);

	snprintf(name + len, BLAME_NAME_SIZE - len, " (%s)", thr);
}

/* Names are compared before any of them has grown. */
void blame_table__tell_apart(char (*names)[BLAME_NAME_SIZE], char (*thrs)[BLAME_THR_SIZE], size_t n)
{
	for (size_t i = 0; i < n; i++) {
		bool shared = false;

		for (size_t j = i + 1; j < n; j++)
			if (strcmp(names[i], names[j]) == 0) {
				add_thr(names[j], thrs[j]);
				shared = true;
			}
		if (shared)
			add_thr(names[i], thrs[i]);
	}
}

/* ---- of a sample ---- */

static void name_threads(const struct proc_sample *s, char (*names)[BLAME_NAME_SIZE], char (*thrs)[BLAME_THR_SIZE])
{
	for (size_t i = 0; i < s->threads_n; i++) {
		rows__name(&s->threads[i], names[i], BLAME_NAME_SIZE);
		snprintf(thrs[i], BLAME_THR_SIZE, "%" PRIu32, s->threads[i].key.tid);
	}
	blame_table__tell_apart(names, thrs, s->threads_n);
}

/* Keeps the `max` largest in order: a few of tens of thousands. Returns how many there are now. */
static size_t offer(struct blame_line *lines, size_t n, size_t max, struct blame_line line)
{
	size_t at = n < max ? n++ : max;

	if (at == max && (max == 0 || lines[--at].us >= line.us))
		return n;
	for (; at > 0 && lines[at - 1].us < line.us; at--)
		lines[at] = lines[at - 1];
	lines[at] = line;
	return n;
}

static size_t list_pairs(const struct proc_sample *s, char (*names)[BLAME_NAME_SIZE], struct blame_line *lines, size_t max)
{
	size_t n = 0;

	for (size_t i = 0; i < s->blame_n; i++) {
		const struct blame_cell *c = &s->blame[i];

		if (c->victim < s->threads_n && c->holder < s->threads_n && c->ns >= 1000)
			n = offer(lines, n, max, (struct blame_line){names[c->victim], names[c->holder], (double)(c->ns / 1000)});
	}
	return n;
}

static void print_pairs(FILE *to, const struct proc_sample *s, const struct blame_line *lines, size_t n, size_t max,
			size_t width)
{
	struct schema_row row;
	struct out *table;

	schema_row__from(s, &s->total, true, &row);
	table = blame_table__new(&(struct blame_input){
		.lines = lines, .n = n, .wait_us = rows__field(&row, FIELD_WAIT),
		.handover_us = rows__field(&row, FIELD_HANDOVER),
		.unknown_us = rows__field(&row, FIELD_UNKNOWN), .sampled = s->blame_sampled,
	}, max);
	if (table && !out__error(table)) {
		fputc('\n', to);
		out__table(table, to, width);
	}
	out__free(table);
}

void blame_table__print(FILE *to, const struct proc_sample *s, size_t max, size_t width)
{
	char (*names)[BLAME_NAME_SIZE] = calloc(s->threads_n + 1, sizeof(*names));
	char (*thrs)[BLAME_THR_SIZE] = calloc(s->threads_n + 1, sizeof(*thrs));
	struct blame_line *lines = calloc(max + 1, sizeof(*lines));
	size_t n = 0;

	if (names && thrs && lines) {
		name_threads(s, names, thrs);
		n = list_pairs(s, names, lines, max);
	}
	if (n)
		print_pairs(to, s, lines, n, max, width);
	free(lines);
	free(thrs);
	free(names);
}
