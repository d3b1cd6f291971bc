/* SPDX-License-Identifier: GPL-2.0-only */
/* See ticks.h. */
#include "ticks.h"

#include <dirent.h>
#include <errno.h>
#include <linux/perf_event.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "bpf/gil_stack.h"
#include "collector/base/clock.h"
#include "collector/base/log.h"
#include "collector/target/target.h"
#include "planter.h"

struct ticks {
	int program_fd;
	struct planter *planter;
	const char *why_not;
	uint64_t period_ns;
	bool refused, full;
	unsigned int moved; /* since ticks__all_idle() */
	size_t n;
	struct timer {
		pid_t pid, tid;
		int fd; /* its heirs' timers go with it, so it stays when its thread has ended */
		uint64_t held_ns;
	} timer[TICKS_TIMERS_MAX];
};

struct ticks *ticks__new(int program_fd, struct planter *planter, const char *why_not, uint64_t period_ns)
{
	struct ticks *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->program_fd = program_fd;
	t->planter = planter;
	t->why_not = why_not;
	t->period_ns = period_ns;
	return t;
}

void ticks__free(struct ticks *t)
{
	for (size_t i = 0; t && i < t->n; i++)
		close(t->timer[i].fd);
	free(t);
}

/* ---- one timer ---- */

/* Opened while the id was that of a thread of `pid`: before and after. 0 or -errno. */
static int open_timer(struct planter *planter, pid_t pid, pid_t tid, uint64_t period_ns, int *ret_fd)
{
	int err = target__has_thread(pid, tid) ? planter__timer(planter, tid, period_ns, ret_fd) : -ESRCH;

	if (err || target__has_thread(pid, tid))
		return err;
	close(*ret_fd);
	return -ESRCH;
}

/* The program first: whoever inherits a timer that runs inherits its program. 0 or -errno. */
static int start(int program_fd, struct planter *planter, pid_t pid, pid_t tid, uint64_t period_ns, int *ret_fd)
{
	int fd, err = open_timer(planter, pid, tid, period_ns, &fd);

	if (err)
		return err;
	if (ioctl(fd, PERF_EVENT_IOC_SET_BPF, program_fd) || ioctl(fd, PERF_EVENT_IOC_ENABLE, 0)) {
		err = -errno;
		close(fd);
		return err;
	}
	*ret_fd = fd;
	return 0;
}

int ticks__try(int program_fd, struct planter *planter, pid_t pid, pid_t tid)
{
	int fd, err = start(program_fd, planter, pid, tid, TICKS_USUAL_NS, &fd);

	if (!err)
		close(fd);
	return err;
}

/* Up to a sixteenth more or less. */
static uint64_t some_period(const struct ticks *t, pid_t tid)
{
	uint64_t eighth = t->period_ns / 8;

	return t->period_ns - eighth / 2 + gil_mix((uint64_t)tid, clock__mono_ns()) % (eighth + 1);
}

/* ---- all of them ---- */

/* Once; under -v it was said when the programs were loaded. */
static void refuse(struct ticks *t, const char *why)
{
	t->refused = true;
	if (!t->why_not[0] || log__level() < LOG_VERBOSE)
		log_warn(TICKS_LOST "%s", why);
}

static void take_refusal(struct ticks *t, int err)
{
	char why[128];

	if (err == -ESRCH) /* it has just ended */
		return;
	snprintf(why, sizeof(why), "the kernel refuses a timer of its CPU time (%s)", strerror(-err));
	refuse(t, why);
}

static bool has_room(struct ticks *t)
{
	if (t->n < TICKS_TIMERS_MAX)
		return true;
	if (!t->full)
		log_verbose("%d threads have a timer of their CPU time; there are no more: those get one that hold the GIL for "
			    "longer", TICKS_TIMERS_MAX);
	t->full = true;
	return false;
}

static struct timer *timer_of(struct ticks *t, pid_t pid, pid_t tid)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->timer[i].tid == tid && t->timer[i].pid == pid)
			return &t->timer[i];
	return NULL;
}

void ticks__all_idle(struct ticks *t, pid_t pid)
{
	t->moved = 0;
	for (size_t i = 0; i < t->n; i++)
		if (t->timer[i].pid == pid)
			t->timer[i].held_ns = 0;
}

void ticks__held(struct ticks *t, pid_t pid, pid_t tid, uint64_t ns)
{
	struct timer *timer = timer_of(t, pid, tid);

	if (timer)
		timer->held_ns = ns;
}

/* Takes one away from who held for less: not from a first thread, which has heirs mostly. */
static bool make_room(struct ticks *t, uint64_t held_ns)
{
	struct timer *idlest = NULL;

	for (size_t i = 0; i < t->n; i++)
		if (t->timer[i].tid != t->timer[i].pid && t->timer[i].held_ns < held_ns &&
		    (!idlest || t->timer[i].held_ns < idlest->held_ns))
			idlest = &t->timer[i];
	if (!idlest || t->moved >= TICKS_MOVED_MAX)
		return false;
	t->moved++;
	close(idlest->fd);
	*idlest = t->timer[--t->n];
	return true;
}

void ticks__want(struct ticks *t, pid_t pid, pid_t tid, uint64_t held_ns)
{
	int fd, err;

	if (t->refused || tid <= 0 || timer_of(t, pid, tid) || (!has_room(t) && !make_room(t, held_ns)))
		return;
	if (t->why_not[0]) {
		refuse(t, t->why_not);
		return;
	}
	err = start(t->program_fd, t->planter, pid, tid, some_period(t, tid), &fd);
	if (err)
		take_refusal(t, err);
	else
		t->timer[t->n++] = (struct timer){.pid = pid, .tid = tid, .fd = fd, .held_ns = held_ns};
}

void ticks__follow(struct ticks *t, pid_t pid)
{
	char path[48];
	struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	if (!dir)
		return;
	while ((entry = readdir(dir)))
		ticks__want(t, pid, atoi(entry->d_name), 0);
	closedir(dir);
}

bool ticks__are_on_all(const struct ticks *t)
{
	return !t->refused && !t->full;
}

void ticks__forget(struct ticks *t, pid_t pid)
{
	size_t kept = 0;

	for (size_t i = 0; i < t->n; i++) {
		if (t->timer[i].pid == pid)
			close(t->timer[i].fd);
		else
			t->timer[kept++] = t->timer[i];
	}
	t->n = kept;
	t->full = false;
}
