/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The embedded store: where it is, who shares it, when it starts and ends. See store.h; directories are store_dirs.c's, who
 * may do what in it store_access.c's, what is done to server and files the hand's (store_hand.h).
 *
 * Three lock files in run_dir, none of which is ever removed, and which nobody but their owner can open:
 *
 *   lock        each user holds it shared. Who can have it exclusively knows that nobody else uses the store.
 *   start.lock  exclusive while somebody starts, stops or clears. Taken before `lock` is judged.
 *   watch.lock  held by the one hand that outlived its gilscope, until nobody uses the store.
 *
 * Normally the last user out stops the server; the hand is there for users that were killed. Readers of another user's store have
 * no share in it: it may end while they read.
 */
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "collector/base/log.h"
#include "collector/base/run_dir.h"
#include "collector/base/sure_path.h"
#include "redis_conn.h"
#include "store_access.h"
#include "store_dirs.h"
#include "store_hand.h"
#include "store_server.h"

#define SYSTEM_DATA_DIR "/var/lib/gilscope"
#define CAP_BYTES (512ull << 20)
#define CAP_SHARE_OF_RAM 20      /* a twentieth */
#define START_LOCK_MS 30000      /* another one may be starting or stopping the server */
#define READY_MS 60000           /* a full append-only file is read in seconds */
#define PING_MS 1000
#define MAX_LOG_BYTES (1 << 20)

struct store {
	struct store_paths paths;
	struct redis_url address;
	unsigned long long cap;
	struct store_dirs dirs;
	struct store_hand *hand; /* NULL: the store is another user's */
	bool hand_is_own;        /* else store__prepare()'s */
	int users_fd;            /* shared lock */
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
	return reason__set(why, -EACCES, "the store in %s is not yours to read: use sudo, or join group gilscope", p->run_dir);
}

/* Nothing is said to what is not ours. 0, -ENOENT: nothing is there, -ECONNREFUSED ... */
static int probe(const struct store_paths *p, struct reason *why)
{
	struct reason detail = {""};
	uid_t owner;
	int err = store_dirs__judge_socket(p, &owner, &detail);

	if (err == -EACCES && !detail.text[0])
		err = 0; /* the connection will tell */
	if (err && err != -ENOENT)
		return reason__set(why, err, "store: %s", detail.text);
	return err ? err : store_server__probe(p->socket);
}

