/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See store_dirs.h. Names in the data directory are the server's user's to choose: nothing is opened there by path, no link is
 * followed, and only what the directory's former owner owned goes to the new one.
 */
#include "store_dirs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "collector/base/log.h"
#include "collector/base/sure_path.h"
#include "collector/process/caps.h"

#define GROUP "gilscope"
#define SOCKET_TARGET STORE_SERVER_DIR "/" STORE_SOCKET_NAME
#define CHOWN_BIT CAP_BIT(0)
#define SETGID_BIT CAP_BIT(6)
#define SETUID_BIT CAP_BIT(7)

/* ---- whom the server runs as ---- */

static void choose_user(struct store_dirs *d)
{
	static const char *const names[] = {"gilscope", "redis", "nobody"};
	const uint64_t needed = CHOWN_BIT | SETGID_BIT | SETUID_BIT;
	const struct passwd *user = NULL;

	d->uid = geteuid();
	d->gid = getegid();
	if (d->uid != 0)
		return;
	for (size_t i = 0; !user && i < sizeof(names) / sizeof(names[0]); i++)
		user = getpwnam(names[i]);
	if ((caps__effective() & needed) != needed || !user || user->pw_uid == 0)
		return;
	d->uid = user->pw_uid;
	d->gid = user->pw_gid;
}

/* ---- making them ---- */

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

static int make(const char *dir, struct reason *why)
{
	int err = make_parents(dir);

	if (!err && mkdir(dir, 0750) < 0 && errno != EEXIST)
		err = -errno;
	return err ? reason__set(why, err, "store: %s: %s", dir, strerror(-err)) : 0;
}

static int not_ours(int err, const char *dir, const struct reason *detail, struct reason *why)
{
	if (err == -ENOTDIR)
		return reason__set(why, err, "store: %s is in the way: not a directory", dir);
	return reason__set(why, err, "store: %s; use sudo as that user, or another GILSCOPE_STORE_DIR", detail->text);
}

static int others_dir(const char *dir, uid_t uid, struct reason *why)
{
	return reason__set(why, -EPERM, "store: %s belongs to another user (uid %u); use sudo, or another GILSCOPE_STORE_DIR",
			   dir, (unsigned int)uid);
}

/* Lets group gilscope in, where root runs it and the group exists: sockets made there are the group's to connect to. */
static void share_with_group(int dir, const struct stat *st, const char *path)
{
	const struct group *g = geteuid() == 0 ? getgrnam(GROUP) : NULL;

	if (!g || (st->st_gid == g->gr_gid && (st->st_mode & 07777) == 02750))
		return;
	if (fchownat(dir, "", 0, g->gr_gid, AT_EMPTY_PATH) < 0 || chmod(path, 02750) < 0)
		log_warn("store: %s: can't let group %s in: %s", path, GROUP, strerror(errno));
}

static int open_run_dir(const char *path, int *ret, struct reason *why)
{
	struct reason detail = {""};
	struct stat st;
	int fd, err = make(path, why);

	if (err)
		return err;
	fd = sure_path__dir(path, &st, &detail);
	if (fd < 0)
		return not_ours(fd, path, &detail, why);
	*ret = fd;
	if (st.st_uid != geteuid())
		return others_dir(path, st.st_uid, why);
	share_with_group(fd, &st, path);
	return 0;
}

/* ---- handing over ---- */

/* By descriptor; only what `from` owns under no other name. -EAGAIN: it is something else. */
static int give(int dir, const char *name, uid_t from, const struct store_dirs *d)
{
	int fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC), err = 0;
	struct stat st;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) || st.st_uid != from || !(S_ISDIR(st.st_mode) || (S_ISREG(st.st_mode) && st.st_nlink == 1)))
		err = -EAGAIN;
	else if (fchownat(fd, "", d->uid, d->gid, AT_EMPTY_PATH))
		err = -errno;
	close(fd);
	return err;
}

/* The entries of a directory, and (once) of those that are directories: what Redis makes is no deeper. */
static void give_entries(int dir, uid_t from, const struct store_dirs *d, bool deeper)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), below;
	DIR *entries = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *e;

	while (entries && (e = readdir(entries)) != NULL) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		below = deeper ? openat(dir, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
		if (below >= 0) {
			give_entries(below, from, d, false);
			close(below);
		}
		if (give(dir, e->d_name, from, d))
			log_debug("store: %s stays as it is", e->d_name);
	}
	if (entries)
		closedir(entries);
	else if (fd >= 0)
		close(fd);
}

/* Itself last: until then its former owner alone decides what is in it. */
static int hand_over(int dir, const struct stat *st, const struct store_dirs *d)
{
	if (st->st_uid == d->uid)
		return 0;
	give_entries(dir, st->st_uid, d, true);
	return fchownat(dir, "", d->uid, d->gid, AT_EMPTY_PATH) ? -errno : 0;
}

/* ---- opening them ---- */

