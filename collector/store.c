/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The embedded store: where it is, who shares it, when it starts and ends. See store.h; processes are store_server.c's.
 *
 * Three lock files in run_dir, none of which is ever removed:
 *
 *   lock        each user holds it shared. Who can have it exclusively knows that nobody else uses the store.
 *   start.lock  exclusive while somebody starts, stops or clears. Taken before `lock` is judged.
 *   watch.lock  held by the watcher for its life. The opener takes it and lets the watcher inherit it.
 *
 * Normally the last user out stops the server itself; the watcher is there for users that were killed.
 */
#include "store.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "redis_conn.h"
#include "run_dir.h"
#include "store_server.h"
#include "sure_path.h"

#define GROUP "gilscope"
#define SYSTEM_DATA_DIR "/var/lib/gilscope"
#define CAP_BYTES (512ull << 20)
#define CAP_SHARE_OF_RAM 20      /* a twentieth */
#define START_LOCK_MS 30000      /* another one may be starting or stopping the server */
#define READY_MS 60000           /* a full append-only file is read in seconds */
#define PING_MS 1000
#define MAX_LOG_BYTES (1 << 20)

struct store {
	struct store_paths paths;
	char url[400];
	unsigned long long cap;
	int users_fd;            /* shared lock */
	bool mine;               /* the directories are ours: we may start and stop */
};

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* ---- where it is ---- */

static int fill_paths(struct store_paths *p, const char *run_dir, const char *data_dir, struct reason *why)
{
	char socket_path[PATH_MAX];

	if (snprintf(p->run_dir, PATH_MAX, "%s", run_dir) >= PATH_MAX - 32 ||
	    snprintf(p->data_dir, PATH_MAX, "%s", data_dir) >= PATH_MAX - 64)
		return reason__set(why, -ENAMETOOLONG, "store: the directory's name is too long");
	snprintf(socket_path, sizeof(socket_path), "%.4000s/redis.sock", run_dir);
	if (strlen(socket_path) >= sizeof(p->socket))
		return reason__set(why, -ENAMETOOLONG, "store: %.200s is %zu bytes long, a socket's path must stay below %zu; "
				   "choose a shorter directory (XDG_RUNTIME_DIR, GILSCOPE_STORE_DIR)", socket_path,
				   strlen(socket_path), sizeof(p->socket));
	strcpy(p->socket, socket_path);
	snprintf(p->lock, PATH_MAX, "%.4000s/lock", run_dir);
	snprintf(p->pid_file, PATH_MAX, "%.4000s/redis.pid", run_dir);
	snprintf(p->log, PATH_MAX, "%.4000s/redis.log", run_dir);
	return 0;
}

static int user_paths(struct store_paths *ret, struct reason *why)
{
	const char *state = run_dir__from_env("XDG_STATE_HOME"), *home = run_dir__from_env("HOME");
	char run_dir[PATH_MAX], data_dir[PATH_MAX];

	if (!state && !home)
		return reason__set(why, -ENOENT, "store: neither HOME nor XDG_STATE_HOME says where this user's data belongs");
	run_dir__path(run_dir);
	if (state)
		snprintf(data_dir, sizeof(data_dir), "%.4000s/gilscope", state);
	else
		snprintf(data_dir, sizeof(data_dir), "%.4000s/.local/state/gilscope", home);
	return fill_paths(ret, run_dir, data_dir, why);
}

/* GILSCOPE_STORE_DIR: one directory for both. 1 if it is set. */
static int override_paths(struct store_paths *ret, struct reason *why)
{
	const char *dir = getenv("GILSCOPE_STORE_DIR");
	char data_dir[PATH_MAX];
	int err;

	if (!dir || !dir[0])
		return 0;
	if (dir[0] != '/')
		return reason__set(why, -EINVAL, "GILSCOPE_STORE_DIR: %s is not an absolute path", dir);
	snprintf(data_dir, sizeof(data_dir), "%.4000s/data", dir);
	err = fill_paths(ret, dir, data_dir, why);
	return err ? err : 1;
}

