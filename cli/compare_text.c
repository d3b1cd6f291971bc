/* SPDX-License-Identifier: GPL-2.0-only */
/* See compare.h. What is named a change is beyond chance; all else is told with the change that would have been seen. */
#include "compare.h"

#include <math.h>
#include <string.h>
#include <time.h>

#include "collector/base/text.h"
#include "human.h"
#include "markup.h"
#include "options.h"
#include "out.h"

#define SENTENCE_SIZE 900
#define CELL_SIZE 96
#define MARKDOWN_ROWS 40

static const char *value_words(enum compared_unit unit, double value, char buf[HUMAN_SIZE])
{
	if (isnan(value))
		snprintf(buf, HUMAN_SIZE, "-");
	else if (unit == COMPARED_SHARE)
		human__share(buf, value);
	else if (unit == COMPARED_US)
		human__us(buf, value);
	else
		snprintf(buf, HUMAN_SIZE, value < 100 ? "%.2f" : "%.0f", value);
	return buf;
}

/* A difference, of what it was before. */
static const char *change_words(const struct change *c, double difference, char buf[HUMAN_SIZE])
{
	if (c->before > 0)
		snprintf(buf, HUMAN_SIZE, "%+.*f%%", fabs(difference / c->before) < 0.1 ? 1 : 0, 100 * difference / c->before);
	else
		snprintf(buf, HUMAN_SIZE, "new");
	return buf;
}

/* ---- sentences ---- */

/* What is of the time weighs more than what is only counted, of which the larger is by what it was before. */
static double weight(const struct change *c)
{
	if (c->smallest > 0)
		return fabs(c->difference);
	return c->before > 0 ? 1e-3 * fabs(c->difference) / c->before : 0;
}

static const struct compared *largest(const struct comparison *c, enum compared_of of)
{
	const struct compared *most = NULL;

	for (size_t i = 0; i < c->n; i++) {
		const struct compared *one = &c->list[i];

		if (one->change.seen && one->of == of && (!most || weight(&one->change) > weight(&most->change)))
			most = one;
	}
	return most;
}

static void append_change(const struct compared *one, char *text, size_t size)
{
	char before[HUMAN_SIZE], after[HUMAN_SIZE], by[HUMAN_SIZE], low[HUMAN_SIZE], high[HUMAN_SIZE];
	const struct change *c = &one->change;

	text__append(text, size, "%s%s%s: %s before, %s after", one->name, one->name[0] ? " " : "", one->words,
		     value_words(one->unit, c->before, before), value_words(one->unit, c->after, after));
	if (c->before > 0)
		text__append(text, size, " (%s; 95 %% interval %s to %s)", change_words(c, c->difference, by),
			     change_words(c, c->low, low), change_words(c, c->high, high));
	text__append(text, size, ".");
}

static size_t judged(const struct comparison *c)
{
	size_t n = 0;

	for (size_t i = 0; i < c->n; i++)
		n += !isnan(c->list[i].change.p);
	return n;
}

/* What would have been seen of the process. */
static void append_power(const struct comparison *c, char *text, size_t size)
{
	const char *between = "";
	char would[HUMAN_SIZE];

	for (size_t i = 0; i < c->n; i++) {
		const struct change *one = &c->list[i].change;

		if (c->list[i].of != COMPARED_PROCESS || isnan(one->would) || !(one->before > 0) ||
		    c->list[i].unit == COMPARED_US)
			continue;
		if (strcmp(c->list[i].key, "util") != 0 && strcmp(c->list[i].key, "waiters") != 0)
			continue;
		text__append(text, size, "%s\"%s\" by at least %s", between[0] ? between : "A change of ", c->list[i].words,
			     change_words(one, one->would, would) + 1);
		between = ", or of ";
	}
	text__append(text, size, "%s", between[0] ? " would most likely have been." : "");
}

static void headline(const struct comparison *c, char text[SENTENCE_SIZE])
{
	const struct compared *pool = largest(c, COMPARED_POOL), *code = largest(c, COMPARED_CODE);
	const struct compared *first = pool ? pool : largest(c, COMPARED_PROCESS);

	text[0] = '\0';
	if (!judged(c)) {
		text__append(text, SENTENCE_SIZE, "Whether anything changed cannot be told: there are %zu and %zu intervals, and "
			     "at least %d are needed on each side.", c->sides[0].n, c->sides[1].n, CHANGE_FEWEST);
		return;
	}
	if (first)
		append_change(first, text, SENTENCE_SIZE);
	if (code) {
		text__append(text, SENTENCE_SIZE, "%s", first ? " In code: " : "");
		append_change(code, text, SENTENCE_SIZE);
	}
	if (first || code)
		return;
	text__append(text, SENTENCE_SIZE, "No change seen beyond what it varies by itself. ");
	append_power(c, text, SENTENCE_SIZE);
}

