/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See packed_sample in window.h. Two dense histograms make a thread 2 KiB, and 200 threads that wait for each other have
 * 40,000 blame cells; at rest only the buckets in use are kept, and a cell is some eight bytes. Layout: per thread its
 * head, scalar metrics, and for each histogram its pairs of bucket and count; then three numbers per blame cell. Numbers
 * are seven bits to the byte, low ones first, the top bit set on all but the last.
 */
#include "window.h"

#include <stdlib.h>
#include <string.h>

#define SCALARS offsetof(struct metrics, hold)
#define HISTS 2
#define NUMBER_MAX 10 /* bytes of a 64-bit number */

struct packed_head {
	struct thread_key key;
	char name[THREAD_NAME_SIZE];
	uint32_t gil;
	bool exited;
	uint8_t scalars[SCALARS];
	uint16_t pairs[HISTS];
};

struct packed_sample {
	struct proc_sample sample; /* threads and blame are NULL, their numbers count the packed ones */
	uint8_t *bytes;
};

static const struct gil_hist *hist_of(const struct metrics *m, int i)
{
	return i ? &m->wait : &m->hold;
}

static uint16_t count_pairs(const struct gil_hist *h)
{
	uint16_t n = 0;

	for (size_t i = 0; i < GIL_HIST_BUCKETS; i++)
		n += h->count[i] != 0;
	return n;
}

/* ---- packing ---- */

static uint8_t *put_number(uint8_t *at, uint64_t n)
{
	for (; n >= 0x80; n >>= 7)
		*at++ = (uint8_t)(n | 0x80);
	*at++ = (uint8_t)n;
	return at;
}

static uint8_t *put_hist(uint8_t *at, const struct gil_hist *h)
{
	for (size_t i = 0; i < GIL_HIST_BUCKETS; i++)
		if (h->count[i])
			at = put_number(put_number(at, i), h->count[i]);
	return at;
}

static uint8_t *put_thread(uint8_t *at, const struct thread_sample *t)
{
	struct packed_head head = {.key = t->key, .gil = t->gil, .exited = t->exited};

	memcpy(head.name, t->name, sizeof(head.name));
	memcpy(&head.scalars, &t->m, SCALARS);
	for (int h = 0; h < HISTS; h++)
		head.pairs[h] = count_pairs(hist_of(&t->m, h));
	memcpy(at, &head, sizeof(head));
	at += sizeof(head);
	for (int h = 0; h < HISTS; h++)
		at = put_hist(at, hist_of(&t->m, h));
	return at;
}

static uint8_t *put_cell(uint8_t *at, const struct blame_cell *c)
{
	return put_number(put_number(put_number(at, c->victim), c->holder), c->ns);
}

/* Bytes that a sample may need at most. */
static size_t size_limit(const struct proc_sample *s)
{
	size_t size = s->threads_n * sizeof(struct packed_head) + s->blame_n * 3 * NUMBER_MAX;

	for (size_t i = 0; i < s->threads_n; i++)
		for (int h = 0; h < HISTS; h++)
			size += count_pairs(hist_of(&s->threads[i].m, h)) * 2u * NUMBER_MAX;
	return size;
}

static uint8_t *pack(const struct proc_sample *s)
{
	uint8_t *bytes = malloc(size_limit(s) + 1), *at = bytes, *fitted;

	if (!bytes)
		return NULL;
	for (size_t i = 0; i < s->threads_n; i++)
		at = put_thread(at, &s->threads[i]);
	for (size_t i = 0; i < s->blame_n; i++)
		at = put_cell(at, &s->blame[i]);
	fitted = realloc(bytes, (size_t)(at - bytes) + 1);
	return fitted ? fitted : bytes;
}

static struct gil_sample *copy_gils(const struct proc_sample *s)
{
	struct gil_sample *copy = calloc(s->gils_n + 1, sizeof(*copy));

	if (copy && s->gils_n)
		memcpy(copy, s->gils, s->gils_n * sizeof(*copy));
	return copy;
}

struct packed_sample *packed_sample__new(const struct proc_sample *s)
{
	struct packed_sample *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->sample = *s;
	p->sample.threads = NULL;
	p->sample.blame = NULL;
	p->sample.gils = copy_gils(s);
	p->bytes = pack(s);
	if (p->sample.gils && p->bytes)
		return p;
	packed_sample__free(p);
	return NULL;
}

void packed_sample__free(struct packed_sample *p)
{
	if (!p)
		return;
	free(p->sample.gils);
	free(p->bytes);
	free(p);
}

/* ---- unpacking ---- */

static const uint8_t *get_number(const uint8_t *at, uint64_t *ret)
{
	uint64_t n = *at & 0x7f;

	for (unsigned int shift = 7; *at++ & 0x80; shift += 7)
		n |= (uint64_t)(*at & 0x7f) << shift;
	*ret = n;
	return at;
}

static const uint8_t *get_hist(const uint8_t *at, uint16_t pairs, struct gil_hist *h)
{
	for (uint16_t i = 0; i < pairs; i++) {
		uint64_t bucket, count;

		at = get_number(get_number(at, &bucket), &count);
		h->count[bucket] = (uint32_t)count;
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

static const uint8_t *get_cell(const uint8_t *at, struct blame_cell *c)
{
	uint64_t victim, holder;

	at = get_number(get_number(get_number(at, &victim), &holder), &c->ns);
	c->victim = (uint32_t)victim;
	c->holder = (uint32_t)holder;
	return at;
}

struct proc_sample *packed_sample__unpack(const struct packed_sample *p)
{
	struct proc_sample *s = proc_sample__new();
	const uint8_t *at = p->bytes;

	if (!s)
		return NULL;
	*s = p->sample;
	s->gils = copy_gils(&p->sample);
	s->threads = calloc(s->threads_n + 1, sizeof(*s->threads));
	s->blame = calloc(s->blame_n + 1, sizeof(*s->blame));
	if (!s->gils || !s->threads || !s->blame) {
		proc_sample__free(s);
		return NULL;
	}
	for (size_t i = 0; i < s->threads_n; i++)
		at = get_thread(at, &s->threads[i]);
	for (size_t i = 0; i < s->blame_n; i++)
		at = get_cell(at, &s->blame[i]);
	return s;
}
