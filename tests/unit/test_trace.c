/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Events to slices to JSON. Single cases by hand; then a random program whose every hold and wait is known, its events with
 * and without holes: what is drawn must be true, and without holes all that is true must be drawn.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "collector/analysis/trace.h"
#include "collector/analysis/trace_json.h"
#include "../support/timeline.h"

#define SLICES_MAX 40000

/* ---- a recorder ---- */

struct seen {
	struct trace_slice slices[SLICES_MAX];
	size_t slices_n, flows_n, losses_n;
	struct trace_flow flow; /* the last */
	uint64_t loss_from, loss_to, lost;
	uint32_t waiters, waiters_max;
};

static struct seen seen;
static struct trace *trace;

static void see_slice(void *arg, const struct trace_slice *s)
{
	cr_assert_lt(seen.slices_n, SLICES_MAX);
	seen.slices[seen.slices_n++] = *s;
}

static void see_flow(void *arg, const struct trace_flow *f)
{
	seen.flow = *f;
	seen.flows_n++;
}

static void see_waiters(void *arg, uint32_t gil, uint64_t at, uint32_t n)
{
	seen.waiters = n;
	if (n > seen.waiters_max)
		seen.waiters_max = n;
}

static void see_loss(void *arg, uint32_t gil, uint64_t from, uint64_t to, uint64_t n)
{
	seen.losses_n++;
	seen.loss_from = from;
	seen.loss_to = to;
	seen.lost += n;
}

static void set_up(void)
{
	static const struct trace_out out = {
		.slice = see_slice, .flow = see_flow, .waiters = see_waiters, .loss = see_loss,
	};

	memset(&seen, 0, sizeof(seen));
	trace = trace__new(&out);
	cr_assert_not_null(trace);
}

static void tear_down(void)
{
	trace__free(trace);
}

TestSuite(trace, .init = set_up, .fini = tear_down);

static void tell_with(enum gil_trace_kind kind, uint64_t at, uint32_t tid, uint8_t flags, uint32_t lost)
{
	struct gil_trace_event e = {.kind = kind, .at = at, .tid = tid, .flags = flags, .lost = lost};

	cr_assert_eq(trace__event(trace, &e), 0);
}

static void tell(enum gil_trace_kind kind, uint64_t at, uint32_t tid)
{
	tell_with(kind, at, tid, 0, 0);
}

static void expect_slice(size_t i, enum trace_state state, uint32_t tid, uint64_t from, uint64_t to, enum trace_edge begin,
			 enum trace_edge end)
{
	const struct trace_slice *s = &seen.slices[i];

	cr_assert_gt(seen.slices_n, i, "there is no slice %zu", i);
	cr_expect(s->state == state && s->tid == tid && s->from == from && s->to == to && s->begin == begin && s->end == end,
		  "slice %zu: state %d, thread %u, %llu to %llu, edges %d and %d", i, s->state, s->tid,
		  (unsigned long long)s->from, (unsigned long long)s->to, s->begin, s->end);
}

/* ---- by hand ---- */

Test(trace, hold_wait_and_handoff_become_slices_and_an_arrow)
{
	tell(GIL_TRACE_START, 100, 0);
	tell(GIL_TRACE_ACQUIRED, 110, 1);
	tell(GIL_TRACE_WAIT, 120, 2);
	tell_with(GIL_TRACE_RELEASED, 150, 1, GIL_TRACE_FORCED, 0);
	tell(GIL_TRACE_HANDOFF, 151, 1);
	tell_with(GIL_TRACE_ACQUIRED, 160, 2, GIL_TRACE_WAITED, 0);
	tell(GIL_TRACE_RELEASED, 180, 2);
	tell(GIL_TRACE_END, 200, 0);
	cr_assert_eq(seen.slices_n, 4);
	expect_slice(0, TRACE_HELD, 1, 110, 150, EDGE_SEEN, EDGE_SEEN);
	cr_expect(seen.slices[0].forced);
	expect_slice(1, TRACE_HANDOFF, 1, 151, 160, EDGE_SEEN, EDGE_SEEN);
	expect_slice(2, TRACE_WAITING, 2, 120, 160, EDGE_FIRST, EDGE_SEEN);
	expect_slice(3, TRACE_HELD, 2, 160, 180, EDGE_SEEN, EDGE_SEEN);
	cr_expect_not(seen.slices[3].forced);
	cr_expect_eq(seen.flows_n, 1);
	cr_expect(seen.flow.from_tid == 1 && seen.flow.to_tid == 2 && seen.flow.from_at == 149 && seen.flow.to_at == 159);
	cr_expect_eq(seen.waiters, 0);
	cr_expect_eq(seen.waiters_max, 2);
	cr_expect_eq(trace__events(trace), 6);
}

