/* SPDX-License-Identifier: GPL-2.0-only */
/* See top_parts.h. */
#include "top_parts.h"

#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "collector/base/text.h"

/* ---- tables ---- */

/* The next column by rank behind `after`; n: none. */
static size_t next_ranked(const struct part_column *cols, size_t n, unsigned int after)
{
	size_t best = n;

	for (size_t i = 0; i < n; i++)
		if (cols[i].rank > after && cols[i].rank < PART_NEVER && (best == n || cols[i].rank < cols[best].rank))
			best = i;
	return best;
}

void part__fit(const struct part_column *cols, size_t n, size_t columns, size_t min, size_t max, size_t *widths)
{
	size_t left = columns, flex = 0, next;
	unsigned int rank = 0;

	memset(widths, 0, n * sizeof(*widths));
	while ((next = next_ranked(cols, n, rank)) < n) {
		size_t need = cols[next].width + PART_GAP;

		if (left < min + need)
			break;
		widths[next] = cols[next].width;
		left -= need;
		rank = cols[next].rank;
	}
	for (size_t i = 0; i < n; i++)
		flex = cols[i].rank == 0 ? i : flex;
	widths[flex] = left > max ? max : left;
}

void part__cell(struct canvas *c, size_t line, size_t *column, size_t width, bool left, enum look look, const char *text)
{
	if (!width)
		return;
	if (left)
		canvas__put(c, line, *column, width, look, text);
	else
		canvas__put_right(c, line, *column + width, width, look, text);
	*column += width + PART_GAP;
}

/* The title of the column that orders the rows has a mark, so that it is told without colours too. */
void part__heading(struct canvas *c, size_t line, const struct part_column *cols, const size_t *widths, size_t n,
		   size_t sorted)
{
	size_t column = 0;

	canvas__paint(c, line, 0, c->columns, LOOK_HEADING);
	for (size_t i = 0; i < n; i++) {
		size_t at = column;
		char title[32];

		snprintf(title, sizeof(title), "%s%s", i == sorted ? c->ascii ? "*" : "▼" : "", cols[i].title);
		if (i == sorted && text__columns(title) > widths[i] && at > 0)
			canvas__put_right(c, line, at + widths[i], widths[i] + 1, LOOK_SORTED, title);
		else
			part__cell(c, line, &at, widths[i], cols[i].left, i == sorted ? LOOK_SORTED : LOOK_HEADING, title);
		column += widths[i] ? widths[i] + PART_GAP : 0;
	}
}

size_t part__scroll(size_t first, size_t cursor, size_t n, size_t rows)
{
	if (cursor != SIZE_MAX && cursor < first)
		first = cursor;
	if (cursor != SIZE_MAX && cursor >= first + rows)
		first = cursor - rows + 1;
	if (first + rows > n)
		first = n > rows ? n - rows : 0;
	return first;
}

/* ---- words ---- */

void part__add(struct part_flow *f, enum look look, const char *fmt, ...)
{
	char text[600];
	va_list args;
	size_t need;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	need = text__columns(text);
	if (f->column && f->column + PART_GAP + need > f->c->columns) {
		f->line++;
		f->column = 0;
	}
	if (f->line < f->end)
		f->column = canvas__put(f->c, f->line, f->column ? f->column + PART_GAP : 0, SIZE_MAX, look, text);
}

size_t part__flow_end(const struct part_flow *f)
{
	size_t below = f->line + (f->column > 0);

	return below < f->end ? below : f->end;
}

/* Bytes of `text` for a line of `columns` columns: broken at a blank, or where it must. */
static size_t line_bytes(const char *text, size_t columns)
{
	size_t at = 0, blank = 0, used = 0;

	while (text[at]) {
		size_t n = text__char_bytes(text + at);
		char one[5] = "";

		memcpy(one, text + at, n);
		used += text__columns(one);
		if (text[at] == ' ')
			blank = at;
		if (used > columns)
			return blank ? blank : at ? at : n;
		at += n;
	}
	return at;
}

size_t part__wrap(struct canvas *c, size_t line, size_t column, size_t max, enum look look, const char *text)
{
	size_t room = c->columns > column ? c->columns - column : 1, begin = line;
	char words[1024];

	while (*text && line < begin + max) {
		size_t n = line + 1 < begin + max ? line_bytes(text, room) : strlen(text);

		snprintf(words, sizeof(words), "%.*s", (int)(n < sizeof(words) ? n : sizeof(words) - 1), text);
		canvas__put(c, line++, column, room, look, words);
		text += n;
		text += *text == ' ';
	}
	return line;
}

/* ---- keys ---- */

static size_t key_columns(const struct part_key *key)
{
	return text__columns(key->key) + 1 + text__columns(key->word);
}

/* The lowest rank that has no room any more. */
static unsigned int first_without_room(const struct part_key *keys, size_t n, size_t columns)
{
	size_t used = 0;

	for (unsigned int rank = 1; rank <= n; rank++)
		for (size_t i = 0; i < n; i++) {
			if (keys[i].rank != rank)
				continue;
			used += key_columns(&keys[i]) + (used ? PART_GAP : 0);
			if (used > columns)
				return rank;
		}
	return UINT32_MAX;
}

void part__keys(struct canvas *c, const struct part_key *keys, size_t n)
{
	unsigned int limit = first_without_room(keys, n, c->columns);
	size_t line = c->lines - 1, column = 0;

	for (size_t i = 0; i < n; i++) {
		if (!keys[i].rank || keys[i].rank >= limit)
			continue;
		column = canvas__say(c, line, column ? column + PART_GAP : 0, LOOK_KEY, "%s", keys[i].key);
		column = canvas__say(c, line, column, LOOK_PLAIN, " %s", keys[i].word);
	}
}

/* ---- pictures ---- */

const char *part__spark(char *buf, size_t size, const double *values, size_t n, double full, bool ascii)
{
	static const char *const blocks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
	static const char *const marks[] = {"_", ".", ":", "-", "=", "+", "*", "#"};
	size_t len = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < n && len + 4 < size; i++) {
		double share = values[i] / full;
		int height = isnan(share) ? 0 : share >= 1 ? 7 : share > 0 ? (int)(share * 8) : 0;
		const char *one = isnan(share) ? " " : ascii ? marks[height] : blocks[height];

		strcpy(buf + len, one);
		len += strlen(one);
	}
	return buf;
}

const char *part__bar(char *buf, size_t size, double share, size_t n, bool ascii)
{
	const char *one = ascii ? "#" : "█";
	size_t full = share > 0 ? (size_t)lround((share > 1 ? 1 : share) * (double)n) : 0, len = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < full && len + 4 < size; i++) {
		strcpy(buf + len, one);
		len += strlen(one);
	}
	return buf;
}
