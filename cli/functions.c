/* SPDX-License-Identifier: GPL-2.0-only */
/* See functions.h. The parts are put in order, so that a function's stand together, and in it those of a line. */
#include "functions.h"

#include <stdlib.h>
#include <string.h>

#include "collector/base/text.h"
#include "collector/stacks/app_code.h"

enum { F_PLACE, F_NATIVE, F_WHO, F_BLAME, F_HOLD };

#define COLUMNS_OF(hold_title) { \
	[F_PLACE] = {"place", "HOLDS IN", OUT_TEXT, OUT_FLEX | OUT_MIDDLE}, \
	[F_NATIVE] = {"native", "IN C CODE", OUT_TEXT, OUT_FLEX | OUT_MIDDLE | OUT_SPARE}, \
	[F_WHO] = {"thread", "THREAD", OUT_TEXT, OUT_FLEX | OUT_MIDDLE}, \
	[F_BLAME] = {"blame", "OTHERS WAITED", OUT_US, 0}, \
	[F_HOLD] = {"hold", hold_title, OUT_US, 0}, \
}

static const struct out_column exact[] = COLUMNS_OF("HELD"), estimated[] = COLUMNS_OF("~HELD");

enum { S_CODE, S_WHO, S_BLAME, S_HOLD };

#define SHORT_COLUMNS_OF(hold_title) { \
	[S_CODE] = {"code", "HOLDS IN", OUT_TEXT, OUT_FLEX}, \
	[S_WHO] = {"thread", "THREAD", OUT_TEXT, OUT_FLEX | OUT_MIDDLE}, \
	[S_BLAME] = {"blame", "OTHERS WAITED", OUT_US, 0}, \
	[S_HOLD] = {"hold", hold_title, OUT_US, 0}, \
}

static const struct out_column short_exact[] = SHORT_COLUMNS_OF("HELD"), short_estimated[] = SHORT_COLUMNS_OF("~HELD");

/* ---- in words ---- */

const char *function_part__called(const struct function_part *p, char buf[CODE_CALLER_SIZE])
{
	struct pysymbol leaf = {.line = p->line};
	const char *arrow = p->caller ? strstr(p->caller, " -> ") : NULL;

	buf[0] = '\0';
	if (arrow) {
		snprintf(buf, CODE_CALLER_SIZE, "%s", arrow + strlen(" -> "));
	} else if (p->caller && p->caller[0]) {
		snprintf(leaf.function, sizeof(leaf.function), "%s", p->function);
		snprintf(leaf.file, sizeof(leaf.file), "%s", p->file);
		app_code__dotted(&leaf, buf, CODE_CALLER_SIZE);
	}
	return buf;
}

/* The application's frame in short. */
static void put_application(const struct function_part *p, char code[FUNCTION_CODE_SIZE])
{
	char place[CODE_TEXT_SIZE];
	const char *arrow = p->caller ? strstr(p->caller, " -> ") : NULL;

	if (p->caller && p->caller[0])
		snprintf(place, sizeof(place), "%.*s", (int)(arrow ? arrow - p->caller : CODE_CALLER_SIZE), p->caller);
	else
		code__place(p->function, p->file, p->line, place);
	app_code__short(place, code, FUNCTION_CODE_SIZE);
}

const char *function_part__code(const struct function_part *p, char buf[FUNCTION_CODE_SIZE])
{
	char called[CODE_CALLER_SIZE], native[CODE_NATIVE_SIZE];

	put_application(p, buf);
	if (function_part__called(p, called)[0])
		text__append(buf, FUNCTION_CODE_SIZE, " -> %s", called);
	if (p->native && app_code__native(p->native, native, sizeof(native))[0])
		text__append(buf, FUNCTION_CODE_SIZE, " -> %s", native);
	return buf;
}

/* ---- sums ---- */

static int compare_functions(const struct function_part *a, const struct function_part *b)
{
	int order = strcmp(a->function, b->function) ?: strcmp(a->file, b->file);

	return order ?: (a->firstlineno > b->firstlineno) - (a->firstlineno < b->firstlineno);
}

static int in_order(const void *a_, const void *b_)
{
	const struct function_part *a = a_, *b = b_;
	int order = compare_functions(a, b) ?: (a->line > b->line) - (a->line < b->line);

	return order ?: (a->thread > b->thread) - (a->thread < b->thread);
}

