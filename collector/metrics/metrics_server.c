/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See metrics_server.h. A text travels as a file in memory that nobody can change any more (memfd, sealed), with a message that
 * says where in it which format is; the child answers with parts of that file.
 *
 *   collector --(memfd, lengths)--> child --(epoll)--> connections
 *             <-------"" or why it can't serve------ once
 */
#include "metrics_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "collector/base/clock.h"
#include "collector/process/caps.h"
#include "microhttpd_lib.h"

#define CONNECTIONS 8
#define CONNECTION_MS 5000
#define REQUEST_BYTES 16384 /* of memory for a connection: lines of a request beyond are refused */
#define LATE_NS (5ull * 1000000000)
#define NOBODY 65534
#define NAME "gilscope-http"

struct metrics_server {
	int channel;
	pid_t pid;
};

/* What comes with a file: OpenMetrics, then text 0.0.4. */
struct lengths {
	uint64_t open, text;
};

/* ---- addresses, and what a client accepts ---- */

static int wrong_address(const char *text, struct reason *why)
{
	return reason__set(why, -EINVAL, "'%s' is no port and no ADDRESS:PORT (9464, 192.0.2.1:9464, [::]:9464)", text);
}

static bool parse_port(const char *text, in_port_t *ret)
{
	size_t digits = strspn(text, "0123456789");
	unsigned long port = strtoul(text, NULL, 10);

	if (digits < 1 || digits > 5 || text[digits] || port > 65535)
		return false;
	*ret = htons((uint16_t)port);
	return true;
}

int metrics_address__parse(const char *text, struct metrics_address *ret, struct reason *why)
{
	const char *colon = strrchr(text, ':');
	size_t len = colon ? (size_t)(colon - text) : 0;
	bool brackets = len > 2 && text[0] == '[' && text[len - 1] == ']';
	char host[INET6_ADDRSTRLEN] = "127.0.0.1";
	in_port_t port;

	memset(ret, 0, sizeof(*ret));
	if (!parse_port(colon ? colon + 1 : text, &port) || len >= sizeof(host) || (colon && !len))
		return wrong_address(text, why);
	if (colon)
		snprintf(host, sizeof(host), "%.*s", (int)(len - 2 * brackets), text + brackets);
	if (!brackets && inet_pton(AF_INET, host, &ret->v4.sin_addr) == 1) {
		ret->v4.sin_family = AF_INET;
		ret->v4.sin_port = port;
		ret->len = sizeof(ret->v4);
		return 0;
	}
	if (!brackets || inet_pton(AF_INET6, host, &ret->v6.sin6_addr) != 1)
		return wrong_address(text, why);
	ret->v6.sin6_family = AF_INET6;
	ret->v6.sin6_port = port;
	ret->len = sizeof(ret->v6);
	return 0;
}

/* The quality of one element, "type/subtype;version=1.0.0;q=0.5": thousandths. */
static int quality(const char *element, size_t len)
{
	const char *end = element + len;
	int q = 1000;

	for (const char *p = element; p < end && (p = memchr(p, ';', (size_t)(end - p)));) {
		p++;
		p += strspn(p, " \t");
		if (p + 2 < end && (*p == 'q' || *p == 'Q') && p[1] == '=')
			q = (int)(strtod(p + 2, NULL) * 1000);
	}
	return q < 0 ? 0 : q > 1000 ? 1000 : q;
}

bool metrics_accept__is_open(const char *accept)
{
	static const char wanted[] = "application/openmetrics-text";
	int open = 0, other = 0;

	for (const char *p = accept; p && *p; p += strcspn(p, ","), p += *p == ',') {
		size_t len, name;
		int q;

		p += strspn(p, " \t");
		len = strcspn(p, ",");
		name = strcspn(p, ";, \t");
		q = quality(p, len);
		if (name == sizeof(wanted) - 1 && strncasecmp(p, wanted, name) == 0)
			open = q > open ? q : open;
		else
			other = q > other ? q : other;
	}
	return open > 0 && open >= other;
}

/* ---- the child ---- */

#ifdef HAVE_MICROHTTPD

