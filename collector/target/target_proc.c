/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The small files of /proc about processes and threads. Their text is the target's to choose: lengths are bounded, numbers are
 * checked. Opens nothing of the target's own.
 */
#include "target_inside.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "collector/base/text.h"
#include "collector/process/procmaps.h"
#include "collector/process/procstat.h"
#include "collector/process/theirs.h"

int target__stat(pid_t pid, pid_t tid, uint64_t *ret_start_ticks, uint64_t *ret_start_stack)
{
	struct procstat fields;
	int err = procstat__read(pid, tid, &fields);

	if (err)
		return err;
	*ret_start_ticks = fields.start_ticks;
	*ret_start_stack = fields.start_stack;
	return 0;
}

bool target__has_thread(pid_t pid, pid_t tid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/task/%d", (int)pid, (int)tid);
	return pid > 0 && tid > 0 && access(path, F_OK) == 0;
}

int target__thread_comm(pid_t pid, pid_t tid, char *name, size_t size)
{
	char path[64], *text;
	size_t len;
	int err;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/comm", pid, tid);
	err = procmaps__slurp(path, PROC_TEXT_MAX, &text, &len);
	if (err)
		return err == -ENOENT ? -ESRCH : err;
	if (len > 0 && text[len - 1] == '\n')
		len--;
	text__clean(name, size, text, len);
	free(text);
	return 0;
}

uint32_t target__cpus(pid_t pid)
{
	cpu_set_t set;

	return sched_getaffinity(pid, sizeof(set), &set) ? 0 : (uint32_t)CPU_COUNT(&set);
}

int target__usage(pid_t pid, uint64_t *ret_cpu_ns, uint64_t *ret_rss_kib)
{
	unsigned long long pages;
	struct timespec used;
	char path[64], *text;
	clockid_t clock;
	size_t len;
	int err;

	if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &used) != 0)
		return -ESRCH;
	snprintf(path, sizeof(path), "/proc/%d/statm", pid);
	err = procmaps__slurp(path, PROC_TEXT_MAX, &text, &len);
	if (err)
		return err == -ENOENT ? -ESRCH : err;
	text[len > 0 ? len - 1 : 0] = '\0'; /* over its newline */
	err = sscanf(text, "%*u %llu", &pages) == 1 ? 0 : -EINVAL;
	free(text);
	if (err)
		return err;
	*ret_cpu_ns = (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
	*ret_rss_kib = pages * ((uint64_t)sysconf(_SC_PAGESIZE) / 1024);
	return 0;
}

pid_t target__id_inside(pid_t pid, pid_t tid)
{
	char *text, *line = procstat__status_line(pid, tid, "\nNSpid:\t", &text);
	pid_t inside;

	if (line)
		line = strrchr(line, '\t'); /* before the second id, if there is one */
	inside = line ? procstat__id(line + 1) : 0;
	free(text);
	return inside;
}

uint64_t target__futex(pid_t pid, pid_t tid, bool *ret_blocked)
{
	unsigned long long number = 0, address = 0;
	char path[64], line[64] = "";

	snprintf(path, sizeof(path), "/proc/%d/task/%d/syscall", (int)pid, (int)tid);
	*ret_blocked = theirs__line(pid, path, line, sizeof(line)) || strncmp(line, "running", 7) != 0;
	if (sscanf(line, "%llu %llx", &number, &address) != 2 || number != SYS_futex)
		address = 0;
	return address;
}

bool target__is_asleep(pid_t pid, pid_t tid, uint64_t *ret_times)
{
	char *text, *line = procstat__status_line(pid, tid, "\nvoluntary_ctxt_switches:\t", &text);
	struct procstat fields;
	bool known = line != NULL;

	*ret_times = known ? strtoull(line, NULL, 10) : 0;
	free(text);
	return known && procstat__read(pid, tid, &fields) == 0 && fields.state == 'S';
}

pid_t target__tracer(pid_t pid)
{
	return procstat__status_id(pid, 0, "\nTracerPid:\t");
}

uint64_t target__libraries_kib(pid_t pid)
{
	return procstat__status_number(pid, 0, "\nVmLib:\t", 10);
}

pid_t target_proc__pid_of_entry(const char *name)
{
	int pid = 0;

	for (; *name >= '0' && *name <= '9' && pid < 100000000; name++)
		pid = pid * 10 + (*name - '0');
	return *name == '\0' ? pid : 0;
}

pid_t target__id_outside(pid_t pid, pid_t inside)
{
	struct dirent *task;
	pid_t found = 0;
	char path[64];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	while (dir && inside > 0 && !found && (task = readdir(dir))) {
		pid_t tid = target_proc__pid_of_entry(task->d_name);

		if (tid > 0 && target__id_inside(pid, tid) == inside)
			found = tid;
	}
	if (dir)
		closedir(dir);
	return found;
}

pid_t target_proc__thread_group(pid_t pid)
{
	return procstat__status_id(pid, 0, "\nTgid:\t");
}

uint64_t target_proc__namespace(const char *pid, const char *name)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%s/ns/%s", pid, name);
	return stat(path, &st) == 0 ? st.st_ino : 0;
}
