/* SPDX-License-Identifier: GPL-2.0-only */
/* See tick_share.h. */
#include "tick_share.h"

#include "bpf/gil_off.h"

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

/* The kinds that a switch can tell of. */
static uint64_t off_sum(const __u64 ns[GIL_OFF_KINDS])
{
	uint64_t sum = 0;

	for (size_t kind = 0; kind < GIL_OFF_KINDS; kind++)
		if (kind != GIL_OFF_UNSEEN)
			sum += ns[kind];
	return sum;
}

static void count(struct tick_thread *threads, const struct tick_part *parts, size_t parts_n)
{
	for (size_t i = 0; i < parts_n; i++) {
		threads[parts[i].thread].ticks += parts[i].sum.ticks;
		for (size_t kind = 0; kind < GIL_OFF_KINDS; kind++)
			threads[parts[i].thread].off_seen.ns[kind] += parts[i].sum.off_ns[kind];
	}
}

/* What others waited while the thread was in that stack, as far as it was seen. */
static double seen_blame(const struct tick_thread *t, const struct tick_part *p)
{
	double per_tick = t->ticks ? (double)t->on_ns / (double)t->ticks : 0;

	return (double)p->sum.waited * per_tick + (double)off_sum(p->sum.off_waited_ns);
}

/* The same of the time that no tick and no switch tells of: as many wait then as at any other moment of its holding. */
static double unseen_blame(const struct tick_thread *t)
{
	double off = (double)off_sum(t->off.ns), off_seen = (double)off_sum(t->off_seen.ns);
	double unseen = (double)t->off.ns[GIL_OFF_UNSEEN], hold = (double)t->on_ns + off + unseen;

	unseen += (t->ticks || off_seen > 0 ? 0 : (double)t->on_ns) + max_double(off - off_seen, 0);
	return hold > 0 ? unseen * (double)t->blame_ns / hold : 0;
}

/* What stands between two places of a scale that ends at `all`, of `whole`: without rounding away anything over all of it. */
static uint64_t between(uint64_t whole, double from, double to, double all)
{
	return share_of(whole, to, all) - share_of(whole, from, all);
}

static uint64_t take_on(struct tick_thread *t, const struct tick_part *p)
{
	uint64_t from = t->ticks ? t->given.ticks : off_sum(t->given.off.ns);
	uint64_t part = t->ticks ? p->sum.ticks : off_sum(p->sum.off_ns);

	t->given.ticks += p->sum.ticks;
	return between(t->on_ns, (double)from, (double)(from + part), (double)(t->ticks ?: off_sum(t->off_seen.ns)));
}

static uint64_t take_off(struct tick_thread *t, const struct tick_part *p, size_t kind)
{
	uint64_t seen = t->off_seen.ns[kind], from = t->given.off.ns[kind];

	t->given.off.ns[kind] += p->sum.off_ns[kind];
	if (seen <= t->off.ns[kind])
		return p->sum.off_ns[kind];
	return between(t->off.ns[kind], (double)from, (double)t->given.off.ns[kind], (double)seen);
}

static void take_hold(struct tick_thread *t, struct tick_part *p)
{
	p->hold_ns = take_on(t, p);
	for (size_t kind = 0; kind < GIL_OFF_KINDS; kind++) {
		p->hold_off.ns[kind] = kind == GIL_OFF_UNSEEN ? 0 : take_off(t, p, kind);
		p->hold_ns += p->hold_off.ns[kind];
	}
}

static void take_blame(struct tick_thread *t, struct tick_part *p)
{
	double seen = seen_blame(t, p), to = t->given.weight + seen, off = 0;

	p->blame_ns = between(t->blame_ns, t->given.weight, to, t->weight);
	t->given.weight = to;
	for (size_t kind = 0; kind < GIL_OFF_KINDS; kind++) {
		double from = off;

		off += kind == GIL_OFF_UNSEEN ? 0 : (double)p->sum.off_waited_ns[kind];
		p->blame_off.ns[kind] = between(p->blame_ns, from, off, seen);
	}
}

/* What is given is taken from the rest. */
static void give(struct tick_thread *t, struct tick_part *p)
{
	take_hold(t, p);
	take_blame(t, p);
	if (p->nowhere)
		return;
	t->rest_hold_ns -= min_u64(p->hold_ns, t->rest_hold_ns);
	t->rest_blame_ns -= min_u64(p->blame_ns, t->rest_blame_ns);
}

static void begin(struct tick_thread *t)
{
	t->ticks_ns = (double)t->on_ns;
	t->ticks = t->given.ticks = 0;
	t->off_seen = t->given.off = (struct gil_off){{0}};
	t->rest_hold_ns = t->on_ns + gil_off_sum(&t->off);
	t->rest_blame_ns = t->blame_ns;
}

/* What was measured of holds of which nothing else was known is known. */
static void settle_unseen(struct tick_thread *t)
{
	for (size_t kind = 0; kind < GIL_OFF_KINDS; kind++) {
		uint64_t seen = t->off_seen.ns[kind], known = t->off.ns[kind], more = seen > known ? seen - known : 0;

		if (kind == GIL_OFF_UNSEEN)
			continue;
		more = min_u64(more, t->off.ns[GIL_OFF_UNSEEN]);
		t->off.ns[kind] += more;
		t->off.ns[GIL_OFF_UNSEEN] -= more;
	}
}

void tick_share__divide(struct tick_thread *threads, size_t threads_n, struct tick_part *parts, size_t parts_n)
{
	for (size_t i = 0; i < threads_n; i++)
		begin(&threads[i]);
	count(threads, parts, parts_n);
	for (size_t i = 0; i < threads_n; i++)
		settle_unseen(&threads[i]);
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
	double period;

	if (all <= 0)
		return ns * ns / 12;
	period = ns / all;
	return period * period * (seen + 1) * (all - seen + 1) / (all + 2);
}

static void take_estimate(struct tick_part *p)
{
	for (size_t kind = 0; kind < GIL_OFF_KINDS; kind++)
		p->hold_off.ns[kind] = p->sum.off_ns[kind];
	p->hold_ns = p->sum.on_ns + off_sum(p->sum.off_ns);
}

void tick_share__estimate(struct tick_thread *threads, size_t threads_n, struct tick_part *parts, size_t parts_n)
{
	for (size_t i = 0; i < parts_n; i++) {
		struct tick_thread *t = &threads[parts[i].thread];

		t->ticks += parts[i].sum.ticks;
		t->ticks_ns += (double)parts[i].sum.on_ns;
		if (parts[i].without)
			continue;
		take_estimate(&parts[i]);
		t->est_ns += parts[i].hold_ns;
		t->given.ticks += parts[i].sum.ticks;
	}
	for (size_t i = 0; i < threads_n; i++)
		threads[i].est_var = tick_share__var(threads[i].ticks_ns, (double)threads[i].given.ticks,
						     (double)threads[i].ticks);
}
