/* SPDX-License-Identifier: GPL-2.0-only */
/* See observed_looked.h. */
#include "observed_looked.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "collector/base/clock.h"
#include "collector/base/log.h"
#include "collector/cpython/pyinterps.h"
#include "collector/look/gc_watch.h"
#include "collector/look/looks.h"
#include "collector/python/pynames.h"
#include "collector/python/pystack.h"
#include "collector/stacks/native.h"
#include "collector/stacks/stack_book.h"
#include "observed.h"

/* ---- its GILs ---- */

/* Up to 3.11 a GIL names no interpreter: it is the main one's. */
static uint64_t collector_of(const struct observed *o, const struct gil_address *gil)
{
	const struct pyoffsets *off = &o->recipe->offsets;
	uint64_t interp = gil->interp ? gil->interp : pyinterps__main(o->target->pid, off, o->runtime);

	return interp && o->looked.gc ? gc_words__state(off, o->runtime, interp) : 0;
}

/*
 * Interpreters with GILs of their own come and go. Of one that starts there is none to be looked at yet. 0, or -errno where its
 * memory is not what its file says: looks would take whatever lies there for a GIL.
 */
static int find_gils(struct observed *o, struct workshop *shop, bool starting, struct reason *why)
{
	struct gil_address gils[GIL_PER_PROC];
	uint64_t addresses[LOOK_GILS], collectors[LOOK_GILS];
	int n = 0, err = observed__find_gils(o, starting, gils, &n, why);

	if (err || n <= 0)
		return err;
	n = n < LOOK_GILS ? n : LOOK_GILS;
	for (int i = 0; i < n; i++) {
		addresses[i] = gils[i].gil;
		collectors[i] = collector_of(o, &gils[i]);
		o->looked.gils[i] = (struct look_gil){
			.addr = gils[i].gil, .number = (uint32_t)gils[i].interp_id, .collector = collectors[i],
		};
	}
	o->looked.gils_n = (uint32_t)n;
	looks__set_gils(shop->looks, o->looked.place, addresses, collectors, n);
	return 0;
}

/* Where that fails, those that were found are looked at on. */
static void find_gils_anew(struct observed *o, struct workshop *shop)
{
	struct reason why = {{0}};

	if (find_gils(o, shop, false, &why))
		log_debug("%s", why.text);
}

/* How often was collected, the interpreter counts. */
static void count_collections(struct observed *o)
{
	const struct looked *l = &o->looked;
	struct gc_subject subjects[LOOK_GILS] = {{0}};

	if (!l->gc || o->gone_at || l->stuck)
		return;
	for (uint32_t i = 0; i < l->gils_n; i++)
		subjects[i] = (struct gc_subject){
			.gil = l->gils[i].addr, .number = l->gils[i].number, .state = l->gils[i].collector,
		};
	gc_watch__count(l->gc, o->target->pid, &o->recipe->offsets, subjects, l->gils_n);
}

int looked__start(struct observed *o, struct workshop *shop, bool starting, struct reason *why)
{
	struct looked *l = &o->looked;
	int err;

	l->place = -1;
	l->tally = look_tally__new();
	l->gc = o->runtime && gc_words__are_known(&o->recipe->offsets) ? gc_watch__new() : NULL;
	if (!l->tally || pynames__new(o->target->pid, o->runtime, &o->recipe->offsets, &l->names))
		return reason__set(why, -ENOMEM, "out of memory");
	if (shop->looked_code && pystack__new(o->target->pid, &o->recipe->offsets, &l->stacks))
		l->stacks = NULL;
	l->place = looks__watch(shop->looks, o->target->pid, &o->recipe->offsets, l->stacks != NULL);
	if (l->place < 0)
		return reason__set(why, l->place, "process %d is one too many to be looked at", (int)o->target->pid);
	shop->looked[l->place] = o;
	o->used = true;
	observed__begin(shop);
	err = find_gils(o, shop, starting, why);
	count_collections(o);
	return err;
}

void looked__stop(struct observed *o, struct workshop *shop)
{
	struct looked *l = &o->looked;

	if (!l->tally)
		return;
	if (l->place >= 0) {
		looks__unwatch(shop->looks, l->place);
		shop->looked[l->place] = NULL;
		if (shop->looked_code)
			stack_book__forget(shop->looked_code, (uint32_t)l->place);
	}
	pystack__free(l->stacks);
	look_tally__free(l->tally);
	pynames__free(l->names);
	gc_watch__free(l->gc);
	*l = (struct looked){.place = -1};
}

/* ---- what was seen ---- */

static void note_collector(struct observed *o, const struct look_record *r, uint64_t bound)
{
	const struct gc_look look = {
		.at = r->at, .holder = r->holder, .ended = r->collections, .tid = r->holder_tid,
		.waiters = r->waiters == LOOK_WAITERS_UNKNOWN ? 0 : r->waiters,
		.collecting = r->collecting, .locked = r->locked,
	};

	gc_watch__note(o->looked.gc, r->gil, o->looked.gils[r->gil].number, &look, bound);
}

static void note(void *arg, int place, const struct look_record *r)
{
	struct workshop *shop = arg;
	struct observed *o = shop->looked[place];

	if (!o || !o->looked.tally)
		return;
	look_tally__note(o->looked.tally, r, looks__interval_start(shop->looks), looks__interval_end(shop->looks));
	if (r->kind == LOOK_AT_GIL && o->looked.gc)
		note_collector(o, r, looks__interval_end(shop->looks));
}