static bool is_first_of_thread(const struct function_part *parts, size_t i)
{
	for (size_t j = 0; j < i; j++)
		if (parts[j].thread == parts[i].thread && parts[j].blame_us > 0)
			return false;
	return true;
}

static void name_threads(const struct function_part *parts, size_t n, struct function_time *f)
{
	for (size_t i = 0; i < n; i++) {
		if (!(parts[i].blame_us > 0) || !is_first_of_thread(parts, i))
			continue;
		if (!f->threads++)
			snprintf(f->who, sizeof(f->who), "%s", parts[i].thread_name);
	}
	if (f->threads > 1)
		snprintf(f->who, sizeof(f->who), "%zu threads", f->threads);
}

/* The part to show of a function: the worst one of its worst line. */
static const struct function_part *worst_part(const struct function_part *parts, size_t n)
{
	const struct function_part *worst = NULL;
	double most = -1;

	for (size_t i = 0, end; i < n; i = end) {
		const struct function_part *of_line = &parts[i];
		double us = 0;

		for (end = i; end < n && parts[end].line == parts[i].line; end++) {
			us += parts[end].blame_us;
			if (parts[end].blame_us > of_line->blame_us)
				of_line = &parts[end];
		}
		if (us > most) {
			most = us;
			worst = of_line;
		}
	}
	return worst;
}

static struct function_time sum_of(const struct function_part *parts, size_t n)
{
	const struct function_part *shown = worst_part(parts, n);
	struct function_time f = {.threads = 0};

	code__place(shown->function, shown->file, shown->line, f.place);
	snprintf(f.native, sizeof(f.native), "%s", shown->native ?: "");
	function_part__code(shown, f.code);
	for (size_t i = 0; i < n; i++) {
		f.hold_us += parts[i].hold_us;
		f.blame_us += parts[i].blame_us;
	}
	name_threads(parts, n, &f);
	return f;
}

static int worst_first(const void *a_, const void *b_)
{
	const struct function_time *a = a_, *b = b_;

	if (a->blame_us != b->blame_us)
		return a->blame_us > b->blame_us ? -1 : 1;
	if (a->hold_us > b->hold_us || a->hold_us < b->hold_us)
		return a->hold_us > b->hold_us ? -1 : 1;
	return strcmp(a->place, b->place);
}

static size_t put_first(struct function_part *parts, size_t n, size_t only)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++)
		if (parts[i].thread == only) {
			struct function_part p = parts[i];

			parts[i] = parts[kept];
			parts[kept++] = p;
		}
	return kept;
}

struct function_time *functions__sum(struct function_part *parts, size_t n, size_t only, size_t *ret_n)
{
	size_t used = only == SIZE_MAX ? n : put_first(parts, n, only), found = 0;
	struct function_time *list = calloc(used + 1, sizeof(*list));

	*ret_n = 0;
	if (!list)
		return NULL;
	qsort(parts, used, sizeof(*parts), in_order);
	for (size_t i = 0, end; i < used; i = end) {
		for (end = i + 1; end < used && compare_functions(&parts[i], &parts[end]) == 0; end++)
			;
		list[found++] = sum_of(&parts[i], end - i);
	}
	qsort(list, found, sizeof(*list), worst_first);
	*ret_n = found;
	return list;
}

struct out *functions__table(const struct function_time *list, size_t n, size_t max, bool about)
{
	struct out *table = out__new(about ? estimated : exact, sizeof(exact) / sizeof(exact[0]));

	for (size_t i = 0; table && i < n && i < max && list[i].blame_us > 0; i++) {
		out__row(table);
		out__text(table, F_PLACE, list[i].place);
		if (list[i].native[0])
			out__text(table, F_NATIVE, list[i].native);
		out__text(table, F_WHO, list[i].who);
		out__num(table, F_BLAME, list[i].blame_us);
		out__num(table, F_HOLD, list[i].hold_us);
	}
	return table;
}

struct out *functions__short_table(const struct function_time *list, size_t n, size_t max, bool about)
{
	struct out *table = out__new(about ? short_estimated : short_exact, sizeof(short_exact) / sizeof(short_exact[0]));

	for (size_t i = 0; table && i < n && i < max && list[i].blame_us > 0; i++) {
		out__row(table);
		out__text(table, S_CODE, list[i].code);
		out__text(table, S_WHO, list[i].who);
		out__num(table, S_BLAME, list[i].blame_us);
		out__num(table, S_HOLD, list[i].hold_us);
	}
	return table;
}
