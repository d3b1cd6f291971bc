/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See packed_sample in window.h. Four dense histograms make a thread 4 KiB; at rest only the buckets in use
 * are kept, a few hundred bytes. Layout: per thread its head and scalar metrics, then for each of the four
 * histograms a count of pairs and the pairs.
 */
#include "window.h"

#include <stdlib.h>
#include <string.h>

#define SCALARS offsetof(struct metrics, hold)
#define HISTS 4

struct pair {
	uint16_t bucket;
	uint16_t low, high; /* of the count */
};

struct packed_head {
	struct thread_key key;
	char name[THREAD_NAME_SIZE];
	uint32_t gil;
	bool exited;
	uint8_t scalars[SCALARS];
	uint16_t pairs[HISTS];
};

struct packed_sample {
	struct proc_sample sample; /* threads is NULL, threads_n counts the packed ones */
	size_t len;
	uint8_t *bytes;
};

_Static_assert(offsetof(struct metrics, wait_open) - offsetof(struct metrics, hold) ==
	       (HISTS - 1) * sizeof(struct gil_hist), "the histograms of a thread stand in a row");

static const struct gil_hist *hist_of(const struct metrics *m, int i)
{
	return (const struct gil_hist *)((const char *)m + SCALARS) + i;
}

static uint16_t count_pairs(const struct gil_hist *h)
{
	uint16_t n = 0;

	for (size_t i = 0; i < GIL_HIST_BUCKETS; i++)
		n += h->count[i] != 0;
	return n;
}

static size_t packed_size(const struct proc_sample *s)
{
	size_t size = 0;

	for (size_t i = 0; i < s->threads_n; i++) {
		size += sizeof(struct packed_head);
		for (int h = 0; h < HISTS; h++)
			size += count_pairs(hist_of(&s->threads[i].m, h)) * sizeof(struct pair);
	}
	return size;
}

static uint8_t *put_hist(uint8_t *at, const struct gil_hist *h)
{
	for (size_t i = 0; i < GIL_HIST_BUCKETS; i++) {
		uint32_t c = h->count[i];
		struct pair p = {(uint16_t)i, (uint16_t)c, (uint16_t)(c >> 16)};

		if (c == 0)
			continue;
		memcpy(at, &p, sizeof(p));
		at += sizeof(p);
	}
	return at;
}

static uint8_t *put_thread(uint8_t *at, const struct thread_sample *t)
{
	struct packed_head head = {.key = t->key, .gil = t->gil, .exited = t->exited};

	memcpy(head.name, t->name, sizeof(head.name));
	memcpy(head.scalars, &t->m, SCALARS);
	for (int h = 0; h < HISTS; h++)
		head.pairs[h] = count_pairs(hist_of(&t->m, h));
	memcpy(at, &head, sizeof(head));
	at += sizeof(head);
	for (int h = 0; h < HISTS; h++)
		at = put_hist(at, hist_of(&t->m, h));
	return at;
}

/* A copy of `size` bytes in *ret (NULL for none). */
static bool duplicate(void *ret, const void *src, size_t size)
{
	void *copy = size ? malloc(size) : NULL;

	if (size && !copy)
		return false;
	if (size)
		memcpy(copy, src, size);
	memcpy(ret, &copy, sizeof(copy));
	return true;
}

/* The arrays of `src` that are not threads, copied. On failure what was copied hangs on `dst`. */
static bool copy_arrays(struct proc_sample *dst, const struct proc_sample *src)
{
	*dst = *src;
	dst->threads = NULL;
	dst->gils = NULL;
	dst->blame = NULL;
	return duplicate(&dst->gils, src->gils, src->gils_n * sizeof(*src->gils)) &&
	       duplicate(&dst->blame, src->blame, src->blame_n * sizeof(*src->blame));
}

struct packed_sample *packed_sample__new(const struct proc_sample *s)
{
	struct packed_sample *p = calloc(1, sizeof(*p));
	uint8_t *at;

	if (!p)
		return NULL;
	p->len = packed_size(s);
	p->bytes = malloc(p->len + 1);
	if (!p->bytes || !copy_arrays(&p->sample, s)) {
		packed_sample__free(p);
		return NULL;
	}
	at = p->bytes;
	for (size_t i = 0; i < s->threads_n; i++)
		at = put_thread(at, &s->threads[i]);
	return p;
}

void packed_sample__free(struct packed_sample *p)
{
	if (!p)
		return;
	free(p->sample.gils);
	free(p->sample.blame);
	free(p->bytes);
	free(p);
}

static const uint8_t *get_hist(const uint8_t *at, uint16_t pairs, struct gil_hist *h)
{
	for (uint16_t i = 0; i < pairs; i++, at += sizeof(struct pair)) {
		struct pair p;

		memcpy(&p, at, sizeof(p));
		h->count[p.bucket] = p.low | (uint32_t)p.high << 16;
	}
	return at;
}

static const uint8_t *get_thread(const uint8_t *at, struct thread_sample *t)
{
	struct packed_head head;

	memcpy(&head, at, sizeof(head));
	at += sizeof(head);
	t->key = head.key;
	t->gil = head.gil;
	t->exited = head.exited;
	memcpy(t->name, head.name, sizeof(t->name));
	memcpy(&t->m, head.scalars, SCALARS);
	for (int h = 0; h < HISTS; h++)
		at = get_hist(at, head.pairs[h], (struct gil_hist *)hist_of(&t->m, h));
	return at;
}

struct proc_sample *packed_sample__unpack(const struct packed_sample *p)
{
	struct proc_sample *s = proc_sample__new();
	const uint8_t *at = p->bytes;

	if (!s)
		return NULL;
	if (!copy_arrays(s, &p->sample))
		goto fail;
	s->threads = calloc(p->sample.threads_n + 1, sizeof(*s->threads));
	if (!s->threads)
		goto fail;
	for (size_t i = 0; i < p->sample.threads_n; i++)
		at = get_thread(at, &s->threads[i]);
	return s;
fail:
	proc_sample__free(s);
	return NULL;
}
