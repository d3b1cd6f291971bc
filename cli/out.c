/* SPDX-License-Identifier: GPL-2.0-only */
/* See out.h. */
#include "out.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "collector/base/text.h"
#include "human.h"

#define GAP 2            /* blanks between columns */
#define FLEX_MIN 8       /* a flexible column is not cut below this */
#define FLEX_FAIR 16     /* for less than this columns that can be done without are left out */
#define EXACT_INT 9007199254740992.0 /* 2^53: beyond it a double is no exact integer any more */

enum cell_kind {
	CELL_UNKNOWN,
	CELL_TEXT,
	CELL_NUM,
};

struct cell {
	enum cell_kind kind;
	char *text;
	double num;
	bool at_least;
};

struct out {
	const struct out_column *columns;
	size_t columns_n;
	struct cell *cells; /* row after row */
	size_t rows_n, rows_max;
	int err;
};

struct out *out__new(const struct out_column *columns, size_t n)
{
	struct out *o = calloc(1, sizeof(*o));

	if (o) {
		o->columns = columns;
		o->columns_n = n;
	}
	return o;
}

void out__free(struct out *o)
{
	if (!o)
		return;
	for (size_t i = 0; i < o->rows_n * o->columns_n; i++)
		free(o->cells[i].text);
	free(o->cells);
	free(o);
}

int out__error(const struct out *o)
{
	return o->err;
}

size_t out__rows(const struct out *o)
{
	return o->rows_n;
}

void out__row(struct out *o)
{
	if (o->rows_n == o->rows_max) {
		size_t max = o->rows_max ? o->rows_max * 2 : 16;
		struct cell *cells = reallocarray(o->cells, max * o->columns_n, sizeof(*cells));

		if (!cells) {
			o->err = -ENOMEM;
			return;
		}
		o->cells = cells;
		o->rows_max = max;
	}
	memset(o->cells + o->rows_n * o->columns_n, 0, o->columns_n * sizeof(*o->cells));
	o->rows_n++;
}

static struct cell *newest(struct out *o, size_t column)
{
	if (o->err || o->rows_n == 0 || column >= o->columns_n)
		return NULL;
	return &o->cells[(o->rows_n - 1) * o->columns_n + column];
}

void out__text(struct out *o, size_t column, const char *text)
{
	struct cell *cell = newest(o, column);
	size_t len = strlen(text);

	if (!cell)
		return;
	free(cell->text);
	cell->text = malloc(len + 1);
	if (!cell->text) {
		cell->kind = CELL_UNKNOWN;
		o->err = -ENOMEM;
		return;
	}
	text__clean(cell->text, len + 1, text, len);
	cell->kind = CELL_TEXT;
}

void out__num(struct out *o, size_t column, double value)
{
	struct cell *cell = newest(o, column);

	if (!cell || !isfinite(value))
		return;
	cell->kind = CELL_NUM;
	cell->num = value;
}

void out__at_least(struct out *o, size_t column, double value)
{
	struct cell *cell = newest(o, column);

	out__num(o, column, value);
	if (cell)
		cell->at_least = true;
}

/* ---- as a table ---- */

/* Local time; with the day if it is another one, with milliseconds if it is no whole second. */
static const char *clock_text(char buf[HUMAN_SIZE], double ms)
{
	time_t when = (time_t)(ms / 1000), now = time(NULL);
	int rest = (int)((long long)ms % 1000);
	struct tm tm, today;
	size_t len;
	bool same_day;

	if (!(fabs(ms) < EXACT_INT) || !localtime_r(&when, &tm) || !localtime_r(&now, &today))
		return strcpy(buf, "-");
	same_day = tm.tm_year == today.tm_year && tm.tm_yday == today.tm_yday;
	len = strftime(buf, HUMAN_SIZE, same_day ? "%H:%M:%S" : "%Y-%m-%d %H:%M:%S", &tm);
	if (rest > 0 && len > 0)
		snprintf(buf + len, HUMAN_SIZE - len, ".%03d", rest);
	return buf;
}

static const char *number_text(const struct cell *cell, enum out_unit unit, char buf[HUMAN_SIZE])
{
	switch (unit) {
	case OUT_COUNT:
		return human__count(buf, cell->num);
	case OUT_TOTAL:
		if (cell->num < 0 || cell->num > EXACT_INT)
			return human__count(buf, cell->num);
		return human__grouped(buf, (uint64_t)cell->num);
	case OUT_US:
		return human__us(buf, cell->num);
	case OUT_SHARE:
		return human__share(buf, cell->num);
	case OUT_KIB:
		return human__kib(buf, cell->num);
	case OUT_CLOCK:
		return clock_text(buf, cell->num);
	case OUT_AGO:
		return human__ago(buf, (int64_t)cell->num);
	case OUT_BOOL:
		return cell->num != 0 ? "yes" : "no";
	case OUT_REAL:
		snprintf(buf, HUMAN_SIZE, fabs(cell->num) < 1e9 ? "%.2f" : "%.2e", cell->num);
		return buf;
	case OUT_ID:
	case OUT_TEXT:
		break;
	}
	snprintf(buf, HUMAN_SIZE, fabs(cell->num) < EXACT_INT ? "%.0f" : "%.2e", cell->num);
	return buf;
}

