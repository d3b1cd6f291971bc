/* SPDX-License-Identifier: GPL-2.0-only */
/* See observed_look.h. */
#include "observed_look.h"

#include <stdio.h>
#include <string.h>

#include "collector/base/clock.h"
#include "collector/base/text.h"
#include "collector/target/task_look.h"
#include "observed.h"

/* ---- who has it ---- */

/* What the probes know of a hold that is open. */
enum hold_view {
	HOLD_VIEW_NONE,   /* there is none, or a short one */
	HOLD_VIEW_LONG,   /* of a thread that they know, for long */
	HOLD_VIEW_UNSEEN, /* it was there before them */
	HOLD_VIEW_LIGHT,  /* they see no holds */
};

static enum hold_view sight_of(const struct gil_proc *proc, const struct gil_state *g, uint64_t seed, uint64_t now)
{
	bool current = g->arm_gen == proc->arm_gen && g->cur.events > 0;

	if (proc->mode == GIL_MODE_LIGHT)
		return HOLD_VIEW_LIGHT;
	if (!current)
		return seed ? HOLD_VIEW_UNSEEN : HOLD_VIEW_NONE;
	if (g->cur.state != GIL_OWNER_HELD)
		return HOLD_VIEW_NONE;
	if (g->cur.owner_slot == GIL_SLOT_SEED)
		return HOLD_VIEW_UNSEEN;
	return now > g->cur.acquired_at + HOLDING_LONG_NS ? HOLD_VIEW_LONG : HOLD_VIEW_NONE;
}

static void add_spent(struct task_spent *sum, const struct task_spent *more)
{
	sum->on_ns += more->on_ns;
	sum->asleep_ns += more->asleep_ns;
	sum->delay_ns += more->delay_ns;
	sum->unknown_ns += more->unknown_ns;
}

/* The hold that was looked at before goes on. */
static void go_on(struct observed_look *l, struct gil_watch *w, const struct holder_look *look, enum hold_view sight)
{
	uint64_t len = look->at_ns - w->last.at_ns;
	struct task_spent spent = {.asleep_ns = len};

	if (holder_kind__is_gone(look->kind))
		l->gone_ns += len;
	else
		spent = task_state__spent(&w->last.task, &look->task, len);
	if (sight == HOLD_VIEW_UNSEEN)
		add_spent(&w->spent, &spent);
}

static bool is_same_hold(const struct holder_look *was, const struct holder_look *is)
{
	return was->kind == is->kind && was->tid == is->tid && !gil_words__taken_since(&was->words, &is->words);
}

/* In light mode the same thread may have let go and taken it again, unless it has not moved at all. */
static bool has_moved(const struct holder_look *was, const struct holder_look *is)
{
	return is->kind == HOLDER_THREAD && !(task_state__is_off(&was->task) && task_state__is_off(&is->task) &&
					      was->task.slept == is->task.slept && was->task.cpu_ns == is->task.cpu_ns);
}

static uint64_t begin_of(const struct gil_proc *proc, const struct gil_state *g, const struct holder_look *look,
			 enum hold_view sight)
{
	if (sight == HOLD_VIEW_UNSEEN) /* before its first event the GIL's own state is that of an earlier arming, or of none */
		return g->arm_gen == proc->arm_gen && g->since > proc->armed_at ? g->since : proc->armed_at;
	return sight == HOLD_VIEW_LONG ? g->cur.acquired_at : look->at_ns;
}

/* In light mode most GILs have been taken since: that is found out by their words alone. */
static bool has_gone_on(struct observed *o, struct gil_watch *w, uint64_t gil)
{
	struct gil_words words;

	if (gil_words__read(o->target->pid, &o->recipe->offsets, gil, &words))
		return false;
	if (gil_words__holder(&words) && !gil_words__taken_since(&w->last.words, &words))
		return true;
	w->last = (struct holder_look){.kind = HOLDER_UNKNOWN, .words = words};
	return false;
}

