/* SPDX-License-Identifier: GPL-2.0-only */
/* Copies of records as of a boundary, while somebody writes them or died over it. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>

#include "collector/reader/record.h"

#define BOUND 1000

Test(record, one_that_has_seen_the_boundary_is_read_as_of_it)
{
	struct gil_thread t = {
		.seq = 4, .state = GIL_THREAD_LIVE, .tid = 77, .bound = BOUND, .comm = "worker",
		.cur = {.hold_ns = 50}, .snap = {.hold_ns = 30},
	};
	struct record rec;

	cr_assert(record__read(&t, BOUND, &rec));
	cr_assert_eq(rec.at.hold_ns, 30);
	cr_assert_eq(rec.seq, 4);
	cr_assert_eq(rec.tid, 77);
	cr_assert_str_eq(rec.comm, "worker");
	/* Of a later boundary it has not heard: it still is as it was then. */
	cr_assert(record__read(&t, BOUND + 1, &rec));
	cr_assert_eq(rec.at.hold_ns, 50);
}

Test(record, a_gil_has_a_boundary_of_its_own_and_its_clocks_another)
{
	struct gil_state g = {
		.bound = BOUND, .cur = {.held_ns = 900}, .snap = {.held_ns = 700}, .cpu_turn = 1,
		.cpu = {[1] = {.cur = {.state = GIL_CPU_BLOCKED, .since = BOUND - 60, .off.ns[GIL_OFF_BLOCKED] = 5}}},
	};
	struct gil_record rec = {.current = true, .addr = 42};

	cr_assert(gil_record__read(&g, BOUND, &rec));
	cr_assert_eq(rec.at.held_ns, 700);
	cr_assert_eq(rec.state.cur.held_ns, 900);
	/* Nothing was told to the clocks since the boundary: the sleep that began before it goes on up to it. */
	cr_assert_eq(rec.off.ns[GIL_OFF_BLOCKED], 65);
	cr_assert(rec.current && rec.addr == 42, "what the caller says was changed");
	g.cpu[1].bound = BOUND;
	g.cpu[1].snap = (struct gil_cpu_view){.off.ns[GIL_OFF_BLOCKED] = 7};
	cr_assert(gil_record__read(&g, BOUND, &rec));
	cr_assert_eq(rec.off.ns[GIL_OFF_BLOCKED], 7);
}

Test(record, what_its_writer_never_finished_is_torn)
{
	struct gil_thread t = {.seq = 5};
	struct gil_state g = {.seq = 7};
	struct gil_record gil;
	struct record rec;

	cr_assert_not(record__read(&t, BOUND, &rec));
	cr_assert_not(gil_record__read(&g, BOUND, &gil));
	cr_assert(gil.torn);
	g.seq++;
	cr_assert(gil_record__read(&g, BOUND, &gil));
	cr_assert_not(gil.torn);
}

#define LAST (GIL_HIST_BUCKETS - 1)

/* A writer like the programs: odd, both ends of the record, even. */
struct written {
	struct gil_thread t;
	bool stop;
};

static void *write_on(void *arg)
{
	struct written *w = arg;

	for (uint64_t n = 1; !__atomic_load_n(&w->stop, __ATOMIC_RELAXED); n++) {
		__atomic_store_n(&w->t.seq, w->t.seq + 1, __ATOMIC_SEQ_CST);
		__atomic_store_n(&w->t.cur.hold_ns, n, __ATOMIC_SEQ_CST);
		__atomic_store_n(&w->t.cur.wait.count[LAST], (uint32_t)n, __ATOMIC_SEQ_CST);
		__atomic_store_n(&w->t.seq, w->t.seq + 1, __ATOMIC_SEQ_CST);
		for (volatile int pause = 0; pause < 100; pause++)
			;
	}
	return NULL;
}

Test(record, a_copy_is_of_one_moment)
{
	static struct written w;
	struct record rec;
	pthread_t writer;

	cr_assert_eq(pthread_create(&writer, NULL, write_on, &w), 0);
	for (int i = 0; i < 200000; i++)
		if (record__read(&w.t, BOUND, &rec))
			cr_assert_eq((uint32_t)rec.at.hold_ns, rec.at.wait.count[LAST]);
	__atomic_store_n(&w.stop, true, __ATOMIC_RELAXED);
	pthread_join(writer, NULL);
}
