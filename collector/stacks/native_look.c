/* SPDX-License-Identifier: GPL-2.0-only */
/* See native_look.h. */
#include "native_look.h"

#include <linux/perf_event.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "collector/process/procmem.h"
#include "collector/process/theirs.h"
#include "collector/target/target.h"

#define PERIOD_NS 1000000 /* of its CPU time */
#define PAGES 8           /* of the kernel's buffer, a power of two: a sample or two */

#if defined(__aarch64__)
#define SP_WORD 31
#define PC_WORD 32
#define REGS_MASK ((1ull << 33) - 1)
/* In the order of enum perf_event_arm_regs, which is that of struct user_pt_regs. */
#define WORD_OF(i) (i)
#else
#define SP_WORD 19
#define PC_WORD 16
#define REGS_MASK 0xff01ffull
/* In the order of enum perf_event_x86_regs, flags and segments left out: AX BX CX DX SI DI BP SP IP R8 ... R15. */
static const uint8_t words[] = {10, 5, 11, 12, 13, 14, 4, 19, 16, 9, 8, 7, 6, 3, 2, 1, 0};
#define WORD_OF(i) (words[i])
#endif
#define REGS_N __builtin_popcountll(REGS_MASK)

/* ---- asleep ---- */

/* "NUMBER ARGUMENT... SP PC", or "-1 SP PC" (fs/proc/base.c, proc_pid_syscall). */
static bool read_place(pid_t pid, pid_t tid, uint64_t *ret_sp, uint64_t *ret_pc)
{
	char path[64], line[256] = "", *pc, *sp;
	unsigned long long number;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/syscall", (int)pid, (int)tid);
	if (theirs__line(pid, path, line, sizeof(line)))
		return false;
	pc = strrchr(line, ' ');
	if (!pc || sscanf(pc, " 0x%llx", &number) != 1)
		return false;
	*ret_pc = number;
	*pc = '\0';
	sp = strrchr(line, ' ');
	if (!sp || sscanf(sp, " 0x%llx", &number) != 1)
		return false;
	*ret_sp = number;
	return true;
}

static bool look_asleep(pid_t pid, pid_t tid, struct native_look *ret)
{
	uint64_t sp, pc, sp_after, pc_after;

	if (!read_place(pid, tid, &sp, &pc))
		return false;
	ret->regs.word[SP_WORD] = sp;
	ret->regs.word[PC_WORD] = pc;
	while (ret->stack_len < sizeof(ret->stack) &&
	       procmem__read(pid, sp + ret->stack_len, ret->stack + ret->stack_len, GIL_NATIVE_PIECE) == 0)
		ret->stack_len += GIL_NATIVE_PIECE;
	return read_place(pid, tid, &sp_after, &pc_after) && sp == sp_after && pc == pc_after;
}

/* ---- on a CPU ---- */

/* Copies `len` bytes of the ring from `at` on; `pages` is what follows its first page. */
static void take(const uint8_t *pages, size_t size, uint64_t at, void *dst, size_t len)
{
	for (size_t i = 0; i < len; i++)
		((uint8_t *)dst)[i] = pages[(at + i) & (size - 1)];
}

/* A sample: the ABI of the registers, they, the stack's size, it, and how much of it could be copied. */
static bool take_sample(const uint8_t *pages, size_t size, uint64_t at, struct native_look *ret)
{
	uint64_t abi, value, stack_size, copied;

	take(pages, size, at, &abi, 8);
	if (abi != PERF_SAMPLE_REGS_ABI_64)
		return false;
	at += 8;
	for (int i = 0; i < REGS_N; i++, at += 8) {
		take(pages, size, at, &value, 8);
		ret->regs.word[WORD_OF(i)] = value;
	}
	take(pages, size, at, &stack_size, 8);
	if (stack_size == 0 || stack_size > sizeof(ret->stack))
		return false;
	take(pages, size, at + 8, ret->stack, stack_size);
	take(pages, size, at + 8 + stack_size, &copied, 8);
	ret->stack_len = copied < stack_size ? copied : stack_size;
	return true;
}

/* The first sample in the buffer. */
static bool first_sample(struct perf_event_mmap_page *head, size_t page, struct native_look *ret)
{
	const uint8_t *pages = (const uint8_t *)head + page;
	uint64_t end = __atomic_load_n(&head->data_head, __ATOMIC_ACQUIRE), at = 0;
	struct perf_event_header header;

	while (at + sizeof(header) <= end) {
		take(pages, PAGES * page, at, &header, sizeof(header));
		if (header.size < sizeof(header))
			return false;
		if (header.type == PERF_RECORD_SAMPLE)
			return take_sample(pages, PAGES * page, at + sizeof(header), ret);
		at += header.size;
	}
	return false;
}

static bool look_running(pid_t pid, pid_t tid, struct native_look *ret)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE, .size = sizeof(attr), .config = PERF_COUNT_SW_TASK_CLOCK,
		.sample_period = PERIOD_NS, .sample_type = PERF_SAMPLE_REGS_USER | PERF_SAMPLE_STACK_USER,
		.sample_regs_user = REGS_MASK, .sample_stack_user = sizeof(ret->stack), .wakeup_events = 1, .exclude_kernel = 1,
		.exclude_hv = 1,
	};
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct pollfd wait = {.events = POLLIN};
	bool found = false;
	void *mem;

	if (!target__has_thread(pid, tid))
		return false;
	wait.fd = (int)syscall(SYS_perf_event_open, &attr, tid, -1, -1, PERF_FLAG_FD_CLOEXEC);
	if (wait.fd < 0)
		return false;
	/* Still: the event is of the thread that had the id then, not of one that gets it later. */
	if (!target__has_thread(pid, tid)) {
		close(wait.fd);
		return false;
	}
	mem = mmap(NULL, (1 + PAGES) * page, PROT_READ, MAP_SHARED, wait.fd, 0);
	if (mem != MAP_FAILED) {
		if (poll(&wait, 1, NATIVE_LOOK_MS) > 0)
			found = first_sample(mem, page, ret);
		munmap(mem, (1 + PAGES) * page);
	}
	close(wait.fd);
	return found;
}

bool native_look__take_asleep(pid_t pid, pid_t tid, struct native_look *ret)
{
	memset(ret, 0, sizeof(*ret));
	return look_asleep(pid, tid, ret);
}

bool native_look__take(pid_t pid, pid_t tid, struct native_look *ret)
{
	if (native_look__take_asleep(pid, tid, ret))
		return true;
	memset(ret, 0, sizeof(*ret));
	return look_running(pid, tid, ret);
}
