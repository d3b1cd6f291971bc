/* SPDX-License-Identifier: GPL-2.0-only */
/* See store_hand.h: gilscope's side. */
#include "store_hand.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store_server.h"

struct store_hand {
	int control;
	pthread_mutex_t mutex;
	char config[STORE_CONFIG_MAX];
};

static int hear(struct store_hand *h, struct store_answer *ret)
{
	ssize_t n;

	do
		n = recv(h->control, ret, sizeof(*ret), 0);
	while (n < 0 && errno == EINTR);
	return n == sizeof(*ret) ? 0 : -EPIPE;
}

/* Twice: nobody has to reap it, and who waits for any child of his finds none. */
static int fork_hand(struct store_server *s, int ours)
{
	pid_t child = fork();

	if (child < 0)
		return -errno;
	if (child == 0) {
		close(ours);
		if (fork() == 0)
			store_server__main(s);
		_exit(0);
	}
	while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
	return 0;
}

/* Each lock opened for it: one that is inherited would be ours, too. */
static int open_locks(struct store_server *s, const struct store_dirs *dirs, struct reason *why)
{
	struct {
		int *fd;
		const char *name;
	} locks[] = {{&s->users, STORE_LOCK}, {&s->start, STORE_START_LOCK}, {&s->watch, STORE_WATCH_LOCK}};

	for (size_t i = 0; i < 3; i++) {
		*locks[i].fd = store_dirs__lock(dirs, locks[i].name, why);
		if (*locks[i].fd < 0)
			return *locks[i].fd;
	}
	return 0;
}

static void close_locks(const struct store_server *s)
{
	const int fds[] = {s->users, s->start, s->watch};

	for (size_t i = 0; i < 3; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

static int begin(struct store_hand *h, struct store_server *s, const struct store_dirs *dirs, struct reason *why)
{
	struct store_answer first;
	int pair[2], err = open_locks(s, dirs, why);

	if (err)
		return err;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return reason__set(why, -errno, "store: %s", strerror(errno));
	s->control = pair[1];
	err = fork_hand(s, pair[0]);
	close(pair[1]);
	h->control = pair[0];
	err = err ?: hear(h, &first);
	err = err ?: first.err;
	if (!err)
		return 0;
	close(h->control);
	return reason__set(why, err, "store: the process that serves it can't become user %u: %s", (unsigned int)dirs->uid,
			   strerror(-err));
}

int store_hand__new(const struct store_dirs *dirs, const char *config, int log, struct store_hand **ret, struct reason *why)
{
	struct store_hand *h = calloc(1, sizeof(*h));
	struct store_server s = {
		.server_dir = dirs->server, .data_dir = dirs->data, .log = log, .users = -1, .start = -1, .watch = -1,
		.uid = dirs->uid, .gid = dirs->gid,
	};
	int err;

	if (!h)
		return reason__set(why, -ENOMEM, "store: out of memory");
	strncpy(h->config, config, sizeof(h->config) - 1);
	s.config = h->config;
	err = begin(h, &s, dirs, why);
	close_locks(&s);
	explicit_bzero(h->config, sizeof(h->config));
	if (err) {
		free(h);
		return err;
	}
	pthread_mutex_init(&h->mutex, NULL);
	*ret = h;
	return 0;
}

int store_hand__do(struct store_hand *h, enum store_deed deed, pid_t *ret, struct reason *why)
{
	const struct store_order order = {.deed = deed};
	struct store_answer a = {.err = 0};
	int err;

	pthread_mutex_lock(&h->mutex);
	err = send(h->control, &order, sizeof(order), MSG_NOSIGNAL) == sizeof(order) ? hear(h, &a) : -EPIPE;
	pthread_mutex_unlock(&h->mutex);
	if (err)
		return reason__set(why, err, "store: the process that serves it (gilscope-store) is gone");
	a.text[sizeof(a.text) - 1] = '\0';
	if (ret)
		*ret = a.number;
	return reason__set(why, a.err, "%s%s", a.err && a.err != -ENOENT ? "store: " : "", a.text);
}

void store_hand__free(struct store_hand *h)
{
	if (!h)
		return;
	/* Whoever else may hold our end by inheritance. */
	shutdown(h->control, SHUT_RDWR);
	close(h->control);
	pthread_mutex_destroy(&h->mutex);
	free(h);
}