static const char *shown(const struct cell *cell, enum out_unit unit, char buf[HUMAN_SIZE])
{
	char number[HUMAN_SIZE];

	if (cell->kind == CELL_UNKNOWN)
		return "-";
	if (cell->kind == CELL_TEXT)
		return cell->text;
	if (!cell->at_least)
		return number_text(cell, unit, buf);
	snprintf(buf, HUMAN_SIZE, ">=%.*s", HUMAN_SIZE - 3, number_text(cell, unit, number));
	return buf;
}

static bool in_table(const struct out *o, size_t column)
{
	unsigned int flags = o->columns[column].flags;

	for (size_t r = 0; (flags & OUT_SPARE) && r < o->rows_n; r++)
		if (o->cells[r * o->columns_n + column].kind != CELL_UNKNOWN)
			return true;
	return !(flags & (OUT_DETAIL | OUT_SPARE));
}

/* Width each column would like; returns that of the whole table. */
static size_t natural_widths(const struct out *o, size_t *widths)
{
	size_t total = 0;

	for (size_t c = 0; c < o->columns_n; c++) {
		char buf[HUMAN_SIZE];

		widths[c] = 0;
		if (!in_table(o, c))
			continue;
		widths[c] = text__columns(o->columns[c].title);
		for (size_t r = 0; r < o->rows_n; r++) {
			size_t need = text__columns(shown(&o->cells[r * o->columns_n + c], o->columns[c].unit, buf));

			widths[c] = need > widths[c] ? need : widths[c];
		}
		total += (total ? GAP : 0) + widths[c];
	}
	return total;
}

/* Leaves out what can be done without, rather than names that nobody knows any more. Returns the width that is left. */
static size_t drop(const struct out *o, size_t *widths, size_t total, size_t width)
{
	size_t need = total;

	for (size_t c = 0; c < o->columns_n; c++)
		if ((o->columns[c].flags & OUT_FLEX) && widths[c] > FLEX_FAIR)
			need -= widths[c] - FLEX_FAIR;
	for (size_t c = 0; c < o->columns_n && need > width; c++)
		if ((o->columns[c].flags & OUT_DROP) && widths[c]) {
			need -= widths[c] + GAP;
			total -= widths[c] + GAP;
			widths[c] = 0;
		}
	return total;
}

/* Takes columns from the widest flexible one until the table fits or nothing more can be taken. */
static void shrink(const struct out *o, size_t *widths, size_t total, size_t width)
{
	while (total > width) {
		size_t widest = o->columns_n;

		for (size_t c = 0; c < o->columns_n; c++)
			if ((o->columns[c].flags & OUT_FLEX) && widths[c] > FLEX_MIN &&
			    (widest == o->columns_n || widths[c] > widths[widest]))
				widest = c;
		if (widest == o->columns_n)
			return;
		widths[widest]--;
		total--;
	}
}

const char *out__cut(char *dst, size_t size, const char *text, size_t columns)
{
	size_t room = text__columns(text) > columns ? columns - (columns > 0) : columns;
	size_t out = text__head(text, room, size - 2);

	memcpy(dst, text, out);
	if (text[out] && columns > 0)
		dst[out++] = '~';
	dst[out] = '\0';
	return dst;
}

const char *out__cut_middle(char *dst, size_t size, const char *text, size_t columns)
{
	size_t tail = columns / 2, head = columns - tail - (columns > 0);
	const char *end = text;

	if (text__columns(text) <= columns) {
		snprintf(dst, size, "%s", text);
		return dst;
	}
	while (*end && text__columns(end) > tail)
		end += text__char_bytes(end);
	snprintf(dst, size, "%.*s%s%s", (int)text__head(text, head, size), text, columns ? "~" : "", end);
	return dst;
}

/* Text with `columns` columns: cut or padded on the right. */
static void pad(FILE *to, const char *text, size_t columns)
{
	char cut[512];
	size_t have;

	out__cut(cut, sizeof(cut), text, columns);
	have = text__columns(cut);
	fprintf(to, "%s%*s", cut, (int)(columns > have ? columns - have : 0), "");
}

/* One cell in its column; blanks behind the last column are left out. */
static void put_cell(FILE *to, const char *text, const struct out_column *column, size_t width, bool last)
{
	size_t have = text__columns(text);
	char cut[512];

	if ((column->flags & OUT_MIDDLE) && have > width) {
		text = out__cut_middle(cut, sizeof(cut), text, width);
		have = text__columns(text);
	}
	if (column->unit != OUT_TEXT)
		fprintf(to, "%*s%s", (int)(width > have ? width - have : 0), "", text);
	else if (last && have <= width)
		fputs(text, to);
	else
		pad(to, text, width);
}

