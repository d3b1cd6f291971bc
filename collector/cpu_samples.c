/* SPDX-License-Identifier: GPL-2.0-only */
/* See cpu_samples.h. */
#include "cpu_samples.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/libbpf.h>

#include "log.h"
#include "planter.h"
#include "target.h"

struct cpu_samples {
	const struct bpf_program *program;
	struct planter *planter;
	const char *why_not;
	bool refused;
	struct {
		pid_t tid;       /* 0: free */
		uint64_t wanted_at;
		struct bpf_link *link;
	} timer[CPU_SAMPLES_MAX];
};

struct cpu_samples *cpu_samples__new(const struct bpf_program *program, struct planter *planter, const char *why_not)
{
	struct cpu_samples *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->program = program;
	s->planter = planter;
	s->why_not = why_not;
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

/* Opened while the id was that of a thread of `pid`: before and after. 0 or -errno. */
static int open_timer(struct planter *planter, pid_t pid, pid_t tid, int *ret_fd)
{
	int err = target__has_thread(pid, tid) ? planter__timer(planter, tid, CPU_SAMPLES_PERIOD_NS, ret_fd) : -ESRCH;

	if (err || target__has_thread(pid, tid))
		return err;
	close(*ret_fd);
	return -ESRCH;
}

/* The descriptor is the link's. 0 or -errno. */
static int start(const struct bpf_program *program, struct planter *planter, pid_t pid, pid_t tid, struct bpf_link **ret)
{
	int fd, err = open_timer(planter, pid, tid, &fd);

	if (err)
		return err;
	*ret = bpf_program__attach_perf_event(program, fd);
	if (*ret)
		return 0;
	err = -errno;
	close(fd);
	return err;
}

int cpu_samples__try(const struct bpf_program *program, struct planter *planter, pid_t pid, pid_t tid)
{
	struct bpf_link *link;
	int err = start(program, planter, pid, tid, &link);

	return err ?: bpf_link__destroy(link);
}

/* Once; under -v it was said when the programs were loaded. */
static void refuse(struct cpu_samples *s, const char *why)
{
	s->refused = true;
	if (!s->why_not[0] || log__level() < LOG_VERBOSE)
		log_warn(CPU_SAMPLES_LOST "%s", why);
}

static void take_refusal(struct cpu_samples *s, int err)
{
	char why[128];

	if (err == -ESRCH) /* it has just ended */
		return;
	snprintf(why, sizeof(why), "the kernel refuses a timer of its CPU time (%s)", strerror(-err));
	refuse(s, why);
}

void cpu_samples__want(struct cpu_samples *s, pid_t pid, pid_t tid, uint64_t now_ns)
{
	size_t room = CPU_SAMPLES_MAX;
	int err;

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
	if (s->why_not[0]) {
		refuse(s, s->why_not);
		return;
	}
	err = start(s->program, s->planter, pid, tid, &s->timer[room].link);
	if (err) {
		take_refusal(s, err);
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
