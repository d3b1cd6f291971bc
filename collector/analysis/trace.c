/* SPDX-License-Identifier: GPL-2.0-only */
/* See trace.h. */
#include "trace.h"

#include <errno.h>
#include <stdlib.h>

#include "collector/base/keymap.h"

enum owner {
	OWNER_UNKNOWN, /* no event told yet, or the event that would have is lost */
	OWNER_FREE,
	OWNER_HELD,
};

/* Something of a thread that is open; `since` 0: it is not. */
struct open_slice {
	uint64_t since;
	enum trace_edge begin;
};

/* One GIL. */
struct gil {
	uint32_t id;
	bool ended;
	uint64_t last_at;         /* of its newest event */
	uint32_t lost;            /* as the newest event says */
	uint64_t unobserved_ns;
	enum owner owner;
	uint32_t owner_tid;       /* UNKNOWN: who seemed to hold it when recording began, 0: nobody */
	struct open_slice hold;   /* UNKNOWN: where one begins that an event tells of later */
	uint64_t hole_end;        /* of the newest hole, 0: there was none */
	uint32_t released_by;     /* the newest release, 0: none since the last hole */
	uint64_t released_at;
	uint32_t handoff_tid;     /* 0: nobody is being kept */
	struct open_slice handoff;
	uint32_t waiters;
	uint64_t waiters_at;      /* when that was last told */
};

/* One thread on one GIL. */
struct waiter {
	uint32_t gil; /* index */
	uint32_t tid;
	struct open_slice wait;
	uint64_t seen_at; /* when it last acquired, or its wait ended; 0: never yet */
	bool collects;
	struct open_slice collecting; /* open while it has the GIL, too */
};

struct trace {
	struct trace_out out;
	uint64_t end; /* UINT64_MAX: not known yet */
	uint64_t events, lost;
	struct gil *gils;
	size_t gils_n;
	struct waiter *waiters;
	size_t waiters_n;
	struct keymap gil_index, waiter_index; /* by id; by GIL's index and tid */
};

struct trace *trace__new(const struct trace_out *out)
{
	struct trace *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->out = *out;
	t->end = UINT64_MAX;
	return t;
}

void trace__free(struct trace *t)
{
	if (!t)
		return;
	keymap__free(&t->gil_index);
	keymap__free(&t->waiter_index);
	free(t->gils);
	free(t->waiters);
	free(t);
}

uint64_t trace__events(const struct trace *t)
{
	return t->events;
}

uint64_t trace__lost(const struct trace *t)
{
	return t->lost;
}

uint64_t trace__unobserved_ns(const struct trace *t)
{
	uint64_t most = 0;

	for (size_t i = 0; i < t->gils_n; i++)
		if (t->gils[i].unobserved_ns > most)
			most = t->gils[i].unobserved_ns;
	return most;
}

/* ---- who and where ---- */

/* A GIL that was not there at the beginning is known from its first event on. NULL: no memory. */
static struct gil *gil_of(struct trace *t, const struct gil_trace_event *e)
{
	uint32_t index = keymap__get(&t->gil_index, e->gil, 0);
	struct gil *gils;

	if (index != KEYMAP_NONE)
		return &t->gils[index];
	gils = reallocarray(t->gils, t->gils_n + 1, sizeof(*gils));
	if (!gils)
		return NULL;
	t->gils = gils;
	if (keymap__put(&t->gil_index, e->gil, 0, (uint32_t)t->gils_n))
		return NULL;
	gils[t->gils_n] = (struct gil){
		.id = e->gil, .last_at = e->at, .waiters_at = e->at, .hold = {.since = e->at, .begin = EDGE_FIRST},
	};
	return &gils[t->gils_n++];
}

/* *ret_first: it is seen for the first time. NULL: no memory. */
static struct waiter *waiter_of(struct trace *t, const struct gil *g, uint32_t tid, bool *ret_first)
{
	uint32_t gil = (uint32_t)(g - t->gils), index = keymap__get(&t->waiter_index, gil, tid);
	struct waiter *waiters;

