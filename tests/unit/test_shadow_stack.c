/* SPDX-License-Identifier: GPL-2.0-only */
/* Shadow stacks by made-up texts of /proc: this machine need not have any. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "collector/target/shadow_stack.h"

TestSuite(shadow_stack);

static bool said(enum shadow_mark mark, const char *text)
{
	FILE *file = fmemopen((void *)text, strlen(text), "r");
	bool found;

	cr_assert(file);
	found = shadow_stack__said(mark, file);
	fclose(file);
	return found;
}

Test(shadow_stack, is_told_by_the_status_of_a_process)
{
	static const struct {
		char text[120];
		bool has;
	} cases[] = {
		{"Name:\tpython3\nx86_Thread_features:\tshstk \nx86_Thread_features_locked:\t\n", true},
		{"Name:\tpython3\nx86_Thread_features:\tshstk wrss \nx86_Thread_features_locked:\tshstk wrss \n", true},
		{"x86_Thread_features:\twrss shstk", true},
		{"Name:\tpython3\nx86_Thread_features:\t\nx86_Thread_features_locked:\tshstk wrss \n", false},
		{"Name:\tpython3\nx86_Thread_features:\tshstk2 \n", false},
		{"Name:\tx86_Thread_features:\\tshstk\n", false},
		{"Name:\tshstk\n", false},
		{"Name:\tpython3\nThreads:\t3\n", false},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		cr_expect_eq(said(SHADOW_IN_STATUS, cases[i].text), cases[i].has, "case %zu", i);
}

Test(shadow_stack, is_told_by_the_flags_of_a_mapping)
{
	static const struct {
		char text[200];
		bool has;
	} cases[] = {
		{"7f00-7f10 rw-p 00000000 00:00 0\nSize: 4 kB\nVmFlags: rd wr mr mw me ac \n", false},
		{"7f00-7f10 rw-p 00000000 00:00 0\nVmFlags: rd wr mr mw me ac \n7f10-7f20 rw-p 00000000 00:00 0\n"
		 "VmFlags: rd wr mr mw me ss nh \n", true},
		{"7f00-7f10 r-xp 00000000 00:00 0 /tmp/VmFlags: ss\nVmFlags: rd ex mr mw me sd \n", false},
		{"7f00-7f10 r-xp 00000000 00:00 0 /tmp/a\\012VmFlags: ss\nVmFlags: rd ex \n", false},
		{"VmFlags: rd ss", true},
		{"VmFlags: rd ssx sss\n", false},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		cr_expect_eq(said(SHADOW_IN_SMAPS, cases[i].text), cases[i].has, "case %zu", i);
}

Test(shadow_stack, is_possible_where_processor_and_kernel_have_them_for_programs)
{
	cr_expect(said(SHADOW_IN_CPUINFO, "processor\t: 0\nflags\t\t: fpu vme user_shstk ibt\n"));
	cr_expect_not(said(SHADOW_IN_CPUINFO, "processor\t: 0\nflags\t\t: fpu vme shstk ibt\n"));
	cr_expect_not(said(SHADOW_IN_CPUINFO, "model name\t: user_shstk\nflags\t\t: fpu\n"));
}

Test(shadow_stack, may_be_asked_for_in_the_environment)
{
	static const char x86[] = "A=b\0GLIBC_TUNABLES=glibc.malloc.check=0:glibc.cpu.x86_shstk=on\0C=d";
	static const char arm[] = "GLIBC_TUNABLES=glibc.cpu.aarch64_gcs=1";
	static const char none[] = "A=x86_shstk\0NOT_GLIBC_TUNABLES=x86_shstk\0GLIBC_TUNABLES=glibc.malloc.check=0";

	cr_expect(shadow_stack__asked_for(x86, sizeof(x86)));
	cr_expect(shadow_stack__asked_for(arm, sizeof(arm)));
	cr_expect_not(shadow_stack__asked_for(none, sizeof(none)));
	cr_expect_not(shadow_stack__asked_for("GLIBC_TUNABLES=x86_shstk", 10)); /* cut off */
	cr_expect_not(shadow_stack__asked_for("", 0));
}

Test(shadow_stack, is_refused_unless_a_child_survived_a_probe_with_one)
{
	struct reason why;

	cr_expect_eq(shadow_fate__judge(SHADOW_SURVIVES, 42, &why), 0);
	cr_expect_eq(shadow_fate__judge(SHADOW_KILLED, 42, &why), -ENOTSUP);
	cr_expect(strstr(why.text, "process 42 ") && strstr(why.text, "6.6 to 6.18") && strstr(why.text, "tried on a child"));
	cr_expect_eq(shadow_fate__judge(SHADOW_UNKNOWN, 42, &why), -ENOTSUP);
	cr_expect(strstr(why.text, "6.6 to 6.18") && strstr(why.text, "could not be tried"));
	cr_expect_eq(shadow_fate__judge(SHADOW_UNTRIED, 42, &why), -ENOTSUP);
}

/* Whoever has none is never refused for it. */
Test(shadow_stack, is_not_seen_in_a_process_where_none_is_possible)
{
	if (!shadow_stack__possible())
		cr_expect_not(shadow_stack__has(getpid()));
	cr_expect_not(shadow_stack__has(0x3fffffff));
}
