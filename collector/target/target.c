/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See target.h. What is read in /proc and how the interpreter is found have rooms of their own: target_inside.h lists them.
 *
 * Order of work: hold the process (pidfd), read its identity, find the interpreter among its executable mappings, and at the end
 * make sure that all of it belonged to one process.
 */
#include "target_inside.h"

#include <dirent.h>
#include <errno.h>
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
#include "cgroup.h"

#define EXEC_WAITS 20             /* looks at a process in the middle of an exec, 0.5 ms apart */
#define KERNEL_THREAD 0x00200000u /* PF_KTHREAD, include/linux/sched.h */

#define INITIAL_PIDNS_INO 0xeffffffcull /* PROC_PID_INIT_INO, include/linux/proc_ns.h, since 3.8 */

bool target__is_named_python(const struct target *t)
{
	return strstr(t->comm, "python") || strstr(t->label, "python") || strstr(t->exe, "/python");
}

int target__explain(const struct target *t, int err, struct reason *why)
{
	struct procstat now;

	if (err == -EACCES || err == -EPERM)
		return reason__set(why, err, "no permission to look into process %d (%s) of user %u: %s", t->pid, t->label,
				   (unsigned int)t->uid, geteuid() ? "run as root or with CAP_SYS_PTRACE" :
				   "root lacks CAP_SYS_PTRACE here, or a security module or user namespace keeps it out");
	if (procstat__read(t->pid, 0, &now) != 0 || now.start_ticks != t->start_ticks)
		return reason__set(why, -ESRCH, "process %d went away while it was examined", t->pid);
	if (now.state == 'Z' || now.state == 'X')
		return reason__set(why, -ESRCH, "process %d has exited already (a zombie, not yet collected by its parent)",
				   t->pid);
	if (err == -ETIMEDOUT)
		return reason__set(why, err, "process %d (%s) cannot be examined: what it runs or has in memory is kept back "
				   "(does it lie on a file system that does not answer?)", t->pid, t->label);
	return reason__set(why, err, "process %d (%s) cannot be examined: %s", t->pid, t->label, strerror(-err));
}

/* ---- opening a process ------------------------------------------------------------------------------- */

/* comm, owner and label: readable by everybody, so that refusals can name the process. */
static int read_names(struct target *t)
{
	char path[64];
	struct stat st;
	int err;

	snprintf(path, sizeof(path), "/proc/%d", t->pid);
	if (stat(path, &st) != 0)
		return -ESRCH;
	t->uid = st.st_uid;
	err = target__thread_comm(t->pid, t->pid, t->comm, sizeof(t->comm));
	if (err)
		return err;
	target_label__read(t->pid, t->comm, t->label, sizeof(t->label));
	return 0;
}

static bool has_arguments(pid_t pid)
{
	char path[64], *text;
	size_t len = 0;
	int err;

	snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
	err = theirs__slurp(pid, path, PROC_TEXT_MAX, &text, &len);
	if (!err)
		free(text);
	return err || len;
}

/*
 * What is read while an exec goes on is half of one program and half of another: the new file is mapped, but there are no
 * arguments yet, and the bottom of the stack, which tells one program of a process from the next, is not final. Seen 1 time
 * in 200 of a child whose execs follow each other closely. It lasts for well below a millisecond.
 */
static int read_settled_stat(pid_t pid, struct procstat *ret)
{
	const struct timespec pause = {.tv_nsec = 500000};
	int err = procstat__read(pid, 0, ret);

	for (int i = 0; i < EXEC_WAITS && !err && !(ret->flags & KERNEL_THREAD) && ret->state != 'Z' && ret->state != 'X' &&
			!has_arguments(pid); i++) {
		nanosleep(&pause, NULL);
		err = procstat__read(pid, 0, ret);
	}
	return err;
}