static bool is_roots(const char *dir)
{
	struct stat st;

	return stat(dir, &st) == 0 && st.st_uid == 0;
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
	/* Root's belongs to whom its server runs as. */
	if (geteuid() != 0 && (st.st_uid != geteuid() || is_roots(p->run_dir)))
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

/* ---- locks ---- */

/* The start lock; others hold it for as long as a server takes to start or stop. Descriptor or -errno. */
static int take_start_lock(const struct store_dirs *dirs, struct reason *why)
{
	int64_t until = now_ms() + START_LOCK_MS;
	int fd = store_dirs__lock(dirs, STORE_START_LOCK, why);

	while (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if ((errno != EWOULDBLOCK && errno != EINTR) || now_ms() > until) {
			close(fd);
			return reason__set(why, -ETIMEDOUT, "store: %s is held by another gilscope for too long",
					   STORE_START_LOCK);
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

/* What redis-server reads. Its directories are descriptors: the way to them is root's alone. */
static int write_config(const struct store_dirs *d, char config[STORE_CONFIG_MAX], struct reason *why)
{
	static const char fixed[] =
		"port 0\ndaemonize no\nloglevel warning\nsave \"\"\nappendonly yes\nappendfsync everysec\n"
		"no-appendfsync-on-rewrite yes\naof-load-truncated yes\nauto-aof-rewrite-min-size 16mb\n"
		"maxmemory-policy volatile-ttl\nlazyfree-lazy-eviction yes\nlazyfree-lazy-expire yes\n"
		"lazyfree-lazy-server-del yes\nstop-writes-on-bgsave-error no\n"
		"unixsocket /proc/self/fd/3/" STORE_SOCKET_NAME "\ndir /proc/self/fd/4\n";
	static const char *const forbidden[] = {"CONFIG", "MODULE", "DEBUG", "REPLICAOF", "SLAVEOF", "SAVE", "BGSAVE"};
	const bool root = geteuid() == 0;
	/* Who gets as far as the socket decides the directory that it is in. */
	size_t len = (size_t)snprintf(config, STORE_CONFIG_MAX, "%smaxmemory %llu\nunixsocketperm %s\n", fixed, wanted_cap(),
				      root ? "777" : "700");

	/* Through these files could be written where Redis is older than 7.0. */
	for (size_t i = 0; root && i < sizeof(forbidden) / sizeof(forbidden[0]); i++)
		len += (size_t)snprintf(config + len, STORE_CONFIG_MAX - len, "rename-command %s \"\"\n", forbidden[i]);
	return root ? store_access__configure(d->run, config, STORE_CONFIG_MAX, why) : 0;
}

/*
 * Waits until the server answers PING. `pidfd` is readable when it has died, -1: it is not our child. 0, -ECHILD (it
 * ended), -ETIMEDOUT, -errno.
 */
static int wait_ready(struct store *s, int pidfd, struct reason *why)
{
	int64_t until = now_ms() + READY_MS;
	int err = 0;

	while (!err) {
		struct pollfd p = {.fd = pidfd, .events = POLLIN};
		struct redisContext *c = NULL;

		store_access__address(&s->paths, &s->address);
		err = redis_conn__open(&s->address, PING_MS, &c, why);
		if (err == 0 && pidfd >= 0 && geteuid() == 0)
			err = store_access__let_readers(c, PING_MS, why);
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

static int move_aside(const struct store *s, struct reason *why)
{
	struct reason moved = {""};
	int err = store_hand__do(s->hand, STORE_MOVE_ASIDE, NULL, &moved);

	if (!err)
		log_warn("store: the history in %s is damaged; it was moved to %.100s there, and an empty one begins",
			 s->paths.data_dir, moved.text);
	return err ? reason__set(why, err, "%s", moved.text) : 0;
}

static int start_once(struct store *s, char log[4096], struct reason *why)
{
	long offset = log_size(&s->paths);
	pid_t server;
	int pidfd, err = store_dirs__link_socket(&s->dirs);

	if (err)
		return reason__set(why, err, "store: %s: %s", s->paths.socket, strerror(-err));
	err = store_hand__do(s->hand, STORE_START, &server, why);
	if (err)
		return err;
	pidfd = (int)syscall(SYS_pidfd_open, server, 0);
	if (pidfd < 0)
		return reason__set(why, -ECHILD, "store: redis-server ended while starting");
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
		err = move_aside(s, why);
		if (!err)
			err = start_once(s, log, why);
	}
	if (err == -ECHILD)
		reason__set(why, err, "store: redis-server ended while starting: %s (log: %s)", last_line(log), s->paths.log);
	return err;
}

/* ---- the hand ---- */

/* What store__prepare() has made. */
static struct {
	pthread_mutex_t mutex;
	struct store_hand *hand; /* NULL: nothing */
	char run_dir[PATH_MAX];
} prepared = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* Under the server's log, too, which an older gilscope's server may have open. */
static int new_hand(const struct store_paths *p, const struct store_dirs *dirs, struct store_hand **ret, struct reason *why)
{
	char config[STORE_CONFIG_MAX];
	int log, err = write_config(dirs, config, why);

	if (err)
		return err;
	log = openat(dirs->run, "redis.log", O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
	err = log < 0 ? reason__set(why, -errno, "store: %s: %s", p->log, strerror(errno)) :
	      store_hand__new(dirs, config, log, ret, why);
	if (log >= 0)
		close(log);
	explicit_bzero(config, sizeof(config));
	return err;
}

static struct store_hand *prepared_for(const struct store_paths *p)
{
	struct store_hand *hand;

	pthread_mutex_lock(&prepared.mutex);
	hand = prepared.hand && strcmp(prepared.run_dir, p->run_dir) == 0 ? prepared.hand : NULL;
	pthread_mutex_unlock(&prepared.mutex);
	return hand;
}

static int find_hand(struct store *s, struct reason *why)
{
	s->hand = prepared_for(&s->paths);
	s->hand_is_own = !s->hand;
	return s->hand ? 0 : new_hand(&s->paths, &s->dirs, &s->hand, why);
}

int store__prepare(const struct store_paths *paths, struct reason *why)
{
	struct store_hand *hand = NULL;
	struct store_dirs dirs;
	int err = store_dirs__open(paths, &dirs, why);

	if (err)
		return err;
	err = new_hand(paths, &dirs, &hand, why);
	store_dirs__close(&dirs);
	if (err)
		return err;
	store__dismiss();
	pthread_mutex_lock(&prepared.mutex);
	prepared.hand = hand;
	snprintf(prepared.run_dir, sizeof(prepared.run_dir), "%s", paths->run_dir);
	pthread_mutex_unlock(&prepared.mutex);
	return 0;
}

void store__dismiss(void)
{
	pthread_mutex_lock(&prepared.mutex);
	store_hand__free(prepared.hand);
	prepared.hand = NULL;
	pthread_mutex_unlock(&prepared.mutex);
}

/* ---- opening ---- */

/* A server that an older gilscope started as root: it goes as soon as nobody else uses it. */
static bool is_outdated(const struct store *s)
{
	uid_t listens;

	return geteuid() == 0 && s->dirs.uid != 0 && store_server__whose(s->paths.socket, &listens) == 0 && listens == 0;
}

static int replace_outdated(const struct store *s)
{
	int err = -EBUSY;

	if (flock(s->users_fd, LOCK_EX | LOCK_NB) == 0)
		err = store_server__stop(s->paths.socket);
	if (err)
		log_verbose("store: its server is an older gilscope's and runs as root until its users have ended");
	return flock(s->users_fd, LOCK_SH) < 0 ? -errno : err;
}

/* Under the start lock. */
static int bring_up(struct store *s, struct reason *why)
{
	struct reason detail = {""};
	int err;

	s->users_fd = store_dirs__lock(&s->dirs, STORE_LOCK, why);
	if (s->users_fd < 0)
		return s->users_fd;
	if (flock(s->users_fd, LOCK_SH) < 0)
		return reason__set(why, -errno, "store: %s: %s", s->paths.lock, strerror(errno));
	err = probe(&s->paths, &detail);
	if (detail.text[0])
		return reason__set(why, err, "%s", detail.text);
	if (err == 0 && is_outdated(s) && replace_outdated(s) == 0)
		err = -ENOENT;
	if (err == 0)
		return wait_ready(s, -1, why);
	if (err != -ENOENT && err != -ECONNREFUSED)
		return reason__set(why, err, "store: %s: %s", s->paths.socket, strerror(-err));
	return start_server(s, why);
}

static int open_own(struct store *s, struct reason *why)
{
	int start, err = store_dirs__open(&s->paths, &s->dirs, why);

	err = err ?: find_hand(s, why);
	if (err)
		return err;
	start = take_start_lock(&s->dirs, why);
	err = start < 0 ? start : bring_up(s, why);
	if (start >= 0)
		close(start);
	return err;
}

static void free_store(struct store *s)
{
	if (s->users_fd >= 0)
		close(s->users_fd);
	if (s->hand_is_own)
		store_hand__free(s->hand);
	store_dirs__close(&s->dirs);
	explicit_bzero(&s->address, sizeof(s->address));
	free(s);
}

int store__open(const struct store_paths *paths, struct store **ret, struct reason *why)
{
	struct store *s = calloc(1, sizeof(*s));
	int err;

	if (!s)
		return reason__set(why, -ENOMEM, "store: out of memory");
	s->paths = *paths;
	s->users_fd = s->dirs.run = s->dirs.server = s->dirs.data = -1;
	s->cap = wanted_cap();
	/* Another user's that runs: nothing to be made here. */
	if (geteuid() != 0 && is_roots(paths->run_dir) && probe(paths, NULL) == 0)
		err = wait_ready(s, -1, why);
	else
		err = open_own(s, why);
	if (err) {
		free_store(s);
		return err;
	}
	*ret = s;
	return 0;
}

int store__revive(struct store *store, struct reason *why)
{
	int start, err = store_server__probe(store->paths.socket);

	if (!store->hand || (err != -ENOENT && err != -ECONNREFUSED))
		return 0;
	start = take_start_lock(&store->dirs, why);
	if (start < 0)
		return start;
	/* Another user may have been faster. */
	err = store_server__probe(store->paths.socket) ? start_server(store, why) : 0;
	if (!err)
		log_verbose("store: its redis-server was gone and has been started again");
	close(start);
	return err;
}

const struct redis_url *store__address(const struct store *store)
{
	return &store->address;
}

unsigned long long store__cap(const struct store *store)
{
	return store->cap;
}

/* ---- end ---- */

static int stop_server(const struct store *s, struct reason *why)
{
	int err;

	if (is_outdated(s)) {
		err = store_server__stop(s->paths.socket);
		return err ? reason__set(why, err, "store: redis-server could not be stopped: %s", strerror(-err)) : 0;
	}
	return store_hand__do(s->hand, STORE_STOP, NULL, why);
}

void store__close(struct store *store)
{
	struct reason why = {""};
	int start;

	if (!store)
		return;
	if (!store->hand) {
		free_store(store);
		return;
	}
	start = take_start_lock(&store->dirs, &why);
	/* Without it the share is just given back: the hand does the rest. */
	if (start >= 0 && flock(store->users_fd, LOCK_EX | LOCK_NB) == 0 && stop_server(store, &why))
		log_warn("%s", why.text);
	close(store->users_fd);
	store->users_fd = -1;
	if (start >= 0)
		close(start);
	free_store(store);
}

/* ---- clear ---- */

static int clear_running(const struct store_paths *p, struct reason *why)
{
	static const char *const flushall[] = {"FLUSHALL", "SYNC", NULL};
	struct redisContext *c = NULL;
	struct redis_url url;
	int err;

	store_access__address(p, &url);
	err = redis_conn__open(&url, PING_MS, &c, why);
	if (!err)
		err = redis_conn__do(c, flushall, READY_MS, why);
	redis_conn__close(c);
	explicit_bzero(&url, sizeof(url));
	return err;
}

static int clear_stopped(const struct store_paths *p, const struct store_dirs *dirs, struct reason *why)
{
	struct store_hand *hand = NULL;
	int err = new_hand(p, dirs, &hand, why);

	err = err ?: store_hand__do(hand, STORE_CLEAR, NULL, why);
	store_hand__free(hand);
	return err;
}

int store__clear(const struct store_paths *paths, struct reason *why)
{
	struct reason detail = {""};
	struct store_dirs dirs;
	struct stat st;
	int start, err;

	if (stat(paths->run_dir, &st) < 0 && stat(paths->data_dir, &st) < 0)
		return errno == ENOENT ? 0 : reason__set(why, -errno, "store: %s: %s", paths->data_dir, strerror(errno));
	probe(paths, &detail);
	if (detail.text[0])
		return reason__set(why, -EPERM, "%s", detail.text);
	err = store_dirs__open(paths, &dirs, why);
	if (err)
		return err;
	start = take_start_lock(&dirs, why);
	err = start < 0 ? start : store_server__probe(paths->socket) == 0 ? clear_running(paths, why) :
	      clear_stopped(paths, &dirs, why);
	if (start >= 0)
		close(start);
	store_dirs__close(&dirs);
	return err;
}
