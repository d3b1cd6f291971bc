/* SPDX-License-Identifier: GPL-2.0-only */
/* Times of one thread between boundaries: what is open at one is told up to it, and never twice. */
#include <criterion/criterion.h>

#include "collector/reader/time_memo.h"

#define SLOT 9

/* One thread on one GIL, and what was settled of it so far. */
struct bench {
	struct record rec;
	struct gil_record gil;
	struct time_memo memo;
	struct metrics sum;
};

static struct moment moment_of(const struct bench *b, uint64_t bound)
{
	return (struct moment){.rec = &b->rec, .gil = &b->gil, .bound = bound, .slot = SLOT, .mode = GIL_MODE_FULL};
}

static struct metrics settle(struct bench *b, const struct moment *at)
{
	struct metrics m = {.known = KNOWN_ALL};
	struct blame_list open = {0};

	cr_assert_eq(time_memo__settle(&b->memo, at, &m, &open), 0);
	cr_assert_eq(blame_list__sum(&open) + m.handover_ns + m.unknown_ns, m.wait_ns);
	blame_list__clear(&open);
	b->sum.hold_ns += m.hold_ns;
	b->sum.wait_ns += m.wait_ns;
	b->sum.acquires += m.acquires;
	return m;
}

static void begin_hold(struct bench *b, uint64_t at)
{
	b->gil.current = true;
	b->gil.at = (struct gil_view){.state = GIL_OWNER_HELD, .owner_slot = SLOT, .acquired_at = at, .events = 1};
}

static void end_hold(struct bench *b, uint64_t ns)
{
	b->gil.at.state = GIL_OWNER_FREE;
	b->rec.at.hold_ns += ns;
	b->rec.at.releases++;
}

/* Of a GIL that no event of this arming is of, nobody is known to wait. */
Test(time_memo, a_collection_that_goes_on_at_the_arming_has_no_waiters_of_before)
{
	struct bench b = {0};
	struct moment at = moment_of(&b, 1000);
	struct metrics m;

	b.gil.at = (struct gil_view){.waiters = 2, .queued_ns = 5000, .queued_at = 800};
	b.rec.at.gc_run = 1;
	b.rec.at.gc_since = 900;
	b.rec.at.gc_place = 5000;
	m = settle(&b, &at);
	cr_expect_eq(m.gc.hold_ns, 100);
	cr_expect_eq(m.gc.wait_ns, 0);
	metrics__clear(&m);
	time_memo__clear(&b.memo);
}

/* Two others wait; the collection begins at 900, lets go from 1500 to 2100, and ends at 2400. */
Test(time_memo, a_collection_over_boundaries_is_told_in_parts)
{
	struct bench b = {0};
	struct moment at = moment_of(&b, 1000);
	struct metrics m;

	b.gil.current = true;
	b.gil.at = (struct gil_view){.waiters = 2, .queued_ns = 5000, .queued_at = 800};
	b.rec.at.gc_run = 1;
	b.rec.at.gc_since = 900;
	b.rec.at.gc_place = 5200;
	m = settle(&b, &at);
	cr_expect_eq(m.gc.hold_ns, 100);
	cr_expect_eq(m.gc.wait_ns, 200);
	cr_expect_eq(m.gc.max_ns, 100, "so long it had lasted");
	metrics__clear(&m);

	b.rec.at.gc_since = 0;
	b.rec.at.gc_ns = 600;
	b.rec.at.gc_run = 601;
	b.rec.at.gc_wait_ns = 1200;
	at = moment_of(&b, 2000);
	m = settle(&b, &at);
	cr_expect_eq(m.gc.hold_ns, 500);
	cr_expect_eq(m.gc.wait_ns, 1000);
	cr_expect_eq(m.gc.max_ns, 600);
	metrics__clear(&m);

	b.rec.at.gc_run = 0;
	b.rec.at.gc_ns = b.rec.at.gc_max_ns = 900;
	b.rec.at.gc_wait_ns = 1800;
	b.rec.at.gc_ended = 1;
	at = moment_of(&b, 3000);
	m = settle(&b, &at);
	cr_expect_eq(m.gc.hold_ns, 300);
	cr_expect_eq(m.gc.wait_ns, 600);
	cr_expect_eq(m.gc.max_ns, 900, "without the time in which it had let go");
	metrics__clear(&m);

	at = moment_of(&b, 4000);
	m = settle(&b, &at);
	cr_expect_eq(m.gc.hold_ns + m.gc.wait_ns + m.gc.max_ns, 0, "that was another interval's");
	cr_expect_eq(b.memo.violations, 0);
	metrics__clear(&m);
	time_memo__clear(&b.memo);
}

