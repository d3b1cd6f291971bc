/* SPDX-License-Identifier: GPL-2.0-only */
/* See spawn.h. */
#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "collector/base/log.h"
#include "target.h"

#define SYSCALLS_PER_EXEC 4000 /* a loader maps its libraries within a few hundred */
#define LOOK_EVERY 8           /* system calls between two looks at the mappings */

/* What went wrong between fork and exec, for the parent. */
struct failure {
	int err;
	char what[32];
};

static int find_user(const char *run_as, struct passwd **ret, struct reason *why)
{
	const char *sudo = getenv("SUDO_UID");

	*ret = NULL;
	errno = 0;
	if (run_as)
		*ret = getpwnam(run_as);
	else if (sudo && geteuid() == 0)
		*ret = getpwuid((uid_t)strtoul(sudo, NULL, 10));
	else
		return 0;
	if (!*ret && run_as)
		return reason__set(why, -EINVAL, "there is no user \"%s\" on this host", run_as);
	return 0;
}

static void fail(int fd, const char *what)
{
	struct failure failure = {.err = errno};

	snprintf(failure.what, sizeof(failure.what), "%s", what);
	if (write(fd, &failure, sizeof(failure)) < 0)
		_exit(126);
	_exit(127);
}

static void become(const struct passwd *user, int report)
{
	if (!user || geteuid() != 0)
		return;
	if (initgroups(user->pw_name, user->pw_gid) || setgid(user->pw_gid) || setuid(user->pw_uid))
		fail(report, "become its user");
	setenv("HOME", user->pw_dir, 1);
	setenv("USER", user->pw_name, 1);
	setenv("LOGNAME", user->pw_name, 1);
}

/* ---- signals ---- */

static struct {
	bool known;
	struct sigaction actions[NSIG];
	sigset_t mask;
} found;

void spawn__remember_signals(void)
{
	for (int signo = 1; signo < NSIG; signo++)
		if (sigaction(signo, NULL, &found.actions[signo]))
			found.actions[signo].sa_handler = SIG_DFL;
	found.known = sigprocmask(SIG_BLOCK, NULL, &found.mask) == 0;
}

static void restore_signals(void)
{
	if (!found.known)
		return;
	for (int signo = 1; signo < NSIG; signo++)
		sigaction(signo, &found.actions[signo], NULL);
	sigprocmask(SIG_SETMASK, &found.mask, NULL);
}

/* ---- the process ---- */

struct spawn {
	pid_t pid;
	int go, report;
	bool others;
	const char *program;
};

static _Noreturn void child_main(char *const argv[], const struct passwd *user, int go, int report)
{
	char byte;

	restore_signals();
	if (read(go, &byte, 1) != 1)
		_exit(125);
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
		fail(report, "be traced");
	become(user, report);
	execvp(argv[0], argv);
	fail(report, "exec");
	_exit(127);
}

static int read_failure(int fd, pid_t pid, const char *program, struct reason *why)
{
	struct failure failure;

	if (read(fd, &failure, sizeof(failure)) != sizeof(failure))
		return 0;
	waitpid(pid, NULL, 0);
	if (failure.err == ENOENT)
		return reason__set(why, -ENOENT, "%s: no such program", program);
	return reason__set(why, -failure.err, "%s: can't %s: %s", program, failure.what, strerror(failure.err));
}

/* The stop that follows a successful exec. */
static int await_exec(pid_t pid, struct reason *why)
{
	long options = PTRACE_O_TRACEEXEC | PTRACE_O_TRACESYSGOOD;
	int status;

	if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
		return reason__set(why, -ECHILD, "the program ended at its start");
	if (ptrace(PTRACE_SETOPTIONS, pid, NULL, (void *)options))
		return reason__set(why, -errno, "can't follow the program to its interpreter: %s", strerror(errno));
	return 0;
}

static int make_pipes(int go[2], int report[2], struct reason *why)
{
	if (pipe2(go, O_CLOEXEC))
		return reason__set(why, -errno, "can't make a pipe: %s", strerror(errno));
	if (!pipe2(report, O_CLOEXEC))
		return 0;
	close(go[0]);
	close(go[1]);
	return reason__set(why, -errno, "can't make a pipe: %s", strerror(errno));
}

