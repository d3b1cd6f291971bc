/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See planter.h. Orders and answers are packets on a socket pair, one answer for each order; the file to plant in comes
 * along as a descriptor (SCM_RIGHTS). The planter is a fork, so a program's address means the same on both sides.
 */
#include "planter.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "log.h"

#define DROP_STACK ((size_t)128 * 1024)

struct planter {
	pid_t pid;
	int socket;
};

enum order_kind {
	ORDER_PLANT,
	ORDER_LIFT,
	ORDER_DROP,  /* lift, and answer before that is done */
	ORDER_SETTLE,/* answer when all that was dropped is lifted */
};

struct order {
	enum order_kind kind;
	uint32_t link;
	const struct bpf_program *program;
	pid_t pid;
	uint32_t multi;
	uint32_t sites_n;
	uint64_t offsets[PLANTER_SITES_MAX];
	uint64_t cookies[PLANTER_SITES_MAX];
};

struct answer {
	int err;
	uint32_t link;
};

/* ---- packets ---- */

union fd_message {
	struct cmsghdr header;
	char room[CMSG_SPACE(sizeof(int))];
};

static int send_order(int sock, const struct order *order, int fd)
{
	union fd_message control = {0};
	struct iovec part = {.iov_base = (void *)order, .iov_len = sizeof(*order)};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

	if (fd >= 0) {
		message.msg_control = control.room;
		message.msg_controllen = sizeof(control.room);
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
	}
	return sendmsg(sock, &message, MSG_NOSIGNAL) == (ssize_t)sizeof(*order) ? 0 : -EPIPE;
}

/* 1: an order, 0: gilscope is gone. */
static int receive_order(int sock, struct order *order, int *ret_fd)
{
	union fd_message control;
	struct iovec part = {.iov_base = order, .iov_len = sizeof(*order)};
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1,
		.msg_control = control.room, .msg_controllen = sizeof(control.room),
	};
	struct cmsghdr *header;
	ssize_t got;

	do
		got = recvmsg(sock, &message, MSG_CMSG_CLOEXEC);
	while (got < 0 && errno == EINTR);
	if (got != (ssize_t)sizeof(*order))
		return 0;
	header = CMSG_FIRSTHDR(&message);
	*ret_fd = -1;
	if (header && header->cmsg_type == SCM_RIGHTS)
		memcpy(ret_fd, CMSG_DATA(header), sizeof(*ret_fd));
	return 1;
}

/* ---- the planter's own life ---- */

struct bed {
	struct uprobe_link **plants; /* by link number - 1; NULL: free */
	uint32_t n;
};

static void uproot(struct uprobe_link **plant)
{
	uprobe_link__close(*plant);
	*plant = NULL;
}

static int keep(struct bed *bed, struct uprobe_link *plant, uint32_t *ret)
{
	struct uprobe_link **grown;

	for (uint32_t i = 0; i < bed->n; i++)
		if (!bed->plants[i]) {
			bed->plants[i] = plant;
			*ret = i + 1;
			return 0;
		}
	grown = reallocarray(bed->plants, bed->n + 1, sizeof(struct uprobe_link *));
	if (!grown)
		return -ENOMEM;
	bed->plants = grown;
	bed->plants[bed->n++] = plant;
	*ret = bed->n;
	return 0;
}

static void plant(struct bed *bed, struct order *order, int fd, struct answer *answer)
{
	struct uprobe_place place = {.image_fd = fd, .pid = order->pid};
	struct uprobe_sites sites = {
		.offsets = order->offsets, .cookies = order->cookies, .n = order->sites_n,
	};
	struct uprobe_link *new = NULL;

	answer->err = uprobe_link__open(order->program, &place, &sites, order->multi, &new);
	answer->err = answer->err ?: keep(bed, new, &answer->link);
	if (answer->err)
		uproot(&new);
}

/* ---- lifting without waiting: each takes RCU periods, which those that wait at once share ---- */

static struct {
	pthread_mutex_t mutex;
	pthread_cond_t none_left;
	uint32_t n;
} dropping = {.mutex = PTHREAD_MUTEX_INITIALIZER, .none_left = PTHREAD_COND_INITIALIZER};

static void count_dropping(int change)
{
	pthread_mutex_lock(&dropping.mutex);
	dropping.n = (uint32_t)((int)dropping.n + change);
	if (!dropping.n)
		pthread_cond_broadcast(&dropping.none_left);
	pthread_mutex_unlock(&dropping.mutex);
}

static void settle(void)
{
	pthread_mutex_lock(&dropping.mutex);
	while (dropping.n)
		pthread_cond_wait(&dropping.none_left, &dropping.mutex);
	pthread_mutex_unlock(&dropping.mutex);
}

static void *drop_thread(void *plant)
{
	uprobe_link__close(plant);
	count_dropping(-1);
	return NULL;
}

static void drop(struct bed *bed, uint32_t link)
{
	struct uprobe_link *plant;
	pthread_attr_t attr;
	pthread_t thread;
	bool started;

	if (!link || link > bed->n || !bed->plants[link - 1])
		return;
	plant = bed->plants[link - 1];
	bed->plants[link - 1] = NULL;
	count_dropping(1);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, DROP_STACK);
	started = pthread_create(&thread, &attr, drop_thread, plant) == 0;
	pthread_attr_destroy(&attr);
	if (!started)
		drop_thread(plant);
}

