/* SPDX-License-Identifier: GPL-2.0-only */
/* See bpf_env.h. */
#include "bpf_env.h"

#include <bpf/bpf.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The shortest program there is; uprobes take programs of the kprobe type. */
static int load_nothing(void)
{
	const struct bpf_insn nothing[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0},
		{.code = BPF_JMP | BPF_EXIT},
	};

	return bpf_prog_load(BPF_PROG_TYPE_KPROBE, "nothing", "GPL", nothing, 2, NULL);
}

static int make_ring_buffer(void)
{
	return bpf_map_create(BPF_MAP_TYPE_RINGBUF, "nothing", 0, 0, (unsigned int)sysconf(_SC_PAGESIZE), NULL);
}

/* For timers of CPU time, and probes where uprobe_multi is missing. */
static int open_perf_event(void)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE, .size = sizeof(attr), .config = PERF_COUNT_SW_TASK_CLOCK, .disabled = 1,
	};

	return (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

/* Closes what `make` opened; false, with the reason, if it failed. */
static bool works(int (*make)(void), const char *what, char *why, size_t size)
{
	int fd = make();

	if (fd < 0) {
		snprintf(why, size, "%s: %s%s", what, strerror(errno), errno == EPERM ? " (not root?)" : "");
		return false;
	}
	close(fd);
	return true;
}

void bpf_env__why_not(char *why, size_t size)
{
	why[0] = '\0';
	if (!works(load_nothing, "loading a BPF program", why, size))
		return;
	if (!works(make_ring_buffer, "creating a ring buffer", why, size))
		return;
	if (!works(open_perf_event, "opening a perf event", why, size))
		return;
	if (access("/sys/bus/event_source/devices/uprobe/type", R_OK) != 0)
		snprintf(why, size, "this kernel has no uprobes");
	else if (access("/sys/kernel/btf/vmlinux", R_OK) != 0)
		snprintf(why, size, "this kernel does not describe its types (BTF)");
}

void bpf_env__require(void)
{
	char why[128];

	bpf_env__why_not(why, sizeof(why));
	cr_assert(!why[0], "BPF is required here: %s", why);
}
