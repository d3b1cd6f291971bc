/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The state machine of gil_core.bpf.h, as the kernel runs it, against events whose outcome is known by construction; last, a
 * random walk beside a plain model of the GIL that charges nanosecond by nanosecond in user space.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "bpf/gil_hist.h"
#include "bpf/gil_types.h"
#include "collector/reader/blame_memo.h"
#include "collector/reader/record.h"
#include "collector/reader/time_memo.h"
#include "../support/bpf_env.h"
#include "gil_step.h"
#include "gil_test.skel.h"

#define THREADS 64
#define US 1000ull
#define MS 1000000ull

static struct gil_test_bpf *skel;
static struct gil_proc *proc;
static struct gil_state *gil;
static struct gil_thread *threads;

static void *map_of(struct bpf_map *map, size_t len)
{
	void *mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);

	cr_assert(mem != MAP_FAILED, "mmap %s: %s", bpf_map__name(map), strerror(errno));
	return mem;
}

/* The programs' other form (test_core_older.c) has the same maps and variables. */
#ifndef CORE_BYTES
#define CORE_BYTES gil_test_bpf__elf_bytes
#endif

static void open_skeleton(void)
{
	skel = calloc(1, sizeof(*skel));
	cr_assert_not_null(skel);
	cr_assert_eq(gil_test_bpf__create_skeleton(skel), 0);
	skel->skeleton->data = CORE_BYTES(&skel->skeleton->data_sz);
	cr_assert_eq(bpf_object__open_skeleton(skel->skeleton, NULL), 0, "the core can't be opened: %s", strerror(errno));
}

/* `procs`, `slots`: processes and records of threads that there is room for; the first process is there. */
static void load_core_for(uint32_t procs, uint32_t slots, bool with_trace, bool with_stacks)
{
	bpf_env__require();
	open_skeleton();
	skel->rodata->cfg_trace = with_trace;
	skel->rodata->cfg_stacks = with_stacks;
	skel->rodata->cfg_max_procs = procs;
	cr_assert_eq(bpf_map__set_max_entries(skel->maps.procs, procs), 0);
	cr_assert_eq(bpf_map__set_max_entries(skel->maps.threads, slots), 0);
	cr_assert_eq(bpf_map__set_max_entries(skel->maps.free_slots, slots), 0);
	cr_assert_eq(bpf_map__set_max_entries(skel->maps.gils, procs * GIL_PER_PROC), 0);
	cr_assert_eq(bpf_map__set_max_entries(skel->maps.trace, (uint32_t)sysconf(_SC_PAGESIZE)), 0);
	cr_assert_eq(gil_test_bpf__load(skel), 0, "the core does not load: %s", strerror(errno));
	proc = map_of(skel->maps.procs, procs * sizeof(*proc));
	gil = map_of(skel->maps.gils, procs * GIL_PER_PROC * sizeof(*gil));
	threads = map_of(skel->maps.threads, slots * sizeof(*threads));
	for (uint32_t slot = slots - 1; slot >= GIL_SLOT_OTHER + procs; slot--)
		cr_assert(!bpf_map_update_elem(bpf_map__fd(skel->maps.free_slots), NULL, &slot, 0));
	*proc = (struct gil_proc){.armed = 1, .arm_gen = 1, .mode = GIL_MODE_FULL, .armed_at = 1 * MS};
	skel->bss->gil_clock.start = 1 * MS;
	skel->bss->gil_clock.end = 1000000 * MS;
}

static void load_core(bool with_trace, bool with_stacks)
{
	load_core_for(1, THREADS, with_trace, with_stacks);
}

static void open_core(void)
{
	load_core(false, false);
}

static void open_core_with_trace(void)
{
	load_core(true, false);
}

static void open_core_with_stacks(void)
{
	load_core(false, true);
}

static void close_core(void)
{
	gil_test_bpf__destroy(skel);
}

TestSuite(core, .init = open_core, .fini = close_core);
TestSuite(core_trace, .init = open_core_with_trace, .fini = close_core);
TestSuite(core_stacks, .init = open_core_with_stacks, .fini = close_core);

static void run_step(struct gil_step step)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .ctx_in = &step, .ctx_size_in = sizeof(step));
	int err = bpf_prog_test_run_opts(bpf_program__fd(skel->progs.gil_step), &opts);

	cr_assert_eq(err, 0, "test run: %s", strerror(errno));
	cr_assert_eq(opts.retval, 0);
}

static void step_with(enum gil_step_op op, uint32_t tid, uint64_t now, uint32_t forced, uint64_t tstate)
{
	run_step((struct gil_step){.op = op, .tid = tid, .now = now, .forced = forced, .tstate = tstate});
}

static void step_on(uint32_t gil_index, enum gil_step_op op, uint32_t tid, uint64_t now)
{
	run_step((struct gil_step){.op = op, .gil = gil_index, .tid = tid, .now = now});
}

static void step(enum gil_step_op op, uint32_t tid, uint64_t now)
{
	step_with(op, tid, now, 0, 0);
}

static struct gil_thread *thread_on(uint32_t tid, uint32_t gil_index)
{
	for (uint32_t slot = GIL_SLOT_OTHER + 1; slot < THREADS; slot++)
		if (threads[slot].tid == tid && threads[slot].gil == gil_index && threads[slot].state != GIL_THREAD_FREE)
			return &threads[slot];
	cr_assert_fail("no record of thread %u on GIL %u", tid, gil_index);
	return NULL;
}

static struct gil_thread *thread_of(uint32_t tid)
{
	for (uint32_t slot = GIL_SLOT_OTHER + 1; slot < THREADS; slot++)
		if (threads[slot].tid == tid && threads[slot].state != GIL_THREAD_FREE)
			return &threads[slot];
	cr_assert_fail("no record of thread %u", tid);
	return NULL;
}

static uint64_t blamed(uint32_t victim_tid, uint32_t holder_tid)
{
	struct gil_blame_key key = {
		.victim = (uint32_t)(thread_of(victim_tid) - threads),
		.holder = (uint32_t)(thread_of(holder_tid) - threads),
	};
	struct gil_blame pair = {0};

	if (bpf_map_lookup_elem(bpf_map__fd(skel->maps.blame), &key, &pair))
		return 0;
	return pair.cur_ns;
}

static uint64_t blamed_in_all(uint32_t victim_tid)
{
	struct gil_blame_key key, next;
	uint32_t victim = (uint32_t)(thread_of(victim_tid) - threads);
	int fd = bpf_map__fd(skel->maps.blame);
	struct gil_blame pair;
	uint64_t sum = 0;
	void *from = NULL;

	while (!bpf_map_get_next_key(fd, from, &next)) {
		key = next;
		from = &key;
		if (key.victim == victim && !bpf_map_lookup_elem(fd, &key, &pair))
			sum += pair.cur_ns;
	}
	return sum;
}

Test(core, uncontended_hold_counts_once_and_waits_zero)
{
	step(STEP_ACQUIRE, 10, 2 * MS);
	step(STEP_RELEASE, 10, 5 * MS);
	step(STEP_ACQUIRE, 10, 6 * MS);
	step(STEP_RELEASE, 10, 7 * MS);
	cr_expect_eq(thread_of(10)->cur.hold_ns, 4 * MS);
	cr_expect_eq(thread_of(10)->cur.hold_max_ns, 3 * MS);
	cr_expect_eq(thread_of(10)->cur.releases, 2);
	cr_expect_eq(thread_of(10)->cur.unseen, 0);
	cr_expect_eq(thread_of(10)->cur.wait_ns, 0);
	cr_expect_eq(thread_of(10)->cur.contended, 0);
}

/* ---- garbage collection ---- */

static void expect_gc(uint32_t tid, uint64_t hold_ns, uint64_t wait_ns, uint64_t ended, uint64_t max_ns)
{
	const struct gil_totals *sum = &thread_of(tid)->cur;

	cr_expect_eq(sum->gc_ns, hold_ns, "%llu", (unsigned long long)sum->gc_ns);
	cr_expect_eq(sum->gc_wait_ns, wait_ns, "%llu", (unsigned long long)sum->gc_wait_ns);
	cr_expect_eq(sum->gc_ended, ended);
	cr_expect_eq(sum->gc_max_ns, max_ns, "%llu", (unsigned long long)sum->gc_max_ns);
	cr_expect_eq(sum->gc_run + sum->gc_since, 0, "none is open");
	cr_expect_eq(gil->gc_away, 0);
}

/* A second one is told for itself; waiting before and after is nobody's. */
Test(core, collections_are_told_with_what_others_wait_meanwhile)
{
	step(STEP_ACQUIRE, 10, 2 * MS);
	step(STEP_WAIT, 11, 3 * MS);
	step(STEP_GC_START, 10, 4 * MS);
	step(STEP_WAIT, 12, 6 * MS);
	step(STEP_GC_DONE, 10, 9 * MS);
	step(STEP_GC_START, 10, 11 * MS);
	step(STEP_GC_DONE, 10, 12 * MS);
	step(STEP_RELEASE, 10, 20 * MS);
	expect_gc(10, 6 * MS, (5 + 3 + 2) * MS, 2, 5 * MS);
	cr_expect_eq(proc->lost[GIL_LOSS_GC_UNPAIRED], 0);
}

/* A finalizer lets go twice: once another thread takes the GIL, once nobody does, and no record is needed to take it again. */
Test(core, a_collection_that_lets_go_is_told_as_far_as_it_holds)
{
	step(STEP_ACQUIRE, 10, 2 * MS);
	step(STEP_WAIT, 11, 3 * MS);
	step(STEP_GC_START, 10, 4 * MS);
	step(STEP_RELEASE, 10, 6 * MS);
	step(STEP_ACQUIRE, 11, 7 * MS);
	step(STEP_WAIT, 10, 8 * MS);
	step(STEP_RELEASE, 11, 10 * MS);
	step(STEP_ACQUIRE, 10, 11 * MS);
	step(STEP_RELEASE, 10, 14 * MS);
	step(STEP_ACQUIRE, 10, 20 * MS);
	step(STEP_GC_DONE, 10, 21 * MS);
	step(STEP_RELEASE, 10, 30 * MS);
	expect_gc(10, 6 * MS, 2 * MS, 1, 6 * MS);
	expect_gc(11, 0, 0, 0, 0);
}

/* Both of one thread and of two: the GIL's other collections go on while one has let go. */
Test(core, collections_of_two_threads_are_kept_apart)
{
	step(STEP_ACQUIRE, 10, 2 * MS);
	step(STEP_GC_START, 10, 3 * MS);
	step(STEP_RELEASE, 10, 4 * MS);
	step(STEP_ACQUIRE, 11, 5 * MS);
	step(STEP_GC_START, 11, 6 * MS);
	step(STEP_RELEASE, 11, 8 * MS);
	step(STEP_ACQUIRE, 10, 9 * MS);
	step(STEP_GC_DONE, 10, 13 * MS);
	step(STEP_RELEASE, 10, 14 * MS);
	step(STEP_ACQUIRE, 11, 15 * MS);
	step(STEP_GC_DONE, 11, 16 * MS);
	step(STEP_RELEASE, 11, 17 * MS);
	expect_gc(10, 5 * MS, 0, 1, 5 * MS);
	expect_gc(11, 3 * MS, 0, 1, 3 * MS);
}

/* Who has had the GIL since before the probes were armed has had no event; a hit without the GIL is no collection. */
Test(core, a_collection_needs_the_gil_and_no_acquire)
{
	step(STEP_GC_START, 10, 2 * MS);
	step(STEP_GC_DONE, 10, 5 * MS);
	step(STEP_RELEASE, 10, 6 * MS);
	step(STEP_GC_START, 10, 7 * MS);
	step(STEP_ACQUIRE, 11, 8 * MS);
	step(STEP_GC_START, 10, 9 * MS);
	expect_gc(10, 3 * MS, 0, 1, 3 * MS);
	cr_expect_eq(thread_of(10)->cur.unseen, 1);
	cr_expect_eq(thread_of(10)->cur.hold_ns, 5 * MS);
}

Test(core, a_beginning_or_an_end_alone_is_counted)
{
	proc->gc_exact = 1;
	step(STEP_ACQUIRE, 10, 2 * MS);
	step(STEP_GC_DONE, 10, 3 * MS);
	cr_expect_eq(proc->lost[GIL_LOSS_GC_UNPAIRED], 1);
	step(STEP_GC_START, 10, 4 * MS);
	step(STEP_GC_START, 10, 6 * MS);
	cr_expect_eq(proc->lost[GIL_LOSS_GC_UNPAIRED], 2);
	step(STEP_GC_DONE, 10, 9 * MS);
	expect_gc(10, 5 * MS, 0, 2, 3 * MS);
}

