/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Ticks of holders: from the programs' table to the sample's code. Who it was, reader_names.c says; how times are divided,
 * tick_share.h; where a stack ends in the sample, reader_stacks.c.
 */
#include "reader_inside.h"

#include <errno.h>
#include <stdlib.h>

#include "bpf/gil_off.h"
#include "collector/probes/ticks.h"
#include "gil_life.h"

#define MISSED_TICKS 20 /* a thread that held for so many periods without one has no timer */
#define THINNEST 31     /* one tick of 32 */

struct dividing {
	struct collection *c;
	struct tick_part *parts;
	uint64_t *hashes;        /* of the parts */
	size_t parts_n;
	struct tick_thread *threads; /* as the sample's, when all parts have theirs */
	size_t threads_n;
};

/* ---- what was seen ---- */

/* Index in the sample of the thread of a key; -1: no memory. */
static long thread_of(struct collection *c, uint32_t slot)
{
	bool untold = slot & GIL_SLOT_UNTOLD;
	uint32_t gil = untold ? slot % GIL_PER_PROC : 0;
	struct who who = {0};
	bool known = untold ? reader_names__of_tstate(c->r, c->slot, c->watch->seed[gil], &who) :
		     slot < c->r->slots_n && reader_names__of_slot(c->r, c->slot, slot, &who);

	if (known && !untold) {
		gil = probes__thread(c->r->probes, slot)->gil;
		if (c->r->memos[slot])
			c->r->memos[slot]->ticked = true;
	}
	return collection__thread(c, known ? &who : NULL, gil);
}

/* 0 or -ENOMEM. */
static int add_part(struct dividing *d, uint32_t slot, uint64_t hash, const struct gil_tick_sum *sum)
{
	long thread;

	if (slot & GIL_SLOT_UNTOLD && !d->c->watch->seed[slot % GIL_PER_PROC]) /* its take was just about to be seen */
		return 0;
	thread = thread_of(d->c, slot);
	if (thread < 0)
		return -ENOMEM;
	d->hashes[d->parts_n] = hash;
	d->parts[d->parts_n++] = (struct tick_part){
		.thread = (uint32_t)thread, .nowhere = hash == GIL_TICK_NOWHERE, .without = hash == GIL_TICK_WITHOUT, .sum = *sum,
	};
	return 0;
}

/* A holder that lacked its CPU at the boundary: what the programs have not added yet. */
static int add_open(struct dividing *d, const struct gil_record *g)
{
	const struct collection *c = d->c;
	uint64_t from = g->cpu.left_at > c->from ? g->cpu.left_at : c->from, len = c->bound > from ? c->bound - from : 0;
	uint32_t kind = g->cpu.state - GIL_CPU_OF_KIND(0);
	struct gil_tick_sum sum = {.ticks = 0};

	if (!g->current || kind >= GIL_OFF_KINDS || kind == GIL_OFF_UNSEEN || !g->cpu.left || g->at.state != GIL_OWNER_HELD ||
	    !len)
		return 0;
	sum.off_ns[kind] = len;
	sum.off_waited_ns[kind] = g->at.waiters * len;
	return add_part(d, g->at.owner_slot, g->cpu.left, &sum);
}

/* A holder of which no event tells, without its CPU at the boundary. What has come back to one since has left it in `was`. */
static int add_left(struct dividing *d, uint32_t place)
{
	const struct collection *c = d->c;
	const struct gil_state *g = probes__gil(c->r->probes, c->slot, place);
	uint64_t at = __atomic_load_n(&g->left.at, __ATOMIC_ACQUIRE), from;
	const struct gil_left *left = at && at < c->bound ? &g->left : &g->was;
	struct gil_tick_sum sum = {.ticks = 0};

	if (left == &g->was)
		at = g->was.bound == c->bound ? g->was.at : 0;
	from = at > c->from ? at : c->from;
	if (!at || from >= c->bound)
		return 0;
	sum.off_ns[left->kind % GIL_OFF_KINDS] = c->bound - from;
	return add_part(d, left->slot, left->stack, &sum);
}

static int find_parts(struct dividing *d)
{
	const struct tick_sums *sums = &d->c->r->stacks.tick_sums;
	int err = 0;

	d->parts = calloc(sums->n + 2 * GIL_PER_PROC, sizeof(*d->parts));
	d->hashes = calloc(sums->n + 2 * GIL_PER_PROC, sizeof(*d->hashes));
	if (!d->parts || !d->hashes)
		return -ENOMEM;
	for (size_t i = 0; !err && i < sums->n; i++)
		if (sums->keys[i].proc == d->c->slot)
			err = add_part(d, sums->keys[i].slot, sums->keys[i].hash, &sums->values[i]);
	for (uint32_t gil = 0; !err && gil < GIL_PER_PROC; gil++) {
		if (d->c->proc.mode != GIL_MODE_LIGHT)
			err = add_open(d, &d->c->gils[gil]);
		if (!err && gil_life__is_used(d->c->proc.gil_addr[gil]))
			err = add_left(d, gil);
	}
	return err;
}

/* ---- what there is to divide ---- */

