/* SPDX-License-Identifier: GPL-2.0-only */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "collector/base/task_state.h"
#include "collector/look/holder_look.h"
#include "collector/target/task_look.h"

#define SECOND 1000000000ull

static struct task_state at(char letter, uint64_t cpu_ns, uint64_t delay_ns, uint64_t slept)
{
	return (struct task_state){.letter = letter, .timed = true, .cpu_ns = cpu_ns, .delay_ns = delay_ns, .slept = slept};
}

static void expect_spent(struct task_state from, struct task_state to, struct task_spent want)
{
	struct task_spent got = task_state__spent(&from, &to, SECOND);

	cr_expect_eq(got.on_ns, want.on_ns);
	cr_expect_eq(got.asleep_ns, want.asleep_ns);
	cr_expect_eq(got.delay_ns, want.delay_ns);
	cr_expect_eq(got.unknown_ns, want.unknown_ns);
	cr_expect_eq(got.on_ns + got.asleep_ns + got.delay_ns + got.unknown_ns, SECOND);
}

Test(task_state, who_sleeps_at_the_end_slept_whenever_it_had_no_cpu_and_wanted_none)
{
	expect_spent(at('S', 5, 7, 1), at('S', 5, 7, 1), (struct task_spent){.asleep_ns = SECOND});
	expect_spent(at('R', 5, 7, 1), at('S', 5 + SECOND / 4, 7 + SECOND / 4, 2),
		     (struct task_spent){.on_ns = SECOND / 4, .delay_ns = SECOND / 4, .asleep_ns = SECOND / 2});
}

Test(task_state, who_never_slept_and_wants_to_run_waited_for_a_cpu)
{
	expect_spent(at('R', 5, 7, 1), at('R', 5 + SECOND / 4, 7, 1),
		     (struct task_spent){.on_ns = SECOND / 4, .delay_ns = 3 * SECOND / 4});
	expect_spent(at('R', 0, 0, 1), at('R', SECOND, 0, 1), (struct task_spent){.on_ns = SECOND});
}

Test(task_state, what_cannot_be_told_is_unknown)
{
	struct task_state untimed = {.letter = 'S'};

	expect_spent(at('S', 5, 7, 1), at('R', 5, 7, 2), (struct task_spent){.unknown_ns = SECOND});
	expect_spent(untimed, at('S', 5, 7, 1), (struct task_spent){.unknown_ns = SECOND});
	/* Counters that ran ahead of the clock, or back. */
	expect_spent(at('S', 5, 7, 1), at('S', 5 + 2 * SECOND, 7 + SECOND, 1), (struct task_spent){.on_ns = SECOND});
	expect_spent(at('S', SECOND, SECOND, 1), at('S', 0, 0, 1), (struct task_spent){.asleep_ns = SECOND});
}

/* A child of this process that sleeps in read(). */
static pid_t reader_child(void)
{
	int ends[2];
	char byte;
	pid_t pid;

	cr_assert_eq(pipe(ends), 0);
	pid = fork();
	if (pid == 0) {
		/* It keeps the other end open: it sleeps for ever. */
		_exit(read(ends[0], &byte, 1) == 1);
	}
	close(ends[0]);
	close(ends[1]);
	return pid;
}

static void await_letter(pid_t pid, char letter, struct task_state *ret)
{
	do {
		usleep(1000);
		cr_assert_eq(task_look__take(pid, pid, ret), 0);
	} while (ret->letter != letter);
}

Test(task_state, a_sleeper_is_in_its_call_and_a_stopped_process_stands_still, .timeout = 60)
{
	char words[TASK_DOING_SIZE];
	struct task_state state;
	pid_t pid = reader_child(), tracer;

	do
		await_letter(pid, 'S', &state);
	while (strcmp(state.call, "read") != 0);
	cr_expect(state.timed);
	cr_expect_eq(strncmp(task_state__words(&state, words), "asleep in read", 14), 0, "%s", words);
	cr_expect_eq(task_look__standstill(pid, &tracer), STANDSTILL_NONE);
	kill(pid, SIGSTOP);
	await_letter(pid, 'T', &state);
	cr_expect_eq(task_look__standstill(pid, &tracer), STANDSTILL_STOPPED);
	cr_expect_eq(tracer, 0);
	cr_expect_eq(strncmp(task_state__words(&state, words), "stopped", 7), 0, "%s", words);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	cr_expect_lt(task_look__take(pid, pid, &state), 0);
	cr_expect_eq(task_look__standstill(pid, &tracer), STANDSTILL_NONE);
}

Test(task_state, names_are_read_back)
{
	for (int s = 0; s < STANDSTILL_COUNT; s++)
		cr_expect_eq((int)standstill__by_name(standstill__name((enum standstill)s)), s);
	for (int k = 0; k < HOLDER_KIND_COUNT; k++)
		cr_expect_eq((int)holder_kind__by_name(holder_kind__name((enum holder_kind)k)), k);
	cr_expect_eq(standstill__by_name("nonsense"), STANDSTILL_NONE);
	cr_expect_eq(holder_kind__by_name("nonsense"), HOLDER_UNKNOWN);
}