/* With the GIL, and without: as a thread that must end in a finalizer's take_gil() does. */
Test(core, a_collection_ends_with_its_thread)
{
	step(STEP_ACQUIRE, 10, 2 * MS);
	step(STEP_GC_START, 10, 3 * MS);
	step(STEP_RELEASE, 10, 4 * MS);
	step(STEP_EXIT, 10, 9 * MS);
	expect_gc(10, 1 * MS, 0, 1, 1 * MS);
	step(STEP_ACQUIRE, 11, 10 * MS);
	step(STEP_GC_START, 11, 12 * MS);
	step(STEP_EXIT, 11, 15 * MS);
	expect_gc(11, 3 * MS, 0, 1, 3 * MS);
}

/* What was open when the probes were armed anew does not go on. */
Test(core, a_collection_does_not_outlast_an_arming)
{
	step(STEP_ACQUIRE, 10, 2 * MS);
	step(STEP_GC_START, 10, 3 * MS);
	step(STEP_RELEASE, 10, 4 * MS);
	proc->arm_gen = 2;
	proc->armed_at = 5 * MS;
	step(STEP_ACQUIRE, 10, 6 * MS);
	step(STEP_RELEASE, 10, 8 * MS);
	expect_gc(10, 1 * MS, 0, 0, 0);
	step(STEP_ACQUIRE, 10, 9 * MS);
	step(STEP_GC_START, 10, 10 * MS);
	step(STEP_GC_DONE, 10, 12 * MS);
	expect_gc(10, 3 * MS, 0, 1, 2 * MS);
}

/* Who queued in an earlier arming is not known to wait in this one, until the GIL's first event. */
Test(core, a_collection_at_the_arming_has_nobody_wait_for_it_from_before)
{
	step(STEP_ACQUIRE, 10, 2 * MS);
	step(STEP_WAIT, 11, 3 * MS);
	proc->arm_gen = 2;
	proc->armed_at = 5 * MS;
	step(STEP_GC_START, 10, 6 * MS);
	step(STEP_GC_DONE, 10, 9 * MS);
	expect_gc(10, 3 * MS, 0, 1, 3 * MS);
}

/* Its state at a boundary lies aside with the record; the longest is each interval's own. */
Test(core, a_collection_over_a_boundary_has_its_state_put_aside)
{
	skel->bss->gil_clock.end = 10 * MS;
	step(STEP_ACQUIRE, 10, 2 * MS);
	step(STEP_GC_START, 10, 3 * MS);
	step(STEP_GC_DONE, 10, 7 * MS);
	step(STEP_WAIT, 11, 8 * MS);
	step(STEP_GC_START, 10, 9 * MS);
	step(STEP_GC_DONE, 10, 11 * MS);
	cr_expect_eq(thread_of(10)->snap.gc_ns, 4 * MS);
	cr_expect_eq(thread_of(10)->snap.gc_since, 9 * MS);
	cr_expect_eq(thread_of(10)->snap.gc_max_ns, 4 * MS);
	expect_gc(10, 6 * MS, 2 * MS, 2, 2 * MS);
}

Test(core, first_release_means_held_since_armed)
{
	step(STEP_RELEASE, 10, 5 * MS);
	cr_expect_eq(thread_of(10)->cur.hold_ns, 4 * MS);
	cr_expect_eq(thread_of(10)->cur.unseen, 1);
	cr_expect_eq(proc->lost[GIL_LOSS_RELEASE_UNOWNED], 0);
}

/* A GIL that found no place for a while: nothing is claimed of the time before it had one. */
Test(core, first_release_of_a_gil_learned_later_means_held_since_then)
{
	proc->gil_owner[0].since = 3 * MS;
	step(STEP_RELEASE, 10, 5 * MS);
	cr_expect_eq(thread_of(10)->cur.hold_ns, 2 * MS);
	cr_expect_eq(thread_of(10)->cur.unseen, 1);
}

Test(core, waiter_of_a_gil_learned_later_has_waited_for_an_unknown_holder_since_then)
{
	proc->gil_owner[0].since = 3 * MS;
	step(STEP_WAIT, 11, 4 * MS);
	step(STEP_RELEASE, 10, 6 * MS);
	step(STEP_ACQUIRE, 11, 7 * MS);
	cr_expect_eq(thread_of(10)->cur.hold_ns, 3 * MS);
	cr_expect_eq(thread_of(11)->cur.wait_ns, 3 * MS);
	cr_expect_eq(thread_of(11)->cur.handover_ns, 1 * MS);
}

Test(core, a_threads_records_on_two_gils_are_apart)
{
	step(STEP_ACQUIRE, 10, 2 * MS);
	step_on(1, STEP_ACQUIRE, 10, 3 * MS);
	step(STEP_RELEASE, 10, 4 * MS);
	step_on(1, STEP_RELEASE, 10, 8 * MS);
	cr_expect_eq(thread_on(10, 0)->cur.hold_ns, 2 * MS);
	cr_expect_eq(thread_on(10, 1)->cur.hold_ns, 5 * MS);
	for (uint32_t g = 0; g < GIL_PER_PROC; g++)
		step_on(g, STEP_ACQUIRE, 20, (10 + g) * MS);
	for (uint32_t g = 0; g < GIL_PER_PROC; g++)
		cr_expect_eq(thread_on(20, g)->gil, g);
	cr_expect_eq(proc->lost[GIL_LOSS_NO_SLOT], 0);
}

Test(core, wait_is_charged_to_the_holder_and_the_gap_is_handover)
{
	step(STEP_ACQUIRE, 10, 2 * MS);
	step(STEP_WAIT, 11, 3 * MS);
	step(STEP_RELEASE, 10, 7 * MS);
	step(STEP_ACQUIRE, 11, 7 * MS + 40 * US);
	cr_expect_eq(thread_of(11)->cur.wait_ns, 4 * MS + 40 * US);
	cr_expect_eq(blamed(11, 10), 4 * MS);
	cr_expect_eq(thread_of(11)->cur.handover_ns, 40 * US);
	cr_expect_eq(thread_of(11)->cur.unknown_ns, 0);
	cr_expect_eq(thread_of(11)->cur.contended, 1);
	cr_expect_eq(thread_of(11)->cur.wait_max_ns, 4 * MS + 40 * US);
	cr_expect_eq(gil->cur.waiters, 0);
}

Test(core, retry_is_not_a_new_wait)
{
	step(STEP_ACQUIRE, 10, 2 * MS);
	for (int i = 0; i < 5; i++)
		step(STEP_WAIT, 11, (3 + 5 * (uint64_t)i) * MS);
	step(STEP_RELEASE, 10, 24 * MS);
	step(STEP_ACQUIRE, 11, 24 * MS);
	cr_expect_eq(thread_of(11)->cur.contended, 1);
	cr_expect_eq(thread_of(11)->cur.retries, 4);
	cr_expect_eq(thread_of(11)->cur.wait_ns, 21 * MS);
	cr_expect_eq(blamed(11, 10), 21 * MS);
}

Test(core, second_waiter_is_charged_to_each_holder_in_turn)
{
	step(STEP_ACQUIRE, 10, 2 * MS);
	step(STEP_WAIT, 11, 3 * MS);
	step(STEP_WAIT, 12, 4 * MS);
	step(STEP_RELEASE, 10, 6 * MS);
	step(STEP_ACQUIRE, 11, 7 * MS);
	step(STEP_RELEASE, 11, 17 * MS);
	step(STEP_ACQUIRE, 12, 18 * MS);
	cr_expect_eq(blamed(12, 10), 2 * MS);
	cr_expect_eq(blamed(12, 11), 10 * MS);
	cr_expect_eq(thread_of(12)->cur.handover_ns, 2 * MS);
	cr_expect_eq(thread_of(12)->cur.wait_ns, 14 * MS);
}

Test(core, handoff_ends_at_the_successor_and_joins_the_next_wait)
{
	step(STEP_ACQUIRE, 10, 2 * MS);
	step(STEP_WAIT, 11, 3 * MS);
	step_with(STEP_RELEASE, 10, 8 * MS, 1, 0);
	step(STEP_HANDOFF, 10, 8 * MS + 10 * US);
	step(STEP_ACQUIRE, 11, 8 * MS + 60 * US);
	cr_expect_eq(thread_of(10)->cur.handoff_ns, 50 * US);
	cr_expect_eq(thread_of(10)->cur.wait_ns, 50 * US);
	cr_expect_eq(thread_of(10)->cur.handover_ns, 50 * US);
	cr_expect_eq(thread_of(10)->cur.forced, 1);
	cr_expect_eq(thread_of(10)->cur.contended, 0, "its acquire has not come yet");
	step(STEP_WAIT, 10, 8 * MS + 100 * US);
	step(STEP_RELEASE, 11, 9 * MS);
	step(STEP_ACQUIRE, 10, 9 * MS + 100 * US);
	cr_expect_eq(thread_of(10)->cur.contended, 1);
	cr_expect_eq(thread_of(10)->cur.wait_max_ns, 1 * MS + 50 * US);
	cr_expect_eq(thread_of(10)->cur.wait_ns, 1 * MS + 50 * US);
	cr_expect_eq(blamed(10, 11), 900 * US);
}

Test(core, release_by_another_thread_is_ignored_and_counted)
{
	step(STEP_ACQUIRE, 10, 2 * MS);
	step(STEP_RELEASE, 11, 3 * MS);
	step(STEP_RELEASE, 10, 4 * MS);
	step(STEP_RELEASE, 10, 5 * MS);
	cr_expect_eq(proc->lost[GIL_LOSS_RELEASE_FOREIGN], 1);
	cr_expect_eq(proc->lost[GIL_LOSS_RELEASE_UNOWNED], 1);
	cr_expect_eq(thread_of(10)->cur.hold_ns, 2 * MS);
	cr_expect_eq(thread_of(10)->cur.releases, 1);
}

Test(core, acquire_while_owned_is_counted_and_survived)
{
	step(STEP_ACQUIRE, 10, 2 * MS);
	step(STEP_ACQUIRE, 11, 3 * MS);
	step(STEP_RELEASE, 11, 5 * MS);
	cr_expect_eq(proc->lost[GIL_LOSS_ACQUIRE_OWNED], 1);
	cr_expect_eq(thread_of(11)->cur.hold_ns, 2 * MS);
	cr_expect_eq(gil->cur.state, GIL_OWNER_FREE);
}

Test(core, waiting_before_any_release_is_charged_to_the_seed_until_it_has_a_name)
{
	struct gil_blame_key key = {.holder = GIL_SLOT_SEED};
	struct gil_blame pair = {0};

	step(STEP_WAIT, 11, 2 * MS);
	step(STEP_WAIT, 11, 7 * MS);
	key.victim = (uint32_t)(thread_of(11) - threads);
	cr_assert_eq(bpf_map_lookup_elem(bpf_map__fd(skel->maps.blame), &key, &pair), 0);
	cr_expect_eq(pair.cur_ns, 5 * MS);
	step(STEP_RELEASE, 10, 9 * MS);
	step(STEP_ACQUIRE, 11, 9 * MS);
	cr_expect_eq(blamed(11, 10), 2 * MS);
	cr_expect_eq(thread_of(10)->cur.hold_ns, 8 * MS);
	cr_expect_eq(thread_of(10)->cur.unseen, 1);
	cr_expect_eq(thread_of(11)->cur.wait_ns, 7 * MS);
}

Test(core, state_at_the_boundary_is_put_aside_by_the_first_event_behind_it)
{
	skel->bss->gil_clock.end = 10 * MS;
	step(STEP_ACQUIRE, 10, 2 * MS);
	step(STEP_RELEASE, 10, 4 * MS);
	step(STEP_ACQUIRE, 10, 6 * MS);
	step(STEP_RELEASE, 10, 13 * MS);
	cr_expect_eq(thread_of(10)->bound, 10 * MS);
	cr_expect_eq(thread_of(10)->snap.hold_ns, 2 * MS);
	cr_expect_eq(thread_of(10)->snap.releases, 1);
	cr_expect_eq(thread_of(10)->snap.hold_max_ns, 2 * MS);
	cr_expect_eq(thread_of(10)->cur.hold_max_ns, 7 * MS, "a new interval has its own maximum");
	cr_expect_eq(gil->snap.state, GIL_OWNER_HELD);
	cr_expect_eq(gil->snap.acquired_at, 6 * MS);
}

