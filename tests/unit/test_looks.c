/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Why a process that looks at others is silent decides whether the one that it was about to read is given up: children of this
 * test in every state that matters.
 */
#include <criterion/criterion.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "collector/look/looks.h"
#include "collector/process/procstat.h"

TestSuite(looks, .timeout = 60);

static pid_t start(void (*does)(void), uint64_t *ret_ticks)
{
	struct procstat stat;
	pid_t pid = fork();

	cr_assert_geq(pid, 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		does();
		_exit(0);
	}
	cr_assert_eq(procstat__read(pid, 0, &stat), 0);
	*ret_ticks = stat.start_ticks;
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void sleeps(void)
{
	for (;;)
		pause();
}

static void computes(void)
{
	for (volatile unsigned int i = 0;; i++)
		;
}

static void does_nothing(void)
{
}

/* It is not there at once: a child runs before it sleeps, and after it was sent a signal. */
static void await(pid_t pid, char state)
{
	struct procstat stat = {.state = 0};

	while (stat.state != state) {
		cr_assert_eq(procstat__read(pid, 0, &stat), 0);
		usleep(1000);
	}
}

Test(looks, who_sleeps_in_a_call_is_blocked)
{
	uint64_t ticks;
	pid_t pid = start(sleeps, &ticks);

	await(pid, 'S');
	cr_expect_eq(looks__why_silent(pid, ticks), LOOKER_BLOCKED);
	end(pid);
}

Test(looks, who_waits_for_a_cpu_is_not_blocked)
{
	uint64_t ticks;
	pid_t pid = start(computes, &ticks);

	cr_expect_eq(looks__why_silent(pid, ticks), LOOKER_RUNS);
	end(pid);
}

Test(looks, who_was_killed_is_gone_whatever_it_was_about_to_do)
{
	uint64_t ticks;
	pid_t pid = start(sleeps, &ticks);

	await(pid, 'S');
	kill(pid, SIGKILL);
	await(pid, 'Z');
	cr_expect_eq(looks__why_silent(pid, ticks), LOOKER_GONE);
	waitpid(pid, NULL, 0);
	cr_expect_eq(looks__why_silent(pid, ticks), LOOKER_GONE);
}

Test(looks, who_is_stopped_blames_nobody)
{
	uint64_t ticks;
	pid_t pid = start(sleeps, &ticks);

	kill(pid, SIGSTOP);
	await(pid, 'T');
	cr_expect_eq(looks__why_silent(pid, ticks), LOOKER_GONE);
	end(pid);
}

Test(looks, another_process_with_its_number_is_not_it)
{
	uint64_t ticks;
	pid_t pid = start(does_nothing, &ticks);

	cr_expect_eq(looks__why_silent(getpid(), ticks + 1000000), LOOKER_GONE);
	cr_expect_eq(looks__why_silent(0, 0), LOOKER_GONE, "it has not started yet");
	end(pid);
}
