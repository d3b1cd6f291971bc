/* SPDX-License-Identifier: GPL-2.0-only */
/* See canvas.h. */
#include "canvas.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collector/base/text.h"
#include "out.h"

#define SAY_MAX 1024

struct canvas *canvas__new(size_t columns, size_t lines, bool ascii)
{
	struct canvas *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->columns = columns ? columns : 1;
	c->lines = lines ? lines : 1;
	c->ascii = ascii;
	c->cells = calloc(c->columns * c->lines, sizeof(*c->cells));
	if (!c->cells) {
		free(c);
		return NULL;
	}
	for (size_t i = 0; i < c->columns * c->lines; i++)
		strcpy(c->cells[i].text, " ");
	return c;
}

void canvas__free(struct canvas *c)
{
	if (c)
		free(c->cells);
	free(c);
}

static struct canvas_cell *cell(const struct canvas *c, size_t line, size_t column)
{
	return line < c->lines && column < c->columns ? &c->cells[line * c->columns + column] : NULL;
}

const struct canvas_cell *canvas__at(const struct canvas *c, size_t line, size_t column)
{
	return cell(c, line, column);
}

/* Takes the next character of `text`; its bytes, 0 at the end. */
static size_t next_char(const char *text, char one[5])
{
	size_t n = text__char_bytes(text);

	memcpy(one, text, n);
	one[n] = '\0';
	return n;
}

/* Overwriting one half of a wide character blanks the other. */
static void clear_around(struct canvas *c, size_t line, size_t column)
{
	struct canvas_cell *here = cell(c, line, column), *next = cell(c, line, column + 1);

	if (here && here->text[0] == '\0' && column > 0)
		strcpy(cell(c, line, column - 1)->text, " ");
	if (next && next->text[0] == '\0')
		strcpy(next->text, " ");
}

static void set(struct canvas *c, size_t line, size_t column, const char *one, enum look look)
{
	struct canvas_cell *to = cell(c, line, column);

	if (!to)
		return;
	clear_around(c, line, column);
	memcpy(to->text, one, 5);
	to->look = look;
}

size_t canvas__put(struct canvas *c, size_t line, size_t column, size_t room, enum look look, const char *text)
{
	char cut[SAY_MAX], one[5] = "";
	size_t left = column < c->columns ? c->columns - column : 0;

	if (line >= c->lines)
		return column;
	text = out__cut(cut, sizeof(cut), text, room < left ? room : left);
	for (size_t n; (n = next_char(text, one)); text += n) {
		bool wide = text__columns(one) > 1;

		if (c->ascii && (unsigned char)one[0] >= 0x80)
			strcpy(one, "?");
		set(c, line, column, one, look);
		column++;
		if (wide)
			set(c, line, column++, c->ascii ? " \0\0\0" : "\0\0\0\0", look);
	}
	return column;
}

size_t canvas__say(struct canvas *c, size_t line, size_t column, enum look look, const char *fmt, ...)
{
	char text[SAY_MAX];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	return canvas__put(c, line, column, SIZE_MAX, look, text);
}

size_t canvas__put_right(struct canvas *c, size_t line, size_t end, size_t room, enum look look, const char *text)
{
	size_t need = text__columns(text);

	need = need > room ? room : need;
	need = need > end ? end : need;
	canvas__put(c, line, end - need, need, look, text);
	return end - need;
}

void canvas__paint(struct canvas *c, size_t line, size_t column, size_t n, enum look look)
{
	for (size_t i = 0; i < n && cell(c, line, column + i); i++)
		cell(c, line, column + i)->look = look;
}

const char *canvas__line(const struct canvas *c, size_t line, char *dst, size_t size)
{
	size_t len = 0;

	dst[0] = '\0';
	for (size_t i = 0; i < c->columns && line < c->lines && len + 5 < size; i++) {
		strcpy(dst + len, cell(c, line, i)->text);
		len += strlen(dst + len);
	}
	while (len > 0 && dst[len - 1] == ' ')
		dst[--len] = '\0';
	return dst;
}