Test(core, open_wait_is_charged_up_to_the_boundary_first)
{
	skel->bss->gil_clock.end = 10 * MS;
	step(STEP_ACQUIRE, 10, 2 * MS);
	step(STEP_WAIT, 11, 4 * MS);
	step(STEP_RELEASE, 10, 9 * MS);
	step(STEP_ACQUIRE, 12, 9 * MS + 500 * US);
	step(STEP_WAIT, 11, 14 * MS);
	cr_expect_eq(thread_of(11)->snap.wait_ns, 6 * MS);
	cr_expect_eq(thread_of(11)->snap.handover_ns, 500 * US);
	cr_expect_eq(thread_of(11)->cur.wait_ns, 10 * MS);
	cr_expect_eq(blamed(11, 10), 5 * MS);
	cr_expect_eq(blamed(11, 12), 4 * MS + 500 * US);
}

/* The longest charge there can be: each of the holders that the ring remembers has a part of the wait. */
Test(core, wait_through_a_full_ring_is_charged_to_every_holder)
{
	uint32_t holder = 10;

	step(STEP_ACQUIRE, holder, 2 * MS);
	step(STEP_WAIT, 11, 2 * MS);
	for (uint64_t i = 1; i < GIL_RING_LEN; i++) {
		step(STEP_RELEASE, holder, (2 + i) * MS);
		holder = i % 2 ? 12 : 10;
		step(STEP_ACQUIRE, holder, (2 + i) * MS);
	}
	step(STEP_RELEASE, holder, (2 + GIL_RING_LEN) * MS);
	step(STEP_ACQUIRE, 11, (2 + GIL_RING_LEN) * MS);
	cr_expect_eq(blamed(11, 10), GIL_RING_LEN / 2 * MS);
	cr_expect_eq(blamed(11, 12), GIL_RING_LEN / 2 * MS);
	cr_expect_eq(thread_of(11)->cur.unknown_ns, 0);
	cr_expect_eq(proc->lost[GIL_LOSS_RING_LAPPED], 0);
}

Test(core, lapped_ring_goes_to_unknown_and_is_counted)
{
	step(STEP_ACQUIRE, 10, 2 * MS);
	step(STEP_WAIT, 11, 3 * MS);
	for (uint64_t i = 0; i < GIL_RING_LEN; i++) {
		step(STEP_RELEASE, 10 + (i & 1) * 2, (4 + 2 * i) * MS);
		step(STEP_ACQUIRE, 10 + (~i & 1) * 2, (5 + 2 * i) * MS);
	}
	step(STEP_RELEASE, 10, (4 + 2 * GIL_RING_LEN) * MS);
	step(STEP_ACQUIRE, 11, (5 + 2 * GIL_RING_LEN) * MS);
	cr_expect_eq(proc->lost[GIL_LOSS_RING_LAPPED], 1);
	cr_expect_eq(thread_of(11)->cur.wait_ns, (2 + 2 * GIL_RING_LEN) * MS);
	cr_expect_eq(thread_of(11)->cur.handover_ns + thread_of(11)->cur.unknown_ns,
		     thread_of(11)->cur.wait_ns);
	cr_expect_gt(thread_of(11)->cur.unknown_ns, 0);
}

Test(core, exit_ends_a_wait_and_frees_the_name)
{
	step(STEP_ACQUIRE, 10, 2 * MS);
	step(STEP_WAIT, 11, 3 * MS);
	step(STEP_EXIT, 11, 6 * MS);
	cr_expect_eq(thread_of(11)->state, GIL_THREAD_DEAD);
	cr_expect_eq(thread_of(11)->cur.wait_ns, 3 * MS);
	cr_expect_eq(thread_of(11)->cur.unknown_ns, 3 * MS);
	cr_expect_eq(gil->cur.waiters, 0);
	step(STEP_RELEASE, 10, 7 * MS);
	step(STEP_EXIT, 10, 7 * MS);
	cr_expect_eq(gil->last_owner, 0, "a new thread with this tid is not the old one");
}

Test(core, process_that_ends_with_the_gil_ends_the_hold)
{
	step(STEP_ACQUIRE, 10, 2 * MS);
	step(STEP_RELEASE, 10, 3 * MS);
	step(STEP_ACQUIRE, 10, 4 * MS);
	step(STEP_EXIT, 10, 9 * MS);
	cr_expect_eq(thread_of(10)->cur.hold_ns, 6 * MS);
	cr_expect_eq(thread_of(10)->cur.releases, 2, "both acquires are there");
	cr_expect_eq(thread_of(10)->cur.hold_max_ns, 5 * MS);
	cr_expect_eq(gil->cur.state, GIL_OWNER_FREE);
	cr_expect_eq(gil->cur.held_ns, 6 * MS);
}

Test(core, thread_that_ends_with_the_gil_has_it_for_ever)
{
	step(STEP_ACQUIRE, 10, 2 * MS);
	step(STEP_RELEASE, 10, 3 * MS);
	step(STEP_ACQUIRE, 10, 4 * MS);
	step(STEP_WAIT, 11, 5 * MS);
	step_with(STEP_EXIT, 10, 6 * MS, 1, 0);
	cr_expect_eq(thread_of(10)->state, GIL_THREAD_DEAD);
	cr_expect_eq(gil->cur.state, GIL_OWNER_HELD);
	step(STEP_WAIT, 11, 16 * MS);
	cr_expect_eq(thread_of(11)->cur.wait_ns, 11 * MS);
	cr_expect_eq(thread_of(11)->cur.handover_ns, 0, "nobody can take it, so it is not free");
	cr_expect_eq(thread_of(11)->cur.wait_off.ns[GIL_OFF_BLOCKED], 10 * MS);
	/* A new thread with its id is another one. */
	step(STEP_RELEASE, 10, 17 * MS);
	cr_expect_eq(proc->lost[GIL_LOSS_RELEASE_FOREIGN], 1);
	cr_expect_eq(gil->cur.state, GIL_OWNER_HELD);
}

Test(core, thread_that_ends_leaves_the_hold_of_another_alone)
{
	step(STEP_ACQUIRE, 10, 2 * MS);
	step(STEP_RELEASE, 10, 3 * MS);
	step(STEP_ACQUIRE, 11, 4 * MS);
	step(STEP_EXIT, 10, 9 * MS);
	cr_expect_eq(gil->cur.state, GIL_OWNER_HELD);
	cr_expect_eq(gil->cur.owner_tid, 11);
	cr_expect_eq(thread_of(10)->cur.releases, 1);
}

Test(core, same_tid_again_is_a_new_record)
{
	step(STEP_ACQUIRE, 10, 2 * MS);
	step(STEP_RELEASE, 10, 3 * MS);
	step(STEP_EXIT, 10, 3 * MS);
	step(STEP_ACQUIRE, 10, 5 * MS);
	step(STEP_RELEASE, 10, 9 * MS);
	cr_expect_eq(thread_of(10)->cur.hold_ns, 1 * MS, "the dead one stands first");
	cr_expect_eq(thread_of(10)[1].tid, 10);
	cr_expect_eq(thread_of(10)[1].cur.hold_ns, 4 * MS);
}

Test(core, threads_without_a_slot_are_counted_as_other)
{
	struct gil_thread *other = &threads[GIL_SLOT_OTHER];
	const uint32_t room = THREADS - GIL_SLOT_OTHER - 1;

	for (uint32_t i = 0; i < room + 5; i++) {
		step(STEP_ACQUIRE, 100 + i, (2 + 2 * i) * MS);
		step(STEP_RELEASE, 100 + i, (3 + 2 * i) * MS);
	}
	cr_expect_eq(other->cur.releases, 5);
	cr_expect_eq(other->cur.hold_ns, 5 * MS);
	cr_expect_geq(proc->lost[GIL_LOSS_NO_SLOT], 5);
}

Test(core, rearming_forgets_what_was_open)
{
	step(STEP_ACQUIRE, 10, 2 * MS);
	step(STEP_WAIT, 11, 3 * MS);
	proc->arm_gen = 2;
	proc->armed_at = 20 * MS;
	step(STEP_ACQUIRE, 11, 21 * MS);
	cr_expect_eq(thread_of(11)->cur.contended, 0);
	cr_expect_eq(proc->lost[GIL_LOSS_ACQUIRE_OWNED], 0);
	step(STEP_RELEASE, 11, 22 * MS);
	cr_expect_eq(thread_of(11)->cur.hold_ns, 1 * MS);
}

Test(core, clock_of_another_cpu_never_runs_backwards)
{
	step(STEP_ACQUIRE, 10, 5 * MS);
	step(STEP_WAIT, 11, 5 * MS - 300);
	step(STEP_RELEASE, 10, 5 * MS - 200);
	step(STEP_ACQUIRE, 11, 5 * MS - 100);
	cr_expect_eq(thread_of(11)->cur.wait_ns, 0);
	cr_expect_eq(thread_of(10)->cur.hold_ns, 0);
}

/* ---- on and off the CPU ---- */

static void asleep(uint32_t tid, uint64_t now)
{
	step_with(STEP_OUT, tid, now, GIL_CPU_BLOCKED, 0);
}

static void expect_off(const struct gil_off *off, uint64_t blocked, uint64_t preempted, uint64_t unseen)
{
	cr_expect_eq(off->ns[GIL_OFF_BLOCKED], blocked, "blocked %llu", (unsigned long long)off->ns[GIL_OFF_BLOCKED]);
	cr_expect_eq(off->ns[GIL_OFF_PREEMPTED], preempted, "preempted %llu", (unsigned long long)off->ns[GIL_OFF_PREEMPTED]);
	cr_expect_eq(off->ns[GIL_OFF_UNSEEN], unseen, "unseen %llu", (unsigned long long)off->ns[GIL_OFF_UNSEEN]);
}

Test(core, hold_is_split_by_what_the_holder_does_and_so_is_the_wait_for_it)
{
	step(STEP_ACQUIRE, 10, 2 * MS);
	step(STEP_OUT, 10, 3 * MS);
	step(STEP_WAIT, 11, 4 * MS);
	step(STEP_IN, 10, 6 * MS);
	asleep(10, 7 * MS);
	step(STEP_WAIT, 11, 9 * MS);
	step(STEP_WOKEN, 10, 17 * MS);
	step(STEP_IN, 10, 20 * MS);
	step(STEP_RELEASE, 10, 21 * MS);
	step(STEP_ACQUIRE, 11, 22 * MS);
	expect_off(&thread_of(10)->cur.hold_off, 10 * MS, 6 * MS, 0);
	expect_off(&thread_of(11)->cur.wait_off, 10 * MS, 5 * MS, 0);
	cr_expect_eq(thread_of(11)->cur.wait_ns, 18 * MS);
	cr_expect_eq(thread_of(11)->cur.handover_ns, 1 * MS);
	cr_expect_eq(skel->bss->gil_holders_off, 0);
}

#define WHY(kind, id) ((uint64_t)(kind) << 32 | (id))

static void stopped(uint32_t tid, uint64_t now, uint32_t tracer)
{
	step_with(STEP_OUT, tid, now, GIL_CPU_STOPPED, WHY(GIL_WHY_TRACER, tracer));
}

/* Of the interval that began at `bound`; what has no place: kind NONE. */
static uint64_t why_ns(uint64_t bound, enum gil_why_kind kind, uint32_t id)
{
	for (int i = 0; i < 2; i++) {
		const struct gil_why_sums *sums = &gil->whys[i];

		if (sums->bound != bound)
			continue;
		for (int k = 0; kind && k < GIL_WHYS_KEPT; k++)
			if (sums->of[k].why.kind == kind && sums->of[k].why.id == id)
				return sums->of[k].ns;
		return kind ? 0 : sums->rest_ns;
	}
	return 0;
}

Test(core, stop_is_no_sleep_and_is_over_when_the_thread_may_run_again)
{
	step(STEP_ACQUIRE, 10, 2 * MS);
	step(STEP_WAIT, 11, 2 * MS);
	stopped(10, 3 * MS, 77);
	step(STEP_WOKEN, 10, 7 * MS);
	step(STEP_IN, 10, 8 * MS);
	step_with(STEP_OUT, 10, 9 * MS, GIL_CPU_BLOCKED, WHY(GIL_WHY_CALL, 5));
	step(STEP_IN, 10, 11 * MS);
	step(STEP_RELEASE, 10, 12 * MS);
	step(STEP_ACQUIRE, 11, 12 * MS);
	expect_off(&thread_of(10)->cur.hold_off, 2 * MS, 1 * MS, 0);
	cr_expect_eq(thread_of(10)->cur.hold_off.ns[GIL_OFF_STOPPED], 4 * MS);
	cr_expect_eq(thread_of(11)->cur.wait_off.ns[GIL_OFF_STOPPED], 4 * MS);
	cr_expect_eq(why_ns(1 * MS, GIL_WHY_TRACER, 77), 4 * MS);
	cr_expect_eq(why_ns(1 * MS, GIL_WHY_CALL, 5), 2 * MS);
	cr_expect_str_eq(gil->whys[gil->whys_turn & 1].of[0].why.name, "name");
}

