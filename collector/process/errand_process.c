/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The life of the nursery and of its readers: see errand.h. The nursery does nothing but fork readers; a reader does one errand
 * after the other, and ends when nobody is there any more to send it.
 */
#include "errand_inside.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "caps.h"
#include "precedence.h"

#define CONTROL 3 /* the socket of either, above standard input, output and error */

/* ---- a reader ---- */

static void close_all(const int *fds)
{
	for (int i = 0; i < PACKET_FDS_MAX; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

/* What came along is done with when the answer is sent: closing a file may wait for its server, too. */
static void answer(int sock, const struct errand_answer *answer, const struct errand_bag *bag, const int *came)
{
	int back[PACKET_FDS_MAX];

	for (int i = 0; i < PACKET_FDS_MAX; i++)
		back[i] = bag->fds[i] == came[i] ? -1 : bag->fds[i];
	if (packet__send(sock, answer, sizeof(*answer), back, 1))
		_exit(0);
	close_all(back);
	close_all(came);
}

static _Noreturn void reader_main(int sock, void *room)
{
	struct errand_order order;
	struct errand_bag bag = {.room = room};
	int came[PACKET_FDS_MAX];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (packet__receive(sock, &order, sizeof(order), came)) {
		struct errand_answer a = {.number = order.number};

		for (int i = 0; i < PACKET_FDS_MAX; i++)
			bag.fds[i] = came[i];
		a.err = order.fn(&bag);
		answer(sock, &a, &bag, came);
	}
	_exit(0);
}

/* ---- the nursery ---- */

static pid_t fork_reader(const int *fds)
{
	void *room = fds[1] < 0 ? MAP_FAILED : mmap(NULL, ERRAND_ROOM, PROT_READ | PROT_WRITE, MAP_SHARED, fds[1], 0);
	pid_t pid;

	if (room == MAP_FAILED)
		return -ENOMEM;
	pid = fork();
	if (pid == 0) {
		dup2(fds[0], CONTROL);
		syscall(SYS_close_range, CONTROL + 1, ~0u, 0);
		reader_main(CONTROL, room);
	}
	if (pid < 0)
		pid = -errno;
	munmap(room, ERRAND_ROOM);
	return pid;
}

/* Nothing of what gilscope has open, out of reach of the terminal's signals, and no right but to read. */
static void step_aside(int control)
{
	const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGCHLD}; /* readers leave no zombies */
	uint64_t rights = caps__of_reader(caps__effective());
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	sigset_t none;

	for (int fd = 0; null >= 0 && fd <= 2; fd++)
		dup2(null, fd);
	if (dup2(control, CONTROL) < 0 || fcntl(CONTROL, F_SETFD, FD_CLOEXEC) || syscall(SYS_close_range, CONTROL + 1, ~0u, 0))
		_exit(1);
	setsid();
	prctl(PR_SET_NAME, "gilscope-reads");
	/* Each errand is one turn of another process: behind all that a busy machine runs, the collector would crawl. */
	precedence__take_with_children();
	caps__seal();
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		signal(signals[i], SIG_IGN);
	if (caps__set(rights, rights))
		_exit(1);
}

void errand_process__main(int control)
{
	int fds[PACKET_FDS_MAX];
	char byte;

	step_aside(control);
	while (packet__receive(CONTROL, &byte, 1, fds)) {
		pid_t pid = fork_reader(fds);

		close_all(fds);
		if (packet__send(CONTROL, &pid, sizeof(pid), NULL, 0))
			break;
	}
	_exit(0); /* and with it the readers, by the signal that they asked for */
}
