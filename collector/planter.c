/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See planter.h. Orders and answers are packets on a socket pair, one answer for each order; the file to plant in comes
 * along as a descriptor (SCM_RIGHTS). The planter is a fork, so a program's address means the same on both sides.
 */
#include "planter.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "log.h"

struct planter {
	pid_t pid;
	int socket;
};

struct order {
	const struct bpf_program *program; /* NULL: lift `link` */
	uint32_t link;
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
	struct uprobe_link **links; /* link number - 1 */
	uint32_t n;
};

static int keep(struct bed *bed, struct uprobe_link *link, uint32_t *ret)
{
	struct uprobe_link **grown;

	for (uint32_t i = 0; i < bed->n; i++)
		if (!bed->links[i]) {
			bed->links[i] = link;
			*ret = i + 1;
			return 0;
		}
	grown = reallocarray(bed->links, bed->n + 1, sizeof(struct uprobe_link *));
	if (!grown)
		return -ENOMEM;
	bed->links = grown;
	bed->links[bed->n++] = link;
	*ret = bed->n;
	return 0;
}

static void plant(struct bed *bed, struct order *order, int fd, struct answer *answer)
{
	struct uprobe_place place = {.image_fd = fd, .pid = order->pid};
	struct uprobe_sites sites = {
		.offsets = order->offsets, .cookies = order->cookies, .n = order->sites_n,
	};
	struct uprobe_link *link = NULL;

	answer->err = uprobe_link__open(order->program, &place, &sites, order->multi, &link);
	answer->err = answer->err ?: keep(bed, link, &answer->link);
	if (answer->err)
		uprobe_link__close(link);
}

static void lift(struct bed *bed, uint32_t link)
{
	if (link == 0 || link > bed->n)
		return;
	uprobe_link__close(bed->links[link - 1]);
	bed->links[link - 1] = NULL;
}

static void obey(struct bed *bed, int sock)
{
	struct order order;
	int fd;

	while (receive_order(sock, &order, &fd)) {
		struct answer answer = {0};

		if (order.program)
			plant(bed, &order, fd, &answer);
		else
			lift(bed, order.link);
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

static void planter_main(int sock)
{
	struct bed bed = {0};

	step_aside(sock);
	obey(&bed, sock);
	for (uint32_t link = 1; link <= bed.n; link++)
		lift(&bed, link);
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
	struct order order = {.program = program, .pid = place->pid, .multi = multi};
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
	struct order order = {.link = link};
	struct answer answer;

	if (link && ask(planter, &order, -1, &answer))
		log_warn("the process that plants the probes is gone, and its probes with it");
}
