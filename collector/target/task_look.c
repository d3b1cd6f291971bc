/* SPDX-License-Identifier: GPL-2.0-only */
/* See task_look.h. */
#include "task_look.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collector/base/text.h"
#include "collector/process/procmaps.h"
#include "collector/process/procstat.h"
#include "collector/process/theirs.h"
#include "target.h"
#include "target_inside.h"

#define THREADS_MAX 64

/* ---- one thread ---- */

/* A file of a thread, as a string; free() it. NULL: it can't be read. */
static char *task_file(pid_t pid, pid_t tid, const char *name)
{
	char path[64], *text;
	size_t len;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/%s", (int)pid, (int)tid, name);
	if (theirs__slurp(pid, path, PROC_TEXT_MAX, &text, &len))
		return NULL;
	text[len > 0 ? len - 1 : 0] = '\0'; /* over its newline; wchan has none, and is cut by a letter less below */
	return text;
}

static void read_times(pid_t pid, pid_t tid, struct task_state *ret)
{
	char *text = task_file(pid, tid, "schedstat"), *status = task_file(pid, tid, "status"), *line;
	unsigned long long cpu, delay, slept;

	line = status ? strstr(status, "\nvoluntary_ctxt_switches:") : NULL;
	if (text && sscanf(text, "%llu %llu", &cpu, &delay) == 2 && line &&
	    sscanf(line, "\nvoluntary_ctxt_switches: %llu", &slept) == 1) {
		ret->timed = true;
		ret->cpu_ns = cpu;
		ret->delay_ns = delay;
		ret->slept = slept;
	}
	free(status);
	free(text);
}

/* "NUMBER ARGUMENTS...", "-1 ..." outside of any, "running" (fs/proc/base.c, proc_pid_syscall). */
static void read_call(pid_t pid, pid_t tid, struct task_state *ret)
{
	char *text = task_file(pid, tid, "syscall");
	long number;

	if (text && sscanf(text, "%ld", &number) == 1 && number >= 0)
		task_state__call_name(number, ret->call, sizeof(ret->call));
	free(text);
}

/* "0" where there is none or we may not know. Has no newline. */
static void read_wchan(pid_t pid, pid_t tid, struct task_state *ret)
{
	char path[64], *text;
	size_t len;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/wchan", (int)pid, (int)tid);
	if (theirs__slurp(pid, path, PROC_TEXT_MAX, &text, &len))
		return;
	text__clean(ret->wchan, sizeof(ret->wchan), text, len);
	if (strcmp(ret->wchan, "0") == 0)
		ret->wchan[0] = '\0';
	free(text);
}

int task_look__take(pid_t pid, pid_t tid, struct task_state *ret)
{
	struct procstat fields;
	int err = procstat__read(pid, tid, &fields);

	*ret = (struct task_state){0};
	if (err)
		return err;
	ret->letter = fields.state;
	read_times(pid, tid, ret);
	if (!task_state__is_off(ret))
		return 0;
	read_call(pid, tid, ret);
	read_wchan(pid, tid, ret);
	return 0;
}

/* ---- the whole process ---- */

/*
 * Whether a file of the group on `line` of /proc/PID/cgroup ("0::" or the like, then its path), below `mount`, has `words` in
 * it.
 */
static bool group_says(pid_t pid, const char *text, const char *line, const char *mount, const char *file, const char *words)
{
	const char *at = strstr(text, line);
	char path[4352], *said = NULL;
	bool found = false;
	size_t len;

	if (!at || (at > text && !strchr("\n:,", at[-1])))
		return false;
	at += strlen(line);
	snprintf(path, sizeof(path), "%s%.*s/%s", mount, (int)strcspn(at, "\n"), at, file);
	if (theirs__slurp(pid, path, PROC_TEXT_MAX, &said, &len))
		return false;
	said[len > 0 ? len - 1 : 0] = '\0';
	found = strstr(said, words) != NULL;
	free(said);
	return found;
}

/* Groups are asked where they are mounted commonly; threads of a frozen one sleep in a function of that name, too. */
static bool is_frozen(pid_t pid)
{
	char path[64], *text = NULL;
	struct task_state leader;
	bool frozen = false;
	size_t len;

	snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
	if (theirs__slurp(pid, path, PROC_TEXT_MAX, &text, &len) == 0) {
		text[len > 0 ? len - 1 : 0] = '\0';
		frozen = group_says(pid, text, "0::", "/sys/fs/cgroup", "cgroup.events", "frozen 1") ||
			 group_says(pid, text, "0::", "/sys/fs/cgroup/unified", "cgroup.events", "frozen 1") ||
			 group_says(pid, text, "freezer:", "/sys/fs/cgroup/freezer", "freezer.state", "FROZEN");
	}
	free(text);
	if (!frozen && task_look__take(pid, pid, &leader) == 0)
		frozen = strstr(leader.wchan, "refrigerator") != NULL || strstr(leader.wchan, "freezer_trap") != NULL;
	return frozen;
}

/* Letters of its threads: how many are stopped, traced, and neither. The dead are none. */
struct standing {
	size_t stopped, traced, others;
};

static void count_thread(pid_t pid, pid_t tid, struct standing *n)
{
	struct procstat fields;

	if (procstat__read(pid, tid, &fields) || strchr("ZXx", fields.state))
		return;
	n->stopped += fields.state == 'T';
	n->traced += fields.state == 't';
	n->others += fields.state != 'T' && fields.state != 't';
}

static void count_threads(pid_t pid, struct standing *n)
{
	struct dirent *task;
	char path[48];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	while (dir && !n->others && n->stopped + n->traced < THREADS_MAX && (task = readdir(dir)))
		if (isdigit((unsigned char)task->d_name[0]))
			count_thread(pid, target_proc__pid_of_entry(task->d_name), n);
	if (dir)
		closedir(dir);
}

enum standstill task_look__standstill(pid_t pid, pid_t *ret_tracer)
{
	struct procstat leader;
	struct standing n = {0};

	*ret_tracer = 0;
	/* Most processes are told by their first thread. */
	if (procstat__read(pid, 0, &leader))
		return STANDSTILL_NONE;
	if (strchr("TtZ", leader.state)) {
		count_threads(pid, &n);
		if (!n.others && n.stopped + n.traced)
			*ret_tracer = target__tracer(pid);
		return n.others ? STANDSTILL_NONE : n.traced ? STANDSTILL_TRACED : n.stopped ? STANDSTILL_STOPPED :
			STANDSTILL_NONE;
	}
	return leader.state != 'R' && is_frozen(pid) ? STANDSTILL_FROZEN : STANDSTILL_NONE;
}
