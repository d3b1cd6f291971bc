/* SPDX-License-Identifier: GPL-2.0-only */
/* See planter.h: gilscope's side. The process's own life is in planter_process.c. */
#include "planter_inside.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "collector/base/log.h"
#include "collector/process/pulse.h"

struct planter {
	int socket;
	uint32_t kept_all; /* places that stay planted, by its last answer */
	uint64_t rights[PLANTER_DEEDS];
};

/* ---- the process ---- */

static struct {
	pthread_mutex_t mutex;
	pid_t pid;      /* 0: none */
	int control;
	uint32_t beds;
	bool prepared;  /* stays without a bed */
} process = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static int fork_process(void)
{
	int pair[2];

	if (pulse__prepare())
		log_debug("planter: no memory to feel the pulse in");
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	process.pid = fork();
	if (process.pid == 0) {
		close(pair[0]);
		planter_process__main(pair[1]);
	}
	close(pair[1]);
	process.control = pair[0];
	if (process.pid < 0) {
		int err = -errno;

		close(pair[0]);
		process.pid = 0;
		return err;
	}
	return 0;
}

static void forget_process(void)
{
	char byte;
	ssize_t got;

	/* Whoever else may hold our end by inheritance. */
	shutdown(process.control, SHUT_WR);
	do
		got = recv(process.control, &byte, 1, 0);
	while (got < 0 && errno == EINTR);
	close(process.control);
	while (got <= 0 && waitpid(process.pid, NULL, 0) < 0 && errno == EINTR) /* else it stays */
		;
	process.pid = 0;
}

static bool has_process(void)
{
	char byte;

	/* It never speaks unasked: only the end of the connection can be there. */
	if (process.pid && recv(process.control, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN)
		return true;
	if (process.pid)
		forget_process();
	return false;
}

static int want_process(void)
{
	return has_process() ? 0 : fork_process();
}

int planter__prepare(void)
{
	int err;

	pthread_mutex_lock(&process.mutex);
	err = want_process();
	process.prepared = !err;
	pthread_mutex_unlock(&process.mutex);
	return err;
}

static void let_it_end(void)
{
	if (process.pid && !process.beds && !process.prepared)
		forget_process();
}

void planter__dismiss(void)
{
	pthread_mutex_lock(&process.mutex);
	process.prepared = false;
	let_it_end();
	pthread_mutex_unlock(&process.mutex);
}

/* ---- a bed ---- */

/* The process may have been killed since: its like has the rights that we have now. */
static int hand_over(int sock)
{
	char byte = 0;
	int err;

	pthread_mutex_lock(&process.mutex);
	err = want_process();
	err = err ?: packet__send(process.control, &byte, 1, &sock, 1);
	if (!err)
		process.beds++;
	pthread_mutex_unlock(&process.mutex);
	return err;
}

int planter__start(struct planter **ret)
{
	struct planter *planter = calloc(1, sizeof(*planter));
	int pair[2], err;

	if (!planter)
		return -ENOMEM;
	err = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) ? -errno : 0;
	if (err) {
		free(planter);
		return err;
	}
	planter->socket = pair[0];
	err = hand_over(pair[1]);
	close(pair[1]);
	if (err) {
		close(pair[0]);
		free(planter);
		return err;
	}
	*ret = planter;
	return 0;
}