static void learn(void *arg, int place, const struct look_stack *stack)
{
	struct workshop *shop = arg;
	const struct observed *o = shop->looked[place];
	struct gil_stack_event e = {
		.proc = (uint32_t)place, .hash = stack->hash, .depth = stack->depth, .more = stack->more,
	};

	if (!o || !shop->looked_code)
		return;
	memcpy(e.frames, stack->frames, stack->depth * sizeof(e.frames[0]));
	stack_book__learn(shop->looked_code, &e, o->looked.stacks);
}

static void drain(struct workshop *shop, uint64_t until)
{
	uint64_t end = looks__interval_end(shop->looks);

	looks__drain_stacks(shop->looks, learn, shop);
	looks__drain(shop->looks, until < end ? until : end, note, shop);
}

void looked__mind_all(struct workshop *shop, uint64_t now)
{
	int stuck = looks__mind(shop->looks, now);

	drain(shop, now);
	for (int place = 0; place < LOOK_SUBJECTS; place++) {
		struct observed *o = shop->looked[place];

		if (o && place == stuck && !o->looked.stuck) {
			log_warn("process %d keeps its memory back: it is looked at no more", (int)o->target->pid);
			o->looked.stuck = true;
		}
		if (o && !o->looked.gils_n && !o->looked.stuck && !o->gone_at)
			find_gils_anew(o, shop);
	}
}

/* ---- into a sample ---- */

/* One that has ended is who it was in an interval before. False: there was none. */
static bool recall(const struct observed *o, struct thread_sample *t)
{
	const struct proc_sample *before = aggr__totals(o->aggr);

	for (size_t i = before->threads_n; i-- > 0;) {
		const struct thread_sample *was = &before->threads[i];

		if (was->key.tid != t->key.tid || was->exited)
			continue;
		t->key = was->key;
		memcpy(t->name, was->name, sizeof(t->name));
		return true;
	}
	return false;
}

/* Who the threads are that were seen. One that has ended meanwhile keeps the name that Python had for it, if it was read. */
static void name_threads(struct observed *o, struct proc_sample *s)
{
	uint64_t now = clock__boot_ns(), tick_ns = 1000000000ull / (uint64_t)sysconf(_SC_CLK_TCK), stack;
	pid_t pid = o->target->pid;

	for (size_t i = 0; i < s->threads_n; i++) {
		struct thread_sample *t = &s->threads[i];
		pid_t tid = (pid_t)t->key.tid;
		const char *name;

		if (!tid)
			continue;
		t->exited = o->gone_at || target__stat(pid, tid, &t->key.start_ticks, &stack);
		if (t->exited && recall(o, t))
			continue;
		if (o->gone_at || o->looked.stuck)
			continue;
		name = pynames__find(o->looked.names, now, tid, 0, t->key.start_ticks * tick_ns);
		t->key.inside = (uint32_t)target__id_inside(pid, tid);
		if (name)
			snprintf(t->name, sizeof(t->name), "%s", name);
		else if (target__thread_comm(pid, tid, t->name, sizeof(t->name)))
			t->name[0] = '\0';
	}
}

/* What looks found in one stack, as code and as a whole stack. */
static int take_code(void *arg, struct proc_sample *s, const struct look_code *code)
{
	const struct workshop *shop = arg;
	const struct stack_text *text = stack_book__find(shop->looked_code, code->hash);
	struct stack_weights weights = {.hold_ns = code->hold_ns, .blame_ns = code->blame_ns};
	struct code_cell cell = {
		.thread = code->thread, .hold_ns = code->hold_ns, .blame_ns = code->blame_ns, .times = code->times,
		.hold_off.ns[GIL_OFF_UNSEEN] = code->hold_ns, .blame_off.ns[GIL_OFF_UNSEEN] = code->blame_ns,
	};

	if (!text) {
		s->code_rest.hold_ns += code->hold_ns;
		s->code_rest.blame_ns += code->blame_ns;
		stack_weights__add(&s->stacks.rest, &weights);
		return 0;
	}
	code_cell__set_place(&cell, text->leaf.function, text->leaf.file, text->leaf.line, text->leaf.firstlineno);
	code_cell__set_caller(&cell, text->caller);
	code_cell__set_native(&cell, NULL);
	return proc_sample__add_code(s, &cell, SIZE_MAX) ?:
	       stack_cells__add(&s->stacks, code->thread, text->line[0] ? text->line : "(no Python code)", &weights, STACK_CELLS);
}

int looked__collect(struct observed *o, struct workshop *shop, struct proc_sample **ret)
{
	uint64_t start = looks__interval_start(shop->looks), end = looks__interval_end(shop->looks), begun;
	struct looked *l = &o->looked;
	const struct look_code_taker codes = {.take = take_code, .arg = shop};
	struct proc_sample *s = proc_sample__new();
	int err = s ? 0 : -ENOMEM;

	drain(shop, end);
	begun = o->born_at ? o->born_at : o->begun_at; /* what it did before it was found was not seen */
	start = start > begun ? start : begun;
	err = err ?: look_tally__settle(l->tally, l->gils, l->gils_n, end > start ? end - start : 0, l->stacks ? &codes : NULL,
					s);
	err = err ?: proc_sample__cap_code(s, CODE_CELLS);
	if (err) {
		proc_sample__free(s);
		return err;
	}
	count_collections(o);
	if (l->gc)
		gc_watch__settle(l->gc, s, true);
	s->code_known = l->stacks != NULL;
	s->live_threads = reader__live_threads(o->target->pid);
	name_threads(o, s);
	if (!o->gone_at && !l->stuck)
		find_gils_anew(o, shop);
	*ret = s;
	return 0;
}