Test(trace, what_was_open_at_the_beginning_is_cut_there)
{
	tell(GIL_TRACE_START, 100, 9);
	tell(GIL_TRACE_WAIT, 120, 2);
	tell(GIL_TRACE_RELEASED, 150, 1); /* not who seemed to hold it */
	tell_with(GIL_TRACE_ACQUIRED, 160, 2, GIL_TRACE_WAITED, 0);
	expect_slice(0, TRACE_HELD, 1, 100, 150, EDGE_RECORDING, EDGE_SEEN);
	expect_slice(1, TRACE_WAITING, 2, 120, 160, EDGE_FIRST, EDGE_SEEN);
	cr_expect_eq(seen.flows_n, 1);
}

/* A finalizer lets go in the middle; of another one the end is lost; a third goes on at the end. */
Test(trace, collections_are_drawn_inside_of_holds)
{
	tell(GIL_TRACE_START, 100, 0);
	tell(GIL_TRACE_GC_DONE, 105, 1); /* it began before */
	tell(GIL_TRACE_ACQUIRED, 110, 1);
	tell(GIL_TRACE_GC_START, 120, 1);
	tell(GIL_TRACE_RELEASED, 130, 1);
	tell(GIL_TRACE_ACQUIRED, 140, 1);
	tell(GIL_TRACE_GC_DONE, 150, 1);
	tell(GIL_TRACE_GC_START, 160, 1);
	tell(GIL_TRACE_GC_START, 170, 1);
	tell(GIL_TRACE_GC_DONE, 180, 1);
	tell(GIL_TRACE_GC_START, 190, 1);
	tell(GIL_TRACE_END, 200, 0);
	cr_assert_eq(seen.slices_n, 7);
	expect_slice(0, TRACE_COLLECTING, 1, 120, 130, EDGE_SEEN, EDGE_SEEN);
	expect_slice(1, TRACE_HELD, 1, 110, 130, EDGE_SEEN, EDGE_SEEN);
	expect_slice(2, TRACE_COLLECTING, 1, 140, 150, EDGE_SEEN, EDGE_SEEN);
	expect_slice(3, TRACE_COLLECTING, 1, 160, 170, EDGE_SEEN, EDGE_LOSS);
	expect_slice(4, TRACE_COLLECTING, 1, 170, 180, EDGE_SEEN, EDGE_SEEN);
	expect_slice(5, TRACE_COLLECTING, 1, 190, 200, EDGE_SEEN, EDGE_RECORDING);
	expect_slice(6, TRACE_HELD, 1, 140, 200, EDGE_SEEN, EDGE_RECORDING);
}

Test(trace, what_is_open_at_the_end_is_cut_there)
{
	tell(GIL_TRACE_START, 100, 0);
	tell(GIL_TRACE_ACQUIRED, 110, 1);
	tell(GIL_TRACE_RELEASED, 120, 1);
	tell(GIL_TRACE_HANDOFF, 121, 1);
	tell(GIL_TRACE_WAIT, 122, 2);
	tell(GIL_TRACE_WAIT, 123, 3);
	trace__end_at(trace, 200);
	tell(GIL_TRACE_WAIT, 300, 4);     /* too late */
	tell(GIL_TRACE_ACQUIRED, 310, 2);
	tell(GIL_TRACE_END, 200, 0);
	cr_assert_eq(seen.slices_n, 4);
	expect_slice(1, TRACE_HANDOFF, 1, 121, 200, EDGE_SEEN, EDGE_RECORDING);
	expect_slice(2, TRACE_WAITING, 2, 122, 200, EDGE_FIRST, EDGE_RECORDING);
	expect_slice(3, TRACE_WAITING, 3, 123, 200, EDGE_FIRST, EDGE_RECORDING);
	cr_expect_eq(seen.waiters, 0);
}