static void lift(struct bed *bed, uint32_t link)
{
	if (link && link <= bed->n)
		uproot(&bed->plants[link - 1]);
}

static void carry_out(struct bed *bed, struct order *order, int fd, struct answer *answer)
{
	switch (order->kind) {
	case ORDER_PLANT:
		plant(bed, order, fd, answer);
		break;
	case ORDER_LIFT:
		lift(bed, order->link);
		break;
	case ORDER_DROP:
		drop(bed, order->link);
		break;
	case ORDER_SETTLE:
		settle();
		break;
	}
}

static void obey(struct bed *bed, int sock)
{
	struct order order;
	int fd;

	while (receive_order(sock, &order, &fd)) {
		struct answer answer = {0};

		carry_out(bed, &order, fd, &answer);
		if (fd >= 0)
			close(fd);
		if (send(sock, &answer, sizeof(answer), MSG_NOSIGNAL) < 0)
			break;
	}
}

/* Somebody may wait for the end of a pipe or of a connection (another planter, say) whose other side we inherited. */
static void let_go_of_pipes(int except)
{
	long max = sysconf(_SC_OPEN_MAX);
	struct stat st;

	for (int fd = 3; fd < (max > 0 && max < 65536 ? max : 65536); fd++)
		if (fd != except && !fstat(fd, &st) && (S_ISSOCK(st.st_mode) || S_ISFIFO(st.st_mode)))
			close(fd);
}

/* Out of reach of the terminal's signals, holding nobody's pipe open. */
static void step_aside(int sock)
{
	const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE};
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	let_go_of_pipes(sock);

	setsid();
	prctl(PR_SET_NAME, "gilscope-probes");
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		signal(signals[i], SIG_IGN);
	for (int fd = 0; null >= 0 && fd <= 2; fd++)
		dup2(null, fd);
}

/* Without uprobe_multi each site takes one. */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit))
		log_debug("planter: RLIMIT_NOFILE stays as it is");
}

static void planter_main(int sock)
{
	struct bed bed = {0};

	step_aside(sock);
	raise_descriptor_limit();
	obey(&bed, sock);
	for (uint32_t link = 1; link <= bed.n; link++)
		drop(&bed, link);
	settle();
	_exit(0);
}

/* ---- gilscope's side ---- */

int planter__start(struct planter **ret)
{
	struct planter *planter = calloc(1, sizeof(*planter));
	int pair[2], err;

	if (!planter)
		return -ENOMEM;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) {
		err = -errno;
		free(planter);
		return err;
	}
	planter->pid = fork();
	if (planter->pid == 0) {
		close(pair[0]);
		planter_main(pair[1]);
	}
	err = planter->pid < 0 ? -errno : 0;
	close(pair[1]);
	planter->socket = pair[0];
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

	/* It never speaks unasked: only the end of the connection can be there. */
	return recv(planter->socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

void planter__stop(struct planter *planter)
{
	if (!planter)
		return;
	shutdown(planter->socket, SHUT_RDWR); /* whoever else may hold our end by inheritance */
	close(planter->socket);
	while (waitpid(planter->pid, NULL, 0) < 0 && errno == EINTR)
		;
	free(planter);
}

static int ask(struct planter *planter, const struct order *order, int fd, struct answer *ret)
{
	ssize_t got;
	int err = send_order(planter->socket, order, fd);

	if (err)
		return err;
	do
		got = recv(planter->socket, ret, sizeof(*ret), 0);
	while (got < 0 && errno == EINTR);
	return got == (ssize_t)sizeof(*ret) ? ret->err : -EPIPE;
}

int planter__plant(struct planter *planter, const struct bpf_program *program, const struct uprobe_place *place,
		   const struct uprobe_sites *sites, bool multi, uint32_t *ret_link)
{
	struct order order = {.kind = ORDER_PLANT, .program = program, .pid = place->pid, .multi = multi};
	struct answer answer;
	int err;

	if (sites->n > PLANTER_SITES_MAX)
		return -E2BIG;
	order.sites_n = (uint32_t)sites->n;
	memcpy(order.offsets, sites->offsets, sites->n * sizeof(*sites->offsets));
	memcpy(order.cookies, sites->cookies, sites->n * sizeof(*sites->cookies));
	err = ask(planter, &order, place->image_fd, &answer);
	if (!err)
		*ret_link = answer.link;
	return err;
}

void planter__lift(struct planter *planter, uint32_t link)
{
	struct order order = {.kind = ORDER_LIFT, .link = link};
	struct answer answer;

	if (link && ask(planter, &order, -1, &answer))
		log_warn("the process that plants the probes is gone, and its probes with it");
}

void planter__drop(struct planter *planter, uint32_t link)
{
	struct order order = {.kind = ORDER_DROP, .link = link};
	struct answer answer;

	if (link && ask(planter, &order, -1, &answer))
		log_warn("the process that plants the probes is gone, and its probes with it");
}

void planter__settle(struct planter *planter)
{
	struct order order = {.kind = ORDER_SETTLE};
	struct answer answer;

	if (ask(planter, &order, -1, &answer))
		log_debug("the process that plants the probes is gone");
}
