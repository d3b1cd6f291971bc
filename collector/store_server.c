/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See store_server.h. The server is known by its socket (SO_PEERCRED names the process that listens), never by a
 * pid file, which may be stale. Both processes are forked twice: nobody has to reap them.
 */
#include "store_server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STOP_MS 10000
#define WATCHER_NAME "gilscope-store"

/* ---- after fork ---- */

static int pidfd_of(pid_t pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

/* Closes everything from `first` on but `keep` (-1: nothing is kept). */
static void close_fds(int first, int keep)
{
	struct rlimit limit;
	int last = 65536;

#ifdef SYS_close_range
	if (keep < 0 && syscall(SYS_close_range, first, ~0u, 0) == 0)
		return;
	if (keep >= first && (keep == first || syscall(SYS_close_range, first, keep - 1, 0) == 0) &&
	    syscall(SYS_close_range, keep + 1, ~0u, 0) == 0)
		return;
#endif
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < (rlim_t)last)
		last = (int)limit.rlim_cur;
	for (int fd = first; fd < last; fd++)
		if (fd != keep)
			close(fd);
}

/* Signals as a program finds them that was started from a shell. */
static void plain_signals(void)
{
	sigset_t none;

	for (int signo = 1; signo < NSIG; signo++)
		signal(signo, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Standard descriptors: nothing in, what is said goes to `out_path` (NULL: nowhere). */
static void plain_stdio(const char *out_path)
{
	int in = open("/dev/null", O_RDWR), out = out_path ? open(out_path, O_WRONLY | O_APPEND | O_CREAT, 0640) : -1;

	dup2(in, 0);
	dup2(out >= 0 ? out : in, 1);
	dup2(out >= 0 ? out : in, 2);
}

/* ---- stop ---- */

static int connect_to(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), err;

	if (fd < 0)
		return -errno;
	strncpy(addr.sun_path, path, sizeof(addr.sun_path) - 1);
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
		return fd;
	err = -errno;
	close(fd);
	return err;
}

int store_server__probe(const char *socket_path)
{
	int fd = connect_to(socket_path);

	if (fd >= 0)
		close(fd);
	/* Its backlog is full: it is there. */
	return fd >= 0 || fd == -EAGAIN ? 0 : fd;
}

static int end_process(pid_t pid)
{
	struct pollfd p = {.fd = pidfd_of(pid), .events = POLLIN};
	int err = 0;

	if (p.fd < 0)
		return errno == ESRCH ? 0 : -errno;
	if (kill(pid, SIGTERM) < 0)
		err = errno == ESRCH ? 0 : -errno;
	else if (poll(&p, 1, STOP_MS) == 0 && kill(pid, SIGKILL) == 0)
		poll(&p, 1, STOP_MS);
	close(p.fd);
	return err;
}

int store_server__stop(const char *socket_path)
{
	struct ucred peer = {.pid = 0};
	socklen_t len = sizeof(peer);
	int fd = connect_to(socket_path), err;

	if (fd < 0)
		return fd == -ECONNREFUSED || fd == -ENOENT ? 0 : fd;
	err = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 ? -errno : 0;
	/* The connection is held until the end: while it stands, the number is that process's. */
	if (!err)
		err = peer.pid > 0 ? end_process(peer.pid) : -ESRCH;
	close(fd);
	return err;
}

/* ---- start ---- */

#define MAX_WORDS 64

struct server_command {
	char program[PATH_MAX];
	const char *argv[MAX_WORDS];
	int argc;
	char maxmemory[24];
};

static int find_program(char path[PATH_MAX])
{
	const char *d = getenv("PATH");

	if (!d || !*d)
		d = "/usr/local/bin:/usr/bin:/bin";
	for (; *d; d += strspn(d, ":")) {
		size_t len = strcspn(d, ":");
		int n = snprintf(path, PATH_MAX, "%.*s/redis-server", (int)len, d);

		if (d[0] == '/' && n < PATH_MAX && access(path, X_OK) == 0)
			return 0;
		d += len;
	}
	return -ENOENT;
}

static void add_option(struct server_command *c, const char *name, const char *value)
{
	c->argv[c->argc++] = name;
	c->argv[c->argc++] = value;
}

static void build_command(struct server_command *c, const struct store_paths *p, unsigned long long cap)
{
	static const char *const fixed[][2] = {
		{"--port", "0"},
		{"--daemonize", "no"},
		{"--loglevel", "warning"},
		{"--save", ""},
		{"--appendonly", "yes"},
		{"--appendfsync", "everysec"},
		{"--no-appendfsync-on-rewrite", "yes"},
		{"--aof-load-truncated", "yes"},
		{"--auto-aof-rewrite-min-size", "16mb"},
		{"--maxmemory-policy", "volatile-ttl"},
		{"--lazyfree-lazy-eviction", "yes"},
		{"--lazyfree-lazy-expire", "yes"},
		{"--lazyfree-lazy-server-del", "yes"},
		{"--stop-writes-on-bgsave-error", "no"},
	};
	/* Through these a member of the group could write files as root where Redis is older than 7.0. */
	static const char *const forbidden[] = {"CONFIG", "MODULE", "DEBUG", "REPLICAOF", "SLAVEOF", "SAVE", "BGSAVE"};

	c->argv[c->argc++] = "redis-server";
	for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
		add_option(c, fixed[i][0], fixed[i][1]);
	snprintf(c->maxmemory, sizeof(c->maxmemory), "%llu", cap);
	add_option(c, "--maxmemory", c->maxmemory);
	add_option(c, "--unixsocket", p->socket);
	add_option(c, "--unixsocketperm", geteuid() == 0 ? "770" : "700");
	add_option(c, "--dir", p->data_dir);
	add_option(c, "--pidfile", p->pid_file);
	add_option(c, "--logfile", p->log);
	for (size_t i = 0; geteuid() == 0 && i < sizeof(forbidden) / sizeof(forbidden[0]); i++) {
		c->argv[c->argc++] = "--rename-command";
		add_option(c, forbidden[i], "");
	}
}

/* What the two children tell: the server's PID, and why it could not be executed. */
struct start_note {
	pid_t pid;
	int err;
};

static _Noreturn void become_server(const struct server_command *c, const struct store_paths *p, int tell)
{
	static char *const env[] = {"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8", NULL};
	struct start_note note = {.pid = 0};

	plain_signals();
	plain_stdio(p->log);
	umask(027);
	if (chdir("/") == 0) {
		close_fds(3, tell);
		execve(c->program, (char *const *)c->argv, env);
	}
	note.err = errno;
	if (write(tell, &note, sizeof(note)) < 0)
		_exit(126);
	_exit(127);
}

static _Noreturn void fork_server(const struct server_command *c, const struct store_paths *p, int tell)
{
	struct start_note note = {.pid = 0};

	setsid();
	note.pid = fork();
	if (note.pid == 0)
		become_server(c, p, tell);
	note.err = note.pid < 0 ? errno : 0;
	_exit(write(tell, &note, sizeof(note)) < 0);
}

/* Both notes, in whatever order; the end of the pipe says that exec() worked. */
static int read_notes(int fd, pid_t *ret_pid)
{
	struct start_note note;
	int err = 0;
	ssize_t n;

	*ret_pid = 0;
	while ((n = read(fd, &note, sizeof(note))) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n != sizeof(note))
			return -EIO;
		if (note.pid > 0)
			*ret_pid = note.pid;
		if (note.err)
			err = -note.err;
	}
	return !err && *ret_pid == 0 ? -EIO : err;
}