int store__paths(struct store_paths *ret, struct reason *why)
{
	int rv = override_paths(ret, why);

	if (rv != 0)
		return rv < 0 ? rv : 0;
	if (geteuid() == 0)
		return fill_paths(ret, RUN_DIR_SYSTEM, SYSTEM_DATA_DIR, why);
	return user_paths(ret, why);
}

/* Append-only files by the names that Redis 7 and earlier ones give. */
static const char *const data_names[] = {"appendonlydir", "appendonly.aof"};

static bool has_data(const struct store_paths *p)
{
	char path[PATH_MAX + 32];

	for (size_t i = 0; i < sizeof(data_names) / sizeof(data_names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", p->data_dir, data_names[i]);
		if (access(path, F_OK) == 0)
			return true;
	}
	return false;
}

static int refuse_access(const struct store_paths *p, struct reason *why)
{
	return reason__set(why, -EACCES, "the store in %s is not yours to read: use sudo, or join group " GROUP, p->run_dir);
}

/* What listens there is asked and told everything: it must be in a directory of this user's or of root's, and theirs itself. */
static int judge_socket(const struct store_paths *p, struct reason *why)
{
	struct stat st;
	int dir = sure_path__dir(p->run_dir, &st, why), err = 0;

	if (dir < 0)
		return dir;
	if (fstatat(dir, strrchr(p->socket, '/') + 1, &st, AT_SYMLINK_NOFOLLOW))
		err = errno == ENOENT || errno == EACCES ? 0 : -errno;
	else if (!S_ISSOCK(st.st_mode))
		err = reason__set(why, -EEXIST, "%s is in the way: not a socket", p->socket);
	else if (st.st_uid != geteuid() && st.st_uid != 0)
		err = reason__set(why, -EPERM, "%s belongs to another user (uid %u)", p->socket, (unsigned int)st.st_uid);
	close(dir);
	return err;
}

/* Nothing is said to what is not ours. 0, -ENOENT: nothing is there, -ECONNREFUSED ... */
static int probe(const struct store_paths *p, struct reason *why)
{
	struct reason detail = {""};
	int err = judge_socket(p, &detail);

	if (err && err != -ENOENT)
		return reason__set(why, err, "store: %s", detail.text);
	return err ? err : store_server__probe(p->socket);
}

/* 0: a reader can use it now or start it; -ENOENT: there is nothing; -EACCES. */
static int usable(const struct store_paths *p, struct reason *why)
{
	struct reason detail = {""};
	int err = probe(p, &detail);
	struct stat st;

	if (detail.text[0])
		return reason__set(why, -EACCES, "%s", detail.text);
	if (err == -EACCES || err == -EPERM)
		return refuse_access(p, why);
	if (err == 0)
		return 0;
	if (stat(p->data_dir, &st) < 0)
		return errno == EACCES ? refuse_access(p, why) : -ENOENT;
	if (st.st_uid != geteuid())
		return reason__set(why, -EACCES, "the store in %s is not running and not yours to start: use sudo", p->data_dir);
	return has_data(p) ? 0 : -ENOENT;
}

int store__find(struct store_paths *ret, struct reason *why)
{
	struct store_paths own, sys;
	int only = override_paths(&own, why), err;

	if (only < 0)
		return only;
	if (only == 0 && geteuid() != 0 && user_paths(&own, why) == 0 && usable(&own, NULL) == 0) {
		*ret = own;
		return 0;
	}
	err = only ? 0 : fill_paths(&sys, RUN_DIR_SYSTEM, SYSTEM_DATA_DIR, why);
	if (err)
		return err;
	*ret = only ? own : sys;
	err = usable(ret, why);
	if (err == -ENOENT)
		reason__set(why, err, "nothing has been stored yet (looked in %s): gilscope attach PID begins a history",
			    ret->data_dir);
	return err;
}

/* ---- directories and locks ---- */

static int make_parents(const char *dir)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s", dir);
	for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(path, geteuid() == 0 ? 0755 : 0700) < 0 && errno != EEXIST)
			return -errno;
		*slash = '/';
	}
	return 0;
}

