/* SPDX-License-Identifier: GPL-2.0-only */
/* See code.h. */
#include "code.h"

#include <stdlib.h>
#include <string.h>

#include "../collector/text.h"
#include "human.h"
#include "out.h"
#include "rows.h"

#define SHOWN 8

enum { C_PLACE, C_THREAD, C_BLAME, C_HOLD };

static const struct out_column columns[] = {
	[C_PLACE] = {"place", "HOLDS IN", OUT_TEXT, OUT_FLEX},
	[C_THREAD] = {"thread", "THREAD", OUT_TEXT, OUT_FLEX},
	[C_BLAME] = {"blame", "OTHERS WAITED", OUT_US, 0},
	[C_HOLD] = {"hold", "HELD", OUT_US, 0},
};

const char *code__place(const char *function, const char *file, uint32_t line, char buf[CODE_TEXT_SIZE])
{
	struct pysymbol symbol = {.line = line};

	snprintf(symbol.function, sizeof(symbol.function), "%s", function[0] ? function : "(no Python code)");
	snprintf(symbol.file, sizeof(symbol.file), "%s", file);
	pystack__describe(&symbol, buf, CODE_TEXT_SIZE);
	return buf;
}

const char *code__where(const char *function, const char *file, uint32_t line, const char *native, char buf[CODE_TEXT_SIZE])
{
	code__place(function, file, line, buf);
	if (native && native[0])
		text__append(buf, CODE_TEXT_SIZE, ", in %s", native);
	return buf;
}

static const char *where(const struct code_cell *c, char buf[CODE_TEXT_SIZE])
{
	return code__where(c->function, c->file, c->line, c->native, buf);
}

/* ---- by function ---- */

static bool is_same_function(const struct code_cell *a, const struct code_cell *b)
{
	return a->thread == b->thread && a->firstlineno == b->firstlineno && !strcmp(a->function, b->function) &&
	       !strcmp(a->file, b->file);
}

static bool is_worse(const struct code_cell *a, const struct code_cell *b)
{
	return a->blame_ns != b->blame_ns ? a->blame_ns > b->blame_ns : a->hold_ns > b->hold_ns;
}

static struct code_guilt guilt_of(const struct proc_sample *s, const struct code_cell *first)
{
	struct code_guilt sum = {.cell = first};

	for (size_t i = 0; i < s->code_n; i++) {
		const struct code_cell *c = &s->code[i];

		if (!is_same_function(c, first))
			continue;
		sum.hold_ns += c->hold_ns;
		sum.blame_ns += c->blame_ns;
		sum.wait_ns += c->wait_ns;
		if (is_worse(c, sum.cell))
			sum.cell = c;
	}
	return sum;
}

static int worst_first(const void *a, const void *b)
{
	const struct code_guilt *x = a, *y = b;

	if (x->blame_ns != y->blame_ns)
		return x->blame_ns > y->blame_ns ? -1 : 1;
	if (x->hold_ns != y->hold_ns)
		return x->hold_ns > y->hold_ns ? -1 : 1;
	return x->cell < y->cell ? -1 : x->cell > y->cell;
}

/* The functions, worst first; caller frees; NULL: none, or no memory. */
static struct code_guilt *functions(const struct proc_sample *s, size_t *ret_n)
{
	struct code_guilt *list = calloc(s->code_n + 1, sizeof(*list));
	size_t n = 0;

	for (size_t i = 0; list && i < s->code_n; i++) {
		bool seen = false;

		for (size_t j = 0; j < n && !seen; j++)
			seen = is_same_function(list[j].cell, &s->code[i]);
		if (!seen)
			list[n++] = guilt_of(s, &s->code[i]);
	}
	if (list)
		qsort(list, n, sizeof(*list), worst_first);
	*ret_n = n;
	return list;
}

struct code_guilt code__worst(const struct proc_sample *s, size_t thread)
{
	struct code_guilt worst = {.cell = NULL};
	size_t n;
	struct code_guilt *list = functions(s, &n);

	for (size_t i = 0; list && i < n && !worst.cell; i++)
		if (thread == SIZE_MAX || list[i].cell->thread == thread)
			worst = list[i];
	free(list);
	return worst;
}

/* ---- showing ---- */