/* What makes the two sides unlike, apart from what was measured. */
static void append_notes(const struct comparison *c, char text[SENTENCE_SIZE])
{
	const struct compare_side *a = &c->sides[0], *b = &c->sides[1];

	if (a->estimated || b->estimated)
		text__append(text, SENTENCE_SIZE, "Holds %s are estimates (light or look mode). ",
			     a->estimated && b->estimated ? "on both sides" : a->estimated ? "before" : "after");
	if (strcmp(a->proc.python, b->proc.python) != 0)
		text__append(text, SENTENCE_SIZE, "It was CPython %s before, and %s after. ", a->proc.python, b->proc.python);
	if (a->proc.cpus != b->proc.cpus)
		text__append(text, SENTENCE_SIZE, "It could use %u CPUs before, and %u after. ", a->proc.cpus, b->proc.cpus);
	text__append(text, SENTENCE_SIZE, "%zu things were looked at; a change is named if chance explains it in less than 5 of "
		     "100 such comparisons.", judged(c));
}

/* ---- tables ---- */

enum { WHAT, BEFORE, AFTER, CHANGE, INTERVAL, VERDICT };

static const struct out_column columns[] = {
	[WHAT] = {"what", "WHAT", OUT_TEXT, OUT_FLEX}, [BEFORE] = {"before", "BEFORE", OUT_TEXT, 0},
	[AFTER] = {"after", "AFTER", OUT_TEXT, 0}, [CHANGE] = {"change", "CHANGE", OUT_TEXT, 0},
	[INTERVAL] = {"interval", "95% INTERVAL", OUT_TEXT, 0}, [VERDICT] = {"verdict", "CHANGED", OUT_TEXT, 0},
};

#define COLUMNS_N (sizeof(columns) / sizeof(columns[0]))

static const char *verdict_words(const struct change *c, char buf[CELL_SIZE])
{
	char would[HUMAN_SIZE];

	buf[0] = '\0';
	if (isnan(c->p))
		text__append(buf, CELL_SIZE, "not known");
	else if (c->seen)
		text__append(buf, CELL_SIZE, "yes");
	else if (c->before > 0)
		text__append(buf, CELL_SIZE, "no, or <%s", change_words(c, c->would, would) + 1);
	else
		text__append(buf, CELL_SIZE, "no");
	return buf;
}

static void cells_of(const struct compared *one, char cells[COLUMNS_N][SIDE_NAME_SIZE + CELL_SIZE])
{
	const struct change *c = &one->change;
	char a[HUMAN_SIZE], b[HUMAN_SIZE], verdict[CELL_SIZE];

	snprintf(cells[WHAT], sizeof(cells[WHAT]), "%s%s%s", one->name, one->name[0] ? " " : "", one->words);
	snprintf(cells[BEFORE], sizeof(cells[BEFORE]), "%s", value_words(one->unit, c->before, a));
	snprintf(cells[AFTER], sizeof(cells[AFTER]), "%s", value_words(one->unit, c->after, a));
	snprintf(cells[CHANGE], sizeof(cells[CHANGE]), "%s", isnan(c->difference) ? "-" : change_words(c, c->difference, a));
	if (isnan(c->low) || !(c->before > 0))
		strcpy(cells[INTERVAL], "-");
	else
		snprintf(cells[INTERVAL], sizeof(cells[INTERVAL]), "%s..%s", change_words(c, c->low, a),
			 change_words(c, c->high, b));
	snprintf(cells[VERDICT], sizeof(cells[VERDICT]), "%s", verdict_words(c, verdict));
}

/* What is shown: each change, and what of the process did not. */
static bool is_shown(const struct compared *one)
{
	return one->change.seen || (one->of == COMPARED_PROCESS && !isnan(one->change.before) && !isnan(one->change.after));
}

static const char *clock_of(int64_t ms, char buf[32])
{
	time_t t = (time_t)(ms / 1000);
	struct tm tm;

	if (!localtime_r(&t, &tm) || !strftime(buf, 32, "%Y-%m-%d %H:%M:%S", &tm))
		strcpy(buf, "?");
	return buf;
}