/* A directory of ours, 0750; *ret_mine false if it is root's and we are not. */
static int make_dir(const char *dir, bool *ret_mine, struct reason *why)
{
	struct reason detail = {""};
	struct stat st;
	int fd, err = make_parents(dir);

	if (!err && mkdir(dir, 0750) < 0 && errno != EEXIST)
		err = -errno;
	if (err)
		return reason__set(why, err, "store: %s: %s", dir, strerror(-err));
	fd = sure_path__dir(dir, &st, &detail);
	if (fd == -ENOTDIR)
		return reason__set(why, fd, "store: %s is in the way: not a directory", dir);
	if (fd < 0)
		return reason__set(why, fd, "store: %s; use sudo as that user, or another GILSCOPE_STORE_DIR", detail.text);
	close(fd);
	*ret_mine = st.st_uid == geteuid();
	return 0;
}

/* Lets group gilscope in, where root runs it and the group exists: sockets and locks made there are the group's. */
static void share_with_group(const char *run_dir)
{
	struct group *g = geteuid() == 0 ? getgrnam(GROUP) : NULL;

	if (g && (chown(run_dir, 0, g->gr_gid) < 0 || chmod(run_dir, 02750) < 0))
		log_warn("store: %s: can't let group %s in: %s", run_dir, GROUP, strerror(errno));
}

static bool is_roots(const char *dir)
{
	struct stat st;

	return stat(dir, &st) == 0 && st.st_uid == 0;
}

static int prepare_dirs(const struct store_paths *p, bool *ret_mine, struct reason *why)
{
	bool run_mine, data_mine = false;
	int err;

	/* A running store of root's: nothing to be made here. */
	if (geteuid() != 0 && is_roots(p->run_dir) && probe(p, NULL) == 0) {
		*ret_mine = false;
		return 0;
	}
	err = make_dir(p->run_dir, &run_mine, why);
	if (!err)
		err = make_dir(p->data_dir, &data_mine, why);
	if (err)
		return err;
	if (!run_mine || !data_mine)
		return reason__set(why, -EPERM, "store: %s belongs to another user (uid 0); use sudo, or another "
				   "GILSCOPE_STORE_DIR", run_mine ? p->data_dir : p->run_dir);
	share_with_group(p->run_dir);
	*ret_mine = true;
	return 0;
}

static void lock_path(char path[PATH_MAX + 32], const struct store_paths *p, const char *name)
{
	snprintf(path, PATH_MAX + 32, "%s/%s", p->run_dir, name);
}

static int open_lock(const char *path, bool mine, struct reason *why)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | (mine ? O_CREAT : 0), 0640);

	return fd >= 0 ? fd : reason__set(why, -errno, "store: %s: %s", path, strerror(errno));
}

/* The start lock; others hold it for as long as a server takes to start or stop. Descriptor or -errno. */
static int take_start_lock(const struct store_paths *p, bool mine, struct reason *why)
{
	int64_t until = now_ms() + START_LOCK_MS;
	char path[PATH_MAX + 32];
	int fd;

	lock_path(path, p, "start.lock");
	fd = open_lock(path, mine, why);
	while (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if ((errno != EWOULDBLOCK && errno != EINTR) || now_ms() > until) {
			close(fd);
			return reason__set(why, -ETIMEDOUT, "store: %s is held by another gilscope for too long", path);
		}
		poll(NULL, 0, 20);
	}
	return fd;
}

/* ---- start ---- */