	*ret_first = index == KEYMAP_NONE;
	if (!*ret_first)
		return &t->waiters[index];
	waiters = reallocarray(t->waiters, t->waiters_n + 1, sizeof(*waiters));
	if (!waiters)
		return NULL;
	t->waiters = waiters;
	if (keymap__put(&t->waiter_index, gil, tid, (uint32_t)t->waiters_n))
		return NULL;
	waiters[t->waiters_n] = (struct waiter){.gil = gil, .tid = tid};
	return &waiters[t->waiters_n++];
}

/* ---- what comes out ---- */

static void put_slice(struct trace *t, const struct gil *g, enum trace_state state, uint32_t tid, const struct open_slice *open,
		      uint64_t to, enum trace_edge end, bool forced)
{
	struct trace_slice s = {
		.state = state, .gil = g->id, .tid = tid, .from = open->since, .to = to, .begin = open->begin, .end = end,
		.forced = forced,
	};

	/* Of a slice that was cut to nothing there is nothing to be said. */
	if (to > s.from || (to == s.from && s.begin == EDGE_SEEN && end == EDGE_SEEN))
		t->out.slice(t->out.arg, &s);
}

/* A hand-off is told of with its own clock (no mutex): the counter does not go back for it. */
static void count_waiters(struct trace *t, struct gil *g, uint64_t at, int change)
{
	if (change < 0 && !g->waiters)
		return;
	g->waiters += (uint32_t)change;
	if (at > g->waiters_at)
		g->waiters_at = at;
	t->out.waiters(t->out.arg, g->id, g->waiters_at, g->waiters);
}

static void end_wait(struct trace *t, struct gil *g, struct waiter *w, uint64_t at, enum trace_edge end)
{
	if (!w->wait.since)
		return;
	put_slice(t, g, TRACE_WAITING, w->tid, &w->wait, at, end, false);
	w->wait.since = 0;
	w->seen_at = at;
	count_waiters(t, g, at, -1);
}

static void end_handoff(struct trace *t, struct gil *g, uint64_t at, enum trace_edge end)
{
	if (!g->handoff_tid)
		return;
	put_slice(t, g, TRACE_HANDOFF, g->handoff_tid, &g->handoff, at, end, false);
	g->handoff_tid = 0;
	count_waiters(t, g, at, -1);
}

/* For now, or for good: that is the caller's to say. */
static void end_collecting(struct trace *t, struct gil *g, struct waiter *w, uint64_t at, enum trace_edge end)
{
	if (w->collecting.since)
		put_slice(t, g, TRACE_COLLECTING, w->tid, &w->collecting, at, end, false);
	w->collecting.since = 0;
}

static void end_hold(struct trace *t, struct gil *g, uint32_t tid, uint64_t at, enum trace_edge end, bool forced)
{
	uint32_t index = keymap__get(&t->waiter_index, (uint32_t)(g - t->gils), g->owner_tid);

	if (index != KEYMAP_NONE)
		end_collecting(t, g, &t->waiters[index], at, end);
	put_slice(t, g, TRACE_HELD, tid, &g->hold, at, end, forced);
	g->owner = OWNER_FREE;
}

/* Everything that is open ends here, whoever's it is. */
static void cut_all(struct trace *t, struct gil *g, uint64_t at, enum trace_edge end)
{
	uint32_t index = (uint32_t)(g - t->gils);

	end_handoff(t, g, at, end);
	for (size_t i = 0; i < t->waiters_n; i++)
		if (t->waiters[i].gil == index) {
			end_wait(t, g, &t->waiters[i], at, end);
			end_collecting(t, g, &t->waiters[i], at, end);
			t->waiters[i].collects = false;
		}
	if (g->owner == OWNER_HELD || (g->owner == OWNER_UNKNOWN && g->owner_tid))
		end_hold(t, g, g->owner_tid, at, end, false);
	g->owner = OWNER_UNKNOWN;
	g->owner_tid = 0;
	g->released_by = 0;
}