/* A subdirectory of one that is this user's: whoever owns it was given it by this user. */
static int open_server_dir(struct store_dirs *d, struct reason *why)
{
	const mode_t mode = geteuid() == 0 ? 0755 : 0700;
	struct stat st;

	if (mkdirat(d->run, STORE_SERVER_DIR, mode) && errno != EEXIST)
		return reason__set(why, -errno, "store: %s: %s", STORE_SERVER_DIR, strerror(errno));
	d->server = openat(d->run, STORE_SERVER_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (d->server < 0 || fstat(d->server, &st))
		return reason__set(why, -errno, "store: %s is in the way: not a directory of ours", STORE_SERVER_DIR);
	if ((st.st_mode & 07777) != mode && fchmod(d->server, mode))
		log_debug("store: %s keeps its mode", STORE_SERVER_DIR);
	if (st.st_uid == d->uid || fchown(d->server, d->uid, d->gid) == 0)
		return 0;
	if (geteuid() != 0)
		return reason__set(why, -EPERM, "store: %s belongs to another user (uid %u)", STORE_SERVER_DIR,
				   (unsigned int)st.st_uid);
	/* No such user here (a user namespace without it), or no right to give it away: the server stays who that one is. */
	d->uid = st.st_uid;
	d->gid = st.st_gid;
	return 0;
}

/* Its parents are walked with care, itself may be whoever's ran the server before: in root's directories root put it there. */
static int open_data_dir(const char *path, struct store_dirs *d, struct reason *why)
{
	char name[NAME_MAX + 1];
	struct reason detail = {""};
	struct stat st;
	int parent, err = make(path, why);

	if (err)
		return err;
	parent = sure_path__parent(path, name, &detail);
	if (parent < 0)
		return not_ours(parent, path, &detail, why);
	d->data = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	err = d->data < 0 ? -errno : fstat(d->data, &st) ? -errno : sure_path__judge(parent, &st, path, &detail);
	close(parent);
	if (err == -EACCES && detail.text[0])
		return not_ours(err, path, &detail, why);
	if (err)
		return err == -ENOTDIR || err == -ELOOP ? not_ours(-ENOTDIR, path, &detail, why) :
		       reason__set(why, err, "store: %s: %s", path, strerror(-err));
	if (geteuid() != 0 && st.st_uid != geteuid())
		return others_dir(path, st.st_uid, why);
	if ((st.st_mode & 07777) != 0750 && fchmod(d->data, 0750))
		log_debug("store: %s keeps its mode", path);
	err = hand_over(d->data, &st, d);
	return err ? reason__set(why, err, "store: %s can't be given to user %u: %s", path, (unsigned int)d->uid,
				 strerror(-err)) : 0;
}

int store_dirs__open(const struct store_paths *paths, struct store_dirs *ret, struct reason *why)
{
	struct store_dirs d = {.run = -1, .server = -1, .data = -1};
	int err;

	choose_user(&d);
	err = open_run_dir(paths->run_dir, &d.run, why);
	err = err ?: open_server_dir(&d, why);
	err = err ?: open_data_dir(paths->data_dir, &d, why);
	if (err) {
		store_dirs__close(&d);
		return err;
	}
	*ret = d;
	return 0;
}

void store_dirs__close(struct store_dirs *d)
{
	int *const fds[] = {&d->run, &d->server, &d->data};

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
}

/* ---- the socket ---- */

static bool is_our_link(int dir)
{
	char target[sizeof(SOCKET_TARGET) + 1];
	ssize_t len = readlinkat(dir, STORE_SOCKET_NAME, target, sizeof(target));

	return len == (ssize_t)strlen(SOCKET_TARGET) && memcmp(target, SOCKET_TARGET, (size_t)len) == 0;
}

int store_dirs__link_socket(const struct store_dirs *d)
{
	if (is_our_link(d->run))
		return 0;
	if (unlinkat(d->run, STORE_SOCKET_NAME, 0) && errno != ENOENT)
		return -errno;
	return symlinkat(SOCKET_TARGET, d->run, STORE_SOCKET_NAME) ? -errno : 0;
}

/* In the server's directory: the socket is its owner's, and nobody else could have put it there. */
static int judge_linked(const struct store_paths *p, int run, struct stat *st, struct reason *why)
{
	int dir = openat(run, STORE_SERVER_DIR, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), err = 0;
	struct stat above;

	if (dir < 0)
		return -errno;
	if (fstat(dir, &above))
		err = -errno;
	else if (above.st_mode & (S_IWGRP | S_IWOTH))
		err = reason__set(why, -EPERM, "%s/" STORE_SERVER_DIR ": others may write there", p->run_dir);
	else if (fstatat(dir, STORE_SOCKET_NAME, st, AT_SYMLINK_NOFOLLOW))
		err = -errno;
	else if (st->st_uid != above.st_uid)
		err = reason__set(why, -EPERM, "%s is not its server's (uid %u)", p->socket, (unsigned int)st->st_uid);
	close(dir);
	return err;
}

static int judge(const struct store_paths *p, int run, uid_t *ret_uid, struct reason *why)
{
	struct stat st;
	int err;

	if (fstatat(run, STORE_SOCKET_NAME, &st, AT_SYMLINK_NOFOLLOW))
		return -errno;
	if (S_ISLNK(st.st_mode) && is_our_link(run))
		err = judge_linked(p, run, &st, why);
	else /* an older gilscope's */
		err = st.st_uid == geteuid() || st.st_uid == 0 || !S_ISSOCK(st.st_mode) ? 0 :
		      reason__set(why, -EPERM, "%s belongs to another user (uid %u)", p->socket, (unsigned int)st.st_uid);
	if (!err && !S_ISSOCK(st.st_mode))
		err = reason__set(why, -EEXIST, "%s is in the way: not a socket", p->socket);
	*ret_uid = st.st_uid;
	return err;
}

int store_dirs__judge_socket(const struct store_paths *p, uid_t *ret_uid, struct reason *why)
{
	struct stat st;
	int dir = sure_path__dir(p->run_dir, &st, why), err;

	if (dir < 0)
		return dir;
	err = judge(p, dir, ret_uid, why);
	close(dir);
	return err;
}

/* ---- locks ---- */

int store_dirs__lock(const struct store_dirs *d, const char *name, struct reason *why)
{
	int fd = openat(d->run, name, O_RDONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	/* An older version's may be open to the group. */
	if (fd >= 0 && fchmod(fd, 0600) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return reason__set(why, -errno, "store: the lock %s: %s", name, strerror(errno));
}
