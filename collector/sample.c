/* SPDX-License-Identifier: GPL-2.0-only */
/* See sample.h. */
#include "sample.h"

#include <stdlib.h>
#include <string.h>

/*
 * Room for one more element of `size` bytes in an array of `n`, which is full wherever its length is a multiple of a step: an
 * eighth of it at most, or 8. So the capacity need not be stored.
 */
static void *grow(void **array, size_t n, size_t size)
{
	size_t step = 8;
	void *grown;

	while (step * 8 <= n)
		step *= 2;
	if (n % step != 0)
		return *array;
	grown = reallocarray(*array, n + step, size);
	if (grown)
		*array = grown;
	return grown;
}

static void *append(void **array, size_t *n, size_t size)
{
	void *element;

	if (!grow(array, *n, size))
		return NULL;
	element = (char *)*array + *n * size;
	memset(element, 0, size);
	(*n)++;
	return element;
}

struct proc_sample *proc_sample__new(void)
{
	struct proc_sample *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->total.known = KNOWN_ALL;
	s->cpu_ns = UINT64_MAX;
	s->rss_kib = UINT64_MAX;
	return s;
}

void proc_sample__empty(struct proc_sample *s)
{
	for (size_t i = 0; i < s->gils_n; i++)
		metrics__clear(&s->gils[i].m);
	for (size_t i = 0; i < s->threads_n; i++)
		metrics__clear(&s->threads[i].m);
	metrics__clear(&s->total);
	*s = (struct proc_sample){.gils = s->gils, .threads = s->threads, .blame = s->blame};
}

void proc_sample__free(struct proc_sample *s)
{
	if (!s)
		return;
	proc_sample__empty(s);
	free(s->gils);
	free(s->threads);
	free(s->blame);
	free(s);
}

const char *proc_sample__gil_kind(const struct proc_sample *s)
{
	return s->no_gil ? "free-threaded" : s->gils_n > 1 ? "per-interpreter"
							   : "gil";
}

struct thread_sample *proc_sample__add_thread(struct proc_sample *s)
{
	return append((void **)&s->threads, &s->threads_n, sizeof(*s->threads));
}

struct gil_sample *proc_sample__add_gil(struct proc_sample *s)
{
	return append((void **)&s->gils, &s->gils_n, sizeof(*s->gils));
}

struct blame_cell *proc_sample__add_blame(struct proc_sample *s)
{
	return append((void **)&s->blame, &s->blame_n, sizeof(*s->blame));
}

uint64_t *proc_sample__blamed(const struct proc_sample *s)
{
	uint64_t *ns = calloc(s->threads_n + 1, sizeof(*ns));

	for (size_t i = 0; ns && i < s->blame_n; i++)
		if (s->blame[i].holder < s->threads_n)
			ns[s->blame[i].holder] += s->blame[i].ns;
	return ns;
}

long proc_sample__find_thread(const struct proc_sample *s, const struct thread_key *key, uint32_t gil)
{
	for (size_t i = 0; i < s->threads_n; i++)
		if (s->threads[i].gil == gil && thread_key__equal(&s->threads[i].key, key))
			return (long)i;
	return -1;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* What adds up over time as well as over threads. */
static int add_ended(struct metrics *dst, const struct metrics *src)
{
	int err;

	dst->known &= src->known;
	dst->hold_ns += src->hold_ns;
	dst->wait_ns += src->wait_ns;
	dst->handover_ns += src->handover_ns;
	dst->unknown_ns += src->unknown_ns;
	dst->acquires += src->acquires;
	dst->contended += src->contended;
	dst->forced += src->forced;
	dst->inferred += src->inferred;
	dst->hold_max_ns = max_u64(dst->hold_max_ns, src->hold_max_ns);
	dst->wait_max_ns = max_u64(dst->wait_max_ns, src->wait_max_ns);
	err = hist__add(&dst->hold, &src->hold);
	return hist__add(&dst->wait, &src->wait) ?: err;
}

static int add_open(struct metrics *dst, const struct metrics *src)
{
	int err = hist__add(&dst->hold_open, &src->hold_open);

	dst->waiting += src->waiting;
	return hist__add(&dst->wait_open, &src->wait_open) ?: err;
}

int metrics__merge(struct metrics *dst, const struct metrics *src)
{
	metrics__clear_open(dst);
	return metrics__sum(dst, src);
}

int metrics__sum(struct metrics *dst, const struct metrics *src)
{
	int err = add_ended(dst, src);

	return add_open(dst, src) ?: err;
}

void metrics__clear_open(struct metrics *m)
{
	m->waiting = 0;
	hist__clear(&m->hold_open);
	hist__clear(&m->wait_open);
}

void metrics__clear(struct metrics *m)
{
	hist__clear(&m->hold);
	hist__clear(&m->wait);
	metrics__clear_open(m);
	memset(m, 0, sizeof(*m));
}
