/* SPDX-License-Identifier: GPL-2.0-only */
/* See cpu_samples.h. */
#include "cpu_samples.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bpf/libbpf.h>

#include "log.h"
#include "target.h"

struct cpu_samples {
	const struct bpf_program *program;
	bool refused;
	struct {
		pid_t tid;       /* 0: free */
		uint64_t wanted_at;
		struct bpf_link *link;
	} timer[CPU_SAMPLES_MAX];
};

struct cpu_samples *cpu_samples__new(const struct bpf_program *program)
{
	struct cpu_samples *s = calloc(1, sizeof(*s));

	if (s)
		s->program = program;
	return s;
}

static void drop(struct cpu_samples *s, size_t i)
{
	bpf_link__destroy(s->timer[i].link);
	s->timer[i].link = NULL;
	s->timer[i].tid = 0;
}

void cpu_samples__free(struct cpu_samples *s)
{
	for (size_t i = 0; s && i < CPU_SAMPLES_MAX; i++)
		if (s->timer[i].tid)
			drop(s, i);
	free(s);
}

/* Opened while the id was that of a thread of `pid`: before and after. */
static int open_timer(struct perf_event_attr *attr, pid_t pid, pid_t tid)
{
	int fd = -1;

	if (target__has_thread(pid, tid))
		fd = (int)syscall(SYS_perf_event_open, attr, tid, -1, -1, PERF_FLAG_FD_CLOEXEC);
	else
		errno = ESRCH;
	if (fd >= 0 && !target__has_thread(pid, tid)) {
		close(fd);
		errno = ESRCH;
		return -1;
	}
	return fd;
}

/* The descriptor is the link's. NULL with errno: it can't be had. */
static struct bpf_link *start(const struct cpu_samples *s, pid_t pid, pid_t tid)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE, .size = sizeof(attr), .config = PERF_COUNT_SW_TASK_CLOCK,
		.sample_period = CPU_SAMPLES_PERIOD_NS, .disabled = 1,
	};
	int fd = open_timer(&attr, pid, tid);
	struct bpf_link *link = fd < 0 ? NULL : bpf_program__attach_perf_event(s->program, fd);
	int err = errno;

	if (fd >= 0 && !link)
		close(fd);
	errno = err;
	return link;
}

static void refuse(struct cpu_samples *s, int err)
{
	if (err == ESRCH) /* it has just ended */
		return;
	s->refused = true;
	log_warn("which native code runs in long holds is told only of holders that sleep or lack a CPU: the kernel "
		 "refuses a timer of a thread's CPU time (%s)", strerror(err));
}

void cpu_samples__want(struct cpu_samples *s, pid_t pid, pid_t tid, uint64_t now_ns)
{
	size_t room = CPU_SAMPLES_MAX;

	for (size_t i = 0; i < CPU_SAMPLES_MAX; i++) {
		if (s->timer[i].tid == tid) {
			s->timer[i].wanted_at = now_ns;
			return;
		}
		if (!s->timer[i].tid)
			room = i;
	}
	if (s->refused || room == CPU_SAMPLES_MAX || tid <= 0)
		return;
	s->timer[room].link = start(s, pid, tid);
	if (!s->timer[room].link) {
		refuse(s, errno);
		return;
	}
	s->timer[room].tid = tid;
	s->timer[room].wanted_at = now_ns;
}

void cpu_samples__tidy(struct cpu_samples *s, uint64_t now_ns)
{
	for (size_t i = 0; i < CPU_SAMPLES_MAX; i++)
		if (s->timer[i].tid && now_ns > s->timer[i].wanted_at + CPU_SAMPLES_LAST_NS)
			drop(s, i);
}