struct connection {
	int fd;            /* -1: none */
	uint64_t since_ns;
};

static struct server {
	struct MHD_Daemon *daemon;
	int file;          /* the newest text, -1: none yet */
	struct lengths len;
	uint64_t came_at, stale_ns;
	struct connection connections[CONNECTIONS];
} server = {.file = -1};

static bool is_fresh(void)
{
	return server.file >= 0 && clock__mono_ns() - server.came_at <= server.stale_ns;
}

static enum MHD_Result answer(struct MHD_Connection *c, unsigned int status, struct MHD_Response *response, const char *type)
{
	enum MHD_Result done;

	if (!response)
		return MHD_NO;
	microhttpd.add_response_header(response, "Content-Type", type);
	microhttpd.add_response_header(response, "Connection", "close");
	microhttpd.add_response_header(response, "Cache-Control", "no-store");
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		microhttpd.add_response_header(response, "Allow", "GET, HEAD");
	done = microhttpd.queue_response(c, status, response);
	microhttpd.destroy_response(response);
	return done;
}

static enum MHD_Result answer_words(struct MHD_Connection *c, unsigned int status, const char *words)
{
	return answer(c, status, microhttpd.create_response_from_buffer(strlen(words), (void *)words, MHD_RESPMEM_PERSISTENT),
		      "text/plain; charset=utf-8");
}

static enum MHD_Result answer_metrics(struct MHD_Connection *c)
{
	bool open = metrics_accept__is_open(microhttpd.lookup_connection_value(c, MHD_HEADER_KIND, "Accept"));
	uint64_t size = open ? server.len.open : server.len.text;
	int file = dup(server.file);
	struct MHD_Response *response;

	if (file < 0)
		return MHD_NO;
	response = microhttpd.create_response_from_fd_at_offset64(size, file, open ? 0 : server.len.open);
	if (!response)
		close(file);
	return answer(c, MHD_HTTP_OK, response, open ? "application/openmetrics-text; version=1.0.0; charset=utf-8" :
						       "text/plain; version=0.0.4; charset=utf-8");
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *c, const char *url, const char *method, const char *version,
				  const char *upload, size_t *upload_size, void **state)
{
	bool is_metrics = strcmp(url, "/metrics") == 0, is_health = strcmp(url, "/healthz") == 0;

	if (!is_metrics && !is_health)
		return answer_words(c, MHD_HTTP_NOT_FOUND, "there are /metrics and /healthz\n");
	if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
		return answer_words(c, MHD_HTTP_METHOD_NOT_ALLOWED, "GET and HEAD only\n");
	if (!is_fresh())
		return answer_words(c, MHD_HTTP_SERVICE_UNAVAILABLE, "no samples lately\n");
	return is_metrics ? answer_metrics(c) : answer_words(c, MHD_HTTP_OK, "ok\n");
}

static void on_connection(void *arg, struct MHD_Connection *c, void **state, enum MHD_ConnectionNotificationCode code)
{
	const union MHD_ConnectionInfo *info = microhttpd.get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
	int was = code == MHD_CONNECTION_NOTIFY_STARTED ? -1 : info->connect_fd;

	for (size_t i = 0; i < CONNECTIONS; i++)
		if (server.connections[i].fd == was) {
			server.connections[i].fd = was < 0 ? info->connect_fd : -1;
			server.connections[i].since_ns = clock__mono_ns();
			return;
		}
}

/* A client that sends or reads a byte now and then is not idle for the library, and keeps a place all the same. */
static void end_old_connections(void)
{
	uint64_t now = clock__mono_ns();

	for (size_t i = 0; i < CONNECTIONS; i++)
		if (server.connections[i].fd >= 0 && now - server.connections[i].since_ns > CONNECTION_MS * 1000000ull)
			shutdown(server.connections[i].fd, SHUT_RDWR);
}