/* What was open when the probes were armed anew is nobody's. */
Test(time_memo, a_collection_of_an_earlier_arming_does_not_go_on)
{
	struct bench b = {.rec = {.at = {.gc_run = 1, .gc_since = 900}}};
	struct moment at = moment_of(&b, 1000);
	struct metrics m;

	at.arm_gen = 1;
	m = settle(&b, &at);
	cr_expect_eq(m.gc.hold_ns + m.gc.max_ns, 0);
	metrics__clear(&m);
	time_memo__clear(&b.memo);
}

Test(time_memo, a_hold_over_boundaries_is_told_in_parts)
{
	struct bench b = {0};
	struct moment at = moment_of(&b, 1000);
	struct metrics m;

	begin_hold(&b, 900);
	cr_assert_eq(moment__open_hold_since(&at), 900);
	m = settle(&b, &at);
	cr_assert_eq(m.hold_ns, 100);
	cr_assert_eq(m.acquires, 1);
	cr_assert_eq(m.hold_max_ns, 100);
	metrics__clear(&m);

	at = moment_of(&b, 2000);
	m = settle(&b, &at);
	cr_assert_eq(m.hold_ns, 1000);
	cr_assert_eq(m.acquires, 0);
	cr_assert_eq(m.hold_max_ns, 1100, "the age is the whole hold's");
	metrics__clear(&m);

	end_hold(&b, 1300);
	at = moment_of(&b, 3000);
	m = settle(&b, &at);
	cr_assert_eq(moment__open_hold_since(&at), 0);
	cr_assert_eq(m.hold_ns, 200);
	cr_assert_eq(b.sum.hold_ns, 1300);
	cr_assert_eq(b.sum.acquires, 1);
	metrics__clear(&m);
	time_memo__clear(&b.memo);
}

Test(time_memo, an_open_hold_is_its_owners_since_arming_and_before_the_boundary)
{
	struct bench b = {0};
	struct moment at = moment_of(&b, 1000);

	begin_hold(&b, 900);
	at.slot = SLOT + 1;
	cr_assert_eq(moment__open_hold_since(&at), 0, "it is another's");
	at.slot = SLOT;
	at.mode = GIL_MODE_LIGHT;
	cr_assert_eq(moment__open_hold_since(&at), 0, "light knows of no holds");
	at.mode = GIL_MODE_FULL;
	at.bound = 900;
	cr_assert_eq(moment__open_hold_since(&at), 0, "it began at the boundary");
	at.bound = 1000;
	b.gil.current = false;
	cr_assert_eq(moment__open_hold_since(&at), 0, "that was before arming");
	b.gil.current = true;
	cr_assert_eq(moment__open_hold_since(&at), 900);
}

Test(time_memo, a_wait_that_an_earlier_arming_left_open_does_not_count)
{
	struct bench b = {.rec.at = {.wait_since = 700, .wait_place = 800, .wait_ns = 100, .handover_ns = 100}};
	struct moment at = moment_of(&b, 1000);
	struct metrics m;

	at.arm_gen = 1;
	m = settle(&b, &at);
	cr_assert_eq(m.wait_ns, 100);
	cr_assert_eq(m.waiting, 0);
	metrics__clear(&m);

	/* The same one, open now: nobody held the GIL, so what is not charged yet is handing over. */
	b.rec.arm_gen = 1;
	at.bound = 2000;
	m = settle(&b, &at);
	cr_assert_eq(m.wait_ns, 1200);
	cr_assert_eq(m.handover_ns, 1200);
	cr_assert_eq(m.wait_max_ns, 1300, "its age is that since it began");
	cr_assert_eq(m.waiting, 1);
	metrics__clear(&m);
	time_memo__clear(&b.memo);
}

Test(time_memo, light_charges_an_open_wait_to_whom_it_last_saw)
{
	struct bench b = {.rec.at = {
		.wait_since = 700, .wait_place = 800, .wait_ns = 100, .handover_ns = 100, .place_held = 0x1000,
	}};
	struct moment at = moment_of(&b, 1000);
	struct metrics m = {.known = KNOWN_ALL};
	struct blame_list open = {0};

	at.mode = GIL_MODE_LIGHT;
	cr_assert_eq(time_memo__settle(&b.memo, &at, &m, &open), 0);
	cr_assert_eq(open.n, 1);
	cr_assert_eq(open.part[0].who, blame_holder(GIL_SLOT_NONE, 0x1000));
	cr_assert_eq(open.part[0].ns, 200);
	cr_assert_eq(m.wait_ns, 300);
	cr_assert_eq(m.unknown_ns, 0);
	blame_list__clear(&open);
	metrics__clear(&m);
	time_memo__clear(&b.memo);
}

