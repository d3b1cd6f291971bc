/* SPDX-License-Identifier: GPL-2.0-only */
/* Capabilities: read from /proc, and CAP_SYS_ADMIN for those that were split off from it. */
#include <criterion/criterion.h>

#include "../../cli/caps.h"

#define BIT(n) (1ull << (n))

Test(caps, effective_ones_are_read_and_no_others)
{
	cr_expect_eq(caps__parse("Name:\tx\nCapInh:\tffffffffffffffff\nCapPrm:\tffffffffffffffff\n"
				 "CapEff:\t000000c000000000\nCapBnd:\tffffffffffffffff\n"), BIT(38) | BIT(39));
	cr_expect_eq(caps__parse("Name:\tCapEff:\tff\n"), 0);
	cr_expect_eq(caps__parse(""), 0);
}

Test(caps, sys_admin_contains_what_was_split_off_from_it)
{
	cr_expect(caps__has(BIT(21), CAP_BPF_INDEX));
	cr_expect(caps__has(BIT(21), CAP_PERFMON_INDEX));
	cr_expect(caps__has(BIT(21), CAP_CHECKPOINT_RESTORE_INDEX));
	cr_expect_not(caps__has(BIT(21), CAP_SYS_PTRACE_INDEX));
	cr_expect_not(caps__has(BIT(21), CAP_DAC_READ_SEARCH_INDEX));
}

Test(caps, attaching_needs_both)
{
	cr_expect(caps__can_attach(BIT(38) | BIT(39)));
	cr_expect_not(caps__can_attach(BIT(38)));
	cr_expect_not(caps__can_attach(BIT(39)));
	cr_expect_not(caps__can_attach(0));
	cr_expect(caps__can_attach(BIT(21)));
}

Test(caps, what_is_kept_is_what_is_needed)
{
	uint64_t all = (1ull << 41) - 1, needed = BIT(39) | BIT(38) | BIT(19) | BIT(2) | BIT(40);

	cr_expect_eq(caps__kept(all, false), needed);
	cr_expect_eq(caps__kept(all, true), needed | BIT(6) | BIT(7));
	cr_expect_eq(caps__kept(BIT(21) | BIT(19), false), BIT(21) | BIT(19), "CAP_SYS_ADMIN stands for the missing ones");
	cr_expect_eq(caps__kept(0, true), 0);
}
