/* SPDX-License-Identifier: GPL-2.0-only */
/* See expendable.h. */
#include "expendable.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "collector/base/clock.h"
#include "caps.h"
#include "pulse.h"

#define END_MS 2000 /* of a child that is killed, or through */
#define SLICE_MS 100
#define LEFT_MAX 64
#define RESULT_MAX 65536 /* a pipe takes it without a reader */
#define MEMORY_MAX (1ull << 30)
#define FILE_MAX (64ull << 20) /* what is unpacked in memory counts as a file */

/* ---- the child ---- */

static bool inside;

bool expendable__is_inside(void)
{
	return inside;
}

static void limit(int which, rlim_t to)
{
	struct rlimit l = {.rlim_cur = to, .rlim_max = to};

	setrlimit(which, &l); /* a lower one that is there already stays */
}

static void limit_work(const struct expendable *x)
{
	struct itimerval cpu = {.it_value = {.tv_sec = x->cpu_ms / 1000, .tv_usec = x->cpu_ms % 1000 * 1000}};

	limit(RLIMIT_CORE, 0);
	limit(RLIMIT_CPU, x->cpu_ms / 1000 + 2);
	limit(RLIMIT_FSIZE, FILE_MAX);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	limit(RLIMIT_AS, MEMORY_MAX); /* sanitizers reserve terabytes */
#endif
	signal(SIGPROF, SIG_DFL);
	setitimer(ITIMER_PROF, &cpu, NULL);
}

static bool is_kept(const struct expendable *x, int tell, int fd)
{
	for (size_t i = 0; i < x->keep_n; i++)
		if (x->keep[i] == fd)
			return true;
	return fd == tell;
}

static void close_others(const struct expendable *x, int tell)
{
	int top = tell;

	for (size_t i = 0; i < x->keep_n; i++)
		top = x->keep[i] > top ? x->keep[i] : top;
	syscall(SYS_close_range, (unsigned int)top + 1, ~0u, 0);
	for (int fd = 3; fd < top; fd++)
		if (!is_kept(x, tell, fd))
			close(fd);
}

static _Noreturn void child_main(const struct expendable *x, int tell, void (*work)(void *, void *), void *arg, void *ret,
				 size_t size)
{
	sigset_t none;

	inside = true;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	caps__seal();
	close_others(x, tell);
	limit_work(x);
	if (!x->needs_rights && caps__set(0, 0))
		_exit(1);
	work(arg, ret);
	_exit(write(tell, ret, size) != (ssize_t)size);
}

/* ---- the parent ---- */

/* Waits for the result's last byte, or the end of the pipe. */
static int await_result(const struct expendable *x, int from, void *ret, size_t size)
{
	uint64_t until = clock__mono_ns() + x->wall_ms * 1000000ull, now;
	struct pollfd p = {.fd = from, .events = POLLIN};
	uint8_t bytes[RESULT_MAX];
	ssize_t n;

	while ((now = clock__mono_ns()) < until) {
		uint64_t left_ms = (until - now) / 1000000 + 1;
		int ready = poll(&p, 1, left_ms < SLICE_MS ? (int)left_ms : SLICE_MS);

		pulse__beat();
		if (ready < 0 && errno != EINTR)
			return -errno;
		if (ready <= 0)
			continue;
		/* One write of less than the pipe has room for comes whole. */
		n = read(from, bytes, size);
		if (n != (ssize_t)size)
			return -ECHILD;
		for (size_t i = 0; i < size; i++)
			((uint8_t *)ret)[i] = bytes[i];
		return 0;
	}
	return -ETIMEDOUT;
}

/* Those that did not end when they were killed: in the middle of something that no signal ends. */
static pid_t left_behind[LEFT_MAX];

static void collect_late(void)
{
	for (size_t i = 0; i < LEFT_MAX; i++)
		if (left_behind[i] && waitpid(left_behind[i], NULL, WNOHANG))
			left_behind[i] = 0;
}

static void leave_behind(pid_t pid)
{
	for (size_t i = 0; i < LEFT_MAX; i++)
		if (!left_behind[i]) {
			left_behind[i] = pid;
			return;
		}
}

/* Waits for its end, but not for ever. */
static bool has_ended(pid_t pid, int *ret_status)
{
	struct pollfd p = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
	uint64_t until = clock__mono_ns() + END_MS * 1000000ull;

	if (p.fd < 0)
		return waitpid(pid, ret_status, 0) == pid;
	while (poll(&p, 1, END_MS) < 0 && errno == EINTR && clock__mono_ns() < until)
		;
	close(p.fd);
	return waitpid(pid, ret_status, WNOHANG) == pid;
}

static int collect(pid_t pid, int err)
{
	int status;

	if (err)
		kill(pid, SIGKILL);
	if (!has_ended(pid, &status)) {
		leave_behind(pid);
		return err;
	}
	return err == -ECHILD && WIFSIGNALED(status) && WTERMSIG(status) == SIGPROF ? -ETIMEDOUT : err;
}

int expendable__run(const struct expendable *limits, void (*work)(void *arg, void *ret), void *arg, void *ret, size_t size)
{
	int tell[2], err;
	pid_t pid;

	if (size > RESULT_MAX)
		return -E2BIG;
	collect_late();
	if (pipe2(tell, O_CLOEXEC))
		return -errno;
	pid = fork();
	if (pid == 0)
		child_main(limits, tell[1], work, arg, ret, size);
	err = pid < 0 ? -errno : 0;
	close(tell[1]);
	if (!err) {
		err = await_result(limits, tell[0], ret, size);
		err = collect(pid, err);
	}
	close(tell[0]);
	return err;
}

/* ---- whom not to bother with ---- */

#define STRIKES 3
#define BAN_NS (60ull * 1000000000)
#define CULPRITS 16

static struct culprit {
	uid_t uid;
	unsigned int strikes;
	uint64_t last_ns;
} culprits[CULPRITS];

static struct culprit *culprit_of(uid_t uid)
{
	struct culprit *oldest = &culprits[0];

	for (size_t i = 0; i < CULPRITS; i++) {
		if (culprits[i].strikes && culprits[i].uid == uid)
			return &culprits[i];
		if (culprits[i].last_ns < oldest->last_ns)
			oldest = &culprits[i];
	}
	*oldest = (struct culprit){.uid = uid};
	return oldest;
}

static bool is_forgiven(const struct culprit *c)
{
	return clock__mono_ns() - c->last_ns > BAN_NS;
}

void expendable__blame(uid_t uid)
{
	struct culprit *c = culprit_of(uid);

	c->strikes = is_forgiven(c) ? 1 : c->strikes + 1;
	c->last_ns = clock__mono_ns();
}

bool expendable__is_banned(uid_t uid)
{
	for (size_t i = 0; i < CULPRITS; i++)
		if (culprits[i].uid == uid && culprits[i].strikes >= STRIKES)
			return !is_forgiven(&culprits[i]);
	return false;
}
