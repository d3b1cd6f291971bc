/* SPDX-License-Identifier: GPL-2.0-only */
/* See code.h. */
#include "code.h"

#include <math.h>
#include <stdlib.h>

#include "collector/base/text.h"
#include "collector/python/pystack.h"
#include "collector/stacks/app_code.h"
#include "functions.h"
#include "human.h"
#include "out.h"
#include "rows.h"

#define SHOWN 8

const char *code__place(const char *function, const char *file, uint32_t line, char buf[CODE_TEXT_SIZE])
{
	struct pysymbol symbol = {.line = line};

	snprintf(symbol.function, sizeof(symbol.function), "%s", function[0] ? function : "(no Python code)");
	snprintf(symbol.file, sizeof(symbol.file), "%s", file);
	pystack__describe(&symbol, buf, CODE_TEXT_SIZE);
	return buf;
}

const char *code__where(const struct function_part *p, char buf[CODE_TEXT_SIZE])
{
	char code[FUNCTION_CODE_SIZE], native[CODE_NATIVE_SIZE];

	if (p->caller && p->caller[0]) {
		snprintf(buf, CODE_TEXT_SIZE, "%s", function_part__code(p, code));
		return buf;
	}
	code__place(p->function, p->file, p->line, buf);
	if (p->native && app_code__native(p->native, native, sizeof(native))[0])
		text__append(buf, CODE_TEXT_SIZE, ", in %s", native);
	return buf;
}

/* ---- by function ---- */

struct function_part *code__parts(const struct proc_sample *s, char (*names)[CODE_NAME_SIZE])
{
	struct function_part *parts = calloc(s->code_n + 1, sizeof(*parts));

	for (size_t i = 0; i < s->threads_n; i++)
		rows__name(&s->threads[i], names[i], sizeof(names[i]));
	for (size_t i = 0; parts && i < s->code_n; i++) {
		const struct code_cell *c = &s->code[i];

		parts[i] = (struct function_part){
			.function = c->function, .file = c->file, .native = c->native, .caller = c->caller, .line = c->line,
			.firstlineno = c->firstlineno, .thread = c->thread, .thread_name = names[c->thread],
			.hold_us = s->total.known & (KNOWN_HOLD | KNOWN_HOLD_EST) ? (double)c->hold_ns / 1e3 : NAN,
			.blame_us = (double)c->blame_ns / 1e3, .over_us = (double)c->over_ns / 1e3,
		};
		for (size_t kind = 0; kind < GIL_OFF_KINDS; kind++) {
			parts[i].hold_off_us[kind] = (double)c->hold_off.ns[kind] / 1e3;
			parts[i].blame_off_us[kind] = (double)c->blame_off.ns[kind] / 1e3;
		}
	}
	return parts;
}

/* ---- showing ---- */

static void print_worst(FILE *to, const struct function_time *f)
{
	char blame[HUMAN_SIZE];

	fprintf(to, "\n%s%s made others wait %s in all\nin %s.\n", f->threads == 1 ? "Thread " : "", f->who,
		human__us(blame, f->blame_us), f->code);
}

void code__print(FILE *to, const struct proc_sample *s, size_t width)
{
	char (*names)[CODE_NAME_SIZE] = calloc(s->threads_n + 1, sizeof(*names));
	struct function_part *parts = names ? code__parts(s, names) : NULL;
	size_t n = 0;
	struct function_time *list = parts ? functions__sum(parts, s->code_n, SIZE_MAX, &n) : NULL;
	struct out *table = functions__table(list, n, SHOWN, metrics__is_estimate(&s->total));

	if (table && out__rows(table) && !out__error(table)) {
		print_worst(to, &list[0]);
		fputc('\n', to);
		out__table(table, to, width);
	}
	out__free(table);
	free(list);
	free(parts);
	free(names);
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

		if (one && s->total.known & (KNOWN_HOLD | KNOWN_HOLD_EST))
			json_object_set_new(one, metrics__is_estimate(&s->total) ? "hold_est" : "hold",
					    json_integer((json_int_t)(c->hold_ns / 1000)));
		if (one && c->hold_var > 0) {
			json_object_set_new(one, "ticks", json_integer((json_int_t)c->ticks));
			json_object_set_new(one, "error", json_real(sqrt(c->hold_var) / 1e3));
		}
		if (one && c->over_ns >= 1000)
			json_object_set_new(one, "over", json_integer((json_int_t)(c->over_ns / 1000)));
		if (one && c->native[0])
			json_object_set_new(one, "native", json_string(c->native));
		json_array_append_new(list, one);
	}
	return list;
}

/* "in f (file:12)"; C code is the holder's. */
static void append_place(char *buf, size_t size, const struct long_event *e)
{
	const struct stack_text *s = e->stack;
	struct function_part part = {.native = e->wait && e->ended ? NULL : e->native};
	char place[CODE_TEXT_SIZE];

	if (!s)
		return;
	part.function = s->leaf.function;
	part.file = s->leaf.file;
	part.line = s->leaf.line;
	part.caller = s->caller;
	text__append(buf, size, ", in %s", code__where(&part, place));
}

static void say_hold(const struct long_event *e, const char *len, char *buf, size_t size)
{
	char waited[HUMAN_SIZE];

	text__append(buf, size, e->ended ? " held the GIL for %s" : " has held the GIL for %s and goes on", len);
	append_place(buf, size, e);
	if (e->ended)
		text__append(buf, size, "; others waited %s meanwhile", human__us(waited, (double)e->waited_ns / 1e3));
	else if (e->waiters)
		text__append(buf, size, "; %u wait%s%s%s", e->waiters, e->waiters == 1 ? "s" : "", e->victims[0] ? ": " : "",
			     e->victims);
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

const char *code__long_name(const char *name)
{
	return name[0] ? name : "(no name)";
}

static void append_words(const struct long_event *e, char *buf, size_t size)
{
	char len[HUMAN_SIZE];

	human__us(len, e->at_ns > e->since_ns ? (double)(e->at_ns - e->since_ns) / 1e3 : 0);
	text__append(buf, size, " (%u)", e->thread.tid);
	(e->wait ? say_wait : say_hold)(e, len, buf, size);
}

const char *code__long_words(const struct long_event *e, char *buf, size_t size)
{
	buf[0] = '\0';
	append_words(e, buf, size);
	return buf;
}

const char *code__long(const struct long_event *e, char *buf, size_t size)
{
	snprintf(buf, size, "%s", code__long_name(e->name));
	append_words(e, buf, size);
	return buf;
}