/* False: the collector has gone. */
static bool take_text(int channel)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct lengths len;
	struct iovec data = {&len, sizeof(len)};
	struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(channel, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct cmsghdr *c = n == sizeof(len) ? CMSG_FIRSTHDR(&message) : NULL;

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	if (!c || c->cmsg_type != SCM_RIGHTS)
		return n > 0;
	if (server.file >= 0)
		close(server.file);
	memcpy(&server.file, CMSG_DATA(c), sizeof(server.file));
	server.len = len;
	server.came_at = clock__mono_ns();
	return true;
}

static void serve(int channel)
{
	const union MHD_DaemonInfo *info = microhttpd.get_daemon_info(server.daemon, MHD_DAEMON_INFO_EPOLL_FD);
	struct pollfd polls[] = {{.fd = channel, .events = POLLIN}, {.fd = info->epoll_fd, .events = POLLIN}};

	for (;;) {
		MHD_UNSIGNED_LONG_LONG wait_ms;
		int timeout = 1000;

		if (microhttpd.get_timeout(server.daemon, &wait_ms) == MHD_YES && wait_ms < 1000)
			timeout = (int)wait_ms;
		if (poll(polls, 2, timeout) < 0 && errno != EINTR)
			return;
		if (polls[0].revents && !take_text(channel))
			return;
		end_old_connections();
		microhttpd.run(server.daemon);
	}
}

static int start_daemon(int listener, struct reason *why)
{
	int err = microhttpd__load(why);

	if (err)
		return err;
	for (size_t i = 0; i < CONNECTIONS; i++)
		server.connections[i].fd = -1;
	server.daemon = microhttpd.start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, on_request, NULL,
						MHD_OPTION_LISTEN_SOCKET, listener, MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS,
						MHD_OPTION_CONNECTION_TIMEOUT, CONNECTION_MS / 1000,
						MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)REQUEST_BYTES,
						MHD_OPTION_NOTIFY_CONNECTION, on_connection, NULL, MHD_OPTION_END);
	return server.daemon ? 0 : reason__set(why, -EIO, "libmicrohttpd can't serve");
}

#else

static struct {
	uint64_t stale_ns;
} server;

static int start_daemon(int listener, struct reason *why)
{
	return microhttpd__load(why);
}

static void serve(int channel)
{
}

#endif

/* No capability, not root, few descriptors and little memory. */
static int give_up_rights(void)
{
	const struct rlimit files = {32, 32}, none = {0, 0};

	/* Where user ids are not mapped, it stays who it is: without a capability, either way. */
	if (geteuid() == 0 && setgroups(0, NULL) == 0 && setresgid(NOBODY, NOBODY, NOBODY) == 0 &&
	    setresuid(NOBODY, NOBODY, NOBODY))
		return -errno;
	setrlimit(RLIMIT_NOFILE, &files);
	setrlimit(RLIMIT_CORE, &none);
	return caps__give_up();
}

/* Moves the two descriptors to 3 and 4 and closes all others: it writes nowhere else. */
static void keep_only(int *channel, int *listener)
{
	int c = fcntl(*channel, F_DUPFD, 5), l = fcntl(*listener, F_DUPFD, 5), null = open("/dev/null", O_RDWR);

	for (int fd = 0; fd < 3 && null >= 0; fd++)
		dup2(null, fd);
	*channel = dup2(c, 3);
	*listener = dup2(l, 4);
	syscall(SYS_close_range, 5u, ~0u, 0);
}

static _Noreturn void child_main(int channel, int listener)
{
	struct reason why = {{0}};
	sigset_t none;
	int err;

	signal(SIGINT, SIG_IGN); /* Ctrl-C is the collector's: it ends us */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGTERM, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	prctl(PR_SET_NAME, NAME);
	keep_only(&channel, &listener);
	err = give_up_rights();
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* behind the change of user, which forgets it */
	if (err)
		reason__set(&why, err, "its process can't give up its rights: %s", strerror(-err));
	else
		err = start_daemon(listener, &why);
	if (send(channel, why.text, strlen(why.text) + 1, MSG_NOSIGNAL) < 0 || err)
		_exit(1);
	serve(channel);
	_exit(0);
}

/* ---- the collector's end ---- */