Test(trace, hold_without_any_event_is_that_of_who_seemed_to_have_it)
{
	tell(GIL_TRACE_START, 100, 7);
	tell(GIL_TRACE_END, 200, 0);
	cr_assert_eq(seen.slices_n, 1);
	expect_slice(0, TRACE_HELD, 7, 100, 200, EDGE_RECORDING, EDGE_RECORDING);
}

Test(trace, who_seemed_to_hold_it_did_not_where_another_acquires)
{
	tell(GIL_TRACE_START, 100, 7);
	tell(GIL_TRACE_ACQUIRED, 130, 1);
	tell(GIL_TRACE_RELEASED, 140, 1);
	tell(GIL_TRACE_END, 200, 0);
	cr_assert_eq(seen.slices_n, 1);
	expect_slice(0, TRACE_HELD, 1, 130, 140, EDGE_SEEN, EDGE_SEEN);
}

Test(trace, nothing_spans_a_hole)
{
	tell(GIL_TRACE_START, 100, 0);
	tell(GIL_TRACE_ACQUIRED, 110, 1);
	tell(GIL_TRACE_WAIT, 120, 2);
	/* Three are missing: who knows. */
	tell_with(GIL_TRACE_WAIT, 150, 3, 0, 3);
	tell_with(GIL_TRACE_RELEASED, 160, 4, 0, 3);
	tell_with(GIL_TRACE_ACQUIRED, 170, 2, GIL_TRACE_WAITED, 3);
	tell_with(GIL_TRACE_END, 200, 0, 0, 3);
	cr_expect_eq(seen.losses_n, 1);
	cr_expect(seen.loss_from == 120 && seen.loss_to == 150 && seen.lost == 3);
	cr_expect_eq(trace__lost(trace), 3);
	cr_assert_eq(seen.slices_n, 5);
	expect_slice(0, TRACE_HELD, 1, 110, 120, EDGE_SEEN, EDGE_LOSS);
	expect_slice(1, TRACE_HELD, 4, 150, 160, EDGE_LOSS, EDGE_SEEN);
	expect_slice(3, TRACE_WAITING, 3, 150, 200, EDGE_FIRST, EDGE_RECORDING);
	expect_slice(4, TRACE_HELD, 2, 170, 200, EDGE_SEEN, EDGE_RECORDING);
	/* It waits since before: known from the first event behind the hole on. */
	expect_slice(2, TRACE_WAITING, 2, 150, 170, EDGE_LOSS, EDGE_SEEN);
	cr_expect_eq(seen.flows_n, 1);
}

Test(trace, hole_at_the_end_is_found)
{
	tell(GIL_TRACE_START, 100, 0);
	tell(GIL_TRACE_ACQUIRED, 110, 1);
	tell_with(GIL_TRACE_END, 200, 0, 0, 5);
	cr_expect(seen.loss_from == 110 && seen.loss_to == 200 && seen.lost == 5);
	cr_expect_eq(seen.slices_n, 0, "the hold lasted for no time that is known");
}

/* The probes were away: who held the GIL when they came back shows at its release. */
Test(trace, nothing_spans_a_time_without_probes)
{
	tell(GIL_TRACE_START, 100, 0);
	tell_with(GIL_TRACE_ACQUIRED, 110, 1, 0, 7);
	tell_with(GIL_TRACE_WAIT, 120, 2, 0, 7);
	tell_with(GIL_TRACE_GAP, 500, 0, 0, 0);
	tell(GIL_TRACE_RELEASED, 520, 3);
	tell(GIL_TRACE_ACQUIRED, 530, 1);
	tell(GIL_TRACE_END, 600, 0);
	cr_expect_eq(seen.losses_n, 2, "the seven, and the gap");
	cr_expect(seen.loss_from == 120 && seen.loss_to == 500 && seen.lost == 7);
	cr_expect_eq(trace__lost(trace), 7);
	cr_expect_eq(trace__unobserved_ns(trace), 380);
	cr_assert_eq(seen.slices_n, 3);
	expect_slice(0, TRACE_HELD, 1, 110, 120, EDGE_SEEN, EDGE_LOSS);
	expect_slice(1, TRACE_HELD, 3, 500, 520, EDGE_LOSS, EDGE_SEEN);
	expect_slice(2, TRACE_HELD, 1, 530, 600, EDGE_SEEN, EDGE_RECORDING);
}

