/* SPDX-License-Identifier: GPL-2.0-only */
/* See server.h. */
#include "server.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pythons.h"

#define WORDS_MAX 48
#define START_TRIES 2000 /* of 10 ms, until a server listens */
#define TALK_MS 30000    /* until served.py has its requests */

static struct sockaddr_un at_path(const struct server *s, const char *name)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	cr_assert_lt((size_t)snprintf(addr.sun_path, sizeof(addr.sun_path), "%.*s/%s", 80, s->dir, name),
		     sizeof(addr.sun_path));
	return addr;
}

static void listen_for_talk(struct server *s)
{
	struct sockaddr_un addr = at_path(s, "talk");

	s->talk = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert_geq(s->talk, 0);
	cr_assert_eq(bind(s->talk, (struct sockaddr *)&addr, sizeof(addr)), 0, "%s: %s", addr.sun_path, strerror(errno));
	cr_assert_eq(listen(s->talk, SERVER_REQUESTS_MAX), 0);
	setenv("GILSCOPE_TALK", addr.sun_path, 1);
}

static void set_number(const char *name, int value)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", value);
	setenv(name, text, 1);
}

void server__prepare(struct server *s, int threads, int calls)
{
	const char *output = getenv("GILSCOPE_OUTPUT");

	*s = (struct server){.talk = -1};
	temp_dir__make(s->dir, sizeof(s->dir));
	listen_for_talk(s);
	must_run("mkdir '%s/workloads' && cp tests/workloads/served.py tests/workloads/workload.py '%s' && "
		 "cp '%s/workloads/libgilwork.so' '%s/workloads' && chmod -R a+rwX '%s'", s->dir, s->dir,
		 output ? output : ".output", s->dir, s->dir);
	setenv("PYTHONDONTWRITEBYTECODE", "1", 1);
	set_number("GILSCOPE_THREADS", threads);
	set_number("GILSCOPE_CALLS", calls);
}

/* ---- starting and ending -------------------------------------------------------------------------------- */

static void end_group(int sig)
{
	kill(0, SIGKILL);
}

static void become(const struct server *s, const char *const argv[])
{
	static char words[WORDS_MAX][PATH_MAX];
	char *copy[WORDS_MAX + 1] = {NULL}, log[192];
	int fd;

	for (size_t i = 0; argv[i] && i < WORDS_MAX; i++) {
		const char *mark = strstr(argv[i], "%s");

		copy[i] = words[i];
		if (mark)
			snprintf(words[i], PATH_MAX, "%.*s%s%s", (int)(mark - argv[i]), argv[i], s->dir, mark + 2);
		else
			snprintf(words[i], PATH_MAX, "%s", argv[i]);
	}
	snprintf(log, sizeof(log), "%s/log", s->dir);
	fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0666);
	fchmod(fd, 0666); /* whoever the server becomes */
	dup2(fd, STDOUT_FILENO);
	dup2(fd, STDERR_FILENO);
	close(fd);
	signal(SIGTERM, SIG_DFL);
	setenv("GILSCOPE_OUTPUT", s->dir, 1);
	execvp(copy[0], copy);
	_exit(127);
}

/* The leader of the group that the server and all that it forks belong to: ends them when the test does. */
static void keep(const struct server *s, const char *const argv[])
{
	int status;
	pid_t pid;

	setpgid(0, 0);
	signal(SIGTERM, end_group);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	pid = fork();
	if (pid == 0)
		become(s, argv);
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	pause(); /* what the server forked may still be there */
	_exit(0);
}

void server__start(struct server *s, const char *const argv[])
{
	s->keeper = fork();
	cr_assert_geq(s->keeper, 0);
	if (s->keeper == 0)
		keep(s, argv);
	setpgid(s->keeper, s->keeper); /* whoever comes first */
}

static void expect_done(int fd)
{
	char answer[1024];
	size_t len = 0;
	ssize_t got;

	while (len < sizeof(answer) - 1 && (got = read(fd, answer + len, sizeof(answer) - 1 - len)) > 0)
		len += (size_t)got;
	answer[len] = '\0';
	cr_expect_not_null(strstr(answer, "\r\n\r\ndone\n"), "it answered: %s", answer);
	close(fd);
}

void server__stop(struct server *s)
{
	for (size_t i = 0; i < s->requests_n; i++)
		expect_done(s->requests[i]);
	kill(s->keeper, SIGTERM);
	waitpid(s->keeper, NULL, 0);
	close(s->talk);
	temp_dir__remove(s->dir);
}

/* ---- requests -------------------------------------------------------------------------------------------- */

static void show_log(const struct server *s)
{
	char path[192];
	size_t len;
	char *log;

	snprintf(path, sizeof(path), "%s/log", s->dir);
	log = must_read(path, &len);
	fprintf(stderr, "%s\n", log);
	free(log);
}

static void request(struct server *s, int family, const void *addr, socklen_t len)
{
	static const char get[] = "GET / HTTP/1.0\r\nHost: localhost\r\n\r\n";
	int fd = -1;

	for (int i = 0; i < START_TRIES; i++) {
		fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (connect(fd, addr, len) == 0)
			break;
		close(fd);
		fd = -1;
		usleep(10000);
	}
	if (fd < 0)
		show_log(s);
	cr_assert_geq(fd, 0, "nobody listens");
	cr_assert_lt(s->requests_n, SERVER_REQUESTS_MAX);
	cr_assert_eq(write(fd, get, sizeof(get) - 1), (ssize_t)sizeof(get) - 1);
	s->requests[s->requests_n++] = fd;
}

void server__request(struct server *s)
{
	struct sockaddr_un addr = at_path(s, "http");

	request(s, AF_UNIX, &addr, sizeof(addr));
}

void server__request_port(struct server *s)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(8080), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	request(s, AF_INET, &addr, sizeof(addr));
}

void server__accept(struct server *s, struct workload *w)
{
	struct pollfd p = {.fd = s->talk, .events = POLLIN};
	int fd;

	if (poll(&p, 1, TALK_MS) != 1) {
		show_log(s);
		cr_assert_fail("no process of the server has its requests");
	}
	fd = accept4(s->talk, NULL, NULL, SOCK_CLOEXEC);
	cr_assert_geq(fd, 0);
	workload__adopt(w, fd);
}

void server__own_network(void)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	int fd;

	cr_assert_eq(unshare(CLONE_NEWNET), 0, "unshare: %s", strerror(errno));
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	cr_assert_eq(ioctl(fd, SIOCSIFFLAGS, &request), 0, "lo: %s", strerror(errno));
	close(fd);
}
