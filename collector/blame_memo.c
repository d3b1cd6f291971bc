/* SPDX-License-Identifier: GPL-2.0-only */
/* See blame_memo.h; the walk mirrors gil_charge_holders() in bpf/gil_core.bpf.h. */
#include "blame_memo.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>

#define BATCH 512

/* ---- lists ---- */

/* First place whose holder is not below `who`. */
static size_t place_of(const struct blame_list *list, uint64_t who)
{
	size_t low = 0, high = list->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (list->part[middle].who < who)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int make_room_in(struct blame_list *list)
{
	size_t room = list->room ? list->room + list->room / 2 : 8;
	struct blame_part *part;

	if (list->n < list->room)
		return 0;
	part = reallocarray(list->part, room, sizeof(*part));
	if (!part)
		return -ENOMEM;
	list->part = part;
	list->room = room;
	return 0;
}

int blame_list__add(struct blame_list *list, uint64_t who, uint64_t ns)
{
	size_t at = place_of(list, who);

	if (at < list->n && list->part[at].who == who) {
		list->part[at].ns += ns;
		return 0;
	}
	if (make_room_in(list))
		return -ENOMEM;
	memmove(list->part + at + 1, list->part + at, (list->n - at) * sizeof(*list->part));
	list->part[at] = (struct blame_part){.who = who, .ns = ns};
	list->n++;
	return 0;
}

uint64_t blame_list__sum(const struct blame_list *list)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < list->n; i++)
		sum += list->part[i].ns;
	return sum;
}

void blame_list__clear(struct blame_list *list)
{
	free(list->part);
	*list = (struct blame_list){0};
}

/* ---- the residue of an open wait ---- */

static uint64_t held_clock(const struct gil_view *view, uint64_t now)
{
	if (view->state == GIL_OWNER_HELD && now > view->acquired_at)
		return view->held_ns + (now - view->acquired_at);
	return view->held_ns;
}

static void charge_entry(struct blame_list *list, const struct gil_state *gil, uint64_t index, uint64_t head,
			 uint64_t from, uint64_t to)
{
	const struct gil_ring_entry *entry = &gil->ring[index & (GIL_RING_LEN - 1)];
	const struct gil_ring_entry *next = &gil->ring[(index + 1) & (GIL_RING_LEN - 1)];

	if (entry->held_at > from)
		from = entry->held_at;
	if (index + 1 < head && next->held_at < to)
		to = next->held_at;
	if (to > from)
		blame_list__add(list, entry->slot, to - from);
}

uint64_t blame_list__charge(struct blame_list *list, const struct gil_state *gil, const struct gil_view *at,
			    const struct gil_totals *waiter, uint64_t bound)
{
	uint64_t span = bound - waiter->wait_place, first = waiter->place_head ? waiter->place_head - 1 : 0;
	uint64_t from = waiter->place_held, held = held_clock(at, bound) - from;

	if (held > span) /* cannot be, unless an event was missed */
		held = span;
	if (held == 0 || gil->cur.head - first > GIL_RING_LEN)
		return held;
	for (uint64_t index = first; index < at->head; index++)
		charge_entry(list, gil, index, at->head, from, from + held);
	return held;
}

/* ---- the table ---- */

static int make_room(struct blame_reading *r)
{
	size_t room = r->room + 4 * BATCH;
	struct gil_blame_key *keys = reallocarray(r->keys, room, sizeof(*keys));
	struct gil_blame *values;
	uint32_t *order;

	if (!keys)
		return -ENOMEM;
	r->keys = keys;
	values = reallocarray(r->values, room, sizeof(*values));
	if (!values)
		return -ENOMEM;
	r->values = values;
	order = reallocarray(r->order, room, sizeof(*order));
	if (!order)
		return -ENOMEM;
	r->order = order;
	r->room = room;
	return 0;
}

static uint64_t who_of(const struct gil_blame_key *key)
{
	return blame_holder(key->holder, key->holder_tstate);
}

static int by_victim(const void *a, const void *b, void *arg)
{
	const struct gil_blame_key *keys = arg, *x = &keys[*(const uint32_t *)a], *y = &keys[*(const uint32_t *)b];

	if (x->victim != y->victim)
		return x->victim < y->victim ? -1 : 1;
	return who_of(x) < who_of(y) ? -1 : who_of(x) > who_of(y);
}