Test(trace, exit_ends_what_the_thread_had)
{
	tell(GIL_TRACE_START, 100, 0);
	tell(GIL_TRACE_ACQUIRED, 110, 1);
	tell(GIL_TRACE_WAIT, 120, 2);
	tell(GIL_TRACE_EXIT, 130, 2);
	tell(GIL_TRACE_EXIT, 140, 1);
	tell(GIL_TRACE_END, 200, 0);
	cr_assert_eq(seen.slices_n, 2);
	expect_slice(0, TRACE_WAITING, 2, 120, 130, EDGE_FIRST, EDGE_EXIT);
	expect_slice(1, TRACE_HELD, 1, 110, 140, EDGE_SEEN, EDGE_EXIT);
}

Test(trace, gils_are_kept_apart)
{
	struct gil_trace_event other = {.kind = GIL_TRACE_ACQUIRED, .at = 115, .tid = 1, .gil = 3};

	tell(GIL_TRACE_START, 100, 0);
	tell(GIL_TRACE_ACQUIRED, 110, 1);
	cr_assert_eq(trace__event(trace, &other), 0);
	tell(GIL_TRACE_RELEASED, 120, 1);
	other.kind = GIL_TRACE_RELEASED;
	other.at = 125;
	cr_assert_eq(trace__event(trace, &other), 0);
	/* Its interpreter has ended: nobody tells its end. */
	tell(GIL_TRACE_END, 200, 0);
	trace__close(trace);
	cr_assert_eq(seen.slices_n, 2);
	expect_slice(0, TRACE_HELD, 1, 110, 120, EDGE_SEEN, EDGE_SEEN);
	expect_slice(1, TRACE_HELD, 1, 115, 125, EDGE_SEEN, EDGE_SEEN);
	cr_expect_eq(seen.slices[1].gil, 3);
}

/* ---- a random program ---- */

#define THREADS 6
#define STEPS 20000

enum doing { IDLE, WAITS, HOLDS, HANDS_OFF };

struct world {
	unsigned int seed;
	uint64_t now;
	uint32_t holder; /* 0: free */
	enum doing doing[THREADS + 1];
	uint64_t since[THREADS + 1];
	uint32_t lost;   /* events dropped so far */
	unsigned int drop_percent, burst;
	struct trace_slice truth[SLICES_MAX];
	size_t truth_n;
};

static unsigned int chance(struct world *w, unsigned int n)
{
	w->seed = w->seed * 1103515245u + 12345u;
	return (w->seed >> 16) % n;
}

static void hear(struct world *w, struct trace *to, enum gil_trace_kind kind, uint32_t tid, uint8_t flags)
{
	struct gil_trace_event e = {.kind = (uint8_t)kind, .at = w->now, .tid = tid, .flags = flags, .lost = w->lost};

	if (!w->burst && w->drop_percent && chance(w, 1000) < w->drop_percent)
		w->burst = 1 + chance(w, 20);
	if (w->burst) {
		w->burst--;
		w->lost++;
		return;
	}
	cr_assert_eq(trace__event(to, &e), 0);
}

static void end_of(struct world *w, uint32_t tid, enum trace_state state)
{
	cr_assert_lt(w->truth_n, SLICES_MAX);
	w->truth[w->truth_n++] = (struct trace_slice){.state = state, .tid = tid, .from = w->since[tid], .to = w->now};
	w->doing[tid] = IDLE;
}

