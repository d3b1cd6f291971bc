/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Records of the trace's ring buffer in any order: who acquires what is owned, releases what nobody has, waits twice, collects
 * without an end, ends while holding; events lost between any two, hand-offs told late. Whatever comes, what is drawn is
 * possible: no slice is longer than the recording, none of a thread's overlap, a GIL has one holder at a time, collections lie
 * in holds, and the number of waiters is that of the waits that are open.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "collector/analysis/trace.h"

#define GILS 2
#define THREADS 4
#define EVENTS_MAX 512
#define SLICES_MAX (4 * EVENTS_MAX)
#define WAITS (THREADS + 1) /* at a time: of each thread, and who is kept for a hand-off */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct drawn {
	struct trace_slice slices[SLICES_MAX];
	size_t n;
	uint64_t lost, end;
};

static void expect(int truth)
{
	if (!truth)
		abort();
}

static void see_slice(void *arg, const struct trace_slice *s)
{
	struct drawn *d = arg;

	expect(d->n < SLICES_MAX && s->from <= s->to && s->to <= d->end && s->gil < GILS);
	d->slices[d->n++] = *s;
}

static void see_flow(void *arg, const struct trace_flow *f)
{
	const struct drawn *d = arg;

	expect(f->from_tid != f->to_tid && f->from_at <= f->to_at && f->to_at <= d->end);
}

static void see_waiters(void *arg, uint32_t gil, uint64_t at, uint32_t n)
{
	const struct drawn *d = arg;

	expect(gil < GILS && at <= d->end && n <= WAITS);
}

static void see_loss(void *arg, uint32_t gil, uint64_t from, uint64_t to, uint64_t n)
{
	struct drawn *d = arg;

	expect(gil < GILS && from <= to && to <= d->end);
	d->lost += n; /* none: it was not observed */
}

static int overlap(const struct trace_slice *a, const struct trace_slice *b)
{
	return a->gil == b->gil && a->from < b->to && b->from < a->to;
}

static void check_pair(const struct trace_slice *a, const struct trace_slice *b)
{
	if (!overlap(a, b) || a->state != b->state)
		return;
	expect(a->state != TRACE_HELD && a->tid != b->tid); /* one holder; one wait of a thread */
}

static int lies_in_a_hold(const struct drawn *d, const struct trace_slice *s)
{
	for (size_t i = 0; i < d->n; i++)
		if (d->slices[i].state == TRACE_HELD && d->slices[i].gil == s->gil && d->slices[i].tid == s->tid &&
		    d->slices[i].from <= s->from && s->to <= d->slices[i].to)
			return 1;
	return 0;
}

static void check(const struct drawn *d)
{
	for (size_t i = 0; i < d->n; i++) {
		for (size_t k = 0; k < i; k++)
			check_pair(&d->slices[i], &d->slices[k]);
		expect(d->slices[i].state != TRACE_COLLECTING || d->slices[i].from == d->slices[i].to ||
		       lies_in_a_hold(d, &d->slices[i]));
	}
}

/* Four bytes each: what, of whom and where, how much later, how much is lost. */
static struct gil_trace_event make(const uint8_t *from, uint64_t *now, uint32_t *lost)
{
	struct gil_trace_event e = {
		.kind = from[0] % 16, .flags = from[0] >> 4, .tid = 1 + from[1] % THREADS, .gil = from[1] >> 4 & (GILS - 1),
	};

	*now += from[2] / 2;
	lost[e.gil] += from[3] & 0x80 ? from[3] & 0x7f : 0;
	e.at = e.kind == GIL_TRACE_HANDOFF ? *now - from[2] / 2 : *now;
	e.lost = lost[e.gil];
	return e;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct drawn drawn;
	const struct trace_out out = {
		.arg = &drawn, .slice = see_slice, .flow = see_flow, .waiters = see_waiters, .loss = see_loss,
	};
	uint32_t lost[GILS] = {0};
	uint64_t now = 1u << 20, told = 0;
	struct trace *t = trace__new(&out);

	drawn.n = 0;
	drawn.lost = 0;
	drawn.end = now + 128u * EVENTS_MAX;
	if (!t)
		return 0;
	for (size_t i = 0; i + 4 <= size && i < 4 * EVENTS_MAX; i += 4) {
		struct gil_trace_event e = make(data + i, &now, lost);

		expect(trace__event(t, &e) == 0);
		told++;
	}
	trace__close(t);
	expect(trace__lost(t) == drawn.lost && trace__events(t) <= told);
	check(&drawn);
	trace__free(t);
	return 0;
}