Test(core, reasons_belong_to_the_interval_in_which_they_were)
{
	skel->bss->gil_clock.end = 10 * MS;
	step(STEP_ACQUIRE, 10, 2 * MS);
	stopped(10, 3 * MS, 1);
	step(STEP_IN, 10, 5 * MS);
	stopped(10, 8 * MS, 2);
	step(STEP_WOKEN, 10, 13 * MS);
	cr_expect_eq(why_ns(1 * MS, GIL_WHY_TRACER, 1), 2 * MS);
	cr_expect_eq(why_ns(1 * MS, GIL_WHY_TRACER, 2), 0, "the reader sees it open at the boundary");
	cr_expect_eq(gil->cpu[gil->cpu_turn & 1].snap.why.id, 2);
	cr_expect_eq(why_ns(10 * MS, GIL_WHY_TRACER, 2), 3 * MS);
}

Test(core, reasons_beyond_those_kept_are_summed)
{
	uint64_t now = 2 * MS;

	step(STEP_ACQUIRE, 10, now);
	for (uint32_t id = 1; id <= GIL_WHYS_KEPT + 2; id++, now += 2 * MS) {
		stopped(10, now, id);
		step(STEP_IN, 10, now + 1 * MS);
	}
	cr_expect_eq(why_ns(1 * MS, GIL_WHY_TRACER, GIL_WHYS_KEPT), 1 * MS);
	cr_expect_eq(why_ns(1 * MS, GIL_WHY_NONE, 0), 2 * MS);
}

/* ---- switches that the kernel does not tell of ---- */

static void step_delayed(enum gil_step_op op, uint32_t tid, uint64_t now, uint32_t delay_us)
{
	run_step((struct gil_step){.op = op, .tid = tid, .now = now, .delay_us = delay_us});
}

/* It lacked its CPU for 2 ms, as the kernel's account says; nobody told when it came back. */
Test(core, release_of_who_came_back_unseen_tells_when_that_was)
{
	step(STEP_ACQUIRE, 10, 2 * MS);
	step(STEP_WAIT, 11, 2 * MS);
	step_delayed(STEP_OUT, 10, 3 * MS, 70);
	step_delayed(STEP_RELEASE, 10, 90 * MS, 2070);
	step(STEP_ACQUIRE, 11, 90 * MS);
	expect_off(&thread_of(10)->cur.hold_off, 0, 2 * MS, 0);
	expect_off(&thread_of(11)->cur.wait_off, 0, 2 * MS, 0);
	cr_expect_eq(gil->switches_missed, 1);
}

Test(core, tick_or_switch_of_who_came_back_unseen_tells_when_that_was)
{
	step(STEP_ACQUIRE, 10, 2 * MS);
	step_delayed(STEP_OUT, 10, 3 * MS, 0);
	step_delayed(STEP_BACK, 10, 10 * MS, 1000);
	step_delayed(STEP_OUT, 10, 12 * MS, 1000);
	step(STEP_IN, 10, 15 * MS);
	step_delayed(STEP_RELEASE, 10, 20 * MS, 4000);
	expect_off(&thread_of(10)->cur.hold_off, 0, 4 * MS, 0);
	cr_expect_eq(gil->switches_missed, 1, "the second one was told of");
}

/* What it slept is not waited for a CPU; woken it is. */
Test(core, sleeper_that_came_back_unseen_waited_for_a_cpu_from_when_it_was_woken)
{
	step(STEP_ACQUIRE, 10, 2 * MS);
	run_step((struct gil_step){.op = STEP_OUT, .tid = 10, .now = 3 * MS, .forced = GIL_CPU_BLOCKED, .delay_us = 50});
	step(STEP_WOKEN, 10, 8 * MS);
	step_delayed(STEP_RELEASE, 10, 20 * MS, 1050);
	expect_off(&thread_of(10)->cur.hold_off, 5 * MS, 1 * MS, 0);
}

/* A thread as the kernel sees it, of whose switches only some are told. */
struct unheard {
	uint64_t now;
	struct gil_kernel_account account;
	struct gil_off off; /* truth of its holds */
	uint64_t hold_ns, silent;
	unsigned int seed;
};

static uint64_t between(struct unheard *u, uint64_t from, uint64_t to)
{
	return from + (uint64_t)rand_r(&u->seed) % (to - from);
}

static void tell(const struct unheard *u, enum gil_step_op op, enum gil_cpu_state becomes)
{
	run_step((struct gil_step){
		.op = op, .tid = 10, .now = u->now, .forced = becomes, .delay_us = (uint32_t)(u->account.delay_ns / US),
		.arrivals = (uint32_t)u->account.arrivals, .sleeps = (uint32_t)u->account.sleeps, .ran_ns = u->account.ran_ns,
	});
}

static void runs(struct unheard *u)
{
	uint64_t ns = between(u, 50, 3000) * US;

	u->now += ns;
	u->account.ran_ns += ns;
	if (between(u, 0, 4) == 0)
		tell(u, STEP_TICK, 0);
}

/* Who leaves for a while, and comes back when there is a CPU. Waking up is always told, as it is. */
static void is_away(struct unheard *u, bool asleep)
{
	uint64_t slept = asleep ? between(u, 50, 5000) * US : 0, waited = between(u, 1, 5000) * US;
	bool tells_out = between(u, 0, 2), tells_in = between(u, 0, 2);

	if (tells_out)
		tell(u, STEP_OUT, asleep ? GIL_CPU_BLOCKED : GIL_CPU_PREEMPTED);
	u->account.sleeps += asleep;
	u->now += slept;
	if (asleep)
		tell(u, STEP_WOKEN, 0);
	u->now += waited;
	if (tells_in)
		tell(u, STEP_IN, 0);
	u->account.delay_ns += waited;
	u->account.arrivals++;
	u->off.ns[GIL_OFF_BLOCKED] += slept;
	u->off.ns[GIL_OFF_PREEMPTED] += waited;
	u->silent += !tells_out || !tells_in;
}

static void hold_unheard(struct unheard *u, uint64_t times)
{
	uint64_t since = u->now;

	tell(u, STEP_ACQUIRE, 0);
	runs(u);
	while (times--) {
		is_away(u, between(u, 0, 3) == 0);
		runs(u);
	}
	tell(u, STEP_RELEASE, 0);
	u->hold_ns += u->now - since;
	u->now += 100 * US;
}

static void expect_within_1_ms(const char *what, uint64_t told, uint64_t truth)
{
	cr_expect(told + MS >= truth && told <= truth + MS, "%s: told %llu us, true %llu us", what,
		  (unsigned long long)(told / US), (unsigned long long)(truth / US));
}

/* After each of 300 holds, in which half of the switches are silent. */
Test(core, kernels_totals_are_taken_where_switches_are_silent)
{
	struct unheard u = {
		.now = 2 * MS, .account = {.arrivals = 100, .sleeps = 7, .delay_ns = 5 * MS, .ran_ns = MS}, .seed = 5,
	};

	for (int i = 0; i < 300; i++) {
		const struct gil_totals *sum;

		hold_unheard(&u, between(&u, 0, 6));
		sum = &thread_of(10)->cur;
		cr_assert_eq(sum->hold_ns, u.hold_ns);
		expect_within_1_ms("without a CPU", sum->hold_off.ns[GIL_OFF_PREEMPTED], u.off.ns[GIL_OFF_PREEMPTED]);
		expect_within_1_ms("asleep", sum->hold_off.ns[GIL_OFF_BLOCKED], u.off.ns[GIL_OFF_BLOCKED]);
	}
	cr_expect_gt(u.silent, 100);
	cr_expect_gt(gil->switches_missed, 100);
}

/* What it did before the boundary was told as it seemed then: only the rest of the hold can be corrected. */
Test(core, correction_is_no_longer_than_the_interval_that_it_is_made_in)
{
	struct unheard u = {.now = 10 * MS, .account = {.arrivals = 1}};

	skel->bss->gil_clock.end = 20 * MS;
	tell(&u, STEP_ACQUIRE, 0);
	u.now = 22 * MS;
	u.account = (struct gil_kernel_account){.arrivals = 2, .delay_ns = 9 * MS, .ran_ns = 3 * MS};
	tell(&u, STEP_RELEASE, 0);
	expect_off(&thread_of(10)->cur.hold_off, 0, 2 * MS, 0);
	cr_expect_eq(gil->switches_missed, 1);
}

Test(core, account_that_is_missing_or_absurd_changes_nothing)
{
	step(STEP_ACQUIRE, 10, 2 * MS);
	step_delayed(STEP_OUT, 10, 3 * MS, ~0u);
	step_delayed(STEP_RELEASE, 10, 5 * MS, ~0u);
	expect_off(&thread_of(10)->cur.hold_off, 0, 2 * MS, 0);
	step(STEP_ACQUIRE, 10, 6 * MS);
	step_delayed(STEP_OUT, 10, 7 * MS, 500);
	step_delayed(STEP_RELEASE, 10, 9 * MS, 400);
	expect_off(&thread_of(10)->cur.hold_off, 0, 4 * MS, 0);
	step(STEP_ACQUIRE, 10, 10 * MS);
	step_delayed(STEP_OUT, 10, 11 * MS, 0);
	step_delayed(STEP_RELEASE, 10, 12 * MS, 900000);
	expect_off(&thread_of(10)->cur.hold_off, 0, 5 * MS, 0);
}

/* ---- once it was asked to let go ---- */

static void expect_over(uint32_t tid, uint64_t n, uint64_t ns, uint64_t max_ns)
{
	const struct gil_over *over = &thread_of(tid)->cur.over;

	cr_expect_eq(over->n, n, "asked %llu times", (unsigned long long)over->n);
	cr_expect_eq(over->ns, ns, "went on for %llu ns", (unsigned long long)over->ns);
	cr_expect_eq(over->max_ns, max_ns, "%llu ns at most", (unsigned long long)over->max_ns);
}

/* A waiter that comes by again has asked; whoever else does asks no more. */
Test(core, holder_goes_on_from_the_first_request_to_its_release)
{
	step(STEP_ACQUIRE, 10, 2 * MS);
	step(STEP_WAIT, 11, 3 * MS);
	step(STEP_WAIT, 12, 4 * MS);
	step(STEP_WAIT, 11, 8 * MS);
	step(STEP_WAIT, 12, 9 * MS);
	step(STEP_WAIT, 11, 13 * MS);
	step(STEP_RELEASE, 10, 17 * MS);
	expect_over(10, 1, 9 * MS, 9 * MS);
	cr_expect_eq(thread_of(10)->cur.over.hist[gil_over_bucket(9 * MS)], 1);
	step(STEP_ACQUIRE, 11, 17 * MS);
	step(STEP_RELEASE, 11, 30 * MS);
	expect_over(11, 0, 0, 0);
}

Test(core, time_off_the_cpu_is_not_gone_on)
{
	step(STEP_ACQUIRE, 10, 2 * MS);
	step(STEP_WAIT, 11, 3 * MS);
	step(STEP_OUT, 10, 7 * MS);
	step(STEP_WAIT, 11, 8 * MS);
	step(STEP_IN, 10, 12 * MS);
	asleep(10, 13 * MS);
	step(STEP_IN, 10, 15 * MS);
	step(STEP_RELEASE, 10, 15 * MS + 100 * US);
	expect_over(10, 1, 1 * MS + 100 * US, 1 * MS + 100 * US);
}

/* Somebody else has taken it since: CPython does not ask (take_gil()), unless it is the same one as before. */
Test(core, waiter_asks_only_if_nobody_else_has_taken_it_meanwhile)
{
	step(STEP_ACQUIRE, 10, 2 * MS);
	step(STEP_WAIT, 11, 3 * MS);
	step(STEP_RELEASE, 10, 6 * MS);
	step(STEP_ACQUIRE, 12, 6 * MS);
	step(STEP_WAIT, 11, 8 * MS);
	step(STEP_RELEASE, 12, 20 * MS);
	expect_over(12, 0, 0, 0);
	step(STEP_ACQUIRE, 12, 21 * MS);
	step(STEP_WAIT, 11, 23 * MS);
	step(STEP_RELEASE, 12, 24 * MS);
	expect_over(12, 1, 1 * MS, 1 * MS);
}