static int identify(struct target *t, struct reason *why)
{
	struct procstat fields;
	pid_t tgid = target_proc__thread_group(t->pid);

	if (tgid > 0 && tgid != t->pid)
		return reason__set(why, -ESRCH, "%d is a thread of process %d: name the process", t->pid, tgid);
	t->pidfd = (int)syscall(SYS_pidfd_open, t->pid, 0);
	if (t->pidfd < 0)
		return errno == ESRCH || errno == EINVAL ?
			       reason__set(why, -ESRCH, "there is no process %d", t->pid) :
			       reason__set(why, -errno, "process %d cannot be held (pidfd_open): %s", t->pid,
					   strerror(errno));
	if (read_settled_stat(t->pid, &fields) != 0 || read_names(t) != 0)
		return reason__set(why, -ESRCH, "there is no process %d", t->pid);
	t->start_ticks = fields.start_ticks;
	t->start_stack = fields.start_stack;
	if (fields.flags & KERNEL_THREAD)
		return reason__set(why, -ENOEXEC, "process %d (%s) is a kernel thread", t->pid, t->comm);
	if (fields.state == 'Z' || fields.state == 'X')
		return target__explain(t, -ESRCH, why);
	if (fields.in_exec)
		return reason__set(why, -EAGAIN, "process %d is in the middle of an exec: try again in a moment", t->pid);
	return 0;
}

/* Whether its root directory is another than ours; no where that can't be looked at. */
static bool has_other_root(pid_t pid)
{
	struct stat own, theirs;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/root", (int)pid);
	return stat("/", &own) == 0 && theirs__stat(pid, path, &theirs) == 0 &&
	       (own.st_dev != theirs.st_dev || own.st_ino != theirs.st_ino);
}

static void find_container(struct target *t)
{
	char path[64], *text;
	size_t len;

	t->other_root = has_other_root(t->pid);
	t->pid_inside = target__id_inside(t->pid, t->pid);
	snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)t->pid);
	if (procmaps__slurp(path, PROC_TEXT_MAX, &text, &len))
		return;
	cgroup__path(text, len, t->cgroup, sizeof(t->cgroup));
	cgroup__container(text, len, t->container, sizeof(t->container));
	free(text);
}

bool target__we_are_contained(void)
{
	uint64_t ino = target_proc__namespace("self", "pid");

	return ino != 0 && ino != INITIAL_PIDNS_INO;
}

bool target__is_contained(const struct target *t)
{
	return t->other_root || t->pid_inside || t->container[0];
}

static int open_process(struct target *t, struct search *s, struct reason *why)
{
	char pid[16];
	int err = identify(t, why);

	if (!err)
		err = target_image__find(t, s, why);
	if (err)
		return err;
	snprintf(pid, sizeof(pid), "%d", t->pid);
	t->pidns_ino = target_proc__namespace(pid, "pid");
	t->other_mount_ns = target_proc__namespace(pid, "mnt") != target_proc__namespace("self", "mnt");
	find_container(t);
	if (!target__is_same(t))
		return reason__set(why, -ESRCH, "process %d went away or ran another program while it was examined", t->pid);
	return 0;
}

/* Ids that we read and ids that we give to the kernel must be of one namespace. */
static int refuse_foreign_proc(struct reason *why)
{
	char link[32];
	ssize_t len = readlink("/proc/self", link, sizeof(link) - 1);

	link[len > 0 ? len : 0] = '\0';
	if (len > 0 && atoi(link) == getpid())
		return 0;
	return reason__set(why, -ENOTSUP, "/proc shows another PID namespace than the one that gilscope runs in: mount one that "
			   "fits (mount -t proc proc /proc), or run gilscope on the host");
}

static int open_target(pid_t pid, struct search *s, struct target **ret, struct reason *why)
{
	struct target *t;
	int err;

	if (pid <= 0)
		return reason__set(why, -ESRCH, "there is no process %d", pid);
	t = calloc(1, sizeof(*t));
	if (!t)
		return reason__set(why, -ENOMEM, "out of memory");
	t->pid = pid;
	t->pidfd = -1;
	t->image.fd = -1;
	err = refuse_foreign_proc(why);
	err = err ?: open_process(t, s, why);
	if (err) {
		s->looks_python = s->looks_python || target__is_named_python(t);
		target__close(t);
		return err;
	}
	*ret = t;
	return 0;
}

