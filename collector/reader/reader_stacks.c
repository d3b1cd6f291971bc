/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stacks of holds and waits: the programs' sums by stack, the frames that come before them, native code, and what is told one by
 * one because it lasts long.
 *
 * Sums and frames meet in the stack book, by their hash; who it was, reader_names.c says. Sums end in the sample, what lasts long
 * goes to who wants to know at once. Includes libbpf for the rings; how frames and code are named is pystack.h's and native.h's.
 */
#include "collector/look/gc_watch.h"
#include "reader_inside.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/libbpf.h>

#include "collector/base/clock.h"
#include "collector/probes/ticks.h"
#include "collector/stacks/native_look.h"
#include "collector/stacks/stack_book.h"


/* Whose stack it was: by the slot of its record if it has one. */
static bool identify(struct reader *r, uint32_t proc, uint32_t slot, uint64_t tstate, struct who *ret)
{
	return slot ? reader_names__of_slot(r, proc, slot, ret) : reader_names__of_tstate(r, proc, tstate, ret);
}

/* ---- what lasts long ---- */

/* Those who waited for that GIL at that moment, and wait on, by name. */
static void name_victims(struct reader *r, const struct gil_stack_event *event, struct long_event *told)
{
	struct who who = {0};

	for (uint32_t slot = r->first[event->proc]; slot; slot = r->next[slot]) {
		const struct gil_thread *t = probes__thread(r->probes, slot);
		uint64_t since = t->cur.wait_since;

		if (t->state == GIL_THREAD_LIVE && t->gil == event->gil && since && since <= event->at &&
		    reader_names__of_slot(r, event->proc, slot, &who))
			long_event__add_victim(told, who.name);
	}
	long_event__count_victims(told);
}

/* Who and which stack, for those who want to know at once. */
static void tell_long(struct reader *r, const struct gil_stack_event *e)
{
	const struct gil_proc *proc = probes__proc(r->probes, e->proc);
	struct long_event told = {
		.gil = (uint32_t)proc->gil_owner[e->gil % GIL_PER_PROC].id,
		.wait = e->what == GIL_STACK_WAIT_LASTS || e->what == GIL_STACK_WAIT_ENDED,
		.ended = e->what == GIL_STACK_HOLD_ENDED || e->what == GIL_STACK_WAIT_ENDED, .waiters = e->waiters,
		.at_ns = e->at, .since_ns = e->since, .waited_ns = e->waited_ns,
		.stack = stack_book__find(r->stacks.book, e->hash),
	};
	struct who who = {.name = ""}, waiter = {.name = ""};
	const struct native_chain *native = told.stack ? native_tally__winner(told.stack->native) : NULL;

	told.native = native ? native->name : NULL;
	reader_slots__list(r, r->listed_bound);
	if (!identify(r, e->proc, e->slot, e->tstate, &who))
		who = (struct who){.name = ""};
	if (e->what == GIL_STACK_WAIT_LASTS && reader_names__of_slot(r, e->proc, e->other, &waiter)) {
		told.holder = who.key;
		snprintf(told.holder_name, sizeof(told.holder_name), "%s", who.name);
		who = waiter;
	}
	if (e->what == GIL_STACK_HOLD_LASTS)
		name_victims(r, e, &told);
	told.thread = who.key;
	snprintf(told.name, sizeof(told.name), "%s", who.name);
	r->stacks.on_long(r->stacks.on_long_arg, e->proc, &told);
}

/* ---- out of the rings ---- */

/* Native code, of stacks that are known by now. */
static void take_samples(struct reader *r)
{
	ring_buffer__consume(r->stacks.native_ring);
}

/* Where in the interpreter it is says little of a collection, which lasts for long and is in every interpreter elsewhere. */
static bool name_code(const struct reader *r, struct watch *w, const struct gil_native_event *e, struct native_chain *ret)
{
	bool its = e->collecting == GIL_GC_ITS ||
		   (e->collecting == GIL_GC_GOES_ON && w->gc &&
		    gc_watch__collects(w->gc, probes__thread(r->probes, e->slot)->tstate));

	if (its) {
		*ret = (struct native_chain){.name = GC_NAME, .line = GC_NAME};
		return true;
	}
	return w->native && native__name(w->native, e->at, &e->regs, e->stack, e->stack_len, ret);
}

