/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See store_server.h: the life of the hand, and the redis-server that it starts. The server is forked twice: nobody has to reap
 * it, and it survives its starter. It gets its directories as descriptors, since the way to them is root's alone.
 */
#include "store_server.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdbool.h>
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
#include <unistd.h>

#include "collector/process/caps.h"
#include "collector/process/procstat.h"

#define STOP_MS 10000
#define HAND_NAME "gilscope-store"

/* ---- after fork ---- */

static int pidfd_of(pid_t pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0);
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

/* Moves descriptors to 3 and up, in that order, and closes all others. `fds` are their new numbers then. */
static int keep_only(int **fds, int n)
{
	/* Out of the way first. */
	for (int i = 0; i < n; i++) {
		*fds[i] = fcntl(*fds[i], F_DUPFD_CLOEXEC, 64);
		if (*fds[i] < 0)
			return -errno;
	}
	for (int i = 0; i < n; i++)
		if (dup3(*fds[i], 3 + i, O_CLOEXEC) < 0)
			return -errno;
		else
			*fds[i] = 3 + i;
	if (syscall(SYS_close_range, 3 + n, ~0u, 0))
		for (int fd = 3 + n; fd < 65536; fd++)
			close(fd);
	return 0;
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

/* A connection, and who is at its other end. */
static int connect_to_server(const char *socket_path, struct ucred *ret)
{
	socklen_t len = sizeof(*ret);
	int fd = connect_to(socket_path), err;

	if (fd >= 0 && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, ret, &len) < 0) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

int store_server__whose(const char *socket_path, uid_t *ret)
{
	struct ucred peer;
	int fd = connect_to_server(socket_path, &peer);

	if (fd < 0)
		return fd;
	close(fd);
	*ret = peer.uid;
	return 0;
}

int store_server__stop(const char *socket_path)
{
	struct ucred peer = {.pid = 0};
	int fd = connect_to_server(socket_path, &peer), err;

	if (fd < 0)
		return fd == -ECONNREFUSED || fd == -ENOENT ? 0 : fd;
	/* The connection is held until the end: while it stands, the number is that process's. */
	err = peer.pid > 0 ? end_process(peer.pid) : -ESRCH;
	close(fd);
	return err;
}

/* ---- start ---- */

#define SERVER_DIR_FD 3
#define DATA_DIR_FD 4

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

/* What the two children tell: the server's PID, and why it could not be executed. */
struct store_note {
	pid_t pid;
	int err;
};

/* What it reads must fit into a pipe without a reader. */
static int config_pipe(const char *config)
{
	const size_t len = strlen(config);
	int ends[2];

	if (pipe2(ends, O_CLOEXEC))
		return -1;
	if (write(ends[1], config, len) != (ssize_t)len)
		return -1;
	close(ends[1]);
	return ends[0];
}

static _Noreturn void become_server(const struct store_server *s, const char *program, int tell)
{
	static char *const argv[] = {(char *)"redis-server", (char *)"-", NULL};
	static char *const env[] = {(char *)"PATH=/usr/local/bin:/usr/bin:/bin", (char *)"LANG=C.UTF-8", NULL};
	struct store_note note = {.pid = 0};
	int in = config_pipe(s->config), dirs[] = {s->server_dir, s->data_dir}, log = s->log;
	int *keep[] = {&dirs[0], &dirs[1], &in, &log, &tell};

	plain_signals();
	umask(077);
	if (in >= 0 && keep_only(keep, 5) == 0 && dup2(in, 0) == 0 && dup2(log, 1) == 1 && dup2(log, 2) == 2) {
		fcntl(SERVER_DIR_FD, F_SETFD, 0);
		fcntl(DATA_DIR_FD, F_SETFD, 0);
		execve(program, argv, env);
	}
	note.err = errno;
	if (write(tell, &note, sizeof(note)) < 0)
		_exit(126);
	_exit(127);
}

static _Noreturn void fork_server(const struct store_server *s, const char *program, int tell)
{
	struct store_note note = {.pid = 0};

	setsid();
	note.pid = fork();
	if (note.pid == 0)
		become_server(s, program, tell);
	note.err = note.pid < 0 ? errno : 0;
	_exit(write(tell, &note, sizeof(note)) < 0);
}

/* Both notes, in whatever order; the end of the pipe says that exec() worked. */
static int read_notes(int fd, pid_t *ret_pid)
{
	struct store_note note;
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

static void say(struct store_answer *a, int err, const char *what, const char *name)
{
	a->err = err;
	snprintf(a->text, sizeof(a->text), "%s %.200s: %s", what, name, strerror(-err));
}

static void start_server(const struct store_server *s, struct store_answer *a)
{
	char program[PATH_MAX];
	int tell[2], err = find_program(program);
	pid_t child;

	if (err) {
		a->err = err;
		snprintf(a->text, sizeof(a->text), "the embedded store needs redis-server, which is not installed: install it "
			 "(apt-get install redis-server), or name a server with --redis, or use --no-store");
		return;
	}
	if (pipe2(tell, O_CLOEXEC) < 0) {
		say(a, -errno, "can't start", program);
		return;
	}
	child = fork();
	if (child == 0)
		fork_server(s, program, tell[1]);
	err = child < 0 ? -errno : 0;
	close(tell[1]);
	if (!err) {
		err = read_notes(tell[0], &a->number);
		reap(child);
	}
	close(tell[0]);
	if (err)
		say(a, err, "can't start", program);
}

/* ---- the server's files ---- */

/* Append-only files by the names that Redis 7 and earlier ones give. */
static const char *const data_names[] = {"appendonlydir", "appendonly.aof"};

#define DATA_NAMES_N (sizeof(data_names) / sizeof(data_names[0]))

/* Renames the append-only data to NAME.damaged-N. Nothing is ever deleted. */
static void move_aside(const struct store_server *s, struct store_answer *a)
{
	struct stat st;

	for (size_t i = 0; i < DATA_NAMES_N; i++) {
		char to[64];
		int n = 0;

		if (fstatat(s->data_dir, data_names[i], &st, AT_SYMLINK_NOFOLLOW))
			continue;
		do
			snprintf(to, sizeof(to), "%s.damaged-%d", data_names[i], ++n);
		while (fstatat(s->data_dir, to, &st, AT_SYMLINK_NOFOLLOW) == 0 && n < 1000);
		if (renameat(s->data_dir, data_names[i], s->data_dir, to)) {
			say(a, -errno, "can't move aside the damaged", data_names[i]);
			return;
		}
		a->number++;
		snprintf(a->text, sizeof(a->text), "%s", to);
	}
}

/* One append-only file, or the directory with the files in it (never deeper). */
static int remove_data(int dir, const char *name)
{
	int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), err = 0;
	DIR *entries = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *e;

	if (!entries)
		return unlinkat(dir, name, 0) == 0 || errno == ENOENT ? 0 : -errno;
	while ((e = readdir(entries)) != NULL)
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..") && unlinkat(fd, e->d_name, 0) < 0)
			err = -errno;
	closedir(entries);
	return err ? err : unlinkat(dir, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

static void clear(const struct store_server *s, struct store_answer *a)
{
	for (size_t i = 0; i < DATA_NAMES_N; i++) {
		int err = remove_data(s->data_dir, data_names[i]);

		if (err)
			say(a, err, "can't remove", data_names[i]);
	}
}

/* ---- the hand ---- */

/* Where the command line stands in memory: the hand's copy is overwritten, so that ps shows what it is. */
struct own_argv {
	char *start;
	size_t len;
};

static struct own_argv find_argv(void)
{
	struct procstat own;

	if (procstat__read(getpid(), 0, &own) || !own.arg_start || own.arg_end <= own.arg_start)
		return (struct own_argv){NULL, 0};
	return (struct own_argv){(char *)own.arg_start, own.arg_end - own.arg_start};
}

static void take_name(struct own_argv a)
{
	prctl(PR_SET_NAME, HAND_NAME);
	if (a.len < sizeof(HAND_NAME))
		return;
	memset(a.start, 0, a.len);
	memcpy(a.start, HAND_NAME, sizeof(HAND_NAME));
}

static int lock_file(int fd, int how)
{
	int rv;

	do {
		rv = flock(fd, how);
	} while (rv < 0 && errno == EINTR);
	return rv;
}

static int become_user(const struct store_server *s)
{
	const struct rlimit no_core = {0, 0};

	setrlimit(RLIMIT_CORE, &no_core);
	if (s->uid != geteuid() &&
	    (setgroups(0, NULL) || setresgid(s->gid, s->gid, s->gid) || setresuid(s->uid, s->uid, s->uid)))
		return -errno;
	prctl(PR_SET_DUMPABLE, 0);
	return 0;
}

/* The bounding set goes while there is a right to drop it; what follows takes others. */
static int give_up_rights(const struct store_server *s)
{
	int err;

	caps__seal();
	err = become_user(s);
	return err ?: caps__give_up();
}

/* Out of reach of the terminal, with nothing open but what it needs; its place is the server's directory. */
static int step_aside(struct store_server *s)
{
	struct own_argv argv = find_argv();
	int *keep[] = {&s->control, &s->server_dir, &s->data_dir, &s->log, &s->users, &s->start, &s->watch}, null, err;

	setsid();
	plain_signals();
	signal(SIGPIPE, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int fd = 0; null >= 0 && fd <= 2; fd++)
		dup2(null, fd);
	err = keep_only(keep, sizeof(keep) / sizeof(keep[0]));
	take_name(argv);
	return err ?: fchdir(s->server_dir) ? -errno : 0;
}

static void obey(const struct store_server *s, enum store_deed deed, struct store_answer *a)
{
	switch (deed) {
	case STORE_START:
		start_server(s, a);
		break;
	case STORE_STOP:
		a->err = store_server__stop(STORE_SOCKET_NAME);
		if (a->err)
			say(a, a->err, "can't stop", "redis-server");
		break;
	case STORE_MOVE_ASIDE:
		move_aside(s, a);
		break;
	case STORE_CLEAR:
		clear(s, a);
		break;
	}
}

static bool answer(const struct store_server *s, const struct store_answer *a)
{
	return send(s->control, a, sizeof(*a), MSG_NOSIGNAL) == (ssize_t)sizeof(*a);
}

static void serve(const struct store_server *s)
{
	struct store_order order;
	ssize_t n;

	while ((n = recv(s->control, &order, sizeof(order), 0)) != 0) {
		struct store_answer a = {0};

		if (n < 0 && errno == EINTR)
			continue;
		if (n != sizeof(order))
			break;
		obey(s, order.deed, &a);
		if (!answer(s, &a))
			break;
	}
	close(s->control);
}

/*
 * One of all hands whose gilscope has ended is enough. It blocks in flock() until all users are gone. What it then has is given
 * back before it takes the start lock (an opener holds that one while it asks for a share), and asked for again under it, to be
 * sure.
 */
static void watch(const struct store_server *s)
{
	if (flock(s->watch, LOCK_EX | LOCK_NB))
		return;
	while (lock_file(s->users, LOCK_EX) == 0) {
		flock(s->users, LOCK_UN);
		if (lock_file(s->start, LOCK_EX))
			return;
		if (lock_file(s->users, LOCK_EX | LOCK_NB) == 0) {
			store_server__stop(STORE_SOCKET_NAME);
			/* Before the start lock goes: whoever takes it then must not take us for one that watches. */
			close(s->watch);
			return;
		}
		flock(s->start, LOCK_UN);
	}
}

void store_server__main(struct store_server *s)
{
	struct store_answer a = {0};

	a.err = step_aside(s);
	a.err = a.err ?: give_up_rights(s);
	if (answer(s, &a) && !a.err) {
		serve(s);
		watch(s);
	}
	_exit(a.err != 0);
}
