/* SPDX-License-Identifier: GPL-2.0-only */
/* What the pages of `top` are put together from: tables, flowing words, lines of the past, the line of keys. Pure. */
#ifndef GILSCOPE_TOP_PARTS_H
#define GILSCOPE_TOP_PARTS_H

#include "cli/canvas.h"

/* ---- tables ---- */

#define PART_GAP 2
#define PART_COLUMNS_MAX 16

/* A column; the one with rank 0 is as wide as the others let it be. */
struct part_column {
	const char *title;
	size_t width;
	unsigned int rank;  /* the highest ones are left out first; PART_NEVER: not at all today */
	bool left;          /* its text begins at its left end */
};

#define PART_NEVER 1000

/*
 * Which of `n` columns have room in `columns`: widths[i] 0: it has not. The flexible one gets what is left between `min` and
 * `max`, and all if even that is too much.
 */
void part__fit(const struct part_column *cols, size_t n, size_t columns, size_t min, size_t max, size_t *widths);

/* Writes a cell of width `width` (0: nothing) at *column and moves it behind the cell and its gap. */
void part__cell(struct canvas *c, size_t line, size_t *column, size_t width, bool left, enum look look, const char *text);

/* The bar of titles; `sorted`: the column that orders the rows, SIZE_MAX: none. */
void part__heading(struct canvas *c, size_t line, const struct part_column *cols, const size_t *widths, size_t n,
		   size_t sorted);

/* The first row shown, so that `cursor` (SIZE_MAX: none) is among `rows` of `n`. */
size_t part__scroll(size_t first, size_t cursor, size_t n, size_t rows);

/* ---- words ---- */

/* Words that flow: as many in a line as fit, two blanks between them; from `line` on, at most to `end` (not included). */
struct part_flow {
	struct canvas *c;
	size_t line, end, column;
};

void part__add(struct part_flow *f, enum look look, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* The first line below. */
size_t part__flow_end(const struct part_flow *f);

/* A text in as many lines as it takes, at most `max`. The first line below. */
size_t part__wrap(struct canvas *c, size_t line, size_t column, size_t max, enum look look, const char *text);

/* ---- keys ---- */

struct part_key {
	const char *key, *word;
	unsigned int rank; /* the highest ones go first where there is no room */
};

/* The last line of the page. */
void part__keys(struct canvas *c, const struct part_key *keys, size_t n);

/* ---- pictures ---- */

/* A line of `n` columns in which each value is a block of that height, `full` the highest, NAN a blank. 3 n + 4 bytes. */
const char *part__spark(char *buf, size_t size, const double *values, size_t n, double full, bool ascii);

/* A bar of at most `n` columns. */
const char *part__bar(char *buf, size_t size, double share, size_t n, bool ascii);

#endif