/* Nobody knows what went on between the event before and `e`: what is known begins anew. How long that is. */
static uint64_t leave_out(struct trace *t, struct gil *g, const struct gil_trace_event *e, uint32_t missing)
{
	uint64_t from = g->last_at, to = e->at > from ? e->at : from;

	cut_all(t, g, from, EDGE_LOSS);
	g->hold = (struct open_slice){.since = to, .begin = EDGE_LOSS};
	g->hole_end = to;
	g->lost = e->lost;
	t->lost += missing;
	t->out.loss(t->out.arg, g->id, from, to, missing);
	return to - from;
}

/* Some events before `e` are missing; or nobody was there to see, and the count of those missing goes on from what it is then. */
static void cross_hole(struct trace *t, struct gil *g, const struct gil_trace_event *e)
{
	if (e->kind == GIL_TRACE_GAP)
		g->unobserved_ns += leave_out(t, g, e, 0);
	else if (e->lost != g->lost)
		leave_out(t, g, e, e->lost - g->lost);
}

/* ---- the events ---- */

static void on_start(struct gil *g, const struct gil_trace_event *e)
{
	if (g->owner != OWNER_UNKNOWN) /* its events know better */
		return;
	g->owner_tid = e->tid;
	g->hold = (struct open_slice){.since = e->at, .begin = EDGE_RECORDING};
}

static int on_wait(struct trace *t, struct gil *g, const struct gil_trace_event *e)
{
	bool first;
	struct waiter *w = waiter_of(t, g, e->tid, &first);

	if (!w)
		return -ENOMEM;
	/* It waits for nobody to succeed it any more (woken without reason): what now is, counts. */
	if (g->handoff_tid == e->tid)
		end_handoff(t, g, e->at, EDGE_SEEN);
	if (w->wait.since)
		return 0;
	w->wait = (struct open_slice){.since = e->at, .begin = first ? EDGE_FIRST : EDGE_SEEN};
	count_waiters(t, g, e->at, 1);
	return 0;
}

/* From the holder that let go to the waiter that has it now. */
static void put_flow(struct trace *t, const struct gil *g, const struct waiter *w, uint64_t at)
{
	struct trace_flow f = {
		.gil = g->id, .from_tid = g->released_by, .to_tid = w->tid, .from_at = g->released_at - 1, .to_at = at - 1,
	};

	if (g->released_by && g->released_by != w->tid && w->wait.since && w->wait.since < g->released_at)
		t->out.flow(t->out.arg, &f);
}

static int on_acquired(struct trace *t, struct gil *g, const struct gil_trace_event *e)
{
	bool first;
	struct waiter *w = waiter_of(t, g, e->tid, &first);

	if (!w)
		return -ENOMEM;
	/* A release that was never told of, or who seemed to hold it did not. */
	if (g->owner == OWNER_HELD)
		end_hold(t, g, g->owner_tid, e->at, EDGE_LOSS, false);
	end_handoff(t, g, e->at, EDGE_SEEN);
	/* Its wait began in the hole: for the counter that comes too late. Not if it was seen since: it may not twice. */
	if (!w->wait.since && (e->flags & GIL_TRACE_WAITED) && w->seen_at < g->hole_end) {
		w->wait = (struct open_slice){.since = g->hole_end, .begin = EDGE_LOSS};
		count_waiters(t, g, e->at, 1);
	}
	put_flow(t, g, w, e->at);
	end_wait(t, g, w, e->at, EDGE_SEEN);
	w->seen_at = e->at;
	g->owner = OWNER_HELD;
	g->owner_tid = e->tid;
	g->hold = (struct open_slice){.since = e->at, .begin = EDGE_SEEN};
	if (w->collects)
		w->collecting = g->hold;
	return 0;
}

static void on_released(struct trace *t, struct gil *g, const struct gil_trace_event *e)
{
	bool drawn = g->owner != OWNER_FREE && e->at > g->hold.since;

	if (g->owner == OWNER_FREE)
		return;
	if (g->owner == OWNER_HELD && g->owner_tid != e->tid) /* how that hold ended is not known */
		end_hold(t, g, g->owner_tid, e->at, EDGE_LOSS, false);
	else
		end_hold(t, g, e->tid, e->at, EDGE_SEEN, e->flags & GIL_TRACE_FORCED);
	g->released_by = drawn ? e->tid : 0;
	g->released_at = e->at;
}