static int take_native(void *ctx, void *data, size_t size)
{
	const struct gil_native_event *e = data;
	struct reader *r = ctx;
	struct native_chain chain;
	struct watch *w;

	if (size < sizeof(*e) || e->proc >= r->watches_n || !r->watches[e->proc].used || e->slot >= r->slots_n ||
	    e->stack_len > sizeof(e->stack))
		return 0;
	w = &r->watches[e->proc];
	if (!w->native)
		w->native = native__new(r->stacks.native_files, probes__pid(r->probes, e->proc));
	if (name_code(r, w, e, &chain))
		stack_book__saw_native(r->stacks.book, e->hash, &chain);
	return 0;
}

void reader__place(struct reader *r, uint32_t slot, uint64_t tstate, char *buf, size_t size)
{
	struct pystack *stacks = r->watches[slot].stacks;
	struct pysymbol symbol;
	struct gil_frame frame;
	bool more;

	buf[0] = '\0';
	if (stacks && tstate && pystack__walk_still(stacks, tstate, &frame, 1, &more) == 1 &&
	    pystack__symbol(stacks, &frame, &symbol))
		pystack__describe(&symbol, buf, size);
}

void reader__see_native(struct reader *r, uint32_t slot, uint32_t gil, pid_t tid)
{
	uint64_t hash = probes__gil(r->probes, slot, gil)->account.last_hash;
	struct watch *w = &r->watches[slot];
	struct native_chain chain;
	struct native_look look;

	if (!r->stacks.on || !hash)
		return;
	if (!w->native)
		w->native = native__new(r->stacks.native_files, probes__pid(r->probes, slot));
	if (w->native && native_look__take_asleep(probes__pid(r->probes, slot), tid, &look) &&
	    native__name(w->native, clock__mono_ns(), &look.regs, look.stack, look.stack_len, &chain))
		stack_book__saw_native(r->stacks.book, hash, &chain);
}

/* Frames are named at once: code objects may be freed. */
static int take_stack(void *ctx, void *data, size_t size)
{
	const struct gil_stack_event *e = data;
	struct reader *r = ctx;

	if (size < offsetof(struct gil_stack_event, frames) || e->proc >= r->watches_n || !r->watches[e->proc].used ||
	    e->depth > GIL_STACK_DEPTH || size < offsetof(struct gil_stack_event, frames) + e->depth * sizeof(e->frames[0]))
		return 0;
	if (e->depth || e->what != GIL_STACK_HOLD_ENDED)
		stack_book__learn(r->stacks.book, e, r->watches[e->proc].stacks);
	if (e->what != GIL_STACK_SEEN)
		take_samples(r);
	if (e->what != GIL_STACK_SEEN && r->stacks.on_long)
		tell_long(r, e);
	return 0;
}

int reader_stacks__drain(struct reader *r)
{
	int n;

	if (!r->stacks.on)
		return 0;
	n = ring_buffer__consume(r->stacks.ring);
	if (n >= 0)
		take_samples(r);
	return n < 0 ? n : 0;
}

/* Takes the sums first, then the frames: those of each sum have been sent before it. */
int reader_stacks__read(struct reader *r, uint64_t bound)
{
	struct stack_side *s = &r->stacks;
	int err;

	if (!s->on || s->sums_bound == bound)
		return 0;
	s->sums_bound = bound;
	err = stack_sums__take(&s->sums, s->sums_fd, s->sums_max);
	err = tick_sums__take(&s->tick_sums, s->ticks_fd, s->ticks_max, bound) ?: err;
	ring_buffer__consume(s->ring);
	take_samples(r);
	return err;
}

/* ---- into the sample ---- */

struct stack_owner {
	uint32_t thread; /* index in the sample */
	struct thread_key key;
	const char *name;
};

/* A whole stack's part in the interval: to the sample, and to who wants each. */
static int give_stack(struct collection *c, const struct stack_owner *owner, const char *line, const struct stack_weights *w)
{
	const struct stack_side *s = &c->r->stacks;

	if (s->on_stack)
		s->on_stack(s->on_stack_arg, c->slot, &(struct stack_time){
			.thread = owner->key, .name = owner->name, .line = line,
			.hold_ns = w->hold_ns, .blame_ns = w->blame_ns, .wait_ns = w->wait_ns,
		});
	return stack_cells__add(&c->sample->stacks, owner->thread, line[0] ? line : "(no Python code)", w, STACK_CELLS);
}

