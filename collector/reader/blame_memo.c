/* SPDX-License-Identifier: GPL-2.0-only */
/* See blame_memo.h; the walk mirrors gil_charge_holders() in bpf/gil_core.bpf.h. */
#include "blame_memo.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/bpf.h>

#define BATCH 2048 /* pairs that are read at a time */
#define ROOM_STEP 2048

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
	uint64_t from = waiter->place_held, clock = held_clock(at, bound), held = clock > from ? clock - from : 0;

	if (held > span) /* cannot be, unless an event was missed */
		held = span;
	if (held == 0 || gil->cur.head - first > GIL_RING_LEN)
		return held;
	for (uint64_t index = first; index < at->head; index++)
		charge_entry(list, gil, index, at->head, from, from + held);
	return held;
}

/* ---- the table ---- */

int blame_reading__add(struct blame_reading *r, const struct gil_blame_key *key, const struct gil_blame *value, uint64_t bound)
{
	struct blame_pair_sum *grown;

	if (r->n == r->room) {
		grown = reallocarray(r->pairs, r->room + ROOM_STEP, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		r->pairs = grown;
		r->room += ROOM_STEP;
	}
	r->pairs[r->n++] = (struct blame_pair_sum){
		.who = blame_holder(key->holder, key->holder_tstate), .victim = key->victim,
		.ns = value->bound >= bound ? value->snap_ns : value->cur_ns,
	};
	return 0;
}

static int by_holder(const void *a, const void *b)
{
	const struct blame_pair_sum *x = a, *y = b;

	return x->who < y->who ? -1 : x->who > y->who;
}

/* Brings each pair to its victim's, in place: `begin` says where those are, `next` where the next one of each goes. */
static void group_by_victim(struct blame_reading *r, const uint32_t *begin, uint32_t *next, uint32_t victims)
{
	for (uint32_t victim = 0; victim < victims; victim++)
		while (next[victim] < begin[victim + 1]) {
			struct blame_pair_sum *here = &r->pairs[next[victim]], pair = *here;

			*here = r->pairs[next[pair.victim]];
			r->pairs[next[pair.victim]++] = pair;
		}
}

/* One more than the largest: they are slots. */
static uint32_t count_victims(const struct blame_reading *r)
{
	uint32_t victims = 0;

	for (size_t i = 0; i < r->n; i++)
		if (r->pairs[i].victim >= victims)
			victims = r->pairs[i].victim + 1;
	return victims;
}

/* Sorting all at once would take as much memory again. */
int blame_reading__sort(struct blame_reading *r)
{
	uint32_t victims = count_victims(r);
	uint32_t *begin = calloc((size_t)victims + 1, sizeof(*begin)), *next = calloc((size_t)victims + 1, sizeof(*next));

	if (begin && next) {
		for (size_t i = 0; i < r->n; i++)
			begin[r->pairs[i].victim + 1]++;
		for (uint32_t victim = 0; victim < victims; victim++)
			begin[victim + 1] += begin[victim];
		memcpy(next, begin, victims * sizeof(*next));
		group_by_victim(r, begin, next, victims);
		for (uint32_t victim = 0; victim < victims; victim++)
			qsort(r->pairs + begin[victim], begin[victim + 1] - begin[victim], sizeof(*r->pairs), by_holder);
	}
	free(begin);
	free(next);
	return begin && next ? 0 : -ENOMEM;
}

/* What the kernel fills, a part of the table at a time. */
struct page {
	struct gil_blame_key *keys;
	struct gil_blame *values;
	uint32_t room;
};

static int page__grow(struct page *page)
{
	uint32_t room = page->room + BATCH;
	struct gil_blame_key *keys = reallocarray(page->keys, room, sizeof(*keys));
	struct gil_blame *values;

	if (!keys)
		return -ENOMEM;
	page->keys = keys;
	values = reallocarray(page->values, room, sizeof(*values));
	if (!values)
		return -ENOMEM;
	page->values = values;
	page->room = room;
	return 0;
}

/* -ENOENT: that was the last. */
static int read_page(struct blame_reading *r, struct page *page, int map_fd, uint32_t *cursor, bool first, uint64_t bound)
{
	uint32_t count = 0;
	int end = 0, err = page->room ? 0 : page__grow(page);

	while (!err) {
		count = page->room;
		end = 0;
		if (bpf_map_lookup_batch(map_fd, first ? NULL : cursor, cursor, page->keys, page->values, &count, NULL))
			end = -errno;
		if (end != -ENOSPC)
			break;
		err = page__grow(page); /* a crowded bucket: more room, the same place */
	}
	if (err || (end && end != -ENOENT))
		return err ?: end;
	for (uint32_t i = 0; i < count && !err; i++)
		err = blame_reading__add(r, &page->keys[i], &page->values[i], bound);
	return err ?: end;
}

int blame_reading__read(struct blame_reading *r, int map_fd, uint64_t bound)
{
	struct page page = {0};
	uint32_t cursor = 0;
	bool first = true;
	int err = 0;

	r->n = 0;
	for (; !err; first = false)
		err = read_page(r, &page, map_fd, &cursor, first, bound);
	free(page.keys);
	free(page.values);
	return err == -ENOENT ? blame_reading__sort(r) : err;
}

/* The key that a pair was read under. */
static struct gil_blame_key key_of(const struct blame_pair_sum *pair)
{
	bool by_tstate = pair->who & BLAME_BY_TSTATE;

	return (struct gil_blame_key){
		.victim = pair->victim, .holder = by_tstate ? GIL_SLOT_NONE : (uint32_t)pair->who,
		.holder_tstate = by_tstate ? pair->who & ~BLAME_BY_TSTATE : 0,
	};
}

void blame_reading__forget(struct blame_reading *r, int map_fd, const bool *gone)
{
	for (size_t i = 0; i < r->n; i++) {
		struct gil_blame_key key = key_of(&r->pairs[i]);

		if (gone[key.victim] || gone[key.holder])
			bpf_map_delete_elem(map_fd, &key);
	}
}

void blame_reading__clear(struct blame_reading *r)
{
	free(r->pairs);
	*r = (struct blame_reading){0};
}

/* Place of the first pair whose victim is not below `victim`. */
static size_t first_of(const struct blame_reading *r, uint32_t victim)
{
	size_t low = 0, high = r->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (r->pairs[middle].victim < victim)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* ---- settling ---- */

/* Cumulative blame of the victim at the boundary. */
static int total_at(const struct blame_reading *r, uint32_t victim, const struct blame_list *open, struct blame_list *ret)
{
	int err = 0;

	for (size_t i = first_of(r, victim); i < r->n && r->pairs[i].victim == victim; i++)
		err = blame_list__add(ret, r->pairs[i].who, r->pairs[i].ns) ?: err;
	for (size_t i = 0; i < open->n; i++)
		err = blame_list__add(ret, open->part[i].who, open->part[i].ns) ?: err;
	return err;
}

static uint64_t part_of(const struct blame_list *list, uint64_t who)
{
	size_t at = place_of(list, who);

	return at < list->n && list->part[at].who == who ? list->part[at].ns : 0;
}

/* What was owed to whoever held the GIL when the probes were armed is charged under the name that this one has got since. */
static int name_seed(struct blame_list *last, const struct blame_list *total, uint32_t seed_slot)
{
	uint64_t told = part_of(last, GIL_SLOT_SEED), charged = part_of(total, GIL_SLOT_SEED);

	if (told <= charged)
		return 0;
	last->part[place_of(last, GIL_SLOT_SEED)].ns = charged;
	return blame_list__add(last, seed_slot, told - charged);
}

int blame_memo__settle(struct blame_memo *memo, const struct blame_reading *reading, uint32_t victim, uint32_t seed_slot,
		       const struct blame_list *open, struct blame_list *ret)
{
	struct blame_list total = {0}, *last = &memo->last;
	size_t then = 0;
	int err = total_at(reading, victim, open, &total);

	if (seed_slot)
		err = name_seed(last, &total, seed_slot) ?: err;

	for (size_t now = 0; now < total.n; now++) {
		const struct blame_part *part = &total.part[now];
		uint64_t before;

		/* Pairs that existed only as a residue, and were not charged after all. */
		while (then < last->n && last->part[then].who < part->who)
			then++;
		before = then < last->n && last->part[then].who == part->who ? last->part[then++].ns : 0;
		if (part->ns > before)
			err = blame_list__add(ret, part->who, part->ns - before) ?: err;
	}
	blame_list__clear(&memo->last);
	memo->last = total;
	return err;
}

void blame_memo__forget_open(struct blame_memo *memo, const struct blame_reading *reading, uint32_t victim)
{
	struct blame_list none = {0}, total = {0};

	total_at(reading, victim, &none, &total);
	for (size_t i = 0; i < memo->last.n; i++) {
		struct blame_part *told = &memo->last.part[i];
		uint64_t charged = part_of(&total, told->who);

		if (told->ns > charged)
			told->ns = charged;
	}
	blame_list__clear(&total);
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
