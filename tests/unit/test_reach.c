/* SPDX-License-Identifier: GPL-2.0-only */
/* What of a process can be read, and what more it would take. */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "collector/process/reach.h"
#include "../support/refusal.h"

/* ---- by trying ---- */

static pid_t start_child(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	return pid;
}

Test(reach, tells_the_call_from_the_file)
{
	const int call = SYS_process_vm_readv;
	pid_t child = start_child();
	struct reach found = reach__try(child);

	cr_expect_eq(found.memory, REACH_CALL);
	cr_expect(found.times);
	refusal__install(&call, 1, EPERM);
	cr_expect_eq(reach__try(child).memory, REACH_FILE);
	kill(child, SIGKILL);
}

Test(reach, of_nobody_is_none)
{
	struct reach found = reach__try(4194303);

	cr_expect_eq(found.memory, REACH_NOT);
	cr_expect_not(found.times);
}

/* ---- what it takes ---- */

/* The same user's, and nothing in the way. */
#define SAME .ours = 1000, .theirs = {1000, 1000, 1000}, .our_group = 100, .their_groups = {100, 100, 100}

static const struct {
	struct reach_facts facts;
	const char *says[3];
	const char *not;
} cases[] = {
	{{SAME, .dumpable = true}, {""}, "CAP_SYS_PTRACE"},
	{{SAME}, {"not dumpable", "CAP_SYS_PTRACE (sudo) does it."}, "user 1000"},
	{{SAME, .dumpable = true, .their_caps = 0x400}, {"lacks (0x400)", "CAP_SYS_PTRACE (sudo)"}, "dumpable"},
	{{SAME, .dumpable = true, .their_caps = 0x400, .our_caps = 0xc00}, {""}, "0x"},
	{{SAME, .dumpable = true, .yama_scope = 1}, {"ptrace_scope is 1", "ancestors", "PR_SET_PTRACER"}, "user"},
	{{SAME, .dumpable = true, .yama_scope = 1, .is_below = true}, {""}, "ptrace_scope"},
	{{SAME, .dumpable = true, .yama_scope = 2, .is_below = true}, {"ptrace_scope is 2", "CAP_SYS_PTRACE"}, "ancestors"},
	{{SAME, .dumpable = true, .yama_scope = 3, .may_ptrace = true}, {"is 3: nobody may"}, "(sudo)"},
	{{.ours = 1000, .theirs = {33, 33, 33}, .dumpable = true}, {"as user 33 and gilscope as user 1000", "CAP_SYS_PTRACE"}, "lacks"},
	{{.ours = 0, .theirs = {33, 33, 33}, .may_ptrace = true}, {"another user namespace, or a security module"}, "(sudo)"},
};

Test(reach, says_what_keeps_memory_from_being_read_and_what_helps)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char buf[REACH_NEEDS_SIZE];
		const char *said = reach_facts__needs(&cases[i].facts, buf);

		for (size_t k = 0; k < 3 && cases[i].says[k]; k++)
			cr_expect(cases[i].says[k][0] ? strstr(said, cases[i].says[k]) != NULL : said[0] == '\0', "%zu: %s", i,
				  said);
		cr_expect_null(strstr(said, cases[i].not), "%zu: %s", i, said);
	}
}
