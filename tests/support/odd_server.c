/* SPDX-License-Identifier: GPL-2.0-only */
/* See odd_server.h. */
#include "odd_server.h"

#include <criterion/criterion.h>
#include <hiredis/hiredis.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "private_redis.h"

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

/* ---- a proxy ---- */

struct proxy {
	const char *const *unknown; /* NULL: no proxy */
	const char *behind;         /* the socket of the server */
};

static bool is_known(const struct proxy *p, const redisReply *command)
{
	for (const char *const *name = p->unknown; *name; name++)
		if (strcasecmp(command->element[0]->str, *name) == 0)
			return false;
	return true;
}

/* A command has the form of a reply: an array of strings. */
static bool hand_on(const struct proxy *p, int server, redisReader *reader)
{
	redisReply *command = NULL;

	while (redisReaderGetReply(reader, (void **)&command) == REDIS_OK && command) {
		const char *argv[4096];
		size_t lens[4096];
		char *text;
		long long len;

		if (!is_known(p, command))
			return false;
		for (size_t i = 0; i < command->elements; i++) {
			argv[i] = command->element[i]->str;
			lens[i] = command->element[i]->len;
		}
		len = redisFormatCommandArgv(&text, (int)command->elements, argv, lens);
		if (send(server, text, (size_t)len, MSG_NOSIGNAL) != len)
			return false;
		redisFreeCommand(text);
		freeReplyObject(command);
		command = NULL;
	}
	return reader->err == 0;
}

static void relay(int client, const struct proxy *p)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	struct pollfd fds[2] = {{.fd = client, .events = POLLIN}, {.events = POLLIN}};
	redisReader *reader = redisReaderCreate();
	char buf[65536];

	strcpy(a.sun_path, p->behind);
	fds[1].fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (connect(fds[1].fd, (struct sockaddr *)&a, sizeof(a)))
		return;
	while (poll(fds, 2, -1) > 0) {
		ssize_t n = fds[0].revents ? recv(client, buf, sizeof(buf), 0) : 0;

		if (fds[0].revents && (n <= 0 || redisReaderFeed(reader, buf, (size_t)n) || !hand_on(p, fds[1].fd, reader)))
			return;
		n = fds[1].revents ? recv(fds[1].fd, buf, sizeof(buf), 0) : 0;
		if (fds[1].revents && (n <= 0 || send(client, buf, (size_t)n, MSG_NOSIGNAL) != n))
			return;
	}
}

/* ---- all of them ---- */

static void serve_all(int listener, int oddity, const struct proxy *proxy)
{
	signal(SIGCHLD, SIG_IGN);
	for (;;) {
		int fd = accept(listener, NULL, NULL);

		if (fd < 0)
			continue;
		if (fork() == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (proxy->unknown)
				relay(fd, proxy);
			else
				serve(fd, oddity);
			_exit(0);
		}
		close(fd);
	}
}

static void start(struct odd_server *s, int oddity, const struct proxy *proxy)
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
		serve_all(fd, oddity, proxy);
	}
	close(fd);
}

void odd_server__start(struct odd_server *s, int oddity)
{
	start(s, oddity, &(struct proxy){0});
}

void odd_server__start_proxy(struct odd_server *s, const struct private_redis *redis, const char *const *unknown)
{
	start(s, ODD_SILENT, &(struct proxy){.unknown = unknown, .behind = redis->socket});
}

void odd_server__stop(struct odd_server *s)
{
	kill(s->pid, SIGKILL);
	waitpid(s->pid, NULL, 0);
}
