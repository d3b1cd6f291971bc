/* SPDX-License-Identifier: GPL-2.0-only */
/* See time_memo.h: record -> cumulate() -> subtract() -> metrics. */
#include "time_memo.h"

#include "bpf/gil_off.h"
#include "collector/series/hist.h"
#include "collector/series/overs.h"

uint64_t moment__open_hold_since(const struct moment *at)
{
	const struct gil_view *gil = &at->gil->at;

	if (at->mode == GIL_MODE_LIGHT || !at->gil->current || gil->state != GIL_OWNER_HELD ||
	    gil->owner_slot != at->slot || gil->acquired_at >= at->bound)
		return 0;
	return gil->acquired_at;
}

/* An open wait from where it was last charged up to B: its parts go to `sum` and to the pairs in `open`. */
static void add_open_wait(const struct moment *at, struct cumulative *sum, struct blame_list *open)
{
	const struct gil_totals *mine = &at->rec->at;
	struct gil_off place;
	uint64_t span, held;

	if (!mine->wait_since || mine->wait_place >= at->bound)
		return;
	span = at->bound - mine->wait_place;
	sum->wait_ns += span;
	if (at->mode == GIL_MODE_LIGHT) {
		if (blame_list__add(open, blame_holder(GIL_SLOT_NONE, mine->place_held), span))
			sum->unknown_ns += span;
		return;
	}
	held = blame_list__charge(open, &at->gil->state, &at->gil->at, mine, at->bound);
	place = mine->place_off;
	gil_off_take(&place, &at->gil->off, held, &sum->wait_off);
	sum->handover_ns += span - held;
	sum->unknown_ns += held - blame_list__sum(open);
}

/* What the holder's open hold was spent on so far: all that went by since holds were last settled. */
static void add_open_hold(const struct moment *at, struct cumulative *sum)
{
	uint64_t since = moment__open_hold_since(at);
	struct gil_off settled = at->gil->at.settled;

	if (!since)
		return;
	sum->hold_ns += at->bound - since;
	sum->acquires++;
	gil_off_take(&settled, &at->gil->off, at->bound - since, &sum->hold_off);
}

static bool has_open_gc(const struct moment *at)
{
	return at->rec->at.gc_since && at->rec->at.gc_since < at->bound && at->rec->arm_gen == at->arm_gen;
}

static void add_open_gc(const struct moment *at, struct cumulative *sum)
{
	const struct gil_view *gil = &at->gil->at;
	uint64_t queued = gil->queued_ns;

	if (!has_open_gc(at))
		return;
	if (at->gil->current && at->bound > gil->queued_at)
		queued += gil->waiters * (at->bound - gil->queued_at);
	sum->gc_ns += at->bound - at->rec->at.gc_since;
	if (queued > at->rec->at.gc_place)
		sum->gc_wait_ns += queued - at->rec->at.gc_place;
}

static void add_open_handoff(const struct moment *at, struct cumulative *sum)
{
	uint64_t since = at->rec->at.handoff_since;

	if (!since || since >= at->bound)
		return;
	sum->wait_ns += at->bound - since;
	sum->handover_ns += at->bound - since;
}

static void cumulate(const struct moment *at, struct cumulative *sum, struct blame_list *open)
{
	const struct gil_totals *ended = &at->rec->at;

	*sum = (struct cumulative){
		.hold_ns = ended->hold_ns, .hold_off = ended->hold_off, .acquires = ended->releases - ended->unseen,
		.wait_ns = ended->wait_ns, .wait_off = ended->wait_off, .handover_ns = ended->handover_ns,
		.unknown_ns = ended->unknown_ns, .contended = ended->contended, .forced = ended->forced,
		.inferred = ended->inferred, .over = ended->over,
		.gc_ns = ended->gc_ns, .gc_wait_ns = ended->gc_wait_ns, .gc_ended = ended->gc_ended,
	};
	add_open_hold(at, sum);
	add_open_gc(at, sum);
	if (at->rec->arm_gen != at->arm_gen)
		return;
	add_open_wait(at, sum, open);
	add_open_handoff(at, sum);
}