int target__open(pid_t pid, struct target **ret, struct reason *why)
{
	return target__open_with(NULL, pid, ret, why);
}

int target__open_with(struct target_memory *memory, pid_t pid, struct target **ret, struct reason *why)
{
	struct search s = {.seen = target_memory__seen(memory)};

	return open_target(pid, &s, ret, why);
}

struct target *target__of_child(const struct target *parent, pid_t child, uint64_t start_ticks)
{
	struct target *t = malloc(sizeof(*t));
	struct procstat now;

	if (!t)
		return NULL;
	*t = *parent;
	t->pid = child;
	t->start_ticks = start_ticks;
	t->image.fd = -1;
	t->pidfd = (int)syscall(SYS_pidfd_open, child, 0);
	/* Gone, and its PID another's. */
	if (t->pidfd >= 0 && (procstat__read(child, 0, &now) || now.start_ticks != start_ticks)) {
		close(t->pidfd);
		t->pidfd = -1;
	}
	t->pid_inside = t->pidfd >= 0 ? target__id_inside(child, child) : 0;
	target_label__of_fork(t->label, sizeof(t->label));
	return t;
}

struct target *target__of_exec(const struct target *relative, pid_t pid, uint64_t start_ticks, uint64_t start_stack,
			       const char *comm)
{
	struct target *t = malloc(sizeof(*t));

	if (!t)
		return NULL;
	*t = *relative;
	t->pid = pid;
	t->pidfd = -1;
	t->image.fd = -1;
	t->runtimes.n = 0;
	t->start_ticks = start_ticks;
	t->start_stack = start_stack;
	t->pid_inside = 0;
	text__clean(t->comm, sizeof(t->comm), comm, strnlen(comm, sizeof(t->comm)));
	/* Only the file of its interpreter is known, and what the kernel calls it. */
	if (strcmp(t->exe, t->image.path) != 0)
		t->exe[0] = '\0';
	snprintf(t->label, sizeof(t->label), "%s", t->comm);
	return t;
}

void target__close(struct target *t)
{
	if (!t)
		return;
	if (t->pidfd >= 0)
		close(t->pidfd);
	if (t->image.fd >= 0)
		close(t->image.fd);
	free(t);
}

int target__is_same(const struct target *t)
{
	struct procstat now;

	return procstat__read(t->pid, 0, &now) == 0 && now.start_ticks == t->start_ticks &&
	       now.start_stack == t->start_stack && now.state != 'Z' && now.state != 'X';
}

/* ---- all processes ----------------------------------------------------------------------------------- */

/* One process: visited if it is CPython, or would be by its name if it could be looked into. */
static int visit_one(pid_t pid, struct search *s, int (*visit)(void *, pid_t, const struct target *, const char *),
		     void *arg)
{
	struct target *t = NULL;
	struct reason why = {""};
	int err, rc;

	s->looks_python = false;
	err = open_target(pid, s, &t, &why);
	if (err == -ESRCH || (err && !s->looks_python))
		return 0;
	rc = visit(arg, pid, t, err ? why.text : NULL);
	target__close(t);
	return rc;
}

int target__each(bool (*wanted)(void *arg, pid_t pid),
		 int (*visit)(void *arg, pid_t pid, const struct target *t, const char *why_not), void *arg, struct reason *why)
{
	int rc = refuse_foreign_proc(why);
	struct target_memory *memory;
	struct search s = {0};
	struct dirent *entry;
	DIR *dir;

	if (rc)
		return rc;
	dir = opendir("/proc");
	if (!dir)
		return reason__set(why, -errno, "the processes of this host can't be listed: %s", strerror(errno));
	memory = target_memory__new();
	s.seen = target_memory__seen(memory);
	while (rc == 0 && (entry = readdir(dir))) {
		pid_t pid = target_proc__pid_of_entry(entry->d_name);

		if (pid > 0 && (!wanted || wanted(arg, pid)))
			rc = visit_one(pid, &s, visit, arg);
	}
	closedir(dir);
	target_memory__free(memory);
	return rc;
}