Test(core, longest_that_went_on_is_the_intervals_and_the_rest_adds_up)
{
	skel->bss->gil_clock.end = 50 * MS;
	step(STEP_ACQUIRE, 10, 2 * MS);
	step(STEP_WAIT, 11, 3 * MS);
	step(STEP_WAIT, 11, 8 * MS);
	step(STEP_RELEASE, 10, 28 * MS);
	step(STEP_ACQUIRE, 11, 28 * MS);
	step(STEP_RELEASE, 11, 29 * MS);
	step(STEP_ACQUIRE, 10, 51 * MS);
	step(STEP_WAIT, 11, 52 * MS);
	step(STEP_WAIT, 11, 57 * MS);
	step(STEP_RELEASE, 10, 58 * MS);
	expect_over(10, 2, 21 * MS, 1 * MS);
	cr_expect_eq(thread_of(10)->snap.over.max_ns, 20 * MS);
	cr_expect_eq(thread_of(10)->snap.over.ns, 20 * MS);
}

Test(core, who_does_not_hold_the_gil_may_sleep)
{
	step(STEP_ACQUIRE, 10, 2 * MS);
	step(STEP_RELEASE, 10, 3 * MS);
	step(STEP_ACQUIRE, 11, 4 * MS);
	asleep(10, 5 * MS);
	step(STEP_IN, 10, 6 * MS);
	asleep(12, 6 * MS);
	step(STEP_RELEASE, 11, 7 * MS);
	asleep(11, 8 * MS);
	step(STEP_IN, 11, 9 * MS);
	step(STEP_ACQUIRE, 10, 10 * MS);
	step(STEP_RELEASE, 10, 11 * MS);
	expect_off(&thread_of(10)->cur.hold_off, 0, 0, 0);
	expect_off(&thread_of(11)->cur.hold_off, 0, 0, 0);
}

Test(core, what_was_done_before_the_first_event_is_unseen_and_not_on_the_cpu)
{
	step(STEP_WAIT, 11, 2 * MS);
	step(STEP_RELEASE, 10, 9 * MS);
	step(STEP_ACQUIRE, 11, 9 * MS + 10 * US);
	step(STEP_RELEASE, 11, 12 * MS);
	expect_off(&thread_of(10)->cur.hold_off, 0, 0, 8 * MS);
	expect_off(&thread_of(11)->cur.wait_off, 0, 0, 7 * MS);
	expect_off(&thread_of(11)->cur.hold_off, 0, 0, 0);
}

Test(core, gil_that_was_free_when_first_seen_leaves_nothing_unseen)
{
	step(STEP_ACQUIRE, 10, 5 * MS);
	step(STEP_OUT, 10, 6 * MS);
	step(STEP_IN, 10, 8 * MS);
	step(STEP_RELEASE, 10, 9 * MS);
	expect_off(&thread_of(10)->cur.hold_off, 0, 2 * MS, 0);
}

Test(core, off_cpu_clocks_at_the_boundary_are_put_aside)
{
	const struct gil_cpu *cpu;

	skel->bss->gil_clock.end = 10 * MS;
	step(STEP_ACQUIRE, 10, 2 * MS);
	step(STEP_WAIT, 11, 3 * MS);
	asleep(10, 4 * MS);
	step(STEP_IN, 10, 13 * MS);
	step(STEP_WAIT, 11, 14 * MS);
	cpu = &gil->cpu[gil->cpu_turn & 1];
	cr_expect_eq(cpu->bound, 10 * MS);
	cr_expect_eq(cpu->snap.state, GIL_CPU_BLOCKED);
	cr_expect_eq(cpu->snap.since, 4 * MS);
	cr_expect_eq(cpu->cur.off.ns[GIL_OFF_BLOCKED], 9 * MS);
	expect_off(&thread_of(11)->snap.wait_off, 6 * MS, 0, 0);
	expect_off(&thread_of(11)->cur.wait_off, 9 * MS, 0, 0);
	step(STEP_RELEASE, 10, 15 * MS);
	expect_off(&thread_of(10)->snap.hold_off, 0, 0, 0);
	/* The clock of the unseen ran until the first event told that nobody held it; no hold has it. */
	expect_off(&gil->snap.settled, 0, 0, 1 * MS);
	expect_off(&thread_of(10)->cur.hold_off, 9 * MS, 0, 0);
	expect_off(&gil->cur.settled, 9 * MS, 0, 1 * MS);
}

/* ---- a made-up account of many holds ---- */

struct account {
	uint64_t hold, on, blocked, preempted;
};

static uint64_t drawn = 88172645463325252ull;

/* 1 .. most, the same in each run. */
static uint64_t draw(uint64_t most)
{
	drawn ^= drawn << 13;
	drawn ^= drawn >> 7;
	drawn ^= drawn << 17;
	return 1 + (drawn >> 11) % most;
}

/* Time passes; intervals end. */
static uint64_t spend(uint64_t *now, uint64_t *part)
{
	uint64_t len = draw(300 * US);

	*now += len;
	*part += len;
	while (*now > skel->bss->gil_clock.end) {
		skel->bss->gil_clock.start = skel->bss->gil_clock.end;
		skel->bss->gil_clock.end += 2 * MS + 77;
	}
	return len;
}

static void lose_the_cpu(uint32_t tid, uint64_t *now, struct account *a)
{
	if (draw(2) == 1) {
		step(STEP_OUT, tid, *now);
		spend(now, &a->preempted);
	} else {
		asleep(tid, *now);
		spend(now, &a->blocked);
		if (draw(3) > 1) { /* else it is on a CPU as soon as it wakes up */
			step(STEP_WOKEN, tid, *now);
			spend(now, &a->preempted);
		}
	}
	step(STEP_IN, tid, *now);
	spend(now, &a->on);
}

Test(core, hold_is_what_it_was_on_the_cpu_asleep_without_a_cpu_and_unseen_to_the_nanosecond)
{
	struct account accounts[3] = {{0}};
	uint64_t now = 1 * MS, gap = 0, unseen = 0;

	skel->bss->gil_clock.end = 3 * MS;
	/* Who held the GIL when the probes were armed. */
	spend(&now, &unseen);
	step(STEP_RELEASE, 10, now);
	for (int i = 0; i < 400; i++) {
		uint32_t who = (uint32_t)draw(3) - 1;
		struct account *a = &accounts[who];
		uint64_t begin;

		spend(&now, &gap);
		begin = now;
		step(STEP_ACQUIRE, 10 + who, now);
		spend(&now, &a->on);
		for (uint64_t times = draw(4); times > 1; times--)
			lose_the_cpu(10 + who, &now, a);
		step(STEP_RELEASE, 10 + who, now);
		a->hold += now - begin;
	}
	for (uint32_t who = 0; who < 3; who++) {
		const struct gil_totals *got = &thread_of(10 + who)->cur;
		const struct account *a = &accounts[who];
		uint64_t not_seen = who == 0 ? unseen : 0, off = 0;

		cr_assert(a->blocked && a->preempted, "nothing is tested");
		cr_assert_eq(a->hold, a->on + a->blocked + a->preempted);
		cr_expect_eq(got->hold_ns, a->hold + not_seen);
		expect_off(&got->hold_off, a->blocked, a->preempted, not_seen);
		for (uint32_t kind = 0; kind < GIL_OFF_KINDS; kind++)
			off += got->hold_off.ns[kind];
		cr_expect_eq(got->hold_ns - off, a->on);
	}
	cr_expect_eq(skel->bss->gil_holders_off, 0);
}

/* The scheduler's events lie outside of gil->mutex: their stamps may be a little behind or ahead of the others'. */
Test(core, parts_never_exceed_the_whole)
{
	step(STEP_ACQUIRE, 10, 5 * MS);
	step(STEP_OUT, 10, 5 * MS - 700);
	step(STEP_IN, 10, 6 * MS + 300);
	step(STEP_WAIT, 11, 6 * MS);
	step(STEP_RELEASE, 10, 6 * MS);
	step(STEP_ACQUIRE, 11, 6 * MS + 100);
	cr_expect_eq(thread_of(10)->cur.hold_ns, 1 * MS);
	expect_off(&thread_of(10)->cur.hold_off, 0, 1 * MS, 0);
	expect_off(&thread_of(11)->cur.wait_off, 0, 0, 0);
}

Test(core, process_that_ends_asleep_with_the_gil_has_slept_with_it)
{
	step(STEP_ACQUIRE, 10, 2 * MS);
	asleep(10, 3 * MS);
	step(STEP_IN, 10, 7 * MS);
	step(STEP_EXIT, 10, 9 * MS);
	asleep(10, 9 * MS);
	expect_off(&thread_of(10)->cur.hold_off, 4 * MS, 0, 0);
	cr_expect_eq(skel->bss->gil_holders_off, 0);
}

Test(core, thread_with_two_gils_is_followed_on_the_one_it_took_last)
{
	step(STEP_ACQUIRE, 10, 2 * MS);
	step(STEP_RELEASE, 10, 3 * MS);
	step_on(1, STEP_ACQUIRE, 10, 4 * MS);
	step(STEP_OUT, 10, 5 * MS);
	step(STEP_IN, 10, 6 * MS);
	step_on(1, STEP_RELEASE, 10, 7 * MS);
	step(STEP_ACQUIRE, 10, 8 * MS);
	step(STEP_OUT, 10, 9 * MS);
	step(STEP_IN, 10, 12 * MS);
	step(STEP_RELEASE, 10, 13 * MS);
	expect_off(&thread_on(10, 1)->cur.hold_off, 0, 1 * MS, 0);
	expect_off(&thread_on(10, 0)->cur.hold_off, 0, 3 * MS, 0);
}

/* A hold whose release was not seen: what it slept is not charged to the next one. */
Test(core, hold_after_a_lost_release_begins_with_nothing)
{
	step(STEP_ACQUIRE, 10, 2 * MS);
	asleep(10, 3 * MS);
	step(STEP_ACQUIRE, 11, 5 * MS);
	step(STEP_IN, 10, 6 * MS);
	step(STEP_RELEASE, 11, 7 * MS);
	expect_off(&thread_of(11)->cur.hold_off, 0, 0, 0);
	cr_expect_eq(skel->bss->gil_holders_off, 0);
}

/* ---- light ---- */

static void go_light(void)
{
	open_core();
	proc->mode = GIL_MODE_LIGHT;
}

TestSuite(core_light, .init = go_light, .fini = close_core);

Test(core_light, wait_ends_at_the_wake_and_is_charged_to_the_sampled_holder)
{
	struct gil_blame_key key = {.holder = GIL_SLOT_NONE, .holder_tstate = 0xabc000};
	struct gil_blame pair = {0};

	step_with(STEP_WAIT, 11, 3 * MS, 0, 0xabc000);
	step_with(STEP_WAIT, 11, 8 * MS, 0, 0xdef000);
	step(STEP_WAKE, 11, 9 * MS);
	cr_expect_eq(thread_of(11)->cur.wait_ns, 6 * MS);
	cr_expect_eq(thread_of(11)->cur.contended, 1);
	cr_expect_eq(thread_of(11)->cur.hold_ns, 0);
	key.victim = (uint32_t)(thread_of(11) - threads);
	cr_assert_eq(bpf_map_lookup_elem(bpf_map__fd(skel->maps.blame), &key, &pair), 0);
	cr_expect_eq(pair.cur_ns, 5 * MS);
	key.holder_tstate = 0xdef000;
	cr_assert_eq(bpf_map_lookup_elem(bpf_map__fd(skel->maps.blame), &key, &pair), 0);
	cr_expect_eq(pair.cur_ns, 1 * MS);
}

Test(core_light, handoff_ends_at_the_wake_of_the_successor)
{
	step_with(STEP_WAIT, 11, 3 * MS, 0, 1);
	step(STEP_HANDOFF, 10, 8 * MS);
	step(STEP_WAKE, 11, 8 * MS + 50 * US);
	step_with(STEP_WAIT, 10, 8 * MS + 90 * US, 0, 2);
	step(STEP_WAKE, 10, 9 * MS);
	cr_expect_eq(thread_of(10)->cur.handoff_ns, 50 * US);
	cr_expect_eq(thread_of(10)->cur.wait_ns, 960 * US);
	cr_expect_eq(thread_of(10)->cur.contended, 1);
	cr_expect_eq(thread_of(10)->cur.forced, 1);
	cr_expect_eq(thread_of(10)->cur.inferred, 0);
}