static unsigned long long wanted_cap(void)
{
	unsigned long long ram = (unsigned long long)sysconf(_SC_PHYS_PAGES) * (unsigned long long)sysconf(_SC_PAGESIZE);

	return ram / CAP_SHARE_OF_RAM < CAP_BYTES ? ram / CAP_SHARE_OF_RAM : CAP_BYTES;
}

/* unix:// and the path, with what has a meaning in a URL encoded. */
static void make_url(char *url, size_t size, const char *path)
{
	size_t n = (size_t)snprintf(url, size, "unix://");

	for (; *path && n + 4 < size; path++) {
		bool plain = isalnum((unsigned char)*path) || strchr("/._-+=,:~", *path);

		n += (size_t)snprintf(url + n, size - n, plain ? "%c" : "%%%02X", (unsigned char)*path);
	}
}

/*
 * Waits until the server answers PING. `pidfd` is readable when it has died, -1: it is not our child. 0, -ECHILD (it
 * ended), -ETIMEDOUT, -errno.
 */
static int wait_ready(const struct store *s, int pidfd, struct reason *why)
{
	int64_t until = now_ms() + READY_MS;
	struct redis_url url;
	int err = redis_url__parse(s->url, &url, why);

	while (!err) {
		struct pollfd p = {.fd = pidfd, .events = POLLIN};
		struct redisContext *c = NULL;

		err = redis_conn__open(&url, PING_MS, &c, why);
		redis_conn__close(c);
		if (err == 0)
			return 0;
		if (poll(&p, 1, 20) > 0)
			return reason__set(why, -ECHILD, "store: redis-server ended while starting");
		/* Not there yet, or reading its file; a server that we did not start is there or never will be. */
		if (err == -EAGAIN || (pidfd >= 0 && (err == -ENOENT || err == -ECONNREFUSED || err == -ETIMEDOUT)))
			err = now_ms() > until ? -ETIMEDOUT : 0;
	}
	return err;
}

static long log_size(const struct store_paths *p)
{
	struct stat st;

	if (stat(p->log, &st) < 0)
		return 0;
	if (st.st_size > MAX_LOG_BYTES && truncate(p->log, 0) == 0)
		return 0;
	return (long)st.st_size;
}

/* What the server logged from `offset` on, at most its last 4 kB. */
static void read_log(const struct store_paths *p, long offset, char text[4096])
{
	FILE *f = fopen(p->log, "re");
	size_t n = 0;

	if (f && fseek(f, 0, SEEK_END) == 0) {
		long end = ftell(f);

		if (end - offset > 4095)
			offset = end - 4095;
		if (fseek(f, offset, SEEK_SET) == 0)
			n = fread(text, 1, 4095, f);
	}
	if (f)
		fclose(f);
	text[n] = '\0';
}

static const char *last_line(char *text)
{
	size_t len = strlen(text);
	char *line;

	while (len > 0 && text[len - 1] == '\n')
		text[--len] = '\0';
	line = strrchr(text, '\n');
	return line ? line + 1 : text;
}

/* Whether it gave up because of what is in its append-only file (and not for want of a permission or of memory). */
static bool log_says_damaged(const char *text)
{
	static const char *const words[] = {
		"Bad file format", "Unexpected end of file", "Invalid AOF", "AOF manifest", "RDB preamble", "RDB ERROR",
		"Short read or OOM loading", "Wrong signature", "Internal error in RDB", "checksum", "CRC error",
		"Can't handle RDB format", "doesn't exist", "Unknown command", "Unrecoverable error reading",
		"Unable to obtain the AOF file",
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcasestr(text, words[i]))
			return true;
	return false;
}

