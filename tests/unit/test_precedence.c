/* SPDX-License-Identifier: GPL-2.0-only */
/* Who goes first: this process, where it may, and nothing that it starts. */
#include <criterion/criterion.h>
#include <sched.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "collector/process/precedence.h"

TestSuite(precedence);

/* The nice value of a child of this process. */
static int nice_of_a_child(void)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(getpriority(PRIO_PROCESS, 0) + 100);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFEXITED(status));
	return WEXITSTATUS(status) - 100;
}

Test(precedence, is_not_inherited)
{
	int before = getpriority(PRIO_PROCESS, 0), now;

	precedence__take();
	now = getpriority(PRIO_PROCESS, 0);
	cr_expect(now == -20 || now == before, "nice is %d", now);
	cr_expect_eq(nice_of_a_child(), before);
}

Test(precedence, leaves_a_nice_value_that_somebody_has_chosen)
{
	cr_assert_eq(setpriority(PRIO_PROCESS, 0, 7), 0);
	precedence__take();
	cr_expect_eq(getpriority(PRIO_PROCESS, 0), 7);
	cr_expect_eq(nice_of_a_child(), 7);
}

/* What sched_getattr() tells of slices: Linux 6.12 and later grant what is asked for, those before tell 0. */
Test(precedence, who_runs_shortly_has_short_slices_and_its_nice_value)
{
	struct {
		uint32_t size, policy;
		uint64_t flags;
		int32_t nice;
		uint32_t priority;
		uint64_t runtime, deadline, period;
	} attr = {0};

	cr_assert_eq(setpriority(PRIO_PROCESS, 0, 3), 0);
	precedence__run_shortly();
	cr_assert_eq(syscall(SYS_sched_getattr, 0, &attr, sizeof(attr), 0), 0);
	cr_expect_eq(attr.policy, SCHED_OTHER);
	cr_expect_eq(attr.nice, 3);
	cr_expect(attr.runtime == 100000 || attr.runtime == 0, "%llu", (unsigned long long)attr.runtime);
}