Test(core_light, handoff_whose_end_nobody_saw_is_inferred_and_counted)
{
	step(STEP_HANDOFF, 10, 8 * MS);
	step_with(STEP_WAIT, 12, 9 * MS, 0, 3);
	cr_expect_eq(thread_of(10)->cur.inferred, 1);
	cr_expect_eq(thread_of(10)->cur.handoff_ns, 1 * MS);
}

Test(core_light, handoff_without_a_queue_behind_it_still_counts_as_contended)
{
	step_with(STEP_WAIT, 11, 3 * MS, 0, 1);
	step(STEP_HANDOFF, 10, 8 * MS);
	step(STEP_WAKE, 11, 8 * MS + 50 * US);
	step_with(STEP_WAIT, 11, 12 * MS, 0, 1);
	step(STEP_HANDOFF, 10, 17 * MS);
	cr_expect_eq(thread_of(10)->cur.contended, 1);
	cr_expect_eq(thread_of(10)->cur.wait_max_ns, 50 * US);
}

static void light_step(enum gil_step_op op, uint32_t tid, uint64_t now, uint64_t switches)
{
	run_step((struct gil_step){.op = op, .tid = tid, .now = now, .tstate = 0xabc000, .switches = switches});
}

/* A waiter asks for a hold that is the same after a switch interval; who lets go for that waits to be succeeded. */
Test(core_light, tells_how_late_a_holder_lets_go_that_was_asked)
{
	light_step(STEP_WAIT, 11, 3 * MS, 7);
	light_step(STEP_WAIT, 11, 8 * MS, 7);
	light_step(STEP_WAIT, 12, 9 * MS, 7);
	light_step(STEP_WAIT, 11, 13 * MS, 7);
	light_step(STEP_HANDOFF, 10, 14 * MS, 7);
	step(STEP_WAKE, 11, 14 * MS + 50 * US);
	cr_expect_eq(thread_of(10)->cur.over.n, 1);
	cr_expect_eq(thread_of(10)->cur.over.ns, 6 * MS);
	cr_expect_eq(thread_of(10)->cur.over.max_ns, 6 * MS);
	cr_expect_eq(thread_of(11)->cur.over.n, 0);
}

/* Another has had it in between: CPython sets no request then. */
Test(core_light, a_waiter_that_finds_another_holder_has_not_asked)
{
	light_step(STEP_WAIT, 11, 3 * MS, 7);
	light_step(STEP_WAIT, 11, 8 * MS, 8);
	light_step(STEP_HANDOFF, 10, 14 * MS, 8);
	cr_expect_eq(thread_of(10)->cur.over.n, 0);
}

/* The hold that was asked for has ended unseen: neither the next one is late for it, nor is a request of that lost. */
Test(core_light, a_request_is_of_one_hold)
{
	light_step(STEP_WAIT, 11, 3 * MS, 7);
	light_step(STEP_WAIT, 11, 8 * MS, 7);
	light_step(STEP_HANDOFF, 13, 12 * MS, 8);
	cr_expect_eq(thread_of(13)->cur.over.n, 0);
	light_step(STEP_WAIT, 11, 13 * MS, 9);
	light_step(STEP_WAIT, 11, 18 * MS, 9);
	light_step(STEP_WAIT, 11, 23 * MS, 10);
	light_step(STEP_WAIT, 11, 28 * MS, 10);
	light_step(STEP_HANDOFF, 10, 29 * MS, 10);
	cr_expect_eq(thread_of(10)->cur.over.ns, 1 * MS);
}

/* ---- a random walk beside a plain model ---- */

#define WALKERS 6

struct model {
	uint64_t hold[WALKERS], wait[WALKERS], gap[WALKERS], blame[WALKERS][WALKERS], acquires[WALKERS];
	uint64_t hold_off[WALKERS][GIL_OFF_KINDS], wait_off[WALKERS][GIL_OFF_KINDS];
	bool waiting[WALKERS], handoff[WALKERS];
	int owner;
	enum gil_cpu_state cpu; /* of the owner */
	uint64_t at;
};

/* Lets time pass in the model: everybody who waits is charged to whom it concerns. */
static void pass(struct model *m, uint64_t now)
{
	uint64_t dt = now - m->at;

	for (int i = 0; i < WALKERS; i++) {
		if (!m->waiting[i] && !m->handoff[i])
			continue;
		m->wait[i] += dt;
		if (m->owner >= 0)
			m->blame[i][m->owner] += dt;
		else
			m->gap[i] += dt;
		if (m->owner >= 0 && m->cpu != GIL_CPU_ON)
			m->wait_off[i][m->cpu - 1] += dt;
	}
	if (m->owner >= 0)
		m->hold[m->owner] += dt;
	if (m->owner >= 0 && m->cpu != GIL_CPU_ON)
		m->hold_off[m->owner][m->cpu - 1] += dt;
	m->at = now;
}

static int pick(const struct model *m, bool waiting)
{
	int start = rand() % WALKERS;

	for (int i = 0; i < WALKERS; i++) {
		int who = (start + i) % WALKERS;

		if (who != m->owner && !m->handoff[who] && m->waiting[who] == waiting)
			return who;
	}
	return -1;
}

/* The scheduler does something with the owner. */
static void walk_cpu(struct model *m, uint64_t now)
{
	uint32_t tid = 100 + (uint32_t)m->owner;

	if (m->cpu == GIL_CPU_ON) {
		m->cpu = (enum gil_cpu_state[]){GIL_CPU_BLOCKED, GIL_CPU_PREEMPTED, GIL_CPU_STOPPED}[rand() % 3];
		step_with(STEP_OUT, tid, now, m->cpu, 0);
	} else if (m->cpu != GIL_CPU_PREEMPTED && rand() % 2) {
		m->cpu = GIL_CPU_PREEMPTED;
		step(STEP_WOKEN, tid, now);
	} else {
		m->cpu = GIL_CPU_ON;
		step(STEP_IN, tid, now);
	}
}

static void walk_owned(struct model *m, uint64_t now)
{
	int who, dice = rand() % 10;

	if (rand() % 3 == 0 || (m->cpu != GIL_CPU_ON && dice >= 6)) {
		walk_cpu(m, now);
		return;
	}

	if (dice < 4) {
		who = pick(m, false);
		if (who >= 0) {
			m->waiting[who] = true;
			step(STEP_WAIT, 100 + (uint32_t)who, now);
		}
	} else if (dice < 6) {
		who = pick(m, true);
		if (who >= 0)
			step(STEP_WAIT, 100 + (uint32_t)who, now);
	} else {
		who = m->owner;
		step(STEP_RELEASE, 100 + (uint32_t)who, now);
		m->owner = -1;
		if (dice == 9 && pick(m, true) >= 0) {
			m->handoff[who] = true;
			step(STEP_HANDOFF, 100 + (uint32_t)who, now);
		}
	}
}

static void walk_free(struct model *m, uint64_t now)
{
	int who = rand() % 3 ? pick(m, true) : pick(m, false);

	if (who < 0)
		who = pick(m, true) >= 0 ? pick(m, true) : pick(m, false);
	if (who < 0)
		return;
	step(STEP_ACQUIRE, 100 + (uint32_t)who, now);
	m->waiting[who] = false;
	memset(m->handoff, 0, sizeof(m->handoff));
	m->owner = who;
	m->acquires[who]++;
}

static void compare(const struct model *m)
{
	for (int i = 0; i < WALKERS; i++) {
		const struct gil_totals *cur = &thread_of(100 + (uint32_t)i)->cur;

		cr_expect_eq(cur->hold_ns, m->hold[i], "hold of %d", i);
		cr_expect_eq(cur->releases, m->acquires[i], "acquires of %d", i);
		cr_expect_eq(cur->wait_ns, m->wait[i], "wait of %d", i);
		cr_expect_eq(cur->handover_ns, m->gap[i], "handover of %d", i);
		cr_expect_eq(cur->unknown_ns, 0);
		for (int kind = 0; kind < GIL_OFF_KINDS; kind++) {
			cr_expect_eq(cur->hold_off.ns[kind], m->hold_off[i][kind], "hold of %d, kind %d", i, kind);
			cr_expect_eq(cur->wait_off.ns[kind], m->wait_off[i][kind], "wait of %d, kind %d", i, kind);
		}
		cr_expect_eq(blamed_in_all(100 + (uint32_t)i) + cur->handover_ns, cur->wait_ns);
		for (int j = 0; j < WALKERS; j++)
			if (i != j)
				cr_expect_eq(blamed(100 + (uint32_t)i, 100 + (uint32_t)j), m->blame[i][j],
					     "blame of %d on %d", i, j);
	}
}

/* Ends what is open, so that both sides have counted everything. */
static void settle(struct model *m, uint64_t now)
{
	for (int guard = 0; guard < 4 * WALKERS; guard++, now += 7) {
		int who;

		pass(m, now);
		if (m->cpu != GIL_CPU_ON) {
			walk_cpu(m, now);
			continue;
		}
		if (m->owner >= 0) {
			step(STEP_RELEASE, 100 + (uint32_t)m->owner, now);
			m->owner = -1;
			continue;
		}
		who = pick(m, true);
		if (who < 0)
			who = pick(m, false);
		step(STEP_ACQUIRE, 100 + (uint32_t)who, now);
		m->waiting[who] = false;
		memset(m->handoff, 0, sizeof(m->handoff));
		m->owner = who;
		m->acquires[who]++;
	}
	pass(m, now);
	if (m->owner >= 0)
		step(STEP_RELEASE, 100 + (uint32_t)m->owner, now);
}

Test(core, random_walk_agrees_with_a_plain_model_to_the_nanosecond)
{
	struct model m = {.owner = -1, .at = 2 * MS};
	uint64_t now = 2 * MS;

	srand(20261);
	for (int i = 0; i < WALKERS; i++) { /* everybody has a record, the GIL's state is known */
		step(STEP_ACQUIRE, 100 + (uint32_t)i, now);
		step(STEP_RELEASE, 100 + (uint32_t)i, now);
		m.acquires[i]++;
	}
	for (int i = 0; i < 6000; i++) {
		now += (uint64_t)(rand() % 5000);
		pass(&m, now);
		if (m.owner >= 0)
			walk_owned(&m, now);
		else
			walk_free(&m, now);
		/* An interval every 500 events or so: what is put aside must not disturb the sums. */
		if (i % 500 == 250) {
			skel->bss->gil_clock.start = skel->bss->gil_clock.end < now ?
				skel->bss->gil_clock.end : skel->bss->gil_clock.start;
			skel->bss->gil_clock.end = now + 600000;
		}
	}
	settle(&m, now + 11);
	compare(&m);
	for (int loss = 0; loss < GIL_LOSS_COUNT; loss++)
		cr_expect_eq(proc->lost[loss], 0, "loss %d", loss);
}

/* ---- any sequence of events ---- */

#define ANY_PROCS 2
#define ANY_TIDS 7          /* of a process */
#define ANY_GILS 2          /* of a process */
#define ANY_SEEDS 24
#define ANY_INTERVALS 60
#define ANY_THREADS 256     /* records: more than rest at a time, whatever the sequence */
#define ANY_FEW 9           /* slots, where there are few */
#define ANY_FIRST (GIL_SLOT_OTHER + ANY_PROCS) /* thread slot */

/* What the reader remembers of each record, and what happened since it last looked. */
struct any {
	struct time_memo times[ANY_THREADS];
	struct blame_memo blame[ANY_THREADS];
	uint64_t rests_since[ANY_THREADS]; /* 0: not */
	uint64_t oldest_wait[ANY_PROCS];
	uint64_t from, now, events, late; /* events, and how many of them came behind the boundary: they may be of either side */
	bool is_there[ANY_PROCS];
	bool ends[ANY_PROCS];       /* all its threads have ended: it is forgotten when that was collected */
	bool left;                  /* the second GIL of the first process is finalized: no event is of it */
	bool few_slots;             /* so that threads find none; such are of one GIL, since they share one record */
};

static void open_core_for_any(void)
{
	load_core_for(ANY_PROCS, ANY_THREADS, false, false);
}

TestSuite(core_any, .init = open_core_for_any, .fini = close_core);

