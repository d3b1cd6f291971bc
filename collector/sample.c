/* SPDX-License-Identifier: GPL-2.0-only */
/* See sample.h. Arrays grow by doubling; their capacity lives beside them in the allocation's owner. */
#include "sample.h"

#include <stdlib.h>
#include <string.h>

/*
 * Room for one more element of `size` bytes in an array of `n`. Capacity is always the power of two
 * at or above n (at least 8), so it need not be stored.
 */
static void *grow(void **array, size_t n, size_t size)
{
	void *grown;

	if (n >= 8 && (n & (n - 1)) != 0)
		return *array;
	if (n > 0 && n < 8)
		return *array;
	grown = reallocarray(*array, n == 0 ? 8 : 2 * n, size);
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

void proc_sample__free(struct proc_sample *s)
{
	if (!s)
		return;
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
static void add_ended(struct metrics *dst, const struct metrics *src)
{
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
	hist__add(&dst->hold, &src->hold);
	hist__add(&dst->wait, &src->wait);
}

void metrics__merge(struct metrics *dst, const struct metrics *src)
{
	add_ended(dst, src);
	dst->waiting = src->waiting;
	dst->hold_open = src->hold_open;
	dst->wait_open = src->wait_open;
}

void metrics__sum(struct metrics *dst, const struct metrics *src)
{
	add_ended(dst, src);
	dst->waiting += src->waiting;
	hist_open__add(&dst->hold_open, &src->hold_open);
	hist_open__add(&dst->wait_open, &src->wait_open);
}
