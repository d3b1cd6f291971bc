/* SPDX-License-Identifier: GPL-2.0-only */
/* See switch_check.h. */
#include "switch_check.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SLEEPS 50
#define SLEEP_NS 100000

#define TRACEPOINT "events/sched/sched_switch/id"

/*
 * tracefs if nobody has mounted it: this mount has no place in any directory, and ends with its descriptor. -errno: no right to
 * mount (CAP_SYS_ADMIN), or a kernel without it.
 */
static int open_detached_tracefs(void)
{
	int context = (int)syscall(SYS_fsopen, "tracefs", FSOPEN_CLOEXEC), mount = -1, err = 0;

	if (context < 0)
		return -errno;
	if (syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		mount = (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, 0);
	if (mount < 0)
		err = -errno;
	close(context);
	return err ? err : mount;
}

static int open_tracefs(void)
{
	static const char *const paths[] = {"/sys/kernel/tracing", "/sys/kernel/debug/tracing"};

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		int dir = open(paths[i], O_PATH | O_DIRECTORY | O_CLOEXEC);

		if (dir >= 0 && faccessat(dir, TRACEPOINT, R_OK, AT_EACCESS) == 0)
			return dir;
		if (dir >= 0)
			close(dir);
	}
	return open_detached_tracefs();
}

/* The tracepoint's number, which is the kernel's for as long as it runs; 0: not known. */
static unsigned long long tracepoint(void)
{
	static unsigned long long id;
	char text[24] = "";
	int dir = id ? -1 : open_tracefs(), fd = dir < 0 ? -1 : openat(dir, TRACEPOINT, O_RDONLY | O_CLOEXEC);

	if (fd >= 0 && read(fd, text, sizeof(text) - 1) > 0)
		id = strtoull(text, NULL, 10);
	if (fd >= 0)
		close(fd);
	if (dir >= 0)
		close(dir);
	return id;
}

static int open_counter(int cpu, int group, uint32_t type, uint64_t config)
{
	struct perf_event_attr attr = {
		.size = sizeof(attr), .type = type, .config = config, .disabled = group < 0, .read_format = PERF_FORMAT_GROUP,
	};
	long fd = syscall(SYS_perf_event_open, &attr, -1, cpu, group, PERF_FLAG_FD_CLOEXEC);

	return fd < 0 ? -errno : (int)fd;
}

static void sleep_and_wake(void)
{
	for (int i = 0; i < SLEEPS; i++)
		nanosleep(&(struct timespec){.tv_nsec = SLEEP_NS}, NULL);
}

/* Both counters are of one group: they begin and end at the same switch. */
static int count(int leader, struct switch_count *ret)
{
	struct { uint64_t n, value[2]; } read_out;

	if (ioctl(leader, PERF_EVENT_IOC_ENABLE, PERF_IOC_FLAG_GROUP))
		return -errno;
	sleep_and_wake();
	ioctl(leader, PERF_EVENT_IOC_DISABLE, PERF_IOC_FLAG_GROUP);
	if (read(leader, &read_out, sizeof(read_out)) != sizeof(read_out) || read_out.n != 2)
		return -EIO;
	ret->happened = read_out.value[0];
	ret->told = read_out.value[1];
	return 0;
}

static int count_on(int cpu, unsigned long long id, struct switch_count *ret)
{
	int leader = open_counter(cpu, -1, PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CONTEXT_SWITCHES), told, err;

	if (leader < 0)
		return leader;
	told = open_counter(cpu, leader, PERF_TYPE_TRACEPOINT, id);
	err = told < 0 ? told : count(leader, ret);
	if (told >= 0)
		close(told);
	close(leader);
	return err;
}

int switch_check__cpu(int cpu, struct switch_count *ret)
{
	unsigned long long id = tracepoint();
	cpu_set_t before, only;
	int err;

	if (!id)
		return -ENOENT;
	if (cpu < 0 || cpu >= CPU_SETSIZE)
		return -EINVAL;
	CPU_ZERO(&only);
	CPU_SET(cpu, &only);
	if (sched_getaffinity(0, sizeof(before), &before) || sched_setaffinity(0, sizeof(only), &only))
		return -errno;
	err = count_on(cpu, id, ret);
	sched_setaffinity(0, sizeof(before), &before);
	return err;
}