static struct gil_state *any_gil(uint32_t p, uint32_t g)
{
	return &gil[p * GIL_PER_PROC + g];
}

static uint64_t off_sum(const struct gil_off *off)
{
	return off->ns[GIL_OFF_BLOCKED] + off->ns[GIL_OFF_PREEMPTED] + off->ns[GIL_OFF_UNSEEN] + off->ns[GIL_OFF_STOPPED];
}

/* What the definitions of the fields of garbage collection and of requests allow. */
static void expect_allowed_of_parts(const struct any *a, const struct metrics *m, uint64_t len)
{
	cr_assert_leq(m->gc.hold_ns, len, "collected %llu of %llu ns", (unsigned long long)m->gc.hold_ns,
		      (unsigned long long)len);
	cr_assert_leq(m->gc.wait_ns, len * ANY_TIDS);
	cr_assert_leq(m->gc.max_ns, a->now);
	cr_assert_leq(m->over.n, a->events);
	cr_assert_leq(m->over.ns, m->over.n * a->now);
	cr_assert_leq(m->over.max_ns, a->now);
}

/* What the definitions of the fields allow. */
static void expect_allowed(const struct any *a, const struct metrics *m, uint64_t blamed_ns, uint64_t len, uint64_t events)
{
	cr_assert_leq(m->hold_ns, len, "held %llu of %llu ns", (unsigned long long)m->hold_ns, (unsigned long long)len);
	cr_assert_leq(m->wait_ns, len, "waited %llu of %llu ns", (unsigned long long)m->wait_ns, (unsigned long long)len);
	cr_assert_eq(m->wait_ns, blamed_ns + m->handover_ns + m->unknown_ns, "wait %llu, blame %llu, handover %llu, unknown %llu",
		     (unsigned long long)m->wait_ns, (unsigned long long)blamed_ns, (unsigned long long)m->handover_ns,
		     (unsigned long long)m->unknown_ns);
	cr_assert_leq(m->handover_ns + m->unknown_ns, m->wait_ns);
	cr_assert_leq(off_sum(&m->hold_off), m->hold_ns);
	cr_assert_leq(off_sum(&m->wait_off), m->wait_ns - m->handover_ns);
	cr_assert_leq(m->acquires, events);
	cr_assert_leq(m->contended, events);
	cr_assert_leq(m->forced, events);
	cr_assert_leq(m->inferred, events);
	cr_assert_leq(m->waiting, 1);
	cr_assert_leq(m->hold_max_ns, a->now);
	cr_assert_leq(m->wait_max_ns, a->now);
	expect_allowed_of_parts(a, m, len);
}

/* As reader.c does it for one record; what it held and collected is added to the sums of its GIL. */
static void any_collect_one(struct any *a, uint32_t slot, const struct gil_record gils[ANY_PROCS][ANY_GILS],
			    const struct blame_reading *reading, uint64_t bound, uint64_t held[ANY_PROCS][ANY_GILS])
{
	struct blame_list open = {0}, parts = {0};
	struct metrics m = {.known = KNOWN_ALL};
	struct record rec;
	struct moment at = {
		.rec = &rec, .from = a->from, .bound = bound, .slot = slot, .arm_gen = proc[threads[slot].proc].arm_gen,
		.mode = proc[threads[slot].proc].mode,
	};
	bool dead;

	cr_assert(record__read(&threads[slot], bound, &rec));
	at.gil = &gils[rec.proc][rec.gil];
	dead = rec.state != GIL_THREAD_LIVE && rec.bound < bound && !moment__open_hold_since(&at);
	if (dead && a->rests_since[slot])
		return;
	cr_assert_eq(time_memo__settle(&a->times[slot], &at, &m, &open), 0);
	cr_assert_eq(blame_memo__settle(&a->blame[slot], reading, slot, at.gil->state.seed_slot, &open, &parts), 0);
	time_memo__explain(&a->times[slot], &m, &parts);
	cr_assert_eq(a->times[slot].violations, 0, "%llu violations", (unsigned long long)a->times[slot].violations);
	expect_allowed(a, &m, blame_list__sum(&parts), bound - a->from, a->events);
	a->rests_since[slot] = dead ? bound : 0;
	if (!dead && record__waits(&rec, at.arm_gen) && rec.at.wait_place < a->oldest_wait[rec.proc])
		a->oldest_wait[rec.proc] = rec.at.wait_place;
	held[rec.proc][rec.gil] += m.hold_ns;
	metrics__clear(&m);
	blame_list__clear(&open);
	blame_list__clear(&parts);
}

/* Why holders slept in the interval before `bound`: no longer than it was. */
static void expect_whys_allowed(const struct gil_state *g, uint64_t from, uint64_t bound)
{
	for (int turn = 0; turn < 2; turn++) {
		uint64_t sum = g->whys[turn].rest_ns;

		for (int i = 0; i < GIL_WHYS_KEPT && g->whys[turn].of[i].why.kind; i++)
			sum += g->whys[turn].of[i].ns;
		if (g->whys[turn].bound == from)
			cr_assert_leq(sum, bound - from);
	}
}

static void any_collect(struct any *a, uint64_t bound)
{
	struct gil_record gils[ANY_PROCS][ANY_GILS] = {0};
	uint64_t held[ANY_PROCS][ANY_GILS] = {0};
	struct blame_reading reading = {0};

	for (uint32_t p = 0; p < ANY_PROCS; p++) {
		cr_assert(a->few_slots || proc[p].lost[GIL_LOSS_NO_SLOT] == 0, "slots of those that ended are not given back");
		a->oldest_wait[p] = UINT64_MAX;
		for (uint32_t g = 0; g < ANY_GILS; g++) {
			cr_assert(gil_record__read(any_gil(p, g), bound, &gils[p][g]));
			gils[p][g].current = gils[p][g].state.arm_gen == proc[p].arm_gen && gils[p][g].at.events > 0;
			expect_whys_allowed(any_gil(p, g), a->from, bound);
		}
	}
	cr_assert_eq(blame_reading__read(&reading, bpf_map__fd(skel->maps.blame), bound), 0);
	for (uint32_t slot = GIL_SLOT_OTHER; slot < ANY_THREADS; slot++)
		if (threads[slot].state != GIL_THREAD_FREE || slot < ANY_FIRST)
			any_collect_one(a, slot, gils, &reading, bound, held);
	for (uint32_t p = 0; p < ANY_PROCS; p++)
		for (uint32_t g = 0; g < ANY_GILS; g++)
			cr_assert_leq(held[p][g], bound - a->from, "GIL %u of process %u was held %llu of %llu ns", g, p,
				      (unsigned long long)held[p][g], (unsigned long long)(bound - a->from));
	blame_reading__clear(&reading);
	a->from = bound;
	a->events = a->late;
	a->late = 0;
}

static void any_give_back_one(struct any *a, uint32_t slot)
{
	time_memo__clear(&a->times[slot]);
	blame_memo__clear(&a->blame[slot]);
	a->rests_since[slot] = 0;
	memset(&threads[slot], 0, sizeof(threads[slot]));
	if (slot >= ANY_FIRST && (!a->few_slots || slot < ANY_FIRST + ANY_FEW))
		cr_assert_eq(bpf_map_update_elem(bpf_map__fd(skel->maps.free_slots), NULL, &slot, 0), 0);
}

/* Those of processes that have ended; and of threads that have and were collected, once no wait can be charged to them. */
static void any_give_back(struct any *a)
{
	struct blame_reading reading = {0};
	bool gone[ANY_THREADS] = {false};

	cr_assert_eq(blame_reading__read(&reading, bpf_map__fd(skel->maps.blame), a->from), 0);
	for (uint32_t slot = ANY_FIRST; slot < ANY_THREADS; slot++)
		gone[slot] = threads[slot].state != GIL_THREAD_FREE &&
			     (a->ends[threads[slot].proc] || (a->rests_since[slot] && a->rests_since[slot] < a->from &&
							      a->rests_since[slot] <= a->oldest_wait[threads[slot].proc]));
	blame_reading__forget(&reading, bpf_map__fd(skel->maps.blame), gone);
	for (uint32_t slot = GIL_SLOT_OTHER; slot < ANY_THREADS; slot++)
		blame_memo__forget(&a->blame[slot], gone);
	for (uint32_t slot = ANY_FIRST; slot < ANY_THREADS; slot++)
		if (gone[slot])
			any_give_back_one(a, slot);
	blame_reading__clear(&reading);
}

/* As a change of mode does it, or an interpreter that is gone: what is open is forgotten. */
static void any_rearm(struct any *a, uint32_t p)
{
	static const uint32_t modes[] = {GIL_MODE_FULL, GIL_MODE_FULL, GIL_MODE_LIGHT, GIL_MODE_HOLDS};
	struct blame_reading reading = {0};

	cr_assert_eq(blame_reading__read(&reading, bpf_map__fd(skel->maps.blame), UINT64_MAX), 0);
	for (uint32_t slot = GIL_SLOT_OTHER; slot < ANY_THREADS; slot++) {
		if (threads[slot].proc != p)
			continue;
		time_memo__forget_open(&a->times[slot], &threads[slot].cur, any_gil(p, threads[slot].gil)->since, a->from);
		blame_memo__forget_open(&a->blame[slot], &reading, slot);
	}
	blame_reading__clear(&reading);
	proc[p].mode = modes[rand() % 4];
	proc[p].arm_gen++;
	proc[p].armed_at = a->now;
}

/* ---- what processes and interpreters do ---- */

/* As a fork has it, or an exec in its place: nothing is known of its GILs. */
static void any_begins(struct any *a, uint32_t p)
{
	proc[p] = (struct gil_proc){.armed = 1, .arm_gen = 1, .mode = GIL_MODE_FULL, .armed_at = a->now, .gc_exact = rand() % 2};
	threads[GIL_SLOT_OTHER + p].state = GIL_THREAD_LIVE;
	threads[GIL_SLOT_OTHER + p].proc = p;
	a->is_there[p] = true;
}

/* All threads at once, in any order of GILs, as at the end of a process or its exec. */
static void any_all_exit(struct any *a, uint32_t p)
{
	for (uint32_t i = 0; i < ANY_TIDS; i++)
		run_step((struct gil_step){.op = STEP_EXIT, .proc = p, .gil = (uint32_t)(rand() % ANY_GILS) & !a->few_slots,
					   .tid = 100 * (p + 1) + i, .now = a->now});
	a->events += ANY_TIDS;
}

/* Its last numbers were collected. As probes__free_proc() has it. */
static void any_forget(struct any *a, uint32_t p)
{
	if (!a->ends[p])
		return;
	any_give_back(a);
	any_give_back_one(a, GIL_SLOT_OTHER + p);
	threads[GIL_SLOT_OTHER + p].proc = p;
	for (uint32_t g = 0; g < ANY_GILS; g++)
		memset(any_gil(p, g), 0, sizeof(struct gil_state));
	memset(&proc[p], 0, sizeof(proc[p]));
	a->is_there[p] = a->ends[p] = false;
	a->left = a->left && p;
}

/* A sub-interpreter is finalized: as gil_life.c has it. */
static void any_finalize(struct any *a)
{
	uint32_t records = 0;

	for (uint32_t slot = ANY_FIRST; slot < ANY_THREADS; slot++) {
		if (threads[slot].state == GIL_THREAD_FREE || threads[slot].proc != 0 || threads[slot].gil != 1)
			continue;
		records++;
		if (threads[slot].state == GIL_THREAD_LIVE)
			threads[slot].state = GIL_THREAD_LEFT;
	}
	if (a->left && !records)
		memset(any_gil(0, 1), 0, sizeof(struct gil_state));
	a->left = !a->left || records;
}

static void any_change(struct any *a)
{
	for (uint32_t p = 0; p < ANY_PROCS; p++) {
		if (!a->is_there[p] && rand() % 4 == 0)
			any_begins(a, p);
		if (a->is_there[p] && rand() % 8 == 0)
			any_rearm(a, p);
		if (!a->is_there[p] || rand() % 15)
			continue;
		any_all_exit(a, p);
		a->ends[p] = rand() % 3 > 0; /* else new threads have the ids of those */
		if (a->ends[p])
			proc[p].armed = 0;
	}
	if (a->left || rand() % 12 == 0)
		any_finalize(a);
}

/* ---- and threads ---- */