void out__table(const struct out *o, FILE *to, size_t width)
{
	size_t *widths = calloc(o->columns_n + 1, sizeof(*widths));
	size_t last = 0, total;
	char buf[HUMAN_SIZE];

	if (!widths)
		return;
	width = width ? width : SIZE_MAX;
	total = drop(o, widths, natural_widths(o, widths), width);
	shrink(o, widths, total, width);
	for (size_t c = 0; c < o->columns_n; c++)
		last = widths[c] ? c : last;
	for (size_t r = 0; r <= o->rows_n; r++) { /* row 0 is the titles */
		bool first = true;

		for (size_t c = 0; c < o->columns_n; c++) {
			const struct out_column *column = &o->columns[c];

			if (!widths[c])
				continue;
			fprintf(to, "%*s", first ? 0 : GAP, "");
			first = false;
			put_cell(to, r == 0 ? column->title :
				 shown(&o->cells[(r - 1) * o->columns_n + c], column->unit, buf),
				 column, widths[c], c == last);
		}
		fputc('\n', to);
	}
	free(widths);
}

/* ---- for programs ---- */

static bool in_data(const struct out_column *column)
{
	return !(column->flags & OUT_HUMAN);
}

/* Names are anybody's: a spreadsheet takes what begins like this for a formula, and what begins with ' for text. */
static bool is_formula(const char *text)
{
	return text[0] && strchr("=+-@\t\r", text[0]);
}

static void csv_text(FILE *to, const char *text)
{
	if (!strpbrk(text, ",\"\r\n") && !is_formula(text)) {
		fputs(text, to);
		return;
	}
	fputs(is_formula(text) ? "\"'" : "\"", to);
	for (; *text; text++) {
		if (*text == '"')
			fputc('"', to);
		fputc(*text, to);
	}
	fputc('"', to);
}

static void csv_cell(FILE *to, const struct cell *cell)
{
	if (cell->kind == CELL_TEXT)
		csv_text(to, cell->text);
	else if (cell->kind == CELL_NUM && cell->num == floor(cell->num) && fabs(cell->num) < EXACT_INT)
		fprintf(to, "%.0f", cell->num);
	else if (cell->kind == CELL_NUM)
		fprintf(to, "%.9g", cell->num);
}

void out__csv(const struct out *o, FILE *to)
{
	for (size_t r = 0; r <= o->rows_n; r++) {
		bool first = true;

		for (size_t c = 0; c < o->columns_n; c++) {
			if (!in_data(&o->columns[c]))
				continue;
			fputs(first ? "" : ",", to);
			first = false;
			if (r == 0)
				csv_text(to, o->columns[c].key);
			else
				csv_cell(to, &o->cells[(r - 1) * o->columns_n + c]);
		}
		fputc('\n', to);
	}
}

json_t *out__json_num(double value)
{
	if (!isfinite(value))
		return NULL;
	if (value == floor(value) && fabs(value) < EXACT_INT)
		return json_integer((json_int_t)value);
	return json_real(value);
}

static json_t *json_cell(const struct cell *cell, enum out_unit unit)
{
	if (cell->kind == CELL_TEXT)
		return json_string(cell->text);
	return unit == OUT_BOOL ? json_boolean(cell->num != 0) : out__json_num(cell->num);
}

static json_t *json_row(const struct out *o, const struct cell *cells)
{
	json_t *row = json_object();

	for (size_t c = 0; row && c < o->columns_n; c++) {
		if (cells[c].kind == CELL_UNKNOWN || !in_data(&o->columns[c]))
			continue;
		if (json_object_set_new(row, o->columns[c].key, json_cell(&cells[c], o->columns[c].unit))) {
			json_decref(row);
			row = NULL;
		}
	}
	return row;
}

json_t *out__json(const struct out *o)
{
	json_t *rows = json_array();

	for (size_t r = 0; rows && r < o->rows_n; r++) {
		if (json_array_append_new(rows, json_row(o, o->cells + r * o->columns_n))) {
			json_decref(rows);
			rows = NULL;
		}
	}
	return rows;
}

int out__dump(json_t *json, FILE *to, bool indent)
{
	int err = json ? json_dumpf(json, to, JSON_REAL_PRECISION(9) | (indent ? JSON_INDENT(2) : JSON_COMPACT)) : -1;

	json_decref(json);
	if (err || fputc('\n', to) == EOF || fflush(to))
		return -EIO;
	return 0;
}

bool out__reader_left(FILE *to)
{
	struct pollfd p = {.fd = fileno(to)};

	return poll(&p, 1, 0) > 0 && (p.revents & (POLLERR | POLLHUP));
}

/* errno tells of the flush alone: what failed before is known to have failed, and no more. */
int out__flush(FILE *to, const char *name, struct reason *why)
{
	int err = fflush(to) ? -errno : 0;

	if ((!err && !ferror(to)) || out__reader_left(to))
		return 0;
	if (err)
		return reason__set(why, err, "%s: %s", name, strerror(-err));
	return reason__set(why, -EIO, "%s: not all of it could be written", name);
}

void out__terminal(int fd, size_t *ret_columns, size_t *ret_lines)
{
	struct winsize size;
	bool told = ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0;

	*ret_columns = !told ? 80 : size.ws_col < 40 ? 40 : size.ws_col;
	*ret_lines = !told ? 24 : size.ws_row < 8 ? 8 : size.ws_row;
}
