/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Rows and columns, filled once and written as a table for people, as JSON or as CSV. Pure.
 *
 * A column says what its numbers are; the table humanises them, JSON and CSV carry them as they are. What was not set is
 * unknown: "-" in a table, left out of JSON, empty in CSV. Text is cleaned on its way in, so names from outside may be
 * passed as they are.
 */
#ifndef GILSCOPE_OUT_H
#define GILSCOPE_OUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "collector/base/reason.h"

enum out_unit {
	OUT_TEXT,
	OUT_COUNT,   /* "1,234", "12.3k" */
	OUT_TOTAL,   /* "12,345,678" */
	OUT_ID,      /* a number that is a name: PID, tid; no separators */
	OUT_US,      /* microseconds: "17.3 ms" */
	OUT_SHARE,   /* 0..1: "81.2%" */
	OUT_REAL,    /* "2.40" */
	OUT_KIB,     /* "48.2 MiB" */
	OUT_CLOCK,   /* ms since the epoch: local "14:03:59", with the day if it is not today's */
	OUT_AGO,     /* ms: "42 s ago" */
	OUT_BOOL,    /* "yes", "no" */
};

enum out_flag {
	OUT_FLEX = 1,    /* may be cut to make the table fit */
	OUT_DETAIL = 2,  /* not in the table */
	OUT_HUMAN = 4,   /* only in the table */
	OUT_SPARE = 8,   /* not in a table in which no row knows it */
	OUT_MIDDLE = 32, /* is cut in its middle */
	OUT_DROP = 16,   /* left out where there is no room for it: the first of these first */
};

struct out_column {
	const char *key;   /* JSON and CSV */
	const char *title; /* table */
	enum out_unit unit;
	unsigned int flags;
};

struct out;

/* An empty table; `columns` must outlive it. NULL: no memory. */
struct out *out__new(const struct out_column *columns, size_t n);
void out__free(struct out *o);

/* Begins a row; the setters fill cells of the newest row. Errors of memory are sticky: see out__error(). */
void out__row(struct out *o);
void out__text(struct out *o, size_t column, const char *text);
void out__num(struct out *o, size_t column, double value);
/* The same of what is so much at least; so the table says it: ">=12 ms". */
void out__at_least(struct out *o, size_t column, double value);

int out__error(const struct out *o);
size_t out__rows(const struct out *o);

/* The table, no line wider than `width` columns if cutting OUT_FLEX columns can do it (0: as wide as it gets). */
void out__table(const struct out *o, FILE *to, size_t width);
void out__csv(const struct out *o, FILE *to);

/* Array of objects, a new reference. NULL: no memory. */
json_t *out__json(const struct out *o);

/* Writes `json` and a newline on one line, or indented, and drops the reference. 0 or -EIO. */
int out__dump(json_t *json, FILE *to, bool indent);

/* Whether `to` is a pipe or a socket that nobody reads any more (| head). */
bool out__reader_left(FILE *to);

/*
 * Writes out what is buffered, and tells what went wrong with that or with any writing before: -errno, with a sentence that
 * calls the stream `name`. 0 also where nobody reads it any more, which is no failure.
 */
int out__flush(FILE *to, const char *name, struct reason *why);

/* A number as JSON: an integer where it is one; NULL (which jansson's setters refuse) where it is not finite. */
json_t *out__json_num(double value);

/* Copies as much of `text` as fits into `columns`; what is cut is marked by '~' at the end. Returns dst. */
const char *out__cut(char *dst, size_t size, const char *text, size_t columns);

/* The same, cut in its middle: names of threads differ at their ends. Returns dst. */
const char *out__cut_middle(char *dst, size_t size, const char *text, size_t columns);

/* Columns and lines of the terminal `fd` (80 x 24 where it does not tell). Never below 40 x 8. */
void out__terminal(int fd, size_t *ret_columns, size_t *ret_lines);

#endif