int spawn__prepare(char *const argv[], const char *run_as, struct spawn **ret, struct reason *why)
{
	struct spawn *s = calloc(1, sizeof(*s));
	struct passwd *user;
	int go[2], report[2], err = s ? find_user(run_as, &user, why) : reason__set(why, -ENOMEM, "not enough memory");

	err = err ?: make_pipes(go, report, why);
	if (err) {
		free(s);
		return err;
	}
	*s = (struct spawn){.go = go[1], .report = report[0], .program = argv[0]};
	s->others = user && geteuid() == 0 && user->pw_uid != 0;
	s->pid = fork();
	if (s->pid == 0) {
		close(go[1]);
		close(report[0]);
		child_main(argv, user, go[0], report[1]);
	}
	err = s->pid < 0 ? reason__set(why, -errno, "can't fork: %s", strerror(errno)) : 0;
	close(go[0]);
	close(report[1]);
	if (err)
		spawn__free(s);
	else
		*ret = s;
	return err;
}

bool spawn__is_others(const struct spawn *s)
{
	return s->others;
}

int spawn__start(struct spawn *s, pid_t *ret_pid, struct reason *why)
{
	pid_t pid = s->pid;
	int err;

	if (write(s->go, "", 1) != 1)
		return reason__set(why, -errno, "%s: can't be started: %s", s->program, strerror(errno));
	s->pid = 0;
	err = read_failure(s->report, pid, s->program, why);
	err = err ?: await_exec(pid, why);
	if (!err)
		*ret_pid = pid;
	return err;
}

void spawn__free(struct spawn *s)
{
	if (!s)
		return;
	close(s->go);
	close(s->report);
	while (s->pid > 0 && waitpid(s->pid, NULL, 0) < 0 && errno == EINTR)
		;
	free(s);
}

static bool has_interpreter(pid_t pid, struct reason *why)
{
	struct target *t;

	if (target__open(pid, &t, why))
		return false;
	target__close(t);
	return true;
}

/* Which signal must be passed on with the next step; exec and system-call stops are ours. */
static int signal_of(int status, bool *ret_exec, bool *ret_syscall)
{
	*ret_exec = status >> 8 == (SIGTRAP | PTRACE_EVENT_EXEC << 8);
	*ret_syscall = WSTOPSIG(status) == (SIGTRAP | 0x80);
	return *ret_exec || *ret_syscall ? 0 : WSTOPSIG(status);
}

/* The program's next stop, or its end. A SIGTERM that comes for us meanwhile is passed on, as it is later. */
static int await_change(pid_t pid, int signals, int *ret_status)
{
	struct pollfd ready = {.fd = signals, .events = POLLIN};
	struct signalfd_siginfo info;
	pid_t got;

	while ((got = waitpid(pid, ret_status, WNOHANG)) == 0)
		if (poll(&ready, 1, -1) > 0 && read(signals, &info, sizeof(info)) == sizeof(info) && info.ssi_signo == SIGTERM)
			kill(pid, SIGTERM);
	return got == pid ? 0 : -errno;
}

int spawn__to_interpreter(pid_t pid, int signals, int *ret_status, struct reason *why)
{
	int steps = 0, deliver = 0, status, err;
	bool exec, syscall;

	while (!has_interpreter(pid, why)) {
		for (int i = 0; i < LOOK_EVERY; i++) {
			/* Past its loader: wait for another exec only. */
			int request = steps < SYSCALLS_PER_EXEC ? PTRACE_SYSCALL : PTRACE_CONT;

			if (ptrace(request, pid, NULL, (void *)(long)deliver))
				return reason__set(why, -errno, "can't follow the program: %s", strerror(errno));
			err = await_change(pid, signals, &status);
			if (err)
				return reason__set(why, err, "can't wait for the program: %s", strerror(-err));
			if (!WIFSTOPPED(status)) {
				*ret_status = status;
				return -ECHILD;
			}
			deliver = signal_of(status, &exec, &syscall);
			steps = exec ? 0 : steps + 1;
			if (exec)
				break;
		}
	}
	return 0;
}

void spawn__let_run(pid_t pid)
{
	if (ptrace(PTRACE_DETACH, pid, NULL, NULL))
		log_debug("detach from %d: %s", (int)pid, strerror(errno));
}