bool planter__is_alive(const struct planter *planter)
{
	char byte;

	return recv(planter->socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

void planter__stop(struct planter *planter)
{
	char byte;

	if (!planter)
		return;
	/* Whoever else may hold our end by inheritance. Its own end closes when all is lifted. */
	shutdown(planter->socket, SHUT_WR);
	while (recv(planter->socket, &byte, 1, 0) < 0 && errno == EINTR)
		;
	close(planter->socket);
	free(planter);
	pthread_mutex_lock(&process.mutex);
	process.beds--;
	let_it_end();
	pthread_mutex_unlock(&process.mutex);
}

/* ---- orders ---- */

static void note_kept(const struct kept_sites *kept)
{
	if (kept->n)
		log_warn("process %d has changed its own code at %u places where probes stood. The breakpoints stay there until "
			 "it ends, as it would be killed without them; a process named gilscope-probes keeps them: leave it "
			 "running",
			 (int)kept->pid, kept->n);
	if (kept->lost)
		log_warn("process %d has changed its own code at %u places where probes stood, and they cannot be kept there: it "
			 "may be killed by that", (int)kept->pid, kept->lost);
}

/* `fds`: PACKET_FDS_MAX, to go along (NULL: none). *ret_fd: what came back; NULL: nothing does. */
static int ask(struct planter *planter, const struct order *order, const int *fds, struct answer *ret, int *ret_fd)
{
	int back[PACKET_FDS_MAX], err;

	pulse__beat();
	err = packet__send(planter->socket, order, sizeof(*order), fds, fds ? PACKET_FDS_MAX : 0);
	if (err)
		return err;
	if (!packet__receive(planter->socket, ret, sizeof(*ret), back))
		return -EPIPE;
	pulse__beat();
	note_kept(&ret->kept);
	planter->kept_all = ret->kept_all;
	if (ret_fd)
		*ret_fd = back[0];
	return ret->err;
}

void planter__set_idle(struct planter *planter, int program_fd, int map_fd, size_t word_at)
{
	struct order order = {.kind = ORDER_IDLE, .word_at = (uint32_t)word_at};
	const int fds[PACKET_FDS_MAX] = {program_fd, map_fd};
	struct answer answer;

	if (ask(planter, &order, fds, &answer, NULL))
		log_debug("the process that plants the probes is gone");
}

int planter__plant(struct planter *planter, int program_fd, const struct uprobe_place *place, const struct uprobe_sites *sites,
		   bool multi, uint32_t *ret_link)
{
	struct order order = {
		.kind = ORDER_PLANT, .pid = place->pid, .about = place->about, .ino = place->ino, .multi = multi,
	};
	const int fds[PACKET_FDS_MAX] = {program_fd, place->image_fd};
	struct answer answer = {0};
	int err;

	if (sites->n > PLANTER_SITES_MAX)
		return -E2BIG;
	order.sites_n = (uint32_t)sites->n;
	memcpy(order.offsets, sites->offsets, sites->n * sizeof(*sites->offsets));
	memcpy(order.cookies, sites->cookies, sites->n * sizeof(*sites->cookies));
	memcpy(order.texts, sites->texts, sites->n * sizeof(*sites->texts));
	err = ask(planter, &order, fds, &answer, NULL);
	planter->rights[multi ? PLANTER_MULTI : PLANTER_PERF] = answer.rights;
	if (!err)
		*ret_link = answer.link;
	return err;
}

int planter__compare(struct planter *planter, uint64_t ino, const struct uprobe_sites *sites, size_t sites_n, pid_t *ret_pid)
{
	struct order order = {.kind = ORDER_COMPARE, .ino = ino};
	struct answer answer = {0};
	int err;

	for (size_t i = 0; i < sites_n; i++)
		order.sites_n = (uint32_t)uprobe_sites__texts(&sites[i], order.texts, order.sites_n, PLANTER_SITES_MAX);
	err = ask(planter, &order, NULL, &answer, NULL);
	*ret_pid = answer.differs;
	return err;
}

void planter__lift(struct planter *planter, uint32_t link)
{
	struct order order = {.kind = ORDER_LIFT, .link = link};
	struct answer answer;

	if (link && ask(planter, &order, NULL, &answer, NULL))
		log_warn("the process that plants the probes is gone, and its probes with it");
}

void planter__drop(struct planter *planter, uint32_t link)
{
	struct order order = {.kind = ORDER_DROP, .link = link};
	struct answer answer;

	if (link && ask(planter, &order, NULL, &answer, NULL))
		log_warn("the process that plants the probes is gone, and its probes with it");
}

void planter__settle(struct planter *planter)
{
	struct order order = {.kind = ORDER_SETTLE};
	struct answer answer;

	if (ask(planter, &order, NULL, &answer, NULL))
		log_debug("the process that plants the probes is gone");
}

int planter__timer(struct planter *planter, pid_t tid, uint64_t period_ns, int *ret_fd)
{
	struct order order = {.kind = ORDER_TIMER, .pid = tid, .period_ns = period_ns};
	struct answer answer = {0};
	int err = ask(planter, &order, NULL, &answer, ret_fd);

	planter->rights[PLANTER_TIMER] = answer.rights;
	return err;
}

uint64_t planter__rights(const struct planter *planter, enum planter_deed deed)
{
	return planter->rights[deed];
}

int planter__shed(struct planter *planter, uint64_t *ret_kept)
{
	struct order order = {.kind = ORDER_SHED};
	struct answer answer = {0};
	int err = ask(planter, &order, NULL, &answer, NULL);

	*ret_kept = answer.rights;
	return err;
}

uint32_t planter__kept(struct planter *planter, pid_t pid)
{
	struct order order = {.kind = ORDER_KEPT, .about = pid};
	struct answer answer = {0};

	if (!planter->kept_all || ask(planter, &order, NULL, &answer, NULL))
		return 0;
	return answer.kept_of;
}