static void look_at_gil(struct observed *o, struct workshop *shop, uint32_t i, uint64_t now)
{
	const struct gil_proc *proc = probes__proc(shop->probes, o->slot);
	const struct gil_state *g = probes__gil(shop->probes, o->slot, i);
	struct gil_watch *w = &o->look.gils[i];
	enum hold_view sight = sight_of(proc, g, o->seeds[i], now);
	struct holder_look look;

	if (sight == HOLD_VIEW_NONE || (sight == HOLD_VIEW_LIGHT && !has_gone_on(o, w, proc->gil_addr[i]))) {
		w->last.kind = HOLDER_UNKNOWN;
		return;
	}
	holder_look__take(o->target->pid, o->runtime, &o->recipe->offsets, proc->gil_addr[i], &look);
	if (sight == HOLD_VIEW_UNSEEN && !o->seeds[i] && look.kind != HOLDER_NOBODY)
		reader__seed(shop->reader, o->slot, i, o->seeds[i] = gil_words__holder(&look.words));
	if (w->last.kind != HOLDER_UNKNOWN && is_same_hold(&w->last, &look) &&
	    !(sight == HOLD_VIEW_LIGHT && has_moved(&w->last, &look)))
		go_on(&o->look, w, &look, sight);
	else
		w->since_ns = begin_of(proc, g, &look, sight);
	w->before = sight == HOLD_VIEW_UNSEEN && !o->born_at;
	w->last = look;
	if (look.kind == HOLDER_THREAD && task_state__is_off(&look.task) && look.task.letter != 't')
		reader__see_native(shop->reader, o->slot, i, look.tid);
}

static bool is_gone(const struct observed *o)
{
	for (uint32_t i = 0; i < GIL_PER_PROC; i++)
		if (holder_kind__is_gone(o->look.gils[i].last.kind))
			return true;
	return false;
}

/* ---- does it stand still ---- */

/*
 * It stands still if it does at two looks in a row and used no CPU between: one that a tracer runs step by step is seen stopped
 * at many a look.
 */
static void look_at_standing(struct observed *o, uint64_t now)
{
	struct observed_look *l = &o->look;
	uint64_t cpu = 0, rss;
	bool moved = target__usage(o->target->pid, &cpu, &rss) != 0 || cpu != l->cpu_ns || !l->looked_at;
	bool needs_no_look = moved && l->looked_at && !l->seen;
	enum standstill seen = needs_no_look ? STANDSTILL_NONE : task_look__standstill(o->target->pid, &l->tracer);

	l->standstill = seen == l->seen && !moved ? seen : STANDSTILL_NONE;
	if (l->standstill)
		l->still_ns[seen] += now - l->looked_at;
	l->seen = seen;
	l->cpu_ns = cpu;
}

void observed_look__take(struct observed *o, struct workshop *shop)
{
	const struct gil_proc *proc = probes__proc(shop->probes, o->slot);
	uint64_t now = clock__mono_ns();

	if (o->gone_at || o->finalized || o->paused_at)
		return;
	look_at_standing(o, now);
	for (uint32_t i = 0; i < GIL_PER_PROC; i++)
		if (proc->gil_addr[i] > GIL_PLACE_LAST)
			look_at_gil(o, shop, i, now);
		else
			o->look.gils[i] = (struct gil_watch){0};
	o->look.gone = is_gone(o);
	o->look.looked_at = now;
}

/* ---- into samples ---- */

void observed_look__before(struct observed *o, struct workshop *shop)
{
	observed_look__take(o, shop);
	for (uint32_t i = 0; i < GIL_PER_PROC; i++) {
		reader__explain(shop->reader, o->slot, i, &o->look.gils[i].spent);
		o->look.gils[i].spent = (struct task_spent){0};
	}
}

/* The hold to tell of: one that is for ever, else the longest; NULL: there is none. */
static const struct gil_watch *worst(const struct observed *o, uint64_t now, uint32_t *ret_gil)
{
	const struct gil_watch *found = NULL;

	for (uint32_t i = 0; i < GIL_PER_PROC; i++) {
		const struct gil_watch *w = &o->look.gils[i];
		bool gone = holder_kind__is_gone(w->last.kind);

		if (!gone && (w->last.kind != HOLDER_THREAD || now < w->since_ns + HOLDING_LONG_NS))
			continue;
		if (found && (holder_kind__is_gone(found->last.kind) || (!gone && w->since_ns >= found->since_ns)))
			continue;
		found = w;
		*ret_gil = i;
	}
	return found;
}

