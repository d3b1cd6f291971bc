/* SPDX-License-Identifier: GPL-2.0-only */
/* See minute.h. A cell's place is its number modulo six; threads move only when a cell leaves or room is made. */
#include "minute.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CELL_MS 10000
#define ROOM_MIN 8

static int64_t cell_end(int64_t ms)
{
	return (ms + CELL_MS - 1) / CELL_MS * CELL_MS;
}

static size_t place_of(int64_t end_ms)
{
	return (size_t)(end_ms / CELL_MS % MINUTE_CELLS);
}

uint64_t minute__sum(const struct minute_thread *t, enum minute_kind kind)
{
	uint64_t sum = 0;

	for (size_t cell = 0; cell < MINUTE_CELLS; cell++)
		sum += t->ns[cell][kind];
	return sum;
}

static uint64_t weight(const struct minute_thread *t)
{
	return minute__sum(t, MINUTE_HOLD) + minute__sum(t, MINUTE_WAIT) + minute__sum(t, MINUTE_BLAMED);
}

uint32_t minute__known(const struct minute *m)
{
	uint32_t known = KNOWN_ALL;

	for (size_t cell = 0; cell < MINUTE_CELLS; cell++)
		known &= ~m->cells[cell].unknown;
	return known;
}

/* ---- threads ---- */

static int make_room(struct minute *m)
{
	size_t room = m->threads_room ? m->threads_room + m->threads_room / 2 : ROOM_MIN;
	struct minute_thread *threads;

	if (m->threads_n < m->threads_room)
		return 0;
	threads = reallocarray(m->threads, room, sizeof(*threads));
	if (!threads)
		return -ENOMEM;
	m->threads = threads;
	m->threads_room = room;
	return 0;
}

static struct minute_thread *append(struct minute *m, const struct thread_key *key)
{
	if (make_room(m) || keymap__put(&m->index, key->start_ticks, key->tid, (uint32_t)m->threads_n))
		return NULL;
	m->threads[m->threads_n] = (struct minute_thread){.key = *key};
	return &m->threads[m->threads_n++];
}

static struct minute_thread *find(const struct minute *m, const struct thread_key *key)
{
	uint32_t at = keymap__get(&m->index, key->start_ticks, key->tid);

	return at == KEYMAP_NONE ? NULL : &m->threads[at];
}

/* Keeps the threads with more than `least`. */
static int keep_above(struct minute *m, uint64_t least)
{
	size_t kept = 0;
	int err = 0;

	keymap__clear(&m->index);
	for (size_t i = 0; i < m->threads_n; i++) {
		const struct thread_key *key = &m->threads[i].key;

		if (weight(&m->threads[i]) <= least)
			continue;
		err = keymap__put(&m->index, key->start_ticks, key->tid, (uint32_t)kept) ?: err;
		m->threads[kept++] = m->threads[i];
	}
	m->threads_n = kept;
	return err;
}

static int by_value(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* What a quarter of the threads, those with least, do not exceed. */
static int quartile(const struct minute *m, uint64_t *ret)
{
	uint64_t *weights = calloc(m->threads_n, sizeof(*weights));

	if (!weights)
		return -ENOMEM;
	for (size_t i = 0; i < m->threads_n; i++)
		weights[i] = weight(&m->threads[i]);
	qsort(weights, m->threads_n, sizeof(*weights), by_value);
	*ret = weights[m->threads_n / 4];
	free(weights);
	return 0;
}

/* Makes one thread of those with least, a quarter of all or more, so that its cost is spread over many births. */
static int fold(struct minute *m)
{
	static const struct thread_key other_key = {.start_ticks = PSEUDO_OTHER};
	struct minute_thread other = {.key = other_key}, *place;
	uint64_t least;
	int err = quartile(m, &least);

	if (err)
		return err;
	m->lost = true;
	for (size_t i = 0; i < m->threads_n; i++)
		for (size_t k = 0; weight(&m->threads[i]) <= least && k < MINUTE_CELLS * MINUTE_KINDS; k++)
			(&other.ns[0][0])[k] += (&m->threads[i].ns[0][0])[k];
	err = keep_above(m, least);
	place = find(m, &other_key) ?: append(m, &other_key);
	if (!place)
		return -ENOMEM;
	for (size_t k = 0; k < MINUTE_CELLS * MINUTE_KINDS; k++)
		(&place->ns[0][0])[k] += (&other.ns[0][0])[k];
	return err;
}

static struct minute_thread *get(struct minute *m, const struct thread_key *key)
{
	struct minute_thread *t = find(m, key);

	if (t)
		return t;
	if (m->threads_n >= MINUTE_MAX_THREADS && fold(m))
		return NULL;
	return append(m, key);
}

/* ---- cells ---- */

static bool has_left(const struct minute_cell *cell, int64_t end_ms)
{
	return cell->end_ms && (cell->end_ms >= end_ms || cell->end_ms <= end_ms - MINUTE_CELLS * CELL_MS);
}

/* Begins the cell that ends at `end_ms`. What is not within the minute of its end leaves. */
static int begin_cell(struct minute *m, int64_t end_ms)
{
	for (size_t cell = 0; cell < MINUTE_CELLS; cell++) {
		if (!has_left(&m->cells[cell], end_ms))
			continue;
		for (size_t i = 0; i < m->threads_n; i++)
			memset(m->threads[i].ns[cell], 0, sizeof(m->threads[i].ns[cell]));
		m->cells[cell] = (struct minute_cell){0};
		m->lost = true;
	}
	m->end_ms = end_ms;
	m->cells[place_of(end_ms)].end_ms = end_ms;
	return m->lost ? keep_above(m, 0) : 0;
}

static int add_thread(struct minute *m, const struct thread_sample *s, uint64_t blamed_ns)
{
	const uint64_t ns[MINUTE_KINDS] = {s->m.hold_ns, s->m.wait_ns, blamed_ns};
	struct minute_thread *t;
	uint64_t *sums;

	if (ns[MINUTE_HOLD] + ns[MINUTE_WAIT] + ns[MINUTE_BLAMED] == 0)
		return 0;
	t = get(m, &s->key);
	if (!t)
		return -ENOMEM;
	sums = t->ns[place_of(m->end_ms)];
	for (size_t kind = 0; kind < MINUTE_KINDS; kind++)
		sums[kind] += ns[kind];
	if (s->name[0])
		memcpy(t->name, s->name, sizeof(t->name));
	return 0;
}

int minute__add(struct minute *m, const struct proc_sample *s)
{
	uint64_t *blamed = proc_sample__blamed(s);
	int64_t end_ms = cell_end(s->end_ms);
	int err = blamed ? 0 : -ENOMEM;

	m->lost = false;
	if (end_ms != m->end_ms)
		err = begin_cell(m, end_ms) ?: err;
	m->cells[place_of(end_ms)].unknown |= ~s->total.known;
	for (size_t i = 0; blamed && i < s->threads_n; i++)
		err = add_thread(m, &s->threads[i], blamed[i]) ?: err;
	free(blamed);
	return err;
}

void minute__free(struct minute *m)
{
	free(m->threads);
	keymap__free(&m->index);
}
