/* SPDX-License-Identifier: GPL-2.0-only */
/* See tick_share.h. */
#include "tick_share.h"

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static double max_double(double a, double b)
{
	return a > b ? a : b;
}

/* whole x part / all, rounded down; 0 <= part <= all. */
static uint64_t share_of(uint64_t whole, double part, double all)
{
	return all > 0 ? min_u64(whole, (uint64_t)((double)whole * part / all)) : 0;
}

static void count(struct tick_thread *threads, const struct tick_part *parts, size_t parts_n)
{
	for (size_t i = 0; i < parts_n; i++) {
		threads[parts[i].thread].ticks += parts[i].sum.ticks;
		threads[parts[i].thread].off_seen_ns += parts[i].sum.off_ns;
	}
}

/* What others waited while the thread was in that stack, as far as it was seen. */
static double seen_blame(const struct tick_thread *t, const struct tick_part *p)
{
	double per_tick = t->ticks ? (double)t->on_ns / (double)t->ticks : 0;

	return (double)p->sum.waited * per_tick + (double)p->sum.off_waited_ns;
}

/* The same of the time that no tick and no switch tells of: as many wait then as at any other moment of its holding. */
static double unseen_blame(const struct tick_thread *t)
{
	double hold = (double)t->on_ns + (double)t->off_ns + (double)t->unseen_ns;
	double unseen = (double)t->unseen_ns + (t->ticks ? 0 : (double)t->on_ns) +
			max_double((double)t->off_ns - (double)t->off_seen_ns, 0);

	return hold > 0 ? unseen * (double)t->blame_ns / hold : 0;
}

static uint64_t hold_of(const struct tick_thread *t, const struct tick_part *p)
{
	uint64_t on = share_of(t->on_ns, (double)p->sum.ticks, (double)t->ticks);
	uint64_t off = t->off_seen_ns <= t->off_ns ? p->sum.off_ns :
		       share_of(t->off_ns, (double)p->sum.off_ns, (double)t->off_seen_ns);

	return on + off;
}

static double variance_of(const struct tick_thread *t, const struct tick_part *p)
{
	double n = (double)t->ticks, share = n > 0 ? (double)p->sum.ticks / n : 0;

	return n > 0 ? (double)t->on_ns * (double)t->on_ns * share * (1 - share) / n : 0;
}

/* What is given is taken from the rest. */
static void give(struct tick_thread *t, struct tick_part *p)
{
	p->hold_ns = min_u64(hold_of(t, p), t->rest_hold_ns);
	p->blame_ns = min_u64(share_of(t->blame_ns, seen_blame(t, p), t->weight), t->rest_blame_ns);
	p->hold_var = variance_of(t, p);
	if (p->nowhere)
		return;
	t->rest_hold_ns -= p->hold_ns;
	t->rest_blame_ns -= p->blame_ns;
}

void tick_share__divide(struct tick_thread *threads, size_t threads_n, struct tick_part *parts, size_t parts_n)
{
	for (size_t i = 0; i < threads_n; i++) {
		struct tick_thread *t = &threads[i];

		t->ticks = t->off_seen_ns = 0;
		t->rest_hold_ns = t->on_ns + t->off_ns + t->unseen_ns;
		t->rest_blame_ns = t->blame_ns;
	}
	count(threads, parts, parts_n);
	for (size_t i = 0; i < threads_n; i++)
		threads[i].weight = unseen_blame(&threads[i]);
	for (size_t i = 0; i < parts_n; i++)
		threads[parts[i].thread].weight += seen_blame(&threads[parts[i].thread], &parts[i]);
	for (size_t i = 0; i < parts_n; i++)
		give(&threads[parts[i].thread], &parts[i]);
}
