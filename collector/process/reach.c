/* SPDX-License-Identifier: GPL-2.0-only */
/* See reach.h. */
#include "reach.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "collector/base/text.h"
#include "caps.h"
#include "errand.h"
#include "procmaps.h"
#include "procstat.h"

#define ANCESTORS_MAX 64
#define LINES_MAX 256
#define YAMA "/proc/sys/kernel/yama/ptrace_scope"

/* ---- trying ---- */

struct trial {
	pid_t pid;
	struct reach found;
};

/* Where the first mapping that it reads itself begins; 0: not known. */
static uint64_t first_address(pid_t pid)
{
	char path[64], line[512], readable = '-';
	unsigned long long at = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	f = fopen(path, "re");
	for (int i = 0; f && readable != 'r' && i < LINES_MAX && fgets(line, sizeof(line), f); i++)
		if (sscanf(line, "%llx-%*x %c", &at, &readable) != 2)
			readable = '-';
	if (f)
		fclose(f);
	return readable == 'r' ? at : 0;
}

static bool by_call(pid_t pid, uint64_t at)
{
	uint8_t byte;
	struct iovec local = {.iov_base = &byte, .iov_len = 1}, remote = {.iov_base = (void *)(uintptr_t)at, .iov_len = 1};

	return process_vm_readv(pid, &local, 1, &remote, 1, 0) == 1;
}

static bool by_file(pid_t pid, uint64_t at)
{
	char path[64], byte;
	bool works;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	works = fd >= 0 && pread(fd, &byte, 1, (off_t)at) == 1;
	if (fd >= 0)
		close(fd);
	return works;
}

/* Whether a small file of its says anything. */
static bool tells(pid_t pid, const char *name)
{
	char path[64], byte;
	bool does;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	does = fd >= 0 && read(fd, &byte, 1) == 1;
	if (fd >= 0)
		close(fd);
	return does;
}

static int run_trial(struct errand_bag *bag)
{
	struct trial *t = bag->room;
	uint64_t at = first_address(t->pid);

	t->found.memory = at && by_call(t->pid, at) ? REACH_CALL : at && by_file(t->pid, at) ? REACH_FILE : REACH_NOT;
	t->found.times = tells(t->pid, "stat") && tells(t->pid, "schedstat");
	return 0;
}

struct reach reach__try(pid_t pid)
{
	struct errand_bag *bag = errand__pack();
	struct reach found = {.memory = REACH_NOT};
	struct trial *t;

	if (!bag)
		return found;
	t = bag->room;
	*t = (struct trial){.pid = pid};
	if (!errand__run(bag, run_trial, pid, ERRAND_MEMORY_MS))
		found = t->found;
	errand__unpack(bag);
	return found;
}

/* ---- what it takes ---- */

static int yama_scope(void)
{
	FILE *f = fopen(YAMA, "re");
	int scope = 0;

	if (f && fscanf(f, "%d", &scope) != 1)
		scope = 0;
	if (f)
		fclose(f);
	return scope;
}

static bool is_ours(const struct reach_facts *f)
{
	for (int i = 0; i < 3; i++)
		if (f->theirs[i] != f->ours || f->their_groups[i] != f->our_group)
			return false;
	return true;
}

#define SAY(fmt, ...) text__append(buf, REACH_NEEDS_SIZE, "%s" fmt, buf[0] ? " " : "", ##__VA_ARGS__)

static void say_whose(const struct reach_facts *f, char *buf)
{
	if (!is_ours(f))
		SAY("It runs as user %u and gilscope as user %u.", (unsigned int)f->theirs[1], (unsigned int)f->ours);
	else if (!f->dumpable)
		SAY("It keeps its memory to itself (not dumpable: it changed its user, or its file may be executed but not "
		    "read).");
	if (f->their_caps & ~f->our_caps)
		SAY("It has capabilities that gilscope lacks (0x%llx).", f->their_caps & ~f->our_caps);
}

static void say_yama(const struct reach_facts *f, char *buf)
{
	if (f->yama_scope == 1 && !f->is_below)
		SAY("kernel.yama.ptrace_scope is 1: only a process's ancestors may read it, and whom it names by "
		    "prctl(PR_SET_PTRACER).");
	else if (f->yama_scope == 2)
		SAY("kernel.yama.ptrace_scope is 2: only CAP_SYS_PTRACE will do.");
	else if (f->yama_scope >= 3)
		SAY("kernel.yama.ptrace_scope is 3: nobody may, until the next boot.");
}

const char *reach_facts__needs(const struct reach_facts *f, char buf[REACH_NEEDS_SIZE])
{
	buf[0] = '\0';
	if (f->may_ptrace && f->yama_scope < 3)
		SAY("gilscope has CAP_SYS_PTRACE: another user namespace, or a security module, keeps it out. Run it on the "
		    "host.");
	else if (!f->may_ptrace)
		say_whose(f, buf);
	if (!f->may_ptrace || f->yama_scope >= 3)
		say_yama(f, buf);
	if (buf[0] && !f->may_ptrace && f->yama_scope < 3)
		SAY("CAP_SYS_PTRACE (sudo) does it.");
	return buf;
}

/* ---- the facts ---- */

/* The real, the effective and the saved one. */
static bool read_three(pid_t pid, const char *key, uint32_t ret[3])
{
	char *text, *line = procstat__status_line(pid, 0, key, &text);
	bool ok = line && sscanf(line, "%u %u %u", &ret[0], &ret[1], &ret[2]) == 3;

	free(text);
	return ok;
}

static bool read_status(pid_t pid, struct reach_facts *ret)
{
	ret->their_caps = procstat__status_number(pid, 0, "\nCapPrm:", 16);
	return read_three(pid, "\nUid:", ret->theirs) && read_three(pid, "\nGid:", ret->their_groups);
}

/* The kernel gives the files of one that is not dumpable to root. */
static bool is_dumpable(pid_t pid, uid_t user)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	return user == 0 || stat(path, &st) || st.st_uid == user;
}

static bool is_below(pid_t pid, pid_t ancestor)
{
	for (int i = 0; i < ANCESTORS_MAX && pid > 1 && pid != ancestor; i++)
		pid = procstat__parent(pid);
	return pid == ancestor;
}

const char *reach__needs(pid_t pid, char buf[REACH_NEEDS_SIZE])
{
	struct reach_facts facts = {
		.ours = getuid(), .our_group = getgid(), .our_caps = caps__permitted(), .yama_scope = yama_scope(),
		.may_ptrace = caps__has(caps__effective(), CAP_SYS_PTRACE_INDEX), .is_below = is_below(pid, getpid()),
	};

	buf[0] = '\0';
	if (!read_status(pid, &facts))
		return buf;
	facts.dumpable = is_dumpable(pid, facts.theirs[1]);
	return reach_facts__needs(&facts, buf);
}
