/* SPDX-License-Identifier: GPL-2.0-only */
/* Who has the CPUs: limits as the kernel writes them, and children of this very process that compute. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "collector/target/cpu_users.h"

#define CHILDREN 4
#define USED_NS 200000000ull /* of CPU time, each: twenty ticks */

TestSuite(cpu_users);

Test(cpu_users, limit_of_a_cgroup_is_in_cpus)
{
	cr_expect_float_eq(cpu_users__limit("50000 100000\n"), 0.5, 1e-9);
	cr_expect_float_eq(cpu_users__limit("250000 100000"), 2.5, 1e-9);
	cr_expect_eq(cpu_users__limit("max 100000\n"), 0);
	cr_expect_eq(cpu_users__limit("50000 0"), 0);
	cr_expect_eq(cpu_users__limit("-5 100000"), 0);
	cr_expect_eq(cpu_users__limit(""), 0);
	cr_expect_eq(cpu_users__throttled_us("usage_usec 12\nnr_periods 3\nnr_throttled 2\nthrottled_usec 4711\n"), 4711);
	cr_expect_eq(cpu_users__throttled_us("usage_usec 12\n"), 0);
}

static uint64_t used_ns(pid_t pid)
{
	struct timespec used;
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &used) != 0)
		return 0;
	return (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
}

static pid_t compute(void)
{
	pid_t pid = fork();

	if (pid == 0)
		for (volatile unsigned int i = 0;; i++)
			;
	return pid;
}

Test(cpu_users, children_that_compute_are_told_apart_from_who_waits_for_them)
{
	char words[CPU_USERS_TEXT], name[32];
	double throttled_us;
	pid_t pids[CHILDREN];
	struct cpu_users *u = cpu_users__begin(getpid());

	cr_assert_not_null(u);
	for (size_t i = 0; i < CHILDREN; i++)
		pids[i] = compute();
	for (size_t i = 0; i < CHILDREN; i++)
		while (used_ns(pids[i]) < USED_NS)
			usleep(1000);
	cpu_users__end(u, words, &throttled_us);
	for (size_t i = 0; i < CHILDREN; i++) {
		kill(pids[i], SIGKILL);
		waitpid(pids[i], NULL, 0);
	}
	cr_expect_not_null(strstr(words, "It may use "), "%s", words);
	cr_expect_not_null(strstr(words, ", its children "), "%s", words);
	for (size_t i = 0; i < CHILDREN; i++) {
		snprintf(name, sizeof(name), "(PID %d)", (int)pids[i]);
		cr_expect_null(strstr(words, name), "its own children are no others: %s", words);
	}
}

Test(cpu_users, who_has_ended_used_nothing)
{
	char words[CPU_USERS_TEXT] = "?";
	double throttled_us = -1;
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	cr_assert_eq(waitpid(pid, NULL, 0), pid);
	cr_expect_null(cpu_users__begin(pid));
	cpu_users__end(NULL, words, &throttled_us);
	cr_expect_str_eq(words, "");
	cr_expect_eq(throttled_us, 0);
}