static void reap(pid_t pid)
{
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

int store_server__start(const struct store_paths *paths, unsigned long long cap, int *ret_pidfd, struct reason *why)
{
	struct server_command c = {.argc = 0};
	int tell[2], err, pidfd;
	pid_t child, server;

	if (find_program(c.program))
		return reason__set(why, -ENOENT, "the embedded store needs redis-server, which is not installed: install it "
				   "(apt-get install redis-server), or name a server with --redis, or use --no-store");
	build_command(&c, paths, cap);
	if (pipe2(tell, O_CLOEXEC) < 0)
		return reason__set(why, -errno, "store: pipe: %s", strerror(errno));
	child = fork();
	if (child == 0)
		fork_server(&c, paths, tell[1]);
	err = child < 0 ? -errno : 0;
	close(tell[1]);
	if (!err) {
		err = read_notes(tell[0], &server);
		reap(child);
	}
	close(tell[0]);
	if (err)
		return reason__set(why, err, "store: can't start %s: %s", c.program, strerror(-err));
	pidfd = pidfd_of(server);
	if (pidfd < 0)
		return reason__set(why, -errno, "store: %s ended at once", c.program);
	*ret_pidfd = pidfd;
	return 0;
}

/* ---- the watcher ---- */

/* Where the command line stands in memory: the watcher's copy is overwritten, so that ps shows what it is. */
struct own_argv {
	char *start;
	size_t len;
};

static struct own_argv find_argv(void)
{
	struct own_argv a = {NULL, 0};
	unsigned long start = 0, end = 0;
	FILE *f = fopen("/proc/self/stat", "re");
	char line[2048], *p;

	if (!f)
		return a;
	p = fgets(line, sizeof(line), f) ? strrchr(line, ')') : NULL;
	fclose(f);
	/* Fields 48 and 49; the state, field 3, follows the name. */
	for (int field = 2; p && field < 48; field++)
		p = strchr(p + 1, ' ');
	if (p && sscanf(p, " %lu %lu", &start, &end) == 2 && start && end > start)
		a = (struct own_argv){(char *)start, end - start};
	return a;
}

static void take_name(struct own_argv a)
{
	prctl(PR_SET_NAME, WATCHER_NAME);
	if (a.len < sizeof(WATCHER_NAME))
		return;
	memset(a.start, 0, a.len);
	memcpy(a.start, WATCHER_NAME, sizeof(WATCHER_NAME));
}

static int lock_file(int fd, int how)
{
	int rv;

	do {
		rv = flock(fd, how);
	} while (rv < 0 && errno == EINTR);
	return rv;
}

/*
 * Blocks in flock() until all users are gone. What it then has is given back before it takes the start lock (an opener
 * holds that one while it asks for a share), and asked for again under it, to be sure.
 */
static _Noreturn void watch(const struct store_paths *p, const char *start_lock, int watch_fd)
{
	int users = open(p->lock, O_RDONLY | O_CLOEXEC), start;

	while (users >= 0 && lock_file(users, LOCK_EX) == 0) {
		flock(users, LOCK_UN);
		start = open(start_lock, O_RDONLY | O_CLOEXEC);
		if (start < 0 || lock_file(start, LOCK_EX) < 0)
			break;
		if (lock_file(users, LOCK_EX | LOCK_NB) == 0) {
			store_server__stop(p->socket);
			/* Before the start lock goes: whoever takes it then must not take us for alive. */
			close(watch_fd);
			_exit(0);
		}
		close(start);
	}
	_exit(1);
}

int store_server__watch(const struct store_paths *paths, const char *start_lock, int watch_fd)
{
	struct own_argv argv = find_argv();
	pid_t child = fork();

	if (child < 0)
		return -errno;
	if (child > 0) {
		reap(child);
		return 0;
	}
	setsid();
	if (fork() != 0)
		_exit(0);
	plain_signals();
	plain_stdio(NULL);
	close_fds(3, watch_fd);
	take_name(argv);
	if (chdir("/") < 0)
		_exit(1);
	watch(paths, start_lock, watch_fd);
}