static void take(struct world *w, struct trace *to, uint32_t tid)
{
	bool waited = w->doing[tid] == WAITS;

	for (uint32_t other = 1; other <= THREADS; other++)
		if (w->doing[other] == HANDS_OFF)
			end_of(w, other, TRACE_HANDOFF);
	if (waited)
		end_of(w, tid, TRACE_WAITING);
	hear(w, to, GIL_TRACE_ACQUIRED, tid, waited ? GIL_TRACE_WAITED : 0);
	w->doing[tid] = HOLDS;
	w->since[tid] = w->now;
	w->holder = tid;
}

static void let_go(struct world *w, struct trace *to, uint32_t tid)
{
	end_of(w, tid, TRACE_HELD);
	hear(w, to, GIL_TRACE_RELEASED, tid, 0);
	w->holder = 0;
	w->now += 1 + chance(w, 50);
	if (chance(w, 3) == 0) {
		hear(w, to, GIL_TRACE_HANDOFF, tid, 0);
		w->doing[tid] = HANDS_OFF;
		w->since[tid] = w->now;
	}
}

static void live(struct world *w, struct trace *to)
{
	static const enum trace_state state_of[] = {
		[WAITS] = TRACE_WAITING, [HOLDS] = TRACE_HELD, [HANDS_OFF] = TRACE_HANDOFF,
	};

	for (int i = 0; i < STEPS; i++) {
		uint32_t tid = 1 + chance(w, THREADS);

		w->now += 1 + chance(w, 1000);
		if (w->doing[tid] == HOLDS) {
			let_go(w, to, tid);
		} else if (!w->holder && w->doing[tid] != HANDS_OFF) {
			take(w, to, tid);
		} else if (w->holder && w->doing[tid] == IDLE) {
			hear(w, to, GIL_TRACE_WAIT, tid, 0);
			w->doing[tid] = WAITS;
			w->since[tid] = w->now;
		}
	}
	w->now += 100;
	for (uint32_t tid = 1; tid <= THREADS; tid++)
		if (w->doing[tid] != IDLE)
			end_of(w, tid, state_of[w->doing[tid]]);
}

static void run_world(struct world *w, struct trace *to, unsigned int seed, unsigned int drop)
{
	struct gil_trace_event start = {.kind = GIL_TRACE_START, .at = 1000}, end = {.kind = GIL_TRACE_END};

	memset(w, 0, sizeof(*w));
	w->seed = seed;
	w->drop_percent = drop;
	w->now = 1000;
	cr_assert_eq(trace__event(to, &start), 0);
	live(w, to);
	end.at = w->now;
	end.lost = w->lost;
	cr_assert_eq(trace__event(to, &end), 0);
}

static struct world world;

static uint64_t sum_of(const struct trace_slice *slices, size_t n, uint32_t tid, enum trace_state state)
{
	uint64_t ns = 0;

	for (size_t i = 0; i < n; i++)
		ns += slices[i].tid == tid && slices[i].state == state ? slices[i].to - slices[i].from : 0;
	return ns;
}

Test(trace, without_holes_all_of_a_random_program_is_drawn)
{
	run_world(&world, trace, 1, 0);
	cr_expect_eq(seen.slices_n, world.truth_n);
	for (uint32_t tid = 1; tid <= THREADS; tid++)
		for (int state = TRACE_HELD; state <= TRACE_HANDOFF; state++)
			cr_expect_eq(sum_of(seen.slices, seen.slices_n, tid, (enum trace_state)state),
				     sum_of(world.truth, world.truth_n, tid, (enum trace_state)state));
	cr_expect_gt(seen.flows_n, 1000);
	cr_expect_eq(seen.waiters, 0);
}

static bool is_true(const struct trace_slice *drawn)
{
	for (size_t i = 0; i < world.truth_n; i++) {
		const struct trace_slice *t = &world.truth[i];

		if (t->state == drawn->state && t->tid == drawn->tid && t->from <= drawn->from && drawn->to <= t->to)
			return true;
	}
	return false;
}

