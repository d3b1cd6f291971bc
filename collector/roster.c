/* SPDX-License-Identifier: GPL-2.0-only */
/* See roster.h. */
#include "roster.h"

#include <errno.h>
#include <stdlib.h>

#define MS 1000000ull
#define PATIENCE_NS (2000 * MS) /* an exec'd image must have mapped its interpreter by then */

int roster__init(struct roster *r, size_t max)
{
	*r = (struct roster){.max = max};
	r->places = calloc(max, sizeof(struct observed *));
	r->pending = calloc(ROSTER_PENDING_MAX, sizeof(*r->pending));
	return r->places && r->pending ? 0 : -ENOMEM;
}

void roster__free(struct roster *r)
{
	for (size_t i = 0; r->places && i < r->max; i++)
		free(r->places[i]);
	free(r->places);
	free(r->pending);
	*r = (struct roster){0};
}

struct observed *roster__place(struct roster *r)
{
	for (size_t i = 0; i < r->max; i++) {
		if (r->places[i] && r->places[i]->used)
			continue;
		if (!r->places[i])
			r->places[i] = calloc(1, sizeof(struct observed));
		if (r->places[i])
			r->places[i]->lock_fd = -1;
		return r->places[i];
	}
	return NULL;
}

struct observed *roster__by_slot(const struct roster *r, uint32_t slot)
{
	for (size_t i = 0; i < r->max; i++)
		if (roster__at(r, i) && r->places[i]->slot == slot)
			return r->places[i];
	return NULL;
}

struct observed *roster__by_pid(const struct roster *r, pid_t pid)
{
	for (size_t i = 0; i < r->max; i++)
		if (roster__at(r, i) && !r->places[i]->gone_at && r->places[i]->target->pid == pid)
			return r->places[i];
	return NULL;
}

struct observed *roster__latest_by_pid(const struct roster *r, pid_t pid)
{
	struct observed *o = roster__by_pid(r, pid);

	for (size_t i = 0; !o && i < r->max; i++)
		if (roster__at(r, i) && r->places[i]->target->pid == pid)
			o = r->places[i];
	return o;
}

size_t roster__count(const struct roster *r)
{
	size_t n = 0;

	for (size_t i = 0; i < r->max; i++)
		n += roster__at(r, i) != NULL;
	return n;
}

size_t roster__living(const struct roster *r)
{
	size_t n = 0;

	for (size_t i = 0; i < r->max; i++)
		n += roster__at(r, i) && !r->places[i]->gone_at;
	return n;
}

struct pending *roster__find_pending(const struct roster *r, pid_t pid)
{
	for (size_t i = 0; i < r->pending_n; i++)
		if (r->pending[i].pid == pid)
			return &r->pending[i];
	return NULL;
}

bool roster__await(struct roster *r, const struct pending *p)
{
	struct pending *at = roster__find_pending(r, p->pid);

	if (!at && r->pending_n == ROSTER_PENDING_MAX)
		return false;
	if (!at)
		at = &r->pending[r->pending_n++];
	*at = *p;
	at->next_try = 0;
	at->wait_ns = 2 * MS;
	at->deadline = 0;
	return true;
}

void roster__drop(struct roster *r, struct pending *p)
{
	*p = r->pending[--r->pending_n];
}

bool roster__postpone(struct roster *r, struct pending *p, uint64_t now)
{
	if (!p->deadline)
		p->deadline = now + PATIENCE_NS;
	if (now >= p->deadline) {
		roster__drop(r, p);
		return false;
	}
	p->next_try = p->over ? p->deadline : now + p->wait_ns;
	p->wait_ns *= 4;
	return true;
}

bool roster__awaits(const struct roster *r)
{
	for (size_t i = 0; i < r->pending_n; i++)
		if (!r->pending[i].over)
			return true;
	return false;
}

uint64_t roster__next_try(const struct roster *r)
{
	uint64_t next = UINT64_MAX;

	for (size_t i = 0; i < r->pending_n; i++)
		if (r->pending[i].next_try < next)
			next = r->pending[i].next_try;
	return next;
}
