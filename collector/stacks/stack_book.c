/* SPDX-License-Identifier: GPL-2.0-only */
/* See stack_book.h. */
#include "stack_book.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collector/base/text.h"
#include "collector/series/sample.h"
#include "app_code.h"

#define SETS 256 /* a power of two */
#define WAYS 8   /* places where a stack may stand; the one learned longest ago makes room */

struct stack_book {
	struct {
		struct stack_text text;
		uint64_t learned; /* as a number */
	} place[SETS][WAYS];
	uint64_t learned;
};

struct stack_book *stack_book__new(void)
{
	return calloc(1, sizeof(struct stack_book));
}

static void clear(struct stack_text *t)
{
	free(t->line);
	native_tally__free(t->native);
	*t = (struct stack_text){0};
}

void stack_book__free(struct stack_book *b)
{
	for (size_t i = 0; b && i < SETS * WAYS; i++)
		clear(&b->place[i / WAYS][i % WAYS].text);
	free(b);
}

const struct stack_text *stack_book__find(const struct stack_book *b, uint64_t hash)
{
	for (size_t way = 0; hash && way < WAYS; way++)
		if (b->place[hash & (SETS - 1)][way].text.hash == hash)
			return &b->place[hash & (SETS - 1)][way].text;
	return NULL;
}

void stack_book__saw_native(struct stack_book *b, uint64_t hash, const struct native_chain *chain)
{
	struct stack_text *text = (struct stack_text *)stack_book__find(b, hash);

	if (text)
		native_tally__add(&text->native, chain);
}

/* An empty place for a newcomer. */
static struct stack_text *make_place(struct stack_book *b, uint64_t hash)
{
	size_t set = hash & (SETS - 1), oldest = 0;

	for (size_t way = 1; way < WAYS; way++)
		if (b->place[set][way].learned < b->place[set][oldest].learned)
			oldest = way;
	b->place[set][oldest].learned = ++b->learned;
	clear(&b->place[set][oldest].text);
	return &b->place[set][oldest].text;
}

void stack_book__forget(struct stack_book *b, uint32_t proc)
{
	for (size_t i = 0; i < SETS * WAYS; i++)
		if (b->place[i / WAYS][i % WAYS].text.proc == proc)
			clear(&b->place[i / WAYS][i % WAYS].text);
}

/* Puts a frame before what is there, if it fits. */
static bool put_before(char *line, size_t *from, const char *frame)
{
	size_t len = strlen(frame), separator = line[*from] ? 1 : 0;

	if (len + separator > *from)
		return false;
	if (separator)
		line[--*from] = ';';
	*from -= len;
	memcpy(line + *from, frame, len);
	return true;
}

/* The frame's text in a line of frames: their separator is none of its characters. */
static void describe(const struct pysymbol *symbol, char *buf, size_t size)
{
	pystack__describe(symbol, buf, size);
	for (char *c = buf; *c; c++)
		if (*c == ';')
			*c = ',';
}

/* The frames of a stack, as they are named from the innermost on. */
struct naming {
	char line[STACK_TEXT_MAX];
	size_t from; /* of the line, so far */
	struct pysymbol leaf, last; /* the innermost frame, and the one named last */
	char caller[CODE_CALLER_SIZE];
	size_t application; /* which of them stands for the application; too large: none */
};

/* One piece of memory for the four texts. */
static void keep_texts(struct stack_text *t, const struct naming *n)
{
	const char *texts[] = {n->line + n->from, n->leaf.function, n->leaf.file, n->caller}, *kept[4];
	size_t size = 0, at = 0;
	char *room;

	for (size_t i = 0; i < 4; i++)
		size += strlen(texts[i]) + 1;
	room = malloc(size);
	if (!room)
		return;
	for (size_t i = 0; i < 4; i++) {
		kept[i] = strcpy(room + at, texts[i]);
		at += strlen(texts[i]) + 1;
	}
	t->line = room;
	t->leaf = (struct stack_leaf){
		.function = kept[1], .file = kept[2], .line = n->leaf.line, .firstlineno = n->leaf.firstlineno,
	};
	t->caller = kept[3];
}

/* Whose code it is that called the innermost frame: "save_order (shop.py:31) -> json.dumps", if that is not it itself. */
static void note_caller(struct naming *n, uint32_t depth, const struct pysymbol *symbol)
{
	char called[PYSTACK_FUNCTION_SIZE + PYSTACK_FILE_SIZE];

	if (depth != n->application)
		return;
	if (depth > 0)
		pystack__describe(symbol, n->caller, sizeof(n->caller));
	if (depth > 1)
		text__append(n->caller, sizeof(n->caller), " -> %s", app_code__dotted(&n->last, called, sizeof(called)));
}

static void name_all(struct stack_text *t, const struct gil_stack_event *e, struct pystack *names)
{
	char frame[PYSTACK_FUNCTION_SIZE + PYSTACK_FILE_SIZE + 16];
	uint32_t depth = e->depth < GIL_STACK_DEPTH ? e->depth : GIL_STACK_DEPTH;
	struct pysymbol symbols[GIL_STACK_DEPTH] = {{.function = ""}};
	struct naming n = {.from = sizeof(n.line) - 1};
	bool cut = e->more;

	for (uint32_t i = 0; i < depth; i++)
		symbols[i] = (struct pysymbol){.function = "?"};
	if (names)
		pystack__symbols(names, e->frames, depth, symbols);
	n.leaf = symbols[0];
	n.application = app_code__innermost(symbols, depth);
	for (uint32_t i = 0; i < depth; i++) {
		note_caller(&n, i, &symbols[i]);
		n.last = symbols[i];
		describe(&symbols[i], frame, sizeof(frame));
		cut = !put_before(n.line, &n.from, frame) || cut;
	}
	if (cut)
		put_before(n.line, &n.from, "...");
	keep_texts(t, &n);
}

void stack_book__learn(struct stack_book *b, const struct gil_stack_event *e, struct pystack *names)
{
	struct stack_text *t;

	if (!e->hash || stack_book__find(b, e->hash))
		return;
	t = make_place(b, e->hash);
	name_all(t, e, names);
	if (!t->line) {
		clear(t);
		return;
	}
	t->hash = e->hash;
	t->proc = e->proc;
}