/* C code stands inside the innermost Python frame, but only for what it did: a wait is not its. */
static int give_stacks(struct collection *c, const struct stack_owner *owner, const struct stack_text *text,
		       const struct native_chain *native, const struct stack_part *part)
{
	struct stack_weights held = {.hold_ns = part->hold_ns, .blame_ns = part->blame_ns}, waited = {.wait_ns = part->wait_ns};
	const char *line = text ? text->line : "?";
	char longer[STACK_TEXT_MAX + NATIVE_LINE_SIZE];

	if (!native || !(held.hold_ns + held.blame_ns)) {
		stack_weights__add(&held, &waited);
		return give_stack(c, owner, line, &held);
	}
	snprintf(longer, sizeof(longer), "%s;%s", line[0] ? line : "(no Python code)", native->line);
	return give_stack(c, owner, longer, &held) ?: waited.wait_ns ? give_stack(c, owner, line, &waited) : 0;
}

int reader_stacks__give(struct collection *c, uint32_t thread, uint64_t hash, const struct stack_part *part)
{
	const struct stack_text *text = stack_book__find(c->r->stacks.book, hash);
	const struct native_chain *native = text ? native_tally__winner(text->native) : NULL;
	const struct thread_sample *t = &c->sample->threads[thread];
	const struct stack_owner owner = {thread, t->key, t->name};
	struct code_cell cell = {
		.thread = thread, .hold_ns = part->hold_ns, .blame_ns = part->blame_ns, .wait_ns = part->wait_ns,
		.over_ns = part->over_ns,
		.hold_off = part->hold_off, .blame_off = part->blame_off, .times = (uint32_t)(part->times + part->ticks),
		.ticks = part->ticks,
	};

	if (give_stacks(c, &owner, text, native, part))
		return -ENOMEM;
	if (text)
		code_cell__set_place(&cell, text->leaf.function, text->leaf.file, text->leaf.line, text->leaf.firstlineno);
	else
		code_cell__set_place(&cell, "?", "", 0, 0);
	code_cell__set_caller(&cell, text ? text->caller : "");
	code_cell__set_native(&cell, native ? native->name : NULL);
	return proc_sample__add_code(c->sample, &cell, SIZE_MAX);
}

/* Ticks tell of this thread's holds. In an interval in which they did not, it hardly held, or its end was told before. */
static bool is_ticked(const struct collection *c, uint32_t slot)
{
	const struct memo *m = slot && slot < c->r->slots_n ? c->r->memos[slot] : NULL;

	return c->proc.mode == GIL_MODE_FULL && m && m->ticked;
}

/* What waits and retries have seen. Of a thread that has ticks, they say what it was in when it held. */
static int add_sum(struct collection *c, const struct gil_stack_key *key, const struct gil_stack_sum *sum, const bool *ticked,
		   size_t ticked_n)
{
	uint32_t gil = key->slot && key->slot < c->r->slots_n ? probes__thread(c->r->probes, key->slot)->gil : 0;
	struct stack_part part = {
		.hold_ns = sum->hold_ns, .blame_ns = sum->blame_ns, .wait_ns = sum->wait_ns, .over_ns = sum->over_ns,
		.times = sum->times,
	};
	struct who who = {0};
	bool known = identify(c->r, c->slot, key->slot, key->tstate, &who);
	long thread = collection__thread(c, known ? &who : NULL, gil);

	if (thread < 0)
		return -ENOMEM;
	if (((size_t)thread < ticked_n && ticked[thread]) || is_ticked(c, key->slot))
		part.hold_ns = part.blame_ns = 0;
	part.hold_off.ns[GIL_OFF_UNSEEN] = part.hold_ns;
	part.blame_off.ns[GIL_OFF_UNSEEN] = part.blame_ns;
	return part.hold_ns + part.blame_ns + part.wait_ns + part.over_ns ?
	       reader_stacks__give(c, (uint32_t)thread, key->hash, &part) : 0;
}