static enum gil_step_op any_op(uint32_t mode)
{
	static const enum gil_step_op ops[GIL_MODES][20] = {
		[GIL_MODE_FULL] = {
			STEP_WAIT, STEP_WAIT, STEP_WAIT, STEP_ACQUIRE, STEP_ACQUIRE, STEP_ACQUIRE, STEP_RELEASE, STEP_RELEASE,
			STEP_RELEASE, STEP_HANDOFF, STEP_OUT, STEP_OUT, STEP_WOKEN, STEP_IN, STEP_BACK, STEP_TICK, STEP_EXIT,
			STEP_GC_START, STEP_GC_DONE, STEP_GC_DONE,
		},
		[GIL_MODE_LIGHT] = {
			STEP_WAIT, STEP_WAIT, STEP_WAIT, STEP_WAIT, STEP_WAIT, STEP_HANDOFF, STEP_HANDOFF, STEP_WAKE, STEP_WAKE,
			STEP_WAKE, STEP_WAKE, STEP_OUT, STEP_OUT, STEP_WOKEN, STEP_IN, STEP_IN, STEP_BACK, STEP_TICK, STEP_EXIT,
			STEP_EXIT,
		},
		[GIL_MODE_HOLDS] = {
			STEP_ACQUIRE, STEP_ACQUIRE, STEP_ACQUIRE, STEP_ACQUIRE, STEP_RELEASE, STEP_RELEASE, STEP_RELEASE,
			STEP_RELEASE, STEP_OUT, STEP_OUT, STEP_WOKEN, STEP_WOKEN, STEP_IN, STEP_BACK, STEP_TICK, STEP_EXIT,
			STEP_GC_START, STEP_GC_START, STEP_GC_DONE, STEP_GC_DONE,
		},
	};

	return ops[mode % GIL_MODES][rand() % 20];
}

/* What the kernel says of a thread's life: anything, now and then nothing. */
static void any_account(struct gil_step *one)
{
	one->delay_us = rand() % 4 ? (uint32_t)(rand() % 3000) : ~0u;
	one->arrivals = (uint32_t)(rand() % 40);
	one->sleeps = (uint32_t)(rand() % 20);
	one->ran_ns = (uint64_t)(rand() % (3 * (int)MS));
}

/* One event out of all that the mode's probes can send, whether or not it makes sense now. */
static void any_event(struct any *a)
{
	uint32_t p = (uint32_t)(rand() % ANY_PROCS);
	struct gil_step one = {
		.op = any_op(proc[p].mode), .proc = p,
		.gil = (uint32_t)(!a->few_slots && rand() % 5 == 0 && !(p == 0 && a->left)),
		.tid = 100 * (p + 1) + (uint32_t)(rand() % ANY_TIDS), .tstate = (uint64_t)(rand() % 4) * 0x1000,
		.now = rand() % 20 ? a->now : a->now - (uint64_t)(rand() % 2000), /* clocks of two CPUs differ by a little */
		.forced = rand() % 4 == 0, .switches = (uint64_t)(rand() % 2),
	};

	if (!a->is_there[p] || !proc[p].armed)
		return;
	if (one.op == STEP_OUT && rand() % 2) {
		one.forced = rand() % 2 ? GIL_CPU_BLOCKED : GIL_CPU_STOPPED;
		one.tstate = (uint64_t)(rand() % GIL_WHY_COUNT) << 32 | (uint32_t)(rand() % 12);
	}
	any_account(&one);
	run_step(one);
	a->events++;
}

/* An interval of up to 2 ms, in which the next boundary is known; it is collected some events after it. */
static void any_interval(struct any *a)
{
	uint64_t bound = a->now + 1 + (uint64_t)(rand() % (2 * (int)MS));
	int late = rand() % 12;

	skel->bss->gil_clock.start = a->from;
	skel->bss->gil_clock.end = bound;
	while (a->now < bound || late-- > 0) {
		a->now += (uint64_t)(rand() % (100 * (int)US));
		any_event(a);
		a->late += a->now >= bound;
	}
	any_collect(a, bound);
	any_give_back(a);
	for (uint32_t p = 0; p < ANY_PROCS; p++)
		any_forget(a, p);
	any_change(a);
}

static void any_take_slots(void)
{
	uint32_t slot;

	for (uint32_t i = 0; i < ANY_THREADS - ANY_FIRST; i++)
		cr_assert_eq(bpf_map_lookup_and_delete_elem(bpf_map__fd(skel->maps.free_slots), NULL, &slot), 0);
	for (slot = ANY_FIRST + ANY_FEW - 1; slot >= ANY_FIRST; slot--)
		cr_assert_eq(bpf_map_update_elem(bpf_map__fd(skel->maps.free_slots), NULL, &slot, 0), 0);
}

static void any_end(struct any *a)
{
	for (uint32_t slot = 0; slot < ANY_THREADS; slot++) {
		time_memo__clear(&a->times[slot]);
		blame_memo__clear(&a->blame[slot]);
	}
}

Test(core_any, no_sequence_of_events_makes_a_number_that_cannot_be, .timeout = 240)
{
	for (unsigned int seed = 1; seed <= ANY_SEEDS; seed++) {
		struct any a = {.from = 1 * MS, .now = 2 * MS, .few_slots = seed % 4 == 0};

		srand(seed);
		if (a.few_slots)
			any_take_slots();
		any_begins(&a, 0);
		for (int i = 0; i < ANY_INTERVALS; i++)
			any_interval(&a);
		any_end(&a);
		close_core();
		open_core_for_any();
	}
}

/* ---- a trace ---- */

struct heard {
	struct gil_trace_event events[256];
	size_t n;
};

static int hear(void *arg, void *data, size_t size)
{
	struct heard *heard = arg;

	cr_assert_eq(size, sizeof(struct gil_trace_event));
	cr_assert_lt(heard->n, 256);
	memcpy(&heard->events[heard->n++], data, size);
	return 0;
}

/* What has been recorded since the last look. */
static void drain(struct heard *heard)
{
	struct ring_buffer *ring = ring_buffer__new(bpf_map__fd(skel->maps.trace), hear, heard, NULL);

	cr_assert_not_null(ring);
	heard->n = 0;
	cr_assert_geq(ring_buffer__consume(ring), 0);
	ring_buffer__free(ring);
}

static void expect_heard(const struct heard *heard, size_t i, enum gil_trace_kind kind, uint32_t tid, uint64_t at, int flags)
{
	const struct gil_trace_event *e = &heard->events[i];

	cr_assert_gt(heard->n, i);
	cr_expect(e->kind == kind && e->tid == tid && e->at == at && e->flags == flags && e->gil == 7 && e->lost == 0,
		  "event %zu: kind %d, thread %u, at %llu, flags %d, GIL %u, lost %u", i, e->kind, e->tid,
		  (unsigned long long)e->at, e->flags, e->gil, e->lost);
}

Test(core_trace, tells_each_event_once_and_no_retries)
{
	struct heard heard;

	proc->gil_owner[0].id = 7;
	step(STEP_ACQUIRE, 1, 10 * MS);
	step(STEP_WAIT, 2, 11 * MS);
	step(STEP_WAIT, 2, 16 * MS);
	step_with(STEP_RELEASE, 1, 17 * MS, 1, 0);
	step(STEP_HANDOFF, 1, 18 * MS);
	step(STEP_ACQUIRE, 2, 19 * MS);
	step(STEP_RELEASE, 2, 20 * MS);
	step(STEP_ACQUIRE, 2, 21 * MS); /* the last owner again: its record is left alone */
	step(STEP_EXIT, 2, 22 * MS);
	drain(&heard);
	cr_expect_eq(heard.n, 8);
	expect_heard(&heard, 0, GIL_TRACE_ACQUIRED, 1, 10 * MS, 0);
	expect_heard(&heard, 1, GIL_TRACE_WAIT, 2, 11 * MS, 0);
	expect_heard(&heard, 2, GIL_TRACE_RELEASED, 1, 17 * MS, GIL_TRACE_FORCED);
	expect_heard(&heard, 3, GIL_TRACE_HANDOFF, 1, 18 * MS, 0);
	expect_heard(&heard, 4, GIL_TRACE_ACQUIRED, 2, 19 * MS, GIL_TRACE_WAITED);
	expect_heard(&heard, 5, GIL_TRACE_RELEASED, 2, 20 * MS, 0);
	expect_heard(&heard, 6, GIL_TRACE_ACQUIRED, 2, 21 * MS, 0);
	expect_heard(&heard, 7, GIL_TRACE_EXIT, 2, 22 * MS, 0);
}

Test(core_trace, says_behind_a_hole_how_much_is_missing)
{
	struct heard heard;
	uint64_t now = 10 * MS;
	uint32_t lost;

	for (int i = 0; i < 100; i++) {
		step(STEP_ACQUIRE, 1, now++);
		step(STEP_RELEASE, 1, now++);
	}
	lost = gil->trace_lost;
	drain(&heard);
	cr_expect_eq(heard.n + lost, 200);
	cr_expect_gt(lost, 0);
	step(STEP_ACQUIRE, 1, now++);
	drain(&heard);
	cr_assert_eq(heard.n, 1);
	cr_expect_eq(heard.events[0].lost, lost);
	cr_expect_eq(thread_of(1)->cur.releases, 100, "what is counted does not depend on it");
}

Test(core_trace, keeps_to_itself_what_is_no_release)
{
	struct heard heard;

	step(STEP_ACQUIRE, 1, 10 * MS);
	step(STEP_RELEASE, 2, 11 * MS);
	drain(&heard);
	cr_expect_eq(heard.n, 1);
}

Test(core, without_a_trace_nothing_is_recorded)
{
	struct heard heard;

	step(STEP_ACQUIRE, 1, 10 * MS);
	step(STEP_RELEASE, 1, 11 * MS);
	drain(&heard);
	cr_expect_eq(heard.n, 0);
}

/* ---- the scratch of a GIL ---- */

static void set_scratch_taken(uint32_t taken)
{
	uint32_t size = bpf_map__value_size(skel->maps.stack_scratch), key = 0;
	uint32_t *scratch = calloc(1, size);

	scratch[0] = taken; /* its first field */
	cr_assert_eq(bpf_map_update_elem(bpf_map__fd(skel->maps.stack_scratch), &key, scratch, BPF_ANY), 0);
	free(scratch);
}

static struct gil_stack_sum sum_of_stacks(void)
{
	struct gil_stack_key key, *from = NULL;
	int fd = bpf_map__fd(skel->maps.stack_sums);
	struct gil_stack_sum sum, all = {0};

	for (; !bpf_map_get_next_key(fd, from, &key); from = &key)
		if (!bpf_map_lookup_elem(fd, &key, &sum)) {
			all.hold_ns += sum.hold_ns;
			all.over_ns += sum.over_ns;
		}
	return all;
}

Test(core_stacks, hold_beside_another_program_in_the_scratch_has_no_stack_and_is_counted)
{
	step(STEP_ACQUIRE, 10, 2 * MS);
	set_scratch_taken(1);
	step(STEP_RELEASE, 10, 12 * MS);
	cr_expect_eq(proc->lost[GIL_LOSS_SCRATCH_TAKEN], 1);
	cr_expect_eq(sum_of_stacks().hold_ns, 0);
	cr_expect_eq(thread_of(10)->cur.hold_ns, 10 * MS, "its numbers stand");
}

/* How late a hold ended that was asked for is of the stack in which it was asked, once, and as the thread's own sum says. */
Test(core_stacks, stack_at_a_request_has_what_went_on_from_there)
{
	step(STEP_ACQUIRE, 10, 10 * MS);
	step(STEP_WAIT, 11, 11 * MS);
	step(STEP_WAIT, 11, 16 * MS); /* it asks */
	step(STEP_WAIT, 11, 21 * MS);
	step_with(STEP_RELEASE, 10, 30 * MS, 1, 0);
	step(STEP_ACQUIRE, 11, 31 * MS);
	step(STEP_RELEASE, 11, 41 * MS);
	cr_expect_eq(thread_of(10)->cur.over.ns, 14 * MS);
	cr_expect_eq(sum_of_stacks().over_ns, 14 * MS);
	cr_expect_eq(sum_of_stacks().hold_ns, 30 * MS, "the look at the request takes nothing from what is held");
}

Test(core_stacks, scratch_is_put_back_after_each_stack)
{
	for (uint64_t i = 1; i <= 3; i++) {
		step(STEP_ACQUIRE, 10, (i * 20) * MS);
		step(STEP_RELEASE, 10, (i * 20 + 10) * MS);
	}
	cr_expect_eq(proc->lost[GIL_LOSS_SCRATCH_TAKEN], 0);
	cr_expect_eq(sum_of_stacks().hold_ns, 30 * MS);
}
