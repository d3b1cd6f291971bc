/* SPDX-License-Identifier: GPL-2.0-only */
/* See service.h. */
#include "service.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "collector/base/run_dir.h"
#include "collector/base/sure_path.h"

#define SOCKET_NAME "status.sock"
#define ANSWER_MAX 131072 /* a stream socket takes that much at once */

struct service {
	struct sockaddr_un manager;  /* sun_family 0: nobody manages us */
	socklen_t manager_len;
	int notify, listener;
	bool watched;
};

/* ---- the manager ---- */

/* "@" stands for the abstract namespace's NUL. */
static void find_manager(struct service *s)
{
	const char *path = getenv("NOTIFY_SOCKET");
	size_t len = path ? strlen(path) : 0;

	if (!len || len >= sizeof(s->manager.sun_path) || (path[0] != '/' && path[0] != '@'))
		return;
	memcpy(s->manager.sun_path, path, len);
	if (path[0] == '@')
		s->manager.sun_path[0] = '\0';
	s->manager_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
	s->manager.sun_family = AF_UNIX;
	s->notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	s->watched = getenv("WATCHDOG_USEC") != NULL;
}

void service__tell(const struct service *s, const char *state)
{
	if (s->notify >= 0)
		sendto(s->notify, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT, (const struct sockaddr *)&s->manager,
		       s->manager_len);
}

/* ---- status: the daemon's side ---- */

/* By way of the directory's descriptor: it is ours, and its path may be longer than an address. */
static int status_address(struct sockaddr_un *ret, int *ret_dir, bool make, struct reason *why)
{
	const char *given = run_dir__from_env("RUNTIME_DIRECTORY");
	char dir[PATH_MAX];
	struct stat st;

	run_dir__path(dir);
	if (given)
		snprintf(dir, sizeof(dir), "%s", given);
	if (make && mkdir(dir, 0750) && errno != EEXIST)
		return reason__set(why, -errno, "%s: %s", dir, strerror(errno));
	*ret_dir = sure_path__dir(dir, &st, why);
	if (*ret_dir < 0)
		return *ret_dir;
	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d/" SOCKET_NAME, *ret_dir);
	return 0;
}

static bool is_answered(const struct sockaddr_un *at)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool answered = fd >= 0 && (connect(fd, (const struct sockaddr *)at, sizeof(*at)) == 0 || errno == EAGAIN);

	if (fd >= 0)
		close(fd);
	return answered;
}

static int listen_there(struct service *s, const struct sockaddr_un *at, int dir, struct reason *why)
{
	if (is_answered(at))
		return reason__set(why, -EBUSY, "another gilscope daemon runs already (gilscope status)");
	unlinkat(dir, SOCKET_NAME, 0);
	s->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s->listener < 0 || bind(s->listener, (const struct sockaddr *)at, sizeof(*at)) || listen(s->listener, 16))
		return reason__set(why, -errno, "the socket of status can't be opened: %s", strerror(errno));
	return 0;
}

int service__open(struct service **ret, struct reason *why)
{
	struct service *s = calloc(1, sizeof(*s));
	struct sockaddr_un at;
	int err, dir = -1;

	if (!s)
		return reason__set(why, -ENOMEM, "not enough memory");
	s->notify = s->listener = -1;
	find_manager(s);
	err = status_address(&at, &dir, true, why);
	err = err ? err : listen_there(s, &at, dir, why);
	if (dir >= 0)
		close(dir);
	if (err)
		service__close(s);
	else
		*ret = s;
	return err;
}

void service__close(struct service *s)
{
	if (!s)
		return;
	if (s->listener >= 0)
		close(s->listener);
	if (s->notify >= 0)
		close(s->notify);
	free(s);
}

int service__turn(const struct service *s)
{
	if (s->watched)
		service__tell(s, "WATCHDOG=1");
	return accept4(s->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
}

void service__answer(int client, const char *text)
{
	size_t len = strlen(text);

	if (send(client, text, len, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)len)
		shutdown(client, SHUT_RDWR); /* it sees half of an answer, which is none */
	close(client);
}

/* ---- status: the client's side ---- */

static int read_answer(int fd, int timeout_ms, char *text, struct reason *why)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	size_t len = 0;
	ssize_t n = 1;

	while (n > 0 && len < ANSWER_MAX) {
		if (poll(&p, 1, timeout_ms) <= 0)
			return reason__set(why, -ETIMEDOUT, "the daemon does not answer: its loop stands still");
		n = read(fd, text + len, ANSWER_MAX - len);
		len += n > 0 ? (size_t)n : 0;
	}
	text[len] = '\0';
	return 0;
}

int service__ask(int timeout_ms, char **ret, struct reason *why)
{
	char *text = calloc(1, ANSWER_MAX + 1);
	struct reason detail = {{0}};
	struct sockaddr_un at;
	int dir = -1, fd = -1, err = status_address(&at, &dir, false, &detail);

	if (!text)
		err = -ENOMEM;
	if (!err)
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (!err && (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof(at))))
		err = -errno;
	if (err == -EACCES)
		reason__set(why, err, "the daemon's socket may not be opened by this user (sudo gilscope status)");
	else if (err)
		reason__set(why, err = -ENOENT, "no gilscope daemon of this user runs");
	err = err ? err : read_answer(fd, timeout_ms, text, why);
	if (fd >= 0)
		close(fd);
	if (dir >= 0)
		close(dir);
	if (err)
		free(text);
	else
		*ret = text;
	return err;
}
