/* SPDX-License-Identifier: GPL-2.0-only */
/* See stack_book.h. */
#include "stack_book.h"

#include <stdlib.h>
#include <string.h>

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

/* One piece of memory for the three texts. */
static void keep_texts(struct stack_text *t, const char *line, const struct pysymbol *leaf)
{
	size_t line_size = strlen(line) + 1, function_size = strlen(leaf->function) + 1, file_size = strlen(leaf->file) + 1;
	char *texts = malloc(line_size + function_size + file_size);

	if (!texts)
		return;
	memcpy(texts, line, line_size);
	t->line = texts;
	t->leaf = (struct stack_leaf){
		.function = memcpy(texts + line_size, leaf->function, function_size),
		.file = memcpy(texts + line_size + function_size, leaf->file, file_size),
		.line = leaf->line, .firstlineno = leaf->firstlineno,
	};
}

static void name_all(struct stack_text *t, const struct gil_stack_event *e, struct pystack *names)
{
	char line[STACK_TEXT_MAX], frame[PYSTACK_FUNCTION_SIZE + PYSTACK_FILE_SIZE + 16];
	uint32_t depth = e->depth < GIL_STACK_DEPTH ? e->depth : GIL_STACK_DEPTH;
	struct pysymbol symbols[GIL_STACK_DEPTH] = {{.function = ""}};
	size_t from = sizeof(line) - 1;
	bool cut = e->more;

	line[from] = '\0';
	for (uint32_t i = 0; i < depth; i++)
		symbols[i] = (struct pysymbol){.function = "?"};
	if (names)
		pystack__symbols(names, e->frames, depth, symbols);
	for (uint32_t i = 0; i < depth; i++) {
		describe(&symbols[i], frame, sizeof(frame));
		cut = !put_before(line, &from, frame) || cut;
	}
	if (cut)
		put_before(line, &from, "...");
	keep_texts(t, line + from, &symbols[0]);
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