static const char *thread_name(const struct proc_sample *s, uint32_t tid)
{
	for (size_t i = 0; i < s->threads_n; i++)
		if (tid && s->threads[i].key.tid == tid)
			return s->threads[i].name;
	return "";
}

/* The innermost Python code, of a thread that does not move: read once. */
static void find_place(struct observed *o, struct workshop *shop, const struct holder_look *look)
{
	struct observed_look *l = &o->look;
	uint64_t tstate = look->words.last_holder;

	if (look->kind == HOLDER_THREAD && !task_state__is_off(&look->task)) {
		l->place[0] = '\0';
		l->place_of = 0;
	} else if (l->place_of != tstate || l->place_slept != look->task.slept) {
		reader__place(shop->reader, o->slot, tstate, l->place, sizeof(l->place));
		l->place_of = tstate;
		l->place_slept = look->task.slept;
	}
}

static void tell_hold(struct observed *o, struct workshop *shop, const struct gil_watch *w, uint32_t gil, struct proc_sample *s)
{
	struct holding *h = &s->holding;
	uint64_t stack;

	find_place(o, shop, &w->last);
	h->by = w->last.kind;
	h->gil = (uint32_t)probes__proc(shop->probes, o->slot)->gil_owner[gil].id;
	h->tid = (uint32_t)w->last.tid;
	if (h->tid && target__stat(o->target->pid, w->last.tid, &h->start_ticks, &stack))
		h->start_ticks = 0;
	h->task = w->last.task;
	h->before = w->before;
	h->lasted_ns = o->look.looked_at > w->since_ns ? o->look.looked_at - w->since_ns : 0;
	text__append(h->place, sizeof(h->place), "%s", o->look.place);
	text__append(h->name, sizeof(h->name), "%s", thread_name(s, h->tid));
	if (!h->name[0])
		reader__tstate_name(shop->reader, o->slot, w->last.words.last_holder, h->name);
}

void observed_look__into(struct observed *o, struct workshop *shop, struct proc_sample *s)
{
	struct observed_look *l = &o->look;
	const struct gil_watch *w;
	uint32_t gil = 0;

	s->holding.gone_ns = l->gone_ns;
	memcpy(s->holding.still_ns, l->still_ns, sizeof(l->still_ns));
	l->gone_ns = 0;
	memset(l->still_ns, 0, sizeof(l->still_ns));
	if (o->gone_at || o->finalized)
		return;
	s->holding.standstill = l->standstill;
	s->holding.tracer = l->tracer;
	w = worst(o, l->looked_at, &gil);
	if (w)
		tell_hold(o, shop, w, gil, s);
}

const char *observed_look__news(const struct observed *o, struct observed_news *was, char buf[HOLDING_WORDS_SIZE * 2])
{
	const struct observed_look *l = &o->look;
	size_t size = HOLDING_WORDS_SIZE * 2;

	buf[0] = '\0';
	if (l->standstill != was->standstill) {
		if (l->standstill)
			text__append(buf, size, "process %d %s: none of its threads runs. %s", (int)o->target->pid,
				     standstill__words(l->standstill), standstill__remedy(l->standstill));
		else
			text__append(buf, size, "process %d runs again", (int)o->target->pid);
		was->standstill = l->standstill;
		return buf;
	}
	for (uint32_t i = 0; l->gone && !was->gone && i < GIL_PER_PROC; i++) {
		enum holder_kind kind = l->gils[i].last.kind;

		if (!holder_kind__is_gone(kind) || buf[0])
			continue;
		text__append(buf, size, "the GIL of process %d is held by %s: nobody can take it any more. %s",
			     (int)o->target->pid, holder_kind__words(kind), holder_kind__remedy(kind));
	}
	was->gone = l->gone;
	return buf;
}
