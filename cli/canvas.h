/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A page of text to paint on: cells in lines and columns, each with a character and a way to look. Pure: what becomes of
 * it on a terminal is somebody else's, and a test reads it as plain lines.
 *
 * Nothing that is put is ever wider or longer than the page: what does not fit is cut, a character that is two columns wide
 * never in half. Text is cleaned UTF-8.
 */
#ifndef GILSCOPE_CANVAS_H
#define GILSCOPE_CANVAS_H

#include <stdbool.h>
#include <stddef.h>

/* How a cell looks; what that is in colours, the terminal decides. */
enum look {
	LOOK_PLAIN,
	LOOK_STRONG,   /* titles, figures that matter */
	LOOK_FAINT,    /* units, what is of no account */
	LOOK_HEADING,  /* a bar with the names of columns */
	LOOK_SORTED,   /* the column in it that orders the rows */
	LOOK_CHOSEN,   /* the row that is chosen */
	LOOK_GOOD,
	LOOK_WARN,
	LOOK_BAD,
	LOOK_KEY,      /* a key in the line of keys */
};

struct canvas_cell {
	char text[5];  /* one character in UTF-8; "": the second half of the one before */
	enum look look;
};

struct canvas {
	size_t columns, lines;
	bool ascii;    /* the terminal has no more than ASCII */
	struct canvas_cell *cells; /* line by line */
};

/* A blank page, at least 1 x 1. NULL: no memory. */
struct canvas *canvas__new(size_t columns, size_t lines, bool ascii);
void canvas__free(struct canvas *c);

/* One cell; NULL outside of the page. */
const struct canvas_cell *canvas__at(const struct canvas *c, size_t line, size_t column);

/* Writes `text` from that cell on, at most `room` columns of it (cut with '~'). The column behind what was written. */
size_t canvas__put(struct canvas *c, size_t line, size_t column, size_t room, enum look look, const char *text);

/* As printf(), with all the room there is in the line. The column behind it. */
size_t canvas__say(struct canvas *c, size_t line, size_t column, enum look look, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));

/* The same with its end in column `end` - 1. The column in which it begins. */
size_t canvas__put_right(struct canvas *c, size_t line, size_t end, size_t room, enum look look, const char *text);

/* Gives `n` cells another look, whatever stands in them. */
void canvas__paint(struct canvas *c, size_t line, size_t column, size_t n, enum look look);

/* A line as plain text without the blanks at its end, for tests. Returns dst. */
const char *canvas__line(const struct canvas *c, size_t line, char *dst, size_t size);

#endif