/* Renames the append-only data to NAME.damaged-N. Nothing is ever deleted. */
static int move_aside(const struct store_paths *p, struct reason *why)
{
	char from[PATH_MAX + 32], to[PATH_MAX + 64];

	for (size_t i = 0; i < sizeof(data_names) / sizeof(data_names[0]); i++) {
		int n = 1;

		snprintf(from, sizeof(from), "%s/%s", p->data_dir, data_names[i]);
		if (access(from, F_OK) < 0)
			continue;
		do {
			snprintf(to, sizeof(to), "%s.damaged-%d", from, n);
		} while (access(to, F_OK) == 0 && ++n < 1000);
		if (rename(from, to) < 0)
			return reason__set(why, -errno, "store: the damaged %s can't be moved aside: %s", from, strerror(errno));
		log_warn("store: the history in %s is damaged; it was moved to %s, and an empty one begins", from, to);
	}
	return 0;
}

static int start_once(struct store *s, char log[4096], struct reason *why)
{
	long offset = log_size(&s->paths);
	int pidfd, err = store_server__start(&s->paths, s->cap, &pidfd, why);

	if (err)
		return err;
	err = wait_ready(s, pidfd, why);
	close(pidfd);
	read_log(&s->paths, offset, log);
	if (err == -ETIMEDOUT)
		return reason__set(why, err, "store: redis-server does not get ready within %d s", READY_MS / 1000);
	return err;
}

static int start_server(struct store *s, struct reason *why)
{
	char log[4096];
	int err = start_once(s, log, why);

	if (err == -ECHILD && has_data(&s->paths) && log_says_damaged(log)) {
		err = move_aside(&s->paths, why);
		if (!err)
			err = start_once(s, log, why);
	}
	if (err == -ECHILD)
		reason__set(why, err, "store: redis-server ended while starting: %s (log: %s)", last_line(log), s->paths.log);
	return err;
}

/* Sees to it that a watcher lives. Without one the store works; only killed users would leave the server behind. */
static void ensure_watcher(const struct store_paths *p)
{
	char path[PATH_MAX + 32], start_lock[PATH_MAX + 32];
	int fd, err = 0;

	lock_path(path, p, "watch.lock");
	lock_path(start_lock, p, "start.lock");
	fd = open_lock(path, true, NULL);
	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
		err = store_server__watch(p, start_lock, fd);
	if (fd >= 0)
		close(fd); /* the watcher has its own descriptor of the same open file, hence the lock */
	if (fd < 0 || err)
		log_warn("store: no watcher: should gilscope be killed, its redis-server runs on");
}

/* Under the start lock. */
static int bring_up(struct store *s, struct reason *why)
{
	struct reason detail = {""};
	int err;

	s->users_fd = open_lock(s->paths.lock, s->mine, why);
	if (s->users_fd < 0)
		return s->users_fd;
	if (flock(s->users_fd, LOCK_SH) < 0)
		return reason__set(why, -errno, "store: %s: %s", s->paths.lock, strerror(errno));
	if (s->mine)
		ensure_watcher(&s->paths);
	err = probe(&s->paths, &detail);
	if (detail.text[0])
		return reason__set(why, err, "%s", detail.text);
	if (err == 0)
		return wait_ready(s, -1, why);
	if (!s->mine)
		return refuse_access(&s->paths, why);
	if (err != -ENOENT && err != -ECONNREFUSED)
		return reason__set(why, err, "store: %s: %s", s->paths.socket, strerror(-err));
	return start_server(s, why);
}

int store__open(const struct store_paths *paths, struct store **ret, struct reason *why)
{
	struct store *s = calloc(1, sizeof(*s));
	int start, err;

	if (!s)
		return reason__set(why, -ENOMEM, "store: out of memory");
	s->paths = *paths;
	s->users_fd = -1;
	s->cap = wanted_cap();
	make_url(s->url, sizeof(s->url), paths->socket);
	err = prepare_dirs(paths, &s->mine, why);
	if (err)
		goto out;
	start = take_start_lock(paths, s->mine, why);
	err = start < 0 ? start : bring_up(s, why);
	if (start >= 0)
		close(start);
out:
	if (err) {
		if (s->users_fd >= 0)
			close(s->users_fd);
		free(s);
		return err;
	}
	*ret = s;
	return 0;
}

