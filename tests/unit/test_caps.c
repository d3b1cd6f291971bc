/* SPDX-License-Identifier: GPL-2.0-only */
/* Capabilities: read from /proc, CAP_SYS_ADMIN for those that were split off from it, and who keeps which. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collector/process/caps.h"
#include "../support/document.h"

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
	cr_expect_eq(caps__kept(all, true), needed | BIT(5), "CAP_KILL, for a program of another user's");
	cr_expect_eq(caps__kept(BIT(21) | BIT(19), false), BIT(21) | BIT(19), "CAP_SYS_ADMIN stands for the missing ones");
	cr_expect_eq(caps__kept(0, true), 0);
}

Test(caps, the_planter_begins_with_no_more_than_it_may_need)
{
	uint64_t all = (1ull << 41) - 1;

	cr_expect_eq(caps__of_planter(all), BIT(38) | BIT(39) | BIT(21));
	cr_expect_eq(caps__of_planter(BIT(38) | BIT(39) | BIT(19)), BIT(38) | BIT(39));
	cr_expect_eq(caps__of_planter(0), 0);
}

Test(caps, names_fit_or_are_cut)
{
	char buf[64];

	cr_expect_str_eq(caps__names(BIT(39) | BIT(21) | BIT(5), buf, sizeof(buf)), "CAP_BPF, CAP_SYS_ADMIN");
	cr_expect_str_eq(caps__names(0, buf, sizeof(buf)), "");
	cr_expect_str_eq(caps__names(BIT(39) | BIT(38) | BIT(21), buf, 12), "CAP_BPF, CA");
}

Test(caps, the_readme_and_the_manual_page_say_what_the_table_says)
{
	char row[256];

	for (int i = 0; i < CAPS_COUNT; i++) {
		snprintf(row, sizeof(row), "| %s | %s | %s |", caps__name(i), caps__text(i), caps__when(i));
		document__must_say("README.md", row);
		snprintf(row, sizeof(row), ".B %s %s: %s.", caps__name(i), caps__text(i), caps__when(i));
		document__must_say("cli/gilscope.8", row);
	}
}