Test(trace, with_holes_all_that_is_drawn_of_a_random_program_is_true)
{
	uint64_t drawn = 0, truth = 0;

	run_world(&world, trace, 2, 10);
	cr_expect_gt(seen.losses_n, 50);
	cr_expect_eq(seen.lost, world.lost);
	for (size_t i = 0; i < seen.slices_n; i++)
		cr_assert(is_true(&seen.slices[i]), "state %d of thread %u from %llu to %llu is not true", seen.slices[i].state,
			  seen.slices[i].tid, (unsigned long long)seen.slices[i].from, (unsigned long long)seen.slices[i].to);
	for (uint32_t tid = 1; tid <= THREADS; tid++) {
		drawn += sum_of(seen.slices, seen.slices_n, tid, TRACE_HELD);
		truth += sum_of(world.truth, world.truth_n, tid, TRACE_HELD);
	}
	cr_expect_gt(drawn, truth / 2, "most of it is there all the same");
}

/* ---- JSON ---- */

static bool name_thread(void *arg, uint32_t tid, char name[THREAD_NAME_SIZE])
{
	snprintf(name, THREAD_NAME_SIZE, tid == 1 ? "a \"quoted\" \\ <name>" : "t%u", tid);
	return tid != 2;
}

/* The text of the file of a random program. */
static char *write_world(unsigned int seed, unsigned int drop)
{
	struct trace_json_head head = {
		.pid = 4242, .id = "web1:4242:9f3a01bc", .label = "python3 \"app\".py", .python = "3.11.2", .version = "1",
		.begin_ns = 1000, .wall_ns = 1795339305123456789, .name = name_thread,
	};
	struct trace_json_tail tail = {.ended = "duration"};
	char *text = NULL;
	size_t len = 0;
	FILE *to = open_memstream(&text, &len);
	struct trace_json *j = trace_json__new(to, &head);
	struct trace_out out;
	struct trace *t;

	cr_assert_not_null(j);
	out = trace_json__out(j);
	t = trace__new(&out);
	cr_assert_not_null(t);
	run_world(&world, t, seed, drop);
	tail.end_ns = world.now;
	tail.events = trace__events(t);
	tail.lost = trace__lost(t);
	trace__free(t);
	cr_assert_eq(trace_json__close(j, &tail), 0);
	fclose(to);
	cr_assert_eq(strlen(text), len);
	return text;
}

Test(trace_json, of_a_random_program_loads_and_adds_up)
{
	struct timeline t;
	char *text = write_world(3, 0);

	timeline__load(&t, text);
	for (uint32_t tid = 1; tid <= THREADS; tid++) {
		cr_expect_eq(timeline__sum(&t, tid, "held"), sum_of(world.truth, world.truth_n, tid, TRACE_HELD));
		cr_expect_eq(timeline__sum(&t, tid, "waiting"), sum_of(world.truth, world.truth_n, tid, TRACE_WAITING));
		cr_expect_eq(timeline__sum(&t, tid, "hand-off"), sum_of(world.truth, world.truth_n, tid, TRACE_HANDOFF));
	}
	cr_expect_gt(t.flows_n, 1000);
	cr_expect_str_eq(timeline__track(&t, 4242, 1), "a \"quoted\" \\ <name>");
	cr_expect_str_eq(timeline__track(&t, 4242, 2), "t2");
	cr_expect_str_eq(json_string_value(json_object_get(t.other, "label")), "python3 \"app\".py");
	cr_expect_str_eq(json_string_value(json_object_get(t.other, "begin")), "2026-11-22T09:21:45.123456789Z");
	cr_expect_eq(json_integer_value(json_object_get(t.other, "events_lost")), 0);
	timeline__free(&t);
	free(text);
}

Test(trace_json, with_holes_loads_and_marks_them)
{
	struct timeline t;
	char *text = write_world(4, 10);

	timeline__load(&t, text);
	cr_expect_gt(t.losses_n, 50);
	cr_expect_eq(json_integer_value(json_object_get(t.other, "events_lost")), world.lost);
	timeline__free(&t);
	free(text);
}

Test(trace_json, full_disk_is_an_error)
{
	struct trace_json_head head = {.pid = 1, .id = "", .label = "", .python = "", .version = ""};
	struct trace_json_tail tail = {.ended = ""};
	FILE *to = fopen("/dev/full", "we");
	struct trace_json *j;

	cr_assert_not_null(to);
	j = trace_json__new(to, &head);
	cr_assert_not_null(j);
	cr_expect_eq(trace_json__close(j, &tail), -ENOSPC);
	fclose(to);
}