Test(time_memo, what_was_told_of_a_hold_before_its_record_had_it_is_not_told_again)
{
	struct bench b = {0};
	struct moment at = moment_of(&b, 3000);
	struct metrics m;

	/* Held when the probes were armed: 800 ns of it were in samples already when its release told of it. */
	b.rec.at = (struct gil_totals){.hold_ns = 1000, .hold_off.ns[GIL_OFF_UNSEEN] = 1000, .releases = 1, .unseen = 1};
	b.gil.state.since = 2000;
	at.from = 2800;
	m = settle(&b, &at);
	cr_assert_eq(m.hold_ns, 200);
	cr_assert_eq(m.hold_off.ns[GIL_OFF_UNSEEN], 200);
	cr_assert_eq(m.acquires, 0);
	metrics__clear(&m);
	time_memo__clear(&b.memo);
}

/* What no order of events should bring about: it is 0 and counted, never a number that has wrapped. */
Test(time_memo, sums_that_shrink_are_zero_and_counted)
{
	struct bench b = {.rec.at = {
		.hold_ns = 900, .wait_ns = 500, .handover_ns = 500, .releases = 3, .contended = 2, .forced = 1,
	}};
	struct moment at = moment_of(&b, 1000);
	struct metrics m = settle(&b, &at);

	metrics__clear(&m);
	b.rec.at = (struct gil_totals){.hold_ns = 100, .wait_ns = 50, .handover_ns = 50, .releases = 1, .contended = 1};
	at = moment_of(&b, 2000);
	m = settle(&b, &at);
	cr_assert_eq(m.hold_ns, 0);
	cr_assert_eq(m.wait_ns, 0);
	cr_assert_eq(m.handover_ns, 0);
	cr_assert_eq(m.acquires + m.contended + m.forced, 0);
	cr_assert_eq(b.memo.violations, 5, "hold, wait, acquires, contended and forced");
	metrics__clear(&m);
	time_memo__clear(&b.memo);
}

Test(time_memo, a_hold_that_is_open_when_the_probes_are_armed_anew_is_told_once)
{
	struct bench b = {0};
	struct moment at = moment_of(&b, 2000);
	struct metrics m;

	begin_hold(&b, 500);
	m = settle(&b, &at);
	cr_assert_eq(m.hold_ns, 1500);
	metrics__clear(&m);
	/* Armed anew at 2100: what is in the record from now on is of later. */
	time_memo__forget_open(&b.memo, &b.rec.at, 0, 2000);
	b.gil.at = (struct gil_view){.state = GIL_OWNER_FREE, .events = 1};
	b.gil.state.since = 2100;
	b.rec.at = (struct gil_totals){.hold_ns = 600, .releases = 1, .unseen = 1};
	at = moment_of(&b, 3000);
	at.from = 2000;
	m = settle(&b, &at);
	cr_assert_eq(m.hold_ns, 600);
	cr_assert_eq(m.acquires, 0);
	cr_assert_eq(b.memo.violations, 0);
	metrics__clear(&m);
	time_memo__clear(&b.memo);
}

static void expect_explained(struct metrics m, const uint64_t *owed, size_t n, struct metrics expected, uint64_t blamed,
			     uint64_t violations)
{
	struct blame_list parts = {0};
	struct time_memo memo = {0};

	for (size_t i = 0; i < n; i++)
		blame_list__add(&parts, 5 + i, owed[i]);
	time_memo__explain(&memo, &m, &parts);
	cr_expect_eq(m.unknown_ns, expected.unknown_ns);
	cr_expect_eq(m.handover_ns, expected.handover_ns);
	cr_expect_eq(blame_list__sum(&parts), blamed);
	cr_expect_eq(memo.violations, violations);
	cr_expect_eq(blame_list__sum(&parts) + m.handover_ns + m.unknown_ns, m.wait_ns);
	blame_list__clear(&parts);
}

Test(time_memo, a_wait_is_what_it_is_made_of)
{
	static const uint64_t owed[] = {30, 20};

	expect_explained((struct metrics){.wait_ns = 100, .handover_ns = 40, .unknown_ns = 10}, owed, 2,
			 (struct metrics){.handover_ns = 40, .unknown_ns = 10}, 50, 0);
	/* 25 were somebody's at the last boundary and are nobody's now. */
	expect_explained((struct metrics){.wait_ns = 100, .handover_ns = 40, .unknown_ns = 35}, owed, 2,
			 (struct metrics){.handover_ns = 40, .unknown_ns = 10}, 50, 0);
	expect_explained((struct metrics){.wait_ns = 60, .handover_ns = 40}, owed, 2, (struct metrics){.handover_ns = 10}, 50, 1);
	expect_explained((struct metrics){.wait_ns = 10, .handover_ns = 40}, owed, 2, (struct metrics){0}, 10, 1);
	expect_explained((struct metrics){.wait_ns = 100}, owed, 2, (struct metrics){.unknown_ns = 50}, 50, 1);
}
