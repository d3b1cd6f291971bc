/* SPDX-License-Identifier: GPL-2.0-only */
/* See task_state.h. */
#include "task_state.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "procmaps.h"
#include "target.h"
#include "target_inside.h"
#include "text.h"
#include "theirs.h"

#define THREADS_MAX 64

/* ---- system calls by name: those that block ---- */

static const struct {
	long number;
	const char *name;
} calls[] = {
#define CALL(name) {SYS_##name, #name}
	CALL(futex), CALL(read), CALL(write), CALL(readv), CALL(writev), CALL(pread64), CALL(pwrite64), CALL(fsync),
	CALL(fdatasync), CALL(flock), CALL(fcntl), CALL(ioctl), CALL(openat), CALL(close), CALL(unlinkat), CALL(ppoll),
	CALL(pselect6), CALL(epoll_pwait), CALL(nanosleep), CALL(clock_nanosleep), CALL(accept), CALL(accept4), CALL(connect),
	CALL(recvfrom), CALL(recvmsg), CALL(sendto), CALL(sendmsg), CALL(wait4), CALL(waitid), CALL(rt_sigtimedwait),
	CALL(rt_sigsuspend), CALL(semop), CALL(semtimedop), CALL(msgrcv), CALL(msgsnd), CALL(mq_timedreceive), CALL(splice),
	CALL(sendfile), CALL(io_getevents), CALL(getrandom), CALL(mmap), CALL(munmap), CALL(madvise), CALL(execve), CALL(sync),
#ifdef SYS_poll
	CALL(poll), CALL(select), CALL(pause), CALL(epoll_wait), CALL(open), CALL(unlink),
#endif
#ifdef SYS_futex_waitv
	CALL(futex_waitv),
#endif
#undef CALL
};

void task_state__call_name(long number, char *buf, size_t size)
{
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		if (calls[i].number == number) {
			snprintf(buf, size, "%s", calls[i].name);
			return;
		}
	snprintf(buf, size, "system call %ld", number);
}

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

int task_state__read(pid_t pid, pid_t tid, struct task_state *ret)
{
	struct stat_fields fields;
	int err = target_proc__stat(pid, tid, &fields);

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

const char *task_state__words(const struct task_state *s, char buf[TASK_DOING_SIZE])
{
	const char *what = s->letter == 'T' ? "stopped" : s->letter == 't' ? "held by a tracer" :
			   s->letter == 'D' ? "in uninterruptible sleep" : "asleep";

	buf[0] = '\0';
	if (!task_state__is_off(s))
		return buf;
	snprintf(buf, TASK_DOING_SIZE, "%s%s%s%s%s%s", what, s->call[0] ? " in " : "", s->call, s->wchan[0] ? " (" : "", s->wchan,
		 s->wchan[0] ? ")" : "");
	return buf;
}

static uint64_t grown(uint64_t from, uint64_t to, uint64_t at_most)
{
	uint64_t by = to > from ? to - from : 0;

	return by < at_most ? by : at_most;
}

/*
 * Who is off a CPU at both ends and never slept in between was off all the while; who can run at both ends and never slept in
 * between had a CPU or waited for one, which the kernel has not added yet while it lasts.
 */
struct task_spent task_state__spent(const struct task_state *from, const struct task_state *to, uint64_t len_ns)
{
	struct task_spent spent = {0};
	uint64_t rest;

	if (!from->timed || !to->timed || !from->letter || !to->letter) {
		spent.unknown_ns = len_ns;
		return spent;
	}
	spent.on_ns = grown(from->cpu_ns, to->cpu_ns, len_ns);
	spent.delay_ns = grown(from->delay_ns, to->delay_ns, len_ns - spent.on_ns);
	rest = len_ns - spent.on_ns - spent.delay_ns;
	if (task_state__is_off(to))
		spent.asleep_ns = rest;
	else if (!task_state__is_off(from) && from->slept == to->slept)
		spent.delay_ns += rest;
	else
		spent.unknown_ns = rest;
	return spent;
}

/* ---- the whole process ---- */

const char *standstill__name(enum standstill s)
{
	static const char *const names[STANDSTILL_COUNT] = {
#define X(id, name) [STANDSTILL_##id] = name,
		STANDSTILLS(X)
#undef X
	};

	return s < STANDSTILL_COUNT ? names[s] : "";
}

enum standstill standstill__by_name(const char *name)
{
	for (int s = STANDSTILL_NONE + 1; s < STANDSTILL_COUNT; s++)
		if (strcmp(name, standstill__name((enum standstill)s)) == 0)
			return (enum standstill)s;
	return STANDSTILL_NONE;
}

const char *standstill__words(enum standstill s)
{
	static const char *const words[STANDSTILL_COUNT] = {
		[STANDSTILL_NONE] = "",
		[STANDSTILL_STOPPED] = "is stopped by a signal (SIGSTOP)",
		[STANDSTILL_TRACED] = "is stopped by a tracer (ptrace)",
		[STANDSTILL_FROZEN] = "is frozen (its control group is)",
	};

	return words[s];
}

const char *standstill__remedy(enum standstill s)
{
	static const char *const words[STANDSTILL_COUNT] = {
		[STANDSTILL_NONE] = "",
		[STANDSTILL_STOPPED] = "Find who stopped it (Ctrl-Z, a supervisor, a checkpoint), or continue it: kill -CONT.",
		[STANDSTILL_TRACED] = "Have the tracer (TracerPid in its /proc status) continue or detach it.",
		[STANDSTILL_FROZEN] = "Thaw its control group (cgroup.freeze; a paused container: unpause it).",
	};

	return words[s];
}

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
	if (!frozen && task_state__read(pid, pid, &leader) == 0)
		frozen = strstr(leader.wchan, "refrigerator") != NULL || strstr(leader.wchan, "freezer_trap") != NULL;
	return frozen;
}

/* Letters of its threads: how many are stopped, traced, and neither. The dead are none. */
struct standing {
	size_t stopped, traced, others;
};

static void count_thread(pid_t pid, pid_t tid, struct standing *n)
{
	struct stat_fields fields;

	if (target_proc__stat(pid, tid, &fields) || strchr("ZXx", fields.state))
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

enum standstill standstill__of(pid_t pid, pid_t *ret_tracer)
{
	struct stat_fields leader;
	struct standing n = {0};

	*ret_tracer = 0;
	/* Most processes are told by their first thread. */
	if (target_proc__stat(pid, 0, &leader))
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