static void say_where(int listener, char where[METRICS_WHERE_SIZE])
{
	struct metrics_address at = {.len = sizeof(at) - sizeof(at.len)};
	char host[INET6_ADDRSTRLEN] = "";

	getsockname(listener, &at.any, &at.len);
	if (at.any.sa_family == AF_INET6) {
		inet_ntop(AF_INET6, &at.v6.sin6_addr, host, sizeof(host));
		snprintf(where, METRICS_WHERE_SIZE, "http://[%s]:%u/metrics", host, ntohs(at.v6.sin6_port));
		return;
	}
	inet_ntop(AF_INET, &at.v4.sin_addr, host, sizeof(host));
	snprintf(where, METRICS_WHERE_SIZE, "http://%s:%u/metrics", host, ntohs(at.v4.sin_port));
}

static int open_listener(const struct metrics_address *at, struct reason *why)
{
	int fd = socket(at->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1, err = 0;

	if (fd < 0)
		return reason__set(why, -errno, "metrics can't be served: %s", strerror(errno));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, &at->any, at->len) || listen(fd, CONNECTIONS))
		err = reason__set(why, -errno, "metrics can't be served there: %s", strerror(errno));
	if (!err)
		return fd;
	close(fd);
	return err;
}

/* What the child says when it has begun, or not. */
static int hear(int channel, struct reason *why)
{
	char text[sizeof(why->text)];
	ssize_t n = recv(channel, text, sizeof(text) - 1, 0);

	if (n <= 0)
		return reason__set(why, -EPIPE, "metrics can't be served: their process has ended");
	text[n] = '\0';
	return text[0] ? reason__set(why, -ENOTSUP, "metrics can't be served: %s", text) : 0;
}

static int start_child(struct metrics_server *s, int listener, struct reason *why)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return reason__set(why, -errno, "metrics can't be served: %s", strerror(errno));
	s->channel = pair[0];
	s->pid = fork();
	if (s->pid == 0)
		child_main(pair[1], listener);
	close(pair[1]);
	if (s->pid < 0)
		return reason__set(why, -errno, "metrics can't be served: %s", strerror(errno));
	return hear(s->channel, why);
}

int metrics_server__start(const struct metrics_address *at, uint64_t interval_ns, struct metrics_server **ret,
			  char where[METRICS_WHERE_SIZE], struct reason *why)
{
	struct metrics_server *s = calloc(1, sizeof(*s));
	int listener, err;

	if (!s)
		return reason__set(why, -ENOMEM, "not enough memory");
	s->channel = -1;
	server.stale_ns = 3 * interval_ns + LATE_NS;
	listener = open_listener(at, why);
	err = listener < 0 ? listener : start_child(s, listener, why);
	if (!err)
		say_where(listener, where);
	if (listener >= 0)
		close(listener);
	if (err) {
		metrics_server__stop(s);
		return err;
	}
	*ret = s;
	return 0;
}

static bool write_all(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = write(fd, data, len);

		if (n < 0)
			return false;
		data += n;
		len -= (size_t)n;
	}
	return true;
}

static int send_file(int channel, int file, const struct lengths *len)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {{0}};
	struct iovec data = {(void *)len, sizeof(*len)};
	struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&message);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(file));
	memcpy(CMSG_DATA(c), &file, sizeof(file));
	if (sendmsg(channel, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0 || errno == EAGAIN)
		return 0;
	return -errno;
}

int metrics_server__give(struct metrics_server *s, const char *open, size_t open_len, const char *text, size_t text_len)
{
	const struct lengths len = {open_len, text_len};
	int file = memfd_create("metrics", MFD_CLOEXEC | MFD_ALLOW_SEALING), err = 0;

	if (file < 0)
		return -errno;
	if (!write_all(file, open, open_len) || !write_all(file, text, text_len) ||
	    fcntl(file, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		err = -errno;
	err = err ?: send_file(s->channel, file, &len);
	close(file);
	return err;
}

void metrics_server__stop(struct metrics_server *s)
{
	if (!s)
		return;
	if (s->channel >= 0)
		close(s->channel);
	if (s->pid > 0) {
		kill(s->pid, SIGKILL);
		waitpid(s->pid, NULL, 0);
	}
	free(s);
}