static void on_handoff(struct trace *t, struct gil *g, const struct gil_trace_event *e)
{
	end_handoff(t, g, e->at, EDGE_LOSS);
	g->handoff_tid = e->tid;
	g->handoff = (struct open_slice){.since = e->at, .begin = EDGE_SEEN};
	count_waiters(t, g, e->at, 1);
}

/* A second beginning: the end of the first was not seen. */
static int on_collection(struct trace *t, struct gil *g, const struct gil_trace_event *e, bool begins)
{
	bool first;
	struct waiter *w = waiter_of(t, g, e->tid, &first);

	if (!w)
		return -ENOMEM;
	end_collecting(t, g, w, e->at, begins ? EDGE_LOSS : EDGE_SEEN);
	w->collects = begins;
	/* Drawn from where it is known to have the GIL: as a part of that hold. */
	if (begins && g->owner == OWNER_HELD && g->owner_tid == e->tid)
		w->collecting = (struct open_slice){.since = e->at, .begin = EDGE_SEEN};
	return 0;
}

static int on_exit_of(struct trace *t, struct gil *g, const struct gil_trace_event *e)
{
	bool first;
	struct waiter *w = waiter_of(t, g, e->tid, &first);

	if (!w)
		return -ENOMEM;
	end_wait(t, g, w, e->at, EDGE_EXIT);
	end_collecting(t, g, w, e->at, EDGE_EXIT);
	w->collects = false;
	if (g->handoff_tid == e->tid)
		end_handoff(t, g, e->at, EDGE_EXIT);
	if (g->owner != OWNER_FREE && g->owner_tid == e->tid)
		end_hold(t, g, e->tid, e->at, EDGE_EXIT, false);
	return 0;
}

static void end_gil(struct trace *t, struct gil *g, uint64_t at)
{
	if (g->ended)
		return;
	cut_all(t, g, at, EDGE_RECORDING);
	g->ended = true;
}

int trace__event(struct trace *t, const struct gil_trace_event *e)
{
	struct gil *g = gil_of(t, e);
	struct gil_trace_event end; /* the event, moved to the end */
	int err = 0;

	if (!g)
		return -ENOMEM;
	if (g->ended)
		return 0;
	if (e->at > t->end) {
		end = *e;
		end.kind = GIL_TRACE_END;
		end.at = t->end;
		e = &end;
	}
	cross_hole(t, g, e);
	t->events += e->kind != GIL_TRACE_START && e->kind != GIL_TRACE_END && e->kind != GIL_TRACE_GAP;
	switch (e->kind) {
	case GIL_TRACE_START:
		on_start(g, e);
		break;
	case GIL_TRACE_WAIT:
		err = on_wait(t, g, e);
		break;
	case GIL_TRACE_ACQUIRED:
		err = on_acquired(t, g, e);
		break;
	case GIL_TRACE_RELEASED:
		on_released(t, g, e);
		break;
	case GIL_TRACE_HANDOFF:
		on_handoff(t, g, e);
		break;
	case GIL_TRACE_EXIT:
		err = on_exit_of(t, g, e);
		break;
	case GIL_TRACE_GC_START:
	case GIL_TRACE_GC_DONE:
		err = on_collection(t, g, e, e->kind == GIL_TRACE_GC_START);
		break;
	case GIL_TRACE_END:
		end_gil(t, g, e->at);
		break;
	}
	if (e->at > g->last_at)
		g->last_at = e->at;
	return err;
}

void trace__end_at(struct trace *t, uint64_t end)
{
	if (end < t->end)
		t->end = end;
}

void trace__close(struct trace *t)
{
	for (size_t i = 0; i < t->gils_n; i++)
		end_gil(t, &t->gils[i], t->gils[i].last_at);
}
