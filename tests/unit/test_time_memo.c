/* SPDX-License-Identifier: GPL-2.0-only */
/* Times of one thread between boundaries: what is open at one is told up to it, and never twice. */
#include <criterion/criterion.h>

#include "../../collector/time_memo.h"

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
	time_memo__was_told(&b.memo, 800);
	m = settle(&b, &at);
	cr_assert_eq(m.hold_ns, 200);
	cr_assert_eq(m.hold_off.ns[GIL_OFF_UNSEEN], 200);
	cr_assert_eq(m.acquires, 0);
	metrics__clear(&m);
	time_memo__clear(&b.memo);
}
