/* SPDX-License-Identifier: GPL-2.0-only */
/* See odd_server.h. */
#include "odd_server.h"

#include <criterion/criterion.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
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

/* Says `piece` over and over, for ever. */
static void say_for_ever(int fd, const char *piece)
{
	size_t len = strlen(piece), room = 256 * 1024, n = 0;
	char *text = malloc(room + len);

	for (; text && n < room; n += len)
		memcpy(text + n, piece, len);
	while (text && send(fd, text, n, MSG_NOSIGNAL) > 0)
		;
	_exit(0);
}

static void say_huge_strings(int fd)
{
	size_t len = 4000000;
	char *text = calloc(1, len + 32);

	if (!text)
		_exit(1);
	memset(text + sprintf(text, "$%zu\r\n", len), 'x', len);
	strcat(text, "\r\n");
	say(fd, "*500000\r\n");
	for (;;)
		say(fd, text);
}

/* Its length is the array's: of 64 numbers. */
static void say_many_elements(int fd)
{
	char piece[512] = "*64\r\n";

	for (int i = 0; i < 64; i++)
		strcat(piece, ":1\r\n");
	say(fd, "*500000\r\n");
	say_for_ever(fd, piece);
}

static void say_flood(int fd)
{
	char piece[8200] = "$8000\r\n";

	memset(piece + strlen(piece), 'x', 8000);
	strcat(piece, "\r\n");
	say_for_ever(fd, piece);
}

static void serve(int fd, int oddity)
{
	if (oddity & ODD_GREETS)
		say(fd, "+OK\r\n+PONG\r\n");
	switch (oddity & ~ODD_GREETS) {
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
	case ODD_HUGE_STRINGS:
		say_huge_strings(fd);
		break;
	case ODD_ENDLESS_LINE:
		say(fd, "-ERR ");
		say_for_ever(fd, "x");
		break;
	case ODD_MANY_ELEMENTS:
		say_many_elements(fd);
		break;
	case ODD_FLOODS:
		say_flood(fd);
		break;
	}
	drain(fd);
}

static void serve_all(int listener, int oddity)
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

void odd_server__start(struct odd_server *s, int oddity)
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
