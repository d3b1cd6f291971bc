/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Sees to it that the probes do not stall the process that they are in: looks ten times a second what they cost and how far it
 * gets, and does what guard.h says.
 *
 *   LIFT      guarded: no probe is in
 *   GUILTY    from full, or from light in auto mode: holds. Who queues meets no probe any more; waits are unknown, takes and
 *             holds as exact as before. Otherwise it stays guarded
 *   INNOCENT  as before
 *   RETRY     as before the first time
 */
#include "collector_inside.h"

#include <math.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#include "collector/base/clock.h"

#define IDLE_SHARE 0.005      /* of a CPU: where probes cost less, its memory is looked at each second only */
#define IDLE_LOOKS 10
#define CROWD 64              /* threads: the probes of fewer that queue cost little, and nobody waits for a look at them */
#define CROWD_LOOK_NS (100 * COLLECTOR_MS)
#define FEW 20                /* switches */

/* How often the GILs changed hands since the last call; NAN: not known. */
static double changed_hands(struct observed *o, struct workshop *shop)
{
	const struct gil_proc *proc = probes__proc(shop->probes, o->slot);
	double sum = NAN;

	for (uint32_t i = 0; i < GIL_PER_PROC; i++) {
		struct guard_place *place = &o->guard_places[i];
		uint64_t addr = proc->gil_addr[i];
		struct gil_words words;

		if (addr <= GIL_PLACE_LAST || gil_words__read(o->target->pid, &o->recipe->offsets, addr, &words)) {
			place->addr = 0;
			continue;
		}
		/* An unsigned long of CPython's: the difference is right when it wraps. */
		if (place->addr == addr)
			sum = (isnan(sum) ? 0 : sum) + (double)(words.switches - place->switches);
		*place = (struct guard_place){addr, words.switches};
	}
	return sum;
}

static uint32_t queueing(const struct observed *o, struct workshop *shop)
{
	const struct gil_proc *proc = probes__proc(shop->probes, o->slot);
	uint32_t n = 0;

	for (uint32_t i = 0; i < GIL_PER_PROC; i++)
		if (proc->gil_addr[i] > GIL_PLACE_LAST)
			n += probes__gil(shop->probes, o->slot, i)->cur.waiters;
	return n;
}

static bool is_crowded(const struct observed *o)
{
	struct stat st;
	char path[48];

	snprintf(path, sizeof(path), "/proc/%d/task", (int)o->target->pid);
	return stat(path, &st) == 0 && st.st_nlink > CROWD + 2;
}

/* Switches a second of a process without probes; 0: not known. */
static double rate_of_the_bare(struct observed *o, struct workshop *shop)
{
	const struct timespec moment = {.tv_nsec = CROWD_LOOK_NS};
	uint64_t from = clock__mono_ns();
	double n;

	if (!is_crowded(o))
		return 0;
	nanosleep(&moment, NULL);
	n = changed_hands(o, shop);
	/* A few are chance. */
	return n >= FEW ? n * (double)COLLECTOR_SECOND / (double)(clock__mono_ns() - from) : 0;
}

void observed__guard(struct observed *o, struct workshop *shop, bool bare)
{
	double rate;
	uint64_t now;

	changed_hands(o, shop); /* from here on */
	rate = bare ? rate_of_the_bare(o, shop) : 0;
	now = clock__mono_ns();
	guard__begin(&o->guard, rate, now);
	o->guard_hits = (struct guard_hits){.at = now, .memory_at = now};
}

/* What the hits since the last look cost. */
static void look_at_hits(struct observed *o, struct workshop *shop, struct guard_look *look)
{
	struct guard_hits *last = &o->guard_hits;
	double cost = 0;

	look->span_ns = look->now - last->at;
	for (int kind = GIL_SITE_SIGNAL; kind < GIL_SITES_END; kind++) {
		uint64_t hits = reader__hits(shop->reader, o->slot, (enum gil_site_kind)kind);

		cost += hits > last->hits[kind] ? (double)(hits - last->hits[kind]) * o->price_ns[kind] : 0;
		last->hits[kind] = hits;
	}
	last->at = look->now;
	look->share = cost / (double)look->span_ns;
}

