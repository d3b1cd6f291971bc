/* SPDX-License-Identifier: GPL-2.0-only */
/* Code in memory against its file: this very process maps a made-up file, and changes it. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "collector/target/site_text.h"

#define PAGE 4096
#define SITE 5000 /* offset of the instruction in the file of three pages */
#define INSN 5

static uint8_t file[3 * PAGE];
static uint8_t *memory;
static uint64_t inode;
static int fd;

#ifdef __aarch64__
static const uint8_t trap[] = {0xa0, 0x00, 0x20, 0xd4};
#else
static const uint8_t trap[] = {0xcc};
#endif

static uint8_t *map_file(size_t offset, size_t len)
{
	uint8_t *at = mmap(NULL, len, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE, fd, (off_t)offset);

	cr_assert(at != MAP_FAILED, "mmap: %s", strerror(errno));
	return at;
}

static void make_file(void)
{
	char path[] = "/tmp/gilscope-text-XXXXXX";
	struct stat st;

	for (size_t i = 0; i < sizeof(file); i++)
		file[i] = (uint8_t)(i * 7 % 199);
	fd = mkstemp(path);
	cr_assert(fd >= 0 && write(fd, file, sizeof(file)) == (ssize_t)sizeof(file) && fstat(fd, &st) == 0);
	unlink(path);
	inode = st.st_ino;
	memory = map_file(0, sizeof(file));
}

TestSuite(site_text, .init = make_file);

static struct site_text text_at(uint64_t offset)
{
	struct site_text t = {.offset = offset - SITE_TEXT_AROUND, .at = SITE_TEXT_AROUND, .insn_len = INSN};

	t.len = 2 * SITE_TEXT_AROUND + INSN;
	memcpy(t.bytes, file + t.offset, t.len);
	return t;
}

static struct site_text_tally compare_at(uint64_t offset)
{
	struct site_text t = text_at(offset);
	struct site_text_tally tally;

	cr_assert_eq(site_texts__compare(&t, 1, getpid(), inode, &tally), 0);
	return tally;
}

static int judged(const struct site_text_tally *tally)
{
	struct reason why;

	return site_text_tally__judge(tally, 1, getpid(), &why);
}

Test(site_text, of_the_file_is_the_same)
{
	struct site_text_tally tally = compare_at(SITE);

	cr_expect_eq(tally.same, 1);
	cr_expect_eq(tally.breakpoints + tally.changed + tally.elsewhere + tally.unread, 0);
	cr_expect_eq(judged(&tally), 0);
}

Test(site_text, with_a_breakpoint_on_the_instruction_is_the_same_and_counted)
{
	struct site_text_tally tally;

	memcpy(memory + SITE, trap, sizeof(trap));
	tally = compare_at(SITE);
	cr_expect_eq(tally.same, 1);
	cr_expect_eq(tally.breakpoints, 1);
	cr_expect_eq(judged(&tally), 0);
}

/* As gilscope does with the program that it starts. */
Test(site_text, with_a_breakpoint_in_a_process_that_we_trace_is_no_debuggers)
{
	struct site_text t = text_at(SITE);
	struct site_text_tally tally;
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		memcpy(memory + SITE, trap, sizeof(trap));
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		_exit(0);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFSTOPPED(status));
	cr_assert_eq(site_texts__compare(&t, 1, pid, inode, &tally), 0);
	cr_expect_eq(tally.breakpoints, 1);
	cr_expect_eq(site_text_tally__judge(&tally, 1, pid, NULL), 0);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
}

Test(site_text, with_breakpoints_around_is_the_same)
{
	struct site_text_tally tally;

	memcpy(memory + SITE - 8, trap, sizeof(trap));
	memcpy(memory + SITE + INSN + 4, trap, sizeof(trap));
	tally = compare_at(SITE);
	cr_expect_eq(tally.same, 1);
	cr_expect_eq(tally.breakpoints, 0);
}

/* Each byte of the instruction and of what is compared around it, one after the other. */
Test(site_text, with_any_other_byte_is_changed)
{
	for (int i = -SITE_TEXT_AROUND; i < INSN + SITE_TEXT_AROUND; i++) {
		struct site_text_tally tally;

		memory[SITE + i] ^= 0x55;
		tally = compare_at(SITE);
		cr_expect_eq(tally.changed, 1, "byte %d", i);
		cr_expect_eq(tally.first, (uint64_t)(memory + SITE));
		cr_expect_eq(judged(&tally), -ENOTSUP);
		memory[SITE + i] ^= 0x55;
	}
	cr_expect_eq(compare_at(SITE).changed, 0);
}