static void print_side(const char *which, const struct compare_side *s, FILE *to)
{
	char since[32], until[32];

	fprintf(to, "%s %s (%s), %s to %s, %zu intervals of %s\n", which, s->proc.label, s->proc.id,
		clock_of(s->range.since_ms, since), clock_of(s->range.until_ms, until) + 11, s->n, tier__name(s->tier));
}

void compare__print(const struct comparison *c, FILE *to, size_t width)
{
	char text[SENTENCE_SIZE], cells[COLUMNS_N][SIDE_NAME_SIZE + CELL_SIZE], notes[SENTENCE_SIZE] = "";
	struct out *table = out__new(columns, COLUMNS_N);

	print_side("before:", &c->sides[0], to);
	print_side("after: ", &c->sides[1], to);
	headline(c, text);
	fputc('\n', to);
	options__wrap(to, text, 0, 0);
	fputc('\n', to);
	for (size_t i = 0; table && i < c->n; i++) {
		if (!is_shown(&c->list[i]))
			continue;
		cells_of(&c->list[i], cells);
		out__row(table);
		for (size_t k = 0; k < COLUMNS_N; k++)
			out__text(table, k, cells[k]);
	}
	if (table && out__rows(table))
		out__table(table, to, width);
	out__free(table);
	append_notes(c, notes);
	fputc('\n', to);
	options__wrap(to, notes, 0, 0);
}

void compare__markdown(const struct comparison *c, FILE *to)
{
	char text[SENTENCE_SIZE], cells[COLUMNS_N][SIDE_NAME_SIZE + CELL_SIZE];
	size_t rows = 0;

	headline(c, text);
	fputs("### gilscope: before and after\n\n", to);
	markup__markdown(to, text);
	fputs("\n\n| what | before | after | change | 95 % interval | |\n|---|---|---|---|---|---|\n", to);
	for (size_t i = 0; i < c->n && rows < MARKDOWN_ROWS; i++) {
		if (!is_shown(&c->list[i]))
			continue;
		rows++;
		cells_of(&c->list[i], cells);
		for (size_t k = 0; k < COLUMNS_N; k++) {
			fputs("| ", to);
			markup__markdown(to, cells[k]);
			fputc(' ', to);
		}
		fputs("|\n", to);
	}
	text[0] = '\0';
	append_notes(c, text);
	fputc('\n', to);
	markup__markdown(to, text);
	fputc('\n', to);
}

/* ---- JSON ---- */

static json_t *side_json(const struct compare_side *s)
{
	return json_pack("{s:s, s:s, s:s, s:I, s:I, s:s, s:I, s:b}", "id", s->proc.id, "label", s->proc.label, "python",
			 s->proc.python, "since_ms", (json_int_t)s->range.since_ms, "until_ms", (json_int_t)s->range.until_ms,
			 "tier", tier__name(s->tier), "intervals", (json_int_t)s->n, "estimated", (int)s->estimated);
}

static json_t *compared_json(const struct compared *one)
{
	static const char *const of[] = {[COMPARED_PROCESS] = "process", [COMPARED_POOL] = "pool", [COMPARED_CODE] = "code"};
	static const char *const units[] = {[COMPARED_SHARE] = "share", [COMPARED_US] = "us", [COMPARED_NUMBER] = "number"};
	const struct change *c = &one->change;
	json_t *json = json_pack("{s:s, s:s, s:s, s:s, s:b}", "of", of[one->of], "metric", one->key, "name", one->name, "unit",
				 units[one->unit], "changed", (int)c->seen);
	const struct {
		const char *name;
		double value;
	} numbers[] = {{"before", c->before}, {"after", c->after}, {"difference", c->difference}, {"low", c->low},
		       {"high", c->high}, {"p", c->p}, {"would_be_seen", c->would}};

	for (size_t i = 0; json && i < sizeof(numbers) / sizeof(numbers[0]); i++)
		json_object_set_new(json, numbers[i].name, out__json_num(numbers[i].value));
	return json;
}

json_t *compare__json(const struct comparison *c)
{
	char text[SENTENCE_SIZE], notes[SENTENCE_SIZE] = "";
	json_t *list = json_array();

	for (size_t i = 0; list && i < c->n; i++)
		json_array_append_new(list, compared_json(&c->list[i]));
	headline(c, text);
	append_notes(c, notes);
	return json_pack("{s:o, s:o, s:s, s:s, s:o}", "before", side_json(&c->sides[0]), "after", side_json(&c->sides[1]),
			 "headline", text, "notes", notes, "compared", list);
}
