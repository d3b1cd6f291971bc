/* SPDX-License-Identifier: GPL-2.0-only */
/* See switch_check.h. */
#include "switch_check.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SLEEPS 50
#define SLEEP_NS 100000

/* The tracepoint's number; 0: not known. */
static unsigned long long tracepoint(void)
{
	static const char *const paths[] = {
		"/sys/kernel/tracing/events/sched/sched_switch/id", "/sys/kernel/debug/tracing/events/sched/sched_switch/id",
	};
	unsigned long long id = 0;

	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]) && !id; i++) {
		FILE *file = fopen(paths[i], "re");

		if (file && fscanf(file, "%llu", &id) != 1)
			id = 0;
		if (file)
			fclose(file);
	}
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
