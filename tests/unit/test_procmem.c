/* SPDX-License-Identifier: GPL-2.0-only */
/* Another process's memory, by whichever way it can be read. */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "collector/process/procmem.h"
#include "../support/refusal.h"

static const uint64_t word = 0x1122334455667788;

/* A copy of us that does nothing. */
static pid_t start_copy(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	return pid;
}

static void expect_read(pid_t pid)
{
	uint64_t one = 0, two = 0, got = 0;
	struct procmem_piece pieces[] = {
		{.addr = (uintptr_t)&word, .buf = &one, .len = sizeof(one)},
		{.addr = 4096, .buf = &got, .len = sizeof(got)},
		{.addr = (uintptr_t)&word, .buf = &two, .len = sizeof(two)},
	};

	cr_expect_eq(procmem__read_u64(pid, (uintptr_t)&word, &got), 0);
	cr_expect_eq(got, word);
	cr_expect_eq(procmem__read(pid, 4096, &got, sizeof(got)), -EFAULT);
	procmem__read_many(pid, pieces, 3);
	cr_expect(pieces[0].ok && !pieces[1].ok && pieces[2].ok);
	cr_expect(one == word && two == word);
}

/* Sandboxes refuse the call in different words. */
Test(procmem, is_read_by_its_file_where_the_call_is_refused)
{
	const int call = SYS_process_vm_readv;
	pid_t copy = start_copy();
	uint64_t got = 0;

	expect_read(copy);
	refusal__install(&call, 1, ENOSYS);
	cr_assert_eq(syscall(SYS_process_vm_readv, copy, NULL, 0, NULL, 0, 0), -1);
	cr_assert_eq(errno, ENOSYS);
	expect_read(copy);
	refusal__install(&call, 1, EPERM);
	expect_read(copy);
	kill(copy, SIGKILL);
	waitpid(copy, NULL, 0);
	cr_expect_lt(procmem__read_u64(copy, (uintptr_t)&word, &got), 0, "it is gone");
}