/* Ages of what is open at B. */
static int add_open_ages(const struct moment *at, struct metrics *m)
{
	const struct record *rec = at->rec;
	uint64_t hold_since = moment__open_hold_since(at), age;
	uint64_t wait_since = rec->at.wait_since ?: rec->at.handoff_since;
	int err = 0;

	if (hold_since) {
		age = at->bound - hold_since;
		err = hist__count(&m->hold_open, age);
		if (age > m->hold_max_ns)
			m->hold_max_ns = age;
	}
	if (wait_since && wait_since < at->bound && rec->arm_gen == at->arm_gen) {
		age = at->bound - wait_since + rec->at.handoff_len;
		err = hist__count(&m->wait_open, age) ?: err;
		if (age > m->wait_max_ns)
			m->wait_max_ns = age;
		m->waiting = 1;
	}
	if (rec->at.gc_run && rec->arm_gen == at->arm_gen) {
		age = rec->at.gc_run - 1 + (has_open_gc(at) ? at->bound - rec->at.gc_since : 0);
		if (age > m->gc.max_ns)
			m->gc.max_ns = age;
	}
	return err;
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* What a sum has grown by. One that has shrunk is counted, and has not grown. */
static uint64_t grown(uint64_t now, uint64_t last, uint64_t *violations)
{
	*violations += now < last;
	return now > last ? now - last : 0;
}

/*
 * What is new since the last boundary; remembers the state at this one, and of what is off the CPU how much was given out: its
 * parts never exceed the whole.
 */
static int subtract(struct metrics *m, struct time_memo *memo, struct cumulative *now, const struct gil_totals *at)
{
	struct cumulative *last = &memo->last;
	uint64_t relabelled = 0;
	int err;

	m->hold_ns = grown(now->hold_ns, last->hold_ns, &memo->violations);
	m->wait_ns = grown(now->wait_ns, last->wait_ns, &memo->violations);
	/* What was handover at the last boundary may be nobody's now: time_memo__explain(). */
	m->handover_ns = min_u64(grown(now->handover_ns, last->handover_ns, &relabelled), m->wait_ns);
	m->unknown_ns = grown(now->unknown_ns, last->unknown_ns, &relabelled);
	gil_off_take(&last->hold_off, &now->hold_off, m->hold_ns, &m->hold_off);
	gil_off_take(&last->wait_off, &now->wait_off, m->wait_ns - m->handover_ns, &m->wait_off);
	m->acquires = grown(now->acquires, last->acquires, &memo->violations);
	m->contended = grown(now->contended, last->contended, &memo->violations);
	m->forced = grown(now->forced, last->forced, &memo->violations);
	m->inferred = grown(now->inferred, last->inferred, &memo->violations);
	memo->violations += overs__since(&now->over, &last->over, &m->over);
	m->gc.hold_ns = grown(now->gc_ns, last->gc_ns, &memo->violations);
	m->gc.wait_ns = grown(now->gc_wait_ns, last->gc_wait_ns, &memo->violations);
	/* The maxima are those of the interval in which the record last had an event: is that this one? */
	if (now->gc_ended > last->gc_ended)
		m->gc.max_ns = at->gc_max_ns;
	now->hold_off = last->hold_off;
	now->wait_off = last->wait_off;
	memo->last = *now;
	err = hist__advance(&m->hold, &memo->hold, &at->hold);
	err = hist__advance(&m->wait, &memo->wait, &at->wait) ?: err;
	if (m->hold.n)
		m->hold_max_ns = at->hold_max_ns;
	if (m->wait.n)
		m->wait_max_ns = at->wait_max_ns;
	return err;
}

/*
 * A hold that was there when the probes were armed, at `since`, is in the record as a whole when it ends. What of it lies before
 * `from` was told of then, or will never be: it is not of this interval.
 */
static void leave_out_seed(struct time_memo *memo, const struct gil_totals *ended, uint64_t since, uint64_t from)
{
	uint64_t told = since < from ? from - since : 0;
	struct cumulative *last = &memo->last;

	if (ended->unseen > memo->unseen && ended->hold_ns > last->hold_ns) {
		told = min_u64(told, ended->hold_ns - last->hold_ns);
		last->hold_ns += told;
		last->hold_off.ns[GIL_OFF_UNSEEN] += told;
	}
	memo->unseen = ended->unseen;
}

int time_memo__settle(struct time_memo *memo, const struct moment *at, struct metrics *ret, struct blame_list *open)
{
	struct cumulative now;
	int err;

	leave_out_seed(memo, &at->rec->at, at->gil->state.since, at->from);
	cumulate(at, &now, open);
	err = subtract(ret, memo, &now, &at->rec->at);
	return add_open_ages(at, ret) ?: err;
}

/* Takes up to `ns` away; what remains to be taken. */
static uint64_t cut(uint64_t *from, uint64_t ns)
{
	uint64_t part = min_u64(*from, ns);

	*from -= part;
	return ns - part;
}

void time_memo__explain(struct time_memo *memo, struct metrics *m, struct blame_list *parts)
{
	uint64_t sum = blame_list__sum(parts) + m->handover_ns + m->unknown_ns;
	uint64_t over = sum > m->wait_ns ? sum - m->wait_ns : 0;

	m->unknown_ns += m->wait_ns > sum ? m->wait_ns - sum : 0;
	over = cut(&m->unknown_ns, over);
	memo->violations += over || sum < m->wait_ns;
	over = cut(&m->handover_ns, over);
	for (size_t i = 0; over && i < parts->n; i++)
		over = cut((uint64_t *)&parts->part[i].ns, over);
}

static void lower(uint64_t *last, uint64_t now)
{
	if (*last > now)
		*last = now;
}

void time_memo__forget_open(struct time_memo *memo, const struct gil_totals *now, uint64_t since, uint64_t from)
{
	struct cumulative *last = &memo->last;

	leave_out_seed(memo, now, since, from);
	lower(&last->hold_ns, now->hold_ns);
	lower(&last->wait_ns, now->wait_ns);
	lower(&last->handover_ns, now->handover_ns);
	lower(&last->unknown_ns, now->unknown_ns);
	lower(&last->acquires, now->releases - now->unseen);
	lower(&last->gc_ns, now->gc_ns);
	lower(&last->gc_wait_ns, now->gc_wait_ns);
	for (int kind = 0; kind < GIL_OFF_KINDS; kind++) {
		lower((uint64_t *)&last->hold_off.ns[kind], now->hold_off.ns[kind]);
		lower((uint64_t *)&last->wait_off.ns[kind], now->wait_off.ns[kind]);
	}
}

void time_memo__clear(struct time_memo *memo)
{
	hist__clear(&memo->hold);
	hist__clear(&memo->wait);
	*memo = (struct time_memo){0};
}