static void add_row(struct out *table, const struct proc_sample *s, const struct code_guilt *g)
{
	char place[CODE_TEXT_SIZE], name[THREAD_NAME_SIZE + 16];

	out__row(table);
	out__text(table, C_PLACE, where(g->cell, place));
	out__text(table, C_THREAD, rows__name(&s->threads[g->cell->thread], name, sizeof(name)));
	out__num(table, C_BLAME, (double)g->blame_ns / 1e3);
	if (s->total.known & KNOWN_HOLD)
		out__num(table, C_HOLD, (double)g->hold_ns / 1e3);
}

static void print_table(FILE *to, const struct proc_sample *s, const struct code_guilt *list, size_t n, size_t width)
{
	struct out *table = out__new(columns, sizeof(columns) / sizeof(columns[0]));

	for (size_t i = 0; table && i < n && i < SHOWN && list[i].blame_ns; i++)
		add_row(table, s, &list[i]);
	if (table && out__rows(table) && !out__error(table)) {
		fputc('\n', to);
		out__table(table, to, width);
	}
	out__free(table);
}

void code__print(FILE *to, const struct proc_sample *s, size_t width)
{
	char place[CODE_TEXT_SIZE], name[THREAD_NAME_SIZE + 16], blame[HUMAN_SIZE];
	size_t n;
	struct code_guilt *list = functions(s, &n);

	if (list && n && list[0].blame_ns) {
		fprintf(to, "\nThread %s made others wait %s in all\nin %s.\n",
			rows__name(&s->threads[list[0].cell->thread], name, sizeof(name)),
			human__us(blame, (double)list[0].blame_ns / 1e3),
			where(list[0].cell, place));
		print_table(to, s, list, n, width);
	}
	free(list);
}

json_t *code__json(const struct proc_sample *s)
{
	json_t *list = s->code_known ? json_array() : NULL;

	for (size_t i = 0; list && i < s->code_n; i++) {
		const struct code_cell *c = &s->code[i];
		const struct thread_sample *t = &s->threads[c->thread];

		json_t *one = json_pack("{sI ss ss ss sI sI sI}", "tid", (json_int_t)t->key.tid, "name", t->name, "function",
					c->function, "file", c->file, "line", (json_int_t)c->line, "blame",
					(json_int_t)(c->blame_ns / 1000), "wait", (json_int_t)(c->wait_ns / 1000));

		if (one && s->total.known & KNOWN_HOLD)
			json_object_set_new(one, "hold", json_integer((json_int_t)(c->hold_ns / 1000)));
		if (one && c->native[0])
			json_object_set_new(one, "native", json_string(c->native));
		json_array_append_new(list, one);
	}
	return list;
}

/* "in f (file:12)"; C code is the holder's. */
static void append_place(char *buf, size_t size, const struct long_event *e)
{
	const struct native_chain *native = e->stack && !(e->wait && e->ended) ? native_tally__winner(e->stack->native) : NULL;
	char place[CODE_TEXT_SIZE];

	if (e->stack)
		text__append(buf, size, ", in %s", code__where(e->stack->leaf.function, e->stack->leaf.file, e->stack->leaf.line,
							       native ? native->name : NULL, place));
}

static void say_hold(const struct long_event *e, const char *len, char *buf, size_t size)
{
	char waited[HUMAN_SIZE];

	text__append(buf, size, e->ended ? " held the GIL for %s" : " has held the GIL for %s and goes on", len);
	append_place(buf, size, e);
	if (e->ended)
		text__append(buf, size, "; others waited %s meanwhile", human__us(waited, (double)e->waited_ns / 1e3));
	else if (e->waiters)
		text__append(buf, size, "; %u wait%s: %s", e->waiters, e->waiters == 1 ? "s" : "", e->victims);
}

static void say_wait(const struct long_event *e, const char *len, char *buf, size_t size)
{
	if (e->ended) {
		text__append(buf, size, " waited %s for the GIL", len);
		append_place(buf, size, e);
		return;
	}
	text__append(buf, size, " has waited %s for the GIL and goes on", len);
	if (e->holder.tid) {
		text__append(buf, size, "; %s (%u) holds it", e->holder_name, e->holder.tid);
		append_place(buf, size, e);
	}
}

const char *code__long(const struct long_event *e, char *buf, size_t size)
{
	char len[HUMAN_SIZE];

	human__us(len, e->at_ns > e->since_ns ? (double)(e->at_ns - e->since_ns) / 1e3 : 0);
	snprintf(buf, size, "%s (%u)", e->name[0] ? e->name : "(no name)", e->thread.tid);
	(e->wait ? say_wait : say_hold)(e, len, buf, size);
	return buf;
}