int store__revive(struct store *store, struct reason *why)
{
	int start, err = store_server__probe(store->paths.socket);

	if (!store->mine || (err != -ENOENT && err != -ECONNREFUSED))
		return 0;
	start = take_start_lock(&store->paths, true, why);
	if (start < 0)
		return start;
	/* Another user may have been faster. */
	err = store_server__probe(store->paths.socket) ? start_server(store, why) : 0;
	if (!err)
		log_verbose("store: its redis-server was gone and has been started again");
	close(start);
	return err;
}

const char *store__url(const struct store *store)
{
	return store->url;
}

unsigned long long store__cap(const struct store *store)
{
	return store->cap;
}

/* ---- end ---- */

void store__close(struct store *store)
{
	struct reason why;
	int start, err = 0;

	if (!store)
		return;
	start = take_start_lock(&store->paths, false, &why);
	/* Without it the share is just given back: the watcher does the rest. */
	if (start >= 0 && flock(store->users_fd, LOCK_EX | LOCK_NB) == 0)
		err = store_server__stop(store->paths.socket);
	if (err && err != -EPERM)
		log_warn("store: redis-server could not be stopped: %s", strerror(-err));
	close(store->users_fd);
	if (start >= 0)
		close(start);
	free(store);
}

/* ---- clear ---- */

static int clear_running(const struct store_paths *p, struct reason *why)
{
	static const char *const flushall[] = {"FLUSHALL", "SYNC", NULL};
	struct redisContext *c = NULL;
	struct redis_url url;
	char text[400];
	int err;

	make_url(text, sizeof(text), p->socket);
	err = redis_url__parse(text, &url, why);
	if (!err)
		err = redis_conn__open(&url, PING_MS, &c, why);
	if (!err)
		err = redis_conn__do(c, flushall, READY_MS, why);
	redis_conn__close(c);
	return err;
}

/* Removes one append-only file, or the directory with the files in it (never deeper). */
static int remove_data(const char *path)
{
	DIR *dir;
	struct dirent *e;
	int err = 0;

	if (unlink(path) == 0 || errno == ENOENT)
		return 0;
	dir = opendir(path);
	if (!dir)
		return -errno;
	while ((e = readdir(dir)) != NULL)
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..") && unlinkat(dirfd(dir), e->d_name, 0) < 0)
			err = -errno;
	closedir(dir);
	return err ? err : rmdir(path) < 0 ? -errno : 0;
}

static int clear_stopped(const struct store_paths *p, struct reason *why)
{
	char path[PATH_MAX + 32];

	for (size_t i = 0; i < sizeof(data_names) / sizeof(data_names[0]); i++) {
		int err;

		snprintf(path, sizeof(path), "%s/%s", p->data_dir, data_names[i]);
		err = remove_data(path);
		if (err)
			return reason__set(why, err, "store: %s: %s", path, strerror(-err));
	}
	return 0;
}

int store__clear(const struct store_paths *paths, struct reason *why)
{
	struct reason detail = {""};
	struct stat st;
	int start, err;

	if (stat(paths->run_dir, &st) < 0 && stat(paths->data_dir, &st) < 0)
		return errno == ENOENT ? 0 : reason__set(why, -errno, "store: %s: %s", paths->data_dir, strerror(errno));
	if (stat(paths->run_dir, &st) < 0)
		return clear_stopped(paths, why); /* after a reboot: nothing runs */
	probe(paths, &detail);
	if (detail.text[0])
		return reason__set(why, -EPERM, "%s", detail.text);
	start = take_start_lock(paths, st.st_uid == geteuid(), why);
	if (start < 0)
		return start;
	err = store_server__probe(paths->socket) == 0 ? clear_running(paths, why) : clear_stopped(paths, why);
	close(start);
	return err;
}
