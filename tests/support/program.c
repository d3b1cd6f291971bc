/* SPDX-License-Identifier: GPL-2.0-only */
/* See program.h. */
#include "program.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define SAID_MAX (4 << 20)

const char *program__path(void)
{
	static char path[4096];
	const char *output = getenv("GILSCOPE_OUTPUT");

	snprintf(path, sizeof(path), "%s/gilscope", output ? output : ".output");
	return path;
}

static char *said(int fd)
{
	char *text = calloc(1, SAID_MAX);
	ssize_t len = pread(fd, text, SAID_MAX - 1, 0);

	close(fd);
	cr_assert(len >= 0);
	return text;
}

static void become_shell(const char *command, int out, int err)
{
	int null = open("/dev/null", O_RDONLY);

	dup2(null, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	dup2(err, STDERR_FILENO);
	setenv("GILSCOPE", program__path(), 1);
	execl("/bin/sh", "sh", "-c", command, (char *)NULL);
	_exit(127);
}

void program__run(struct program *p, const char *fmt, ...)
{
	int out = memfd_create("out", MFD_CLOEXEC), err = memfd_create("err", MFD_CLOEXEC), status;
	char command[4096];
	va_list args;
	pid_t pid;

	va_start(args, fmt);
	vsnprintf(command, sizeof(command), fmt, args);
	va_end(args);
	pid = fork();
	cr_assert(pid >= 0 && out >= 0 && err >= 0);
	if (pid == 0)
		become_shell(command, out, err);
	cr_assert(waitpid(pid, &status, 0) == pid);
	p->status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	p->out = said(out);
	p->err = said(err);
}

void program__free(struct program *p)
{
	free(p->out);
	free(p->err);
}