/* Memory costs a system call: that of a process whose probes cost nothing is looked at now and then; as a rate, all the same. */
static void look_at_memory(struct observed *o, struct workshop *shop, struct guard_look *look)
{
	struct guard_hits *last = &o->guard_hits;
	uint64_t span = look->now - last->memory_at;

	look->switches = NAN;
	if (o->guard.state == GUARD_WATCHING && look->share < IDLE_SHARE && span < IDLE_LOOKS * GUARD_LOOK_NS)
		return;
	look->switches = changed_hands(o, shop) * (double)look->span_ns / (double)(span ?: 1);
	last->memory_at = look->now;
}

/* ---- what is done ---- */

static const char *per_second(double rate, char *buf, size_t size)
{
	snprintf(buf, size, "%.*f", rate < 10 ? 1 : 0, rate);
	return buf;
}

static void lift(struct collector *c, struct observed *o, const struct guard_look *look)
{
	char was[32], is[32];
	bool queue = o->pub.mode != GIL_MODE_HOLDS;

	o->guard_before = o->pub.mode;
	if (queue)
		o->guard_from = o->pub.mode;
	modes__change(c, o, GIL_MODE_GUARDED);
	per_second(o->guard.during, is, sizeof(is));
	per_second(o->guard.reference, was, sizeof(was));
	if (queue)
		collector__notice(c, o, "%u threads queue for the GIL, each meets a probe every few milliseconds, and it changes "
				  "hands %s times a second: all probes are lifted, to see whether they stall the process",
				  look->waiters, is);
	else
		collector__notice(c, o, "the GIL changes hands %s times a second only, %s before: the rest of the probes is "
				  "lifted, too", is, was);
}

/* Its queue meets no probe then. */
static bool may_have_holds(const struct collector *c, const struct observed *o)
{
	return o->guard_before == GIL_MODE_FULL || (o->guard_before == GIL_MODE_LIGHT && c->opts->mode == MODE_AUTO);
}

static void convict(struct collector *c, struct observed *o, const struct guard_look *look)
{
	bool holds = may_have_holds(c, o);

	if (holds)
		modes__change(c, o, GIL_MODE_HOLDS);
	collector__alert(c, o, "the probes did stall it: without them it gets on. %s. The next try is in %u s", holds ?
			  "Those of waiting threads stay out (mode holds: takes and holds stay exact, waits are not known)" :
			  "They stay out (mode guarded: nothing is known meanwhile, and cov says so)",
			  guard__rest_s(&o->guard, look->now));
}

static void acquit(struct collector *c, struct observed *o)
{
	modes__change(c, o, o->guard_before);
	collector__notice(c, o, "it does no better without them: the probes were not the cause, and are in again");
}

static void retry(struct collector *c, struct observed *o)
{
	modes__change(c, o, o->guard_from);
	o->looked_at = o->over_budget = 0; /* its price counts from now on */
	collector__notice(c, o, "trying all probes again");
}

static void obey(struct collector *c, struct observed *o, enum guard_order order, const struct guard_look *look)
{
	switch (order) {
	case GUARD_GO_ON:
		break;
	case GUARD_LIFT:
		lift(c, o, look);
		break;
	case GUARD_GUILTY:
		convict(c, o, look);
		break;
	case GUARD_INNOCENT:
		acquit(c, o);
		break;
	case GUARD_RETRY:
		retry(c, o);
		break;
	}
}

static void mind(struct collector *c, struct observed *o, uint64_t now)
{
	struct guard_look look = {.now = now};
	enum guard_order order;

	if (o->gone_at || now <= o->guard_hits.at)
		return;
	look_at_hits(o, &c->shop, &look);
	look_at_memory(o, &c->shop, &look);
	look.waiters = queueing(o, &c->shop);
	look.lifts = o->pub.mode != GIL_MODE_GUARDED;
	order = guard__look(&o->guard, &look);
	obey(c, o, order, &look);
	/* Changing probes is no time in which it ran as it does. */
	if (order != GUARD_GO_ON && !o->gone_at) {
		look.now = clock__mono_ns();
		guard__changed(&o->guard, look.now);
		look_at_hits(o, &c->shop, &look);
		changed_hands(o, &c->shop);
		o->guard_hits.memory_at = look.now;
	}
}

void guarding__mind(struct collector *c, uint64_t now)
{
	if (now < c->next_guard)
		return;
	c->next_guard = now + GUARD_LOOK_NS;
	for (size_t i = 0; i < c->roster.max; i++)
		if (roster__at(&c->roster, i))
			mind(c, c->roster.places[i], now);
}
