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
	if (all <= 0 || part <= 0)
		return 0;
	return part < all ? min_u64(whole, (uint64_t)((double)whole * part / all)) : whole;
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
	double unseen = (double)t->unseen_ns + (t->ticks || t->off_seen_ns ? 0 : (double)t->on_ns) +
			max_double((double)t->off_ns - (double)t->off_seen_ns, 0);

	return hold > 0 ? unseen * (double)t->blame_ns / hold : 0;
}

/* What stands between two places of a scale that ends at `all`, of `whole`: without rounding away anything over all of it. */
static uint64_t between(uint64_t whole, double from, double to, double all)
{
	return share_of(whole, to, all) - share_of(whole, from, all);
}

static uint64_t take_hold(struct tick_thread *t, const struct tick_part *p)
{
	uint64_t on_ticks = t->given.ticks + p->sum.ticks, off = t->given.off_ns + p->sum.off_ns;
	uint64_t hold;

	if (t->ticks)
		hold = between(t->on_ns, (double)t->given.ticks, (double)on_ticks, (double)t->ticks);
	else
		hold = between(t->on_ns, (double)t->given.off_ns, (double)off, (double)t->off_seen_ns);
	if (t->off_seen_ns <= t->off_ns)
		hold += p->sum.off_ns;
	else
		hold += between(t->off_ns, (double)t->given.off_ns, (double)off, (double)t->off_seen_ns);
	t->given.ticks = on_ticks;
	t->given.off_ns = off;
	return hold;
}

static uint64_t take_blame(struct tick_thread *t, const struct tick_part *p)
{
	double to = t->given.weight + seen_blame(t, p);
	uint64_t blame = between(t->blame_ns, t->given.weight, to, t->weight);

	t->given.weight = to;
	return blame;
}

/* What is given is taken from the rest. */
static void give(struct tick_thread *t, struct tick_part *p)
{
	p->hold_ns = take_hold(t, p);
	p->blame_ns = take_blame(t, p);
	if (p->nowhere)
		return;
	t->rest_hold_ns -= min_u64(p->hold_ns, t->rest_hold_ns);
	t->rest_blame_ns -= min_u64(p->blame_ns, t->rest_blame_ns);
}

void tick_share__divide(struct tick_thread *threads, size_t threads_n, struct tick_part *parts, size_t parts_n)
{
	for (size_t i = 0; i < threads_n; i++) {
		struct tick_thread *t = &threads[i];

		t->ticks_ns = (double)t->on_ns;
		t->ticks = t->off_seen_ns = t->given.ticks = t->given.off_ns = 0;
		t->rest_hold_ns = t->on_ns + t->off_ns + t->unseen_ns;
		t->rest_blame_ns = t->blame_ns;
	}
	count(threads, parts, parts_n);
	for (size_t i = 0; i < threads_n; i++)
		threads[i].given.weight = threads[i].weight = unseen_blame(&threads[i]);
	for (size_t i = 0; i < parts_n; i++)
		threads[parts[i].thread].weight += seen_blame(&threads[parts[i].thread], &parts[i]);
	for (size_t i = 0; i < parts_n; i++)
		give(&threads[parts[i].thread], &parts[i]);
}

/* ---- estimates ---- */

double tick_share__var(double ns, double seen, double all)
{
	double period = all > 0 ? ns / all : 0;

	return period * period * (seen + 1) * (all - seen + 1) / (all + 2);
}

void tick_share__estimate(struct tick_thread *threads, size_t threads_n, struct tick_part *parts, size_t parts_n)
{
	for (size_t i = 0; i < parts_n; i++) {
		struct tick_thread *t = &threads[parts[i].thread];

		t->ticks += parts[i].sum.ticks;
		t->ticks_ns += (double)parts[i].sum.on_ns;
		if (parts[i].without)
			continue;
		parts[i].hold_ns = parts[i].sum.on_ns + parts[i].sum.off_ns;
		t->est_ns += parts[i].hold_ns;
		t->given.ticks += parts[i].sum.ticks;
	}
	for (size_t i = 0; i < threads_n; i++)
		threads[i].est_var = tick_share__var(threads[i].ticks_ns, (double)threads[i].given.ticks,
						     (double)threads[i].ticks);
}