/* A breakpoint, and behind it something else: a patch of somebody who had a debugger's help, or a lifted one. */
Test(site_text, with_a_breakpoint_and_another_rest_is_changed)
{
	memcpy(memory + SITE, trap, sizeof(trap));
	memory[SITE + INSN - 1] ^= 1;
	cr_expect_eq(compare_at(SITE).changed, 1);
}

/* ---- what would become of it when a probe is lifted ---- */

static enum site_state state_at(uint64_t offset)
{
	struct site_text t = text_at(offset);
	enum site_state state;

	cr_assert_eq(site_texts__look(&t, 1, getpid(), inode, &state), 0);
	return state;
}

Test(site_text, as_the_file_has_it_may_be_lifted)
{
	cr_expect_eq(state_at(SITE), SITE_SAME);
	memcpy(memory + SITE, trap, sizeof(trap));
	cr_expect_eq(state_at(SITE), SITE_TRAPPED);
	memory[SITE] ^= 0x55;
	cr_expect_eq(state_at(SITE), SITE_CHANGED);
	cr_expect_eq(state_at(sizeof(file) + SITE), SITE_ELSEWHERE);
}

/* Each byte around a breakpoint, one after the other: of the instruction, or of another one that it has become part of. */
Test(site_text, with_a_breakpoint_and_any_other_byte_is_half)
{
	memcpy(memory + SITE, trap, sizeof(trap));
	for (int i = -SITE_TEXT_AROUND; i < INSN + SITE_TEXT_AROUND; i++) {
		if (i >= 0 && i < (int)sizeof(trap))
			continue;
		memory[SITE + i] ^= 0x55;
		cr_expect_eq(state_at(SITE), SITE_HALF, "byte %d", i);
		memory[SITE + i] ^= 0x55;
	}
	cr_expect_eq(state_at(SITE), SITE_TRAPPED);
}

/* Mapped twice, the worse counts. */
Test(site_text, in_one_of_two_mappings_is_enough)
{
	uint8_t *second = map_file(0, sizeof(file));

	memcpy(second + SITE, trap, sizeof(trap));
	second[SITE + INSN] ^= 0x55;
	cr_expect_eq(state_at(SITE), SITE_HALF);
}

Test(site_text, in_other_memory_is_elsewhere)
{
	struct site_text_tally tally;
	uint8_t *copy = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	memcpy(copy, memory + PAGE, PAGE);
	cr_assert(mremap(copy, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, memory + PAGE) != MAP_FAILED);
	tally = compare_at(SITE);
	cr_expect_eq(tally.elsewhere, 1);
	cr_expect_eq(tally.same, 0);
	cr_expect_eq(judged(&tally), -ENOTSUP);
}

Test(site_text, that_is_mapped_but_not_to_be_run_is_elsewhere)
{
	cr_assert_eq(mprotect(memory + PAGE, PAGE, PROT_READ), 0);
	cr_expect_eq(compare_at(SITE).elsewhere, 1);
}

/* Every mapping of the file gets the probe. */
Test(site_text, is_compared_in_every_mapping)
{
	uint8_t *second = map_file(PAGE, PAGE);
	struct site_text_tally tally;

	cr_expect_eq(compare_at(SITE).same, 2);
	second[SITE - PAGE + 1] ^= 1;
	tally = compare_at(SITE);
	cr_expect_eq(tally.same, 1);
	cr_expect_eq(tally.changed, 1);
}

Test(site_text, at_the_edge_of_a_mapping_is_compared_as_far_as_that_goes)
{
	cr_assert_eq(munmap(memory, PAGE), 0);
	cr_assert_eq(munmap(memory + 2 * PAGE, PAGE), 0);
	cr_expect_eq(compare_at(PAGE + 3).same, 1);
	cr_expect_eq(compare_at(2 * PAGE - INSN - 2).same, 1);
	memory[PAGE] ^= 1;
	cr_expect_eq(compare_at(PAGE + 3).changed, 1);
	cr_expect_eq(compare_at(2 * PAGE - 2).elsewhere, 1, "half an instruction is no place");
}

Test(site_text, of_a_process_that_is_gone_is_an_error)
{
	struct site_text t = text_at(SITE);
	struct site_text_tally tally;

	cr_expect_lt(site_texts__compare(&t, 1, 0x3fffffff, inode, &tally), 0);
}

/* It has no memory any more: that tells nothing of its code. */
Test(site_text, of_a_process_that_has_ended_is_not_judged)
{
	struct site_text t = text_at(SITE);
	struct site_text_tally tally;
	siginfo_t info;
	pid_t child = fork();

	if (child == 0)
		_exit(0);
	cr_assert_eq(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
	cr_expect_eq(site_texts__compare(&t, 1, child, inode, &tally), -ESRCH);
	waitpid(child, NULL, 0);
}
