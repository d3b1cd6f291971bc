/* SPDX-License-Identifier: GPL-2.0-only */
/* See odd_server.h. */
#include "odd_server.h"

#include <criterion/criterion.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void say(int fd, const char *text)
{
	if (send(fd, text, strlen(text), MSG_NOSIGNAL) < 0)
		_exit(0);
}

static void drain(int fd)
{
	char buf[4096];

	while (read(fd, buf, sizeof(buf)) > 0)
		;
}

static void trickle(int fd)
{
	say(fd, "+");
	for (;;) {
		nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
		if (send(fd, "x", 1, MSG_NOSIGNAL) < 0)
			return;
	}
}

static void serve(int fd, enum oddity oddity)
{
	switch (oddity) {
	case ODD_SILENT:
		break;
	case ODD_HANGS_UP:
		return;
	case ODD_GARBAGE:
		say(fd, "HTTP/1.1 400 Bad Request\r\n\r\n");
		break;
	case ODD_TRICKLES:
		trickle(fd);
		break;
	case ODD_HUGE_ARRAY:
		say(fd, "*2147483647\r\n");
		break;
	case ODD_DEEP_ARRAYS:
		say(fd, "*1000\r\n*1000000\r\n*1000000\r\n*1000000\r\n");
		break;
	case ODD_FULL:
		say(fd, "-ERR max number of clients reached\r\n");
		return;
	case ODD_PONG_ONLY:
		say(fd, "+OK\r\n+PONG\r\n");
		break;
	}
	drain(fd);
}

static void serve_all(int listener, enum oddity oddity)
{
	signal(SIGCHLD, SIG_IGN);
	for (;;) {
		int fd = accept(listener, NULL, NULL);

		if (fd < 0)
			continue;
		if (fork() == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			serve(fd, oddity);
			_exit(0);
		}
		close(fd);
	}
}

void odd_server__start(struct odd_server *s, enum oddity oddity)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	signal(SIGPIPE, SIG_IGN);
	cr_assert(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(fd, 16) == 0);
	cr_assert_eq(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	s->port = ntohs(a.sin_port);
	snprintf(s->url, sizeof(s->url), "redis://127.0.0.1:%d", s->port);
	s->pid = fork();
	cr_assert(s->pid >= 0);
	if (s->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		serve_all(fd, oddity);
	}
	close(fd);
}

void odd_server__stop(struct odd_server *s)
{
	kill(s->pid, SIGKILL);
	waitpid(s->pid, NULL, 0);
}