static uint64_t less(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

/* Of what was held and waited, all that is in no place. */
static void note_rest(struct proc_sample *s)
{
	struct stack_weights rest = {0};

	for (size_t i = 0; i < s->threads_n; i++)
		rest.hold_ns += s->threads[i].m.hold_ns;
	for (size_t i = 0; i < s->blame_n; i++)
		rest.blame_ns += s->blame[i].ns;
	for (size_t i = 0; i < s->code_n; i++) {
		rest.hold_ns = less(rest.hold_ns, s->code[i].hold_ns);
		rest.blame_ns = less(rest.blame_ns, s->code[i].blame_ns);
	}
	s->code_rest.hold_ns += rest.hold_ns;
	s->code_rest.blame_ns += rest.blame_ns;
	stack_weights__add(&s->stacks.rest, &rest);
}

int reader_stacks__add(struct collection *c)
{
	const struct stack_sums *sums = &c->r->stacks.sums;
	bool *ticked = NULL;
	size_t ticked_n;
	int err;

	c->sample->code_known = c->watch->stacks != NULL;
	if (!c->r->stacks.on)
		return 0;
	err = reader_ticks__add(c, &ticked);
	ticked_n = c->sample->threads_n;
	for (size_t i = 0; !err && i < sums->n; i++)
		if (sums->keys[i].proc == c->slot)
			err = add_sum(c, &sums->keys[i], &sums->values[i], ticked, ticked_n);
	free(ticked);
	if (!err && c->sample->code_known && c->proc.mode == GIL_MODE_FULL)
		note_rest(c->sample);
	return err ?: proc_sample__cap_code(c->sample, CODE_CELLS);
}

/* ---- setting up ---- */

void reader__on_stack(struct reader *r, void (*on_stack)(void *arg, uint32_t slot, const struct stack_time *s), void *arg)
{
	r->stacks.on_stack = on_stack;
	r->stacks.on_stack_arg = arg;
}

void reader__on_long(struct reader *r, void (*on_long)(void *arg, uint32_t slot, const struct long_event *e), void *arg)
{
	r->stacks.on_long = on_long;
	r->stacks.on_long_arg = arg;
}

int reader_stacks__watch(struct reader *r, uint32_t slot)
{
	struct watch *w = &r->watches[slot];

	if (r->stacks.on)
		ticks__follow(r->stacks.ticks, probes__pid(r->probes, slot));
	return r->stacks.on && pystack__new(probes__pid(r->probes, slot), &w->off, &w->stacks) == -ENOMEM ? -ENOMEM : 0;
}

static void forget_names(struct watch *w)
{
	pystack__free(w->stacks);
	native__free(w->native);
	w->stacks = NULL;
	w->native = NULL;
}

void reader_stacks__forget(struct reader *r, uint32_t slot)
{
	forget_names(&r->watches[slot]);
	if (r->stacks.ticks)
		ticks__forget(r->stacks.ticks, probes__pid(r->probes, slot));
	if (r->stacks.book)
		stack_book__forget(r->stacks.book, slot);
}

static int open_rings(struct reader *r, const struct stack_tables *tables)
{
	struct stack_side *s = &r->stacks;

	s->native_ring = ring_buffer__new(tables->native_fd, take_native, r, NULL);
	s->ring = s->native_ring ? ring_buffer__new(tables->events_fd, take_stack, r, NULL) : NULL;
	return s->ring ? 0 : -errno;
}

int reader_stacks__open(struct reader *r, const struct stack_tables *tables)
{
	struct stack_side *s = &r->stacks;

	s->on = true;
	s->sums_fd = tables->sums_fd;
	s->sums_max = tables->sums_max;
	s->book = stack_book__new();
	s->native_files = native_files__new();
	s->ticks_fd = tables->ticks_fd;
	s->ticks_max = tables->ticks_max;
	s->tick_ns = tables->tick_ns ? tables->tick_ns : TICKS_USUAL_NS;
	s->ticks = ticks__new(tables->sampler_fd, probes__planter(r->probes), probes__features(r->probes)->timer_why, s->tick_ns);
	return s->book && s->native_files && s->ticks ? open_rings(r, tables) : -ENOMEM;
}

void reader_stacks__close(struct reader *r)
{
	struct stack_side *s = &r->stacks;

	ring_buffer__free(s->ring);
	ring_buffer__free(s->native_ring);
	ticks__free(s->ticks);
	stack_book__free(s->book);
	stack_sums__clear(&s->sums);
	tick_sums__clear(&s->tick_sums);
	for (uint32_t slot = 0; r->watches && slot < r->watches_n; slot++)
		forget_names(&r->watches[slot]);
	native_files__free(s->native_files);
	*s = (struct stack_side){0};
}
