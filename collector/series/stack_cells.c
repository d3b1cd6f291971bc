/* SPDX-License-Identifier: GPL-2.0-only */
/* See stack_cells.h. Some hundred cells at most: looking for one is a walk over hashes. */
#include "stack_cells.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void stack_weights__add(struct stack_weights *dst, const struct stack_weights *src)
{
	dst->hold_ns += src->hold_ns;
	dst->blame_ns += src->blame_ns;
	dst->wait_ns += src->wait_ns;
}

/* FNV-1a, 64 bits. */
uint64_t stack_cells__hash(const char *line)
{
	uint64_t hash = 0xcbf29ce484222325ull;

	for (; *line; line++)
		hash = (hash ^ (uint8_t)*line) * 0x100000001b3ull;
	return hash ? hash : 1;
}

static struct stack_cell *find(struct stack_cells *s, uint32_t thread, uint64_t hash, const char *line)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->cells[i].hash == hash && s->cells[i].thread == thread && !strcmp(s->cells[i].line, line))
			return &s->cells[i];
	return NULL;
}

/* ---- the weightiest ---- */

static double share(uint64_t part, uint64_t whole)
{
	return whole ? (double)part / (double)whole : 0;
}

static double largest_share(const struct stack_weights *w, const struct stack_weights *all)
{
	double hold = share(w->hold_ns, all->hold_ns), blame = share(w->blame_ns, all->blame_ns);
	double wait = share(w->wait_ns, all->wait_ns), most = hold > blame ? hold : blame;

	return most > wait ? most : wait;
}

static int weightiest_first(const void *a, const void *b, void *all)
{
	const struct stack_cell *x = *(const struct stack_cell *const *)a, *y = *(const struct stack_cell *const *)b;
	double p = largest_share(&x->w, all), q = largest_share(&y->w, all);

	if (p != q)
		return p > q ? -1 : 1;
	if (x->hash != y->hash)
		return x->hash < y->hash ? -1 : 1;
	return x->thread < y->thread ? -1 : x->thread > y->thread;
}

const struct stack_cell **stack_cells__sorted(const struct stack_cells *s)
{
	const struct stack_cell **sorted = calloc(s->n + 1, sizeof(*sorted));
	struct stack_weights all = {0};

	for (size_t i = 0; sorted && i < s->n; i++) {
		sorted[i] = &s->cells[i];
		stack_weights__add(&all, &s->cells[i].w);
	}
	if (sorted)
		qsort_r(sorted, s->n, sizeof(*sorted), weightiest_first, &all);
	return sorted;
}

/* ---- bounded ---- */

/* The cells but the weightiest `keep` go to the rest. */
static int shed(struct stack_cells *s, size_t keep)
{
	const struct stack_cell **sorted = stack_cells__sorted(s);
	size_t kept = 0;

	if (!sorted)
		return -ENOMEM;
	for (size_t i = keep; i < s->n; i++) {
		struct stack_cell *cell = &s->cells[sorted[i] - s->cells];

		stack_weights__add(&s->rest, &cell->w);
		free(cell->line);
		cell->line = NULL;
	}
	for (size_t i = 0; i < s->n; i++)
		if (s->cells[i].line)
			s->cells[kept++] = s->cells[i];
	s->n = kept;
	free(sorted);
	return 0;
}

static int make_room(struct stack_cells *s)
{
	size_t room = s->room ? 2 * s->room : 16;
	struct stack_cell *grown;

	if (s->n < s->room)
		return 0;
	grown = reallocarray(s->cells, room, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	s->cells = grown;
	s->room = room;
	return 0;
}

int stack_cells__add(struct stack_cells *s, uint32_t thread, const char *line, const struct stack_weights *w, size_t max)
{
	uint64_t hash = stack_cells__hash(line);
	struct stack_cell *cell = find(s, thread, hash, line);
	char *copy;

	if (cell) {
		stack_weights__add(&cell->w, w);
		return 0;
	}
	if (s->n >= max && shed(s, max - max / 4 - 1))
		return -ENOMEM;
	copy = make_room(s) ? NULL : strdup(line);
	if (!copy)
		return -ENOMEM;
	s->cells[s->n++] = (struct stack_cell){.thread = thread, .hash = hash, .line = copy, .w = *w};
	return 0;
}

void stack_cells__remap(struct stack_cells *s, const uint32_t *moved)
{
	for (size_t i = 0; i < s->n; i++)
		s->cells[i].thread = moved[s->cells[i].thread];
}

void stack_cells__clear(struct stack_cells *s)
{
	for (size_t i = 0; i < s->n; i++)
		free(s->cells[i].line);
	*s = (struct stack_cells){.cells = s->cells, .room = s->room};
}

void stack_cells__free(struct stack_cells *s)
{
	stack_cells__clear(s);
	free(s->cells);
	*s = (struct stack_cells){0};
}
