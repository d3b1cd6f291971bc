/* SPDX-License-Identifier: GPL-2.0-only */
/* See machine.h. What a probe does not find out counts as there: the tests that need it run, and say what is wrong. */
#include "machine.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "collector/probes/kernel_features.h"
#include "bpf_env.h"
#include "interpreters.h"

const unsigned char machine__program_32[128] = {
	0x7f, 'E', 'L', 'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 3, 0, 1, 0, 0, 0, 0x54, 0x80, 0x04, 0x08, 0x34, 0, 0, 0,
	0, 0, 0, 0, 0, 0, 0, 0, 0x34, 0, 0x20, 0, 1, 0, 0, 0, 0, 0, 0, 0,
	1, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x04, 0x08, 0, 0x80, 0x04, 0x08, 0x60, 0, 0, 0, 0x60, 0, 0, 0, 5, 0, 0, 0, 0, 0x10, 0, 0,
	0xb8, 29, 0, 0, 0, 0xcd, 0x80, 0xeb, 0xf7, 0x90, 0x90, 0x90,
};

static void not_root(char *why, size_t size)
{
	snprintf(why, size, "%s", geteuid() == 0 ? "" : "the tests run as another user");
}

static void not_x86_64(char *why, size_t size)
{
	struct utsname machine;

	snprintf(why, size, "%s", uname(&machine) == 0 && strcmp(machine.machine, "x86_64") != 0 ? machine.machine : "");
}

/* The errno with which executing those bytes fails; 0 if it does not, or if that was not found out. */
static int exec_error(const void *bytes, size_t len)
{
	int fd = memfd_create("program", MFD_CLOEXEC), told[2], error = 0;
	pid_t pid;

	if (fd < 0 || write(fd, bytes, len) != (ssize_t)len || pipe2(told, O_CLOEXEC) != 0)
		return 0;
	pid = fork();
	if (pid == 0) {
		syscall(SYS_execveat, fd, "", (char *[]){"program", NULL}, (char *[]){NULL}, AT_EMPTY_PATH);
		error = errno;
		_exit(write(told[1], &error, sizeof(error)) != sizeof(error));
	}
	close(told[1]);
	if (read(told[0], &error, sizeof(error)) != sizeof(error)) /* exec has closed it */
		error = 0;
	if (pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	close(told[0]);
	close(fd);
	return error;
}

static void no_32_bit_programs(char *why, size_t size)
{
	snprintf(why, size, "%s", exec_error(machine__program_32, sizeof(machine__program_32)) == ENOEXEC ?
		 "this kernel does not execute them" : "");
}

/* Kernels before 5.17 take the older form of the programs alone. */
static void no_bpf_loop(char *why, size_t size)
{
	snprintf(why, size, "%s", kernel_feature__try(KERNEL_LOOP) == 0 ? "this kernel has none" : "");
}

static void no_pid_namespaces(char *why, size_t size)
{
	pid_t pid = (pid_t)syscall(SYS_clone, CLONE_NEWUSER | CLONE_NEWPID | SIGCHLD, NULL, NULL, NULL, 0);

	if (pid == 0)
		_exit(0);
	why[0] = '\0';
	if (pid < 0)
		snprintf(why, size, "clone(): %s", strerror(errno));
	else
		waitpid(pid, NULL, 0);
}

static void no_fuse(char *why, size_t size)
{
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	snprintf(why, size, "%s%s", fd < 0 ? "/dev/fuse: " : "", fd < 0 ? strerror(errno) : "");
	if (fd >= 0)
		close(fd);
}

static void no_userfaultfd(char *why, size_t size)
{
	long fd = syscall(SYS_userfaultfd, O_CLOEXEC);

	snprintf(why, size, "%s%s", fd < 0 ? "userfaultfd(): " : "", fd < 0 ? strerror(errno) : "");
	if (fd >= 0)
		close((int)fd);
}

static void no_kernel_threads(char *why, size_t size)
{
	char name[16] = "";
	int fd = open("/proc/2/comm", O_RDONLY | O_CLOEXEC);

	if (fd >= 0) {
		if (read(fd, name, sizeof(name) - 1) < 0)
			name[0] = '\0';
		close(fd);
	}
	snprintf(why, size, "%s", strcmp(name, "kthreadd\n") == 0 ? "" : "process 2 is not kthreadd: a PID namespace");
}

/* Without importing it, which takes long. */
static void no_module(const char *name, char *why, size_t size)
{
	char command[160];
	int status;

	snprintf(command, sizeof(command),
		 "/usr/bin/python3 -c 'import importlib.util as u; exit(u.find_spec(\"%s\") is None)'", name);
	status = system(command);
	snprintf(why, size, "%s", WIFEXITED(status) && WEXITSTATUS(status) == 1 ? "/usr/bin/python3 does not find it" : "");
}

static void no_gevent(char *why, size_t size)
{
	no_module("gevent", why, size);
}

static void no_grpc(char *why, size_t size)
{
	no_module("grpc", why, size);
}

static void no_lxml(char *why, size_t size)
{
	no_module("lxml", why, size);
}

static void no_uvloop(char *why, size_t size)
{
	no_module("uvloop", why, size);
}

static void none_without_gil(char *why, size_t size)
{
	char pattern[PATH_MAX + 32];
	glob_t g;

	snprintf(pattern, sizeof(pattern), "%s/*/bin/python3.*t", interpreters__built_dir());
	snprintf(why, size, "%s", glob(pattern, 0, NULL, &g) == 0 ? "" : "none could be built here (make deps says why)");
	globfree(&g);
}

static const struct {
	const char *name;
	void (*probe)(char *why, size_t size);
} rows[] = {
#define X(id, row_name, row_probe) [MACHINE_##id] = {row_name, row_probe},
	MACHINE_ROWS(X)
#undef X
};

const char *machine__name(enum machine_row row)
{
	return rows[row].name;
}

void machine__probe(char why_not[MACHINE_ROWS_COUNT][MACHINE_REASON])
{
	for (size_t i = 0; i < MACHINE_ROWS_COUNT; i++)
		rows[i].probe(why_not[i], MACHINE_REASON);
}