static uint64_t less(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

static int find_threads(struct dividing *d)
{
	const struct proc_sample *s = d->c->sample;
	uint64_t *blamed = proc_sample__blamed(s);

	d->threads_n = s->threads_n;
	d->threads = calloc(s->threads_n + 1, sizeof(*d->threads));
	if (!blamed || !d->threads) {
		free(blamed);
		return -ENOMEM;
	}
	for (size_t i = 0; i < s->threads_n; i++) {
		const struct metrics *m = &s->threads[i].m;

		d->threads[i] = (struct tick_thread){
			.off = m->hold_off, .on_ns = less(m->hold_ns, gil_off_sum(&m->hold_off)), .blame_ns = blamed[i],
		};
	}
	free(blamed);
	return 0;
}

/* ---- into the sample ---- */

static int give_all(struct dividing *d, bool *ticked)
{
	int err = 0;

	for (size_t i = 0; !err && i < d->parts_n; i++) {
		const struct tick_part *p = &d->parts[i];

		ticked[p->thread] = d->c->proc.mode != GIL_MODE_LIGHT;
		if (!p->nowhere && !p->without && p->hold_ns + p->blame_ns + p->sum.ticks)
			err = reader_stacks__give(d->c, p->thread, d->hashes[i], &(struct stack_part){
				.hold_ns = p->hold_ns, .blame_ns = p->blame_ns, .hold_off = p->hold_off,
				.blame_off = p->blame_off, .ticks = p->sum.ticks,
			});
	}
	return err;
}

/* By place: one that is seen at many points has no more ticks than it has in all. Its time asleep is measured, not counted. */
static void set_errors(struct dividing *d)
{
	struct proc_sample *s = d->c->sample;

	for (size_t i = 0; i < s->code_n; i++) {
		const struct tick_thread *t = &d->threads[s->code[i].thread];

		s->code[i].hold_var = tick_share__var(t->ticks_ns, (double)s->code[i].ticks, (double)t->ticks);
	}
}

static void want_timers(const struct dividing *d)
{
	struct reader *r = d->c->r;
	uint64_t period_ns = r->stacks.tick_ns * (d->c->proc.tick_thin + 1);
	pid_t pid = probes__pid(r->probes, d->c->slot);

	ticks__all_idle(r->stacks.ticks, pid);
	for (size_t i = 0; i < d->threads_n; i++)
		ticks__held(r->stacks.ticks, pid, (pid_t)d->c->sample->threads[i].key.tid, d->threads[i].on_ns);
	for (size_t i = 0; i < d->threads_n; i++)
		if (!d->threads[i].ticks && d->threads[i].on_ns > MISSED_TICKS * period_ns)
			ticks__want(r->stacks.ticks, pid, (pid_t)d->c->sample->threads[i].key.tid, d->threads[i].on_ns);
}

/* Light mode: how long each held is what its ticks say, too; how long others waited for it, the waiters have seen. */
static void estimate(struct dividing *d)
{
	tick_share__estimate(d->threads, d->threads_n, d->parts, d->parts_n);
	for (size_t i = 0; i < d->threads_n; i++)
		d->c->sample->threads[i].m.hold_est = (struct hold_estimate){
			.ns = d->threads[i].est_ns, .err2 = d->threads[i].est_var,
		};
}

static void divide_exactly(struct dividing *d)
{
	tick_share__divide(d->threads, d->threads_n, d->parts, d->parts_n);
	for (size_t i = 0; i < d->threads_n; i++)
		d->c->sample->threads[i].m.hold_off = d->threads[i].off;
}

static void divide(struct dividing *d)
{
	if (d->c->proc.mode == GIL_MODE_LIGHT)
		estimate(d);
	else
		divide_exactly(d);
}

bool reader_ticks__tell_of_all(const struct collection *c)
{
	return c->r->stacks.on && ticks__are_on_all(c->r->stacks.ticks);
}

int reader_ticks__add(struct collection *c, bool **ret_ticked)
{
	struct dividing d = {.c = c};
	int err = find_parts(&d);

	err = err ?: find_threads(&d);
	*ret_ticked = err ? NULL : calloc(d.threads_n + 1, sizeof(bool));
	if (!err && !*ret_ticked)
		err = -ENOMEM;
	if (!err) {
		divide(&d);
		err = give_all(&d, *ret_ticked);
		set_errors(&d);
		if (c->proc.mode == GIL_MODE_FULL)
			want_timers(&d);
	}
	free(d.parts);
	free(d.hashes);
	free(d.threads);
	return err;
}

/* ---- what it costs ---- */

/* Half as many, or twice as many if those cost clearly less than they may. */
static uint32_t thinner_or_not(uint32_t thin, double share)
{
	if (share > TICKS_MOST)
		return thin < THINNEST ? 2 * thin + 1 : thin;
	return 2.5 * share < TICKS_MOST ? thin / 2 : thin;
}

uint64_t reader_ticks__cost(struct collection *c)
{
	uint64_t all_ns = c->proc.tick_ns + c->proc.ticks * TICKS_TRAP_NS, cost_ns = less(all_ns, c->watch->tick_cost_ns);
	double len_ns = (double)less(c->bound, c->from);

	c->watch->tick_cost_ns = all_ns;
	if (c->r->stacks.on && len_ns > 0)
		probes__proc(c->r->probes, c->slot)->tick_thin =
			thinner_or_not(c->proc.tick_thin, (double)cost_ns / len_ns);
	return cost_ns;
}