static void sort_reading(struct blame_reading *r)
{
	for (size_t i = 0; i < r->n; i++)
		r->order[i] = (uint32_t)i;
	qsort_r(r->order, r->n, sizeof(*r->order), by_victim, r->keys);
}

int blame_reading__read(struct blame_reading *r, int map_fd)
{
	uint32_t cursor = 0;
	bool first = true;
	int err = 0;

	r->n = 0;
	while (!err) {
		uint32_t count;

		err = r->room - r->n < 2 * BATCH ? make_room(r) : 0;
		if (err)
			return err;
		count = (uint32_t)(r->room - r->n);
		if (bpf_map_lookup_batch(map_fd, first ? NULL : &cursor, &cursor, r->keys + r->n,
					 r->values + r->n, &count, NULL))
			err = -errno;
		if (err == -ENOSPC) { /* a crowded bucket: more room, the same place */
			err = make_room(r);
			continue;
		}
		if (err && err != -ENOENT)
			return err;
		r->n += count;
		first = false;
	}
	sort_reading(r);
	return err == -ENOENT ? 0 : err;
}

void blame_reading__forget(struct blame_reading *r, int map_fd, const bool *gone)
{
	for (size_t i = 0; i < r->n; i++)
		if (gone[r->keys[i].victim] || gone[r->keys[i].holder])
			bpf_map_delete_elem(map_fd, &r->keys[i]);
}

void blame_reading__clear(struct blame_reading *r)
{
	free(r->keys);
	free(r->values);
	free(r->order);
	*r = (struct blame_reading){0};
}

/* First place in the order whose victim is not below `victim`. */
static size_t first_of(const struct blame_reading *r, uint32_t victim)
{
	size_t low = 0, high = r->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (r->keys[r->order[middle]].victim < victim)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* ---- settling ---- */

/* Cumulative blame of the victim at the boundary. */
static void total_at(const struct blame_reading *r, uint32_t victim, const struct blame_list *open,
		     uint64_t bound, struct blame_list *ret)
{
	for (size_t i = first_of(r, victim); i < r->n && r->keys[r->order[i]].victim == victim; i++) {
		const struct gil_blame_key *key = &r->keys[r->order[i]];
		const struct gil_blame *value = &r->values[r->order[i]];

		blame_list__add(ret, who_of(key), value->bound >= bound ? value->snap_ns : value->cur_ns);
	}
	for (size_t i = 0; i < open->n; i++)
		blame_list__add(ret, open->part[i].who, open->part[i].ns);
}

uint64_t blame_memo__settle(struct blame_memo *memo, const struct blame_reading *reading, uint32_t victim,
			    const struct blame_list *open, uint64_t bound, struct blame_list *ret)
{
	struct blame_list total = {0}, *last = &memo->last;
	size_t then = 0;
	uint64_t back = 0;

	total_at(reading, victim, open, bound, &total);
	for (size_t now = 0; now < total.n; now++) {
		const struct blame_part *part = &total.part[now];
		uint64_t before;

		/* Pairs that existed only as a residue, and were not charged after all. */
		for (; then < last->n && last->part[then].who < part->who; then++)
			back += last->part[then].ns;
		before = then < last->n && last->part[then].who == part->who ? last->part[then++].ns : 0;
		if (part->ns < before)
			back += before - part->ns;
		else if (part->ns > before)
			blame_list__add(ret, part->who, part->ns - before);
	}
	for (; then < last->n; then++)
		back += last->part[then].ns;
	blame_list__clear(&memo->last);
	memo->last = total;
	return back;
}

void blame_memo__forget(struct blame_memo *memo, const bool *gone)
{
	struct blame_list *list = &memo->last;
	size_t kept = 0;

	for (size_t i = 0; i < list->n; i++)
		if ((list->part[i].who & BLAME_BY_TSTATE) || !gone[list->part[i].who])
			list->part[kept++] = list->part[i];
	list->n = kept;
}

void blame_memo__clear(struct blame_memo *memo)
{
	blame_list__clear(&memo->last);
}
