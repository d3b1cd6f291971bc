/* SPDX-License-Identifier: GPL-2.0-only */
/* See sure_path.h. */
#include "sure_path.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#define LINKS_MAX 40 /* as the kernel has it */

/* How far a path has been walked. */
struct walk {
	int dir;                 /* O_PATH, owned */
	char rest[PATH_MAX];     /* still to go */
	int links;
	const char *path;        /* for sentences */
};

int sure_path__judge(int dir, const struct stat *st, const char *path, struct reason *why)
{
	struct stat parent;

	if (fstat(dir, &parent))
		return reason__set(why, -errno, "%s: %s", path, strerror(errno));
	if (!(parent.st_mode & (S_ISVTX | S_IWOTH)) || st->st_uid == geteuid() || st->st_uid == 0 || st->st_uid == parent.st_uid)
		return 0;
	return reason__set(why, -EACCES, "%s: user %u made this %s in a directory where others may write: remove it, or choose "
			   "another name", path, (unsigned int)st->st_uid, S_ISLNK(st->st_mode) ? "link" : "file");
}

static int fail(const struct walk *w, int err, struct reason *why)
{
	return reason__set(why, err, "%s: %s", w->path, strerror(-err));
}

static int enter(struct walk *w, int dir, struct reason *why)
{
	if (dir < 0)
		return fail(w, -errno, why);
	if (w->dir >= 0)
		close(w->dir);
	w->dir = dir;
	return 0;
}

static int begin(struct walk *w, struct reason *why)
{
	const char *from = w->rest[0] == '/' ? "/" : ".";

	return enter(w, open(from, O_PATH | O_DIRECTORY | O_CLOEXEC), why);
}

/* Cuts the first component off. False: there is none. */
static bool take_component(struct walk *w, char name[NAME_MAX + 1], bool *ret_last, int *ret_err)
{
	char *from = w->rest + strspn(w->rest, "/");
	size_t len = strcspn(from, "/");
	char *next = from + len;

	*ret_last = *next == '\0';
	*ret_err = len > NAME_MAX ? -ENAMETOOLONG : 0;
	if (!len || *ret_err)
		return false;
	memcpy(name, from, len);
	name[len] = '\0';
	memmove(w->rest, next, strlen(next) + 1);
	return true;
}

/* Links of /proc are the kernel's own, and no text leads where they do. */
static bool is_in_procfs(int dir)
{
	struct statfs fs;

	return fstatfs(dir, &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC;
}

static int follow(struct walk *w, const char *name, struct reason *why)
{
	char target[PATH_MAX];
	ssize_t len = readlinkat(w->dir, name, target, sizeof(target));

	if (len < 0)
		return fail(w, -errno, why);
	if (++w->links > LINKS_MAX)
		return fail(w, -ELOOP, why);
	if ((size_t)len + strlen(w->rest) >= sizeof(w->rest))
		return fail(w, -ENAMETOOLONG, why);
	memmove(w->rest + len, w->rest, strlen(w->rest) + 1);
	memcpy(w->rest, target, (size_t)len);
	return w->rest[0] == '/' ? begin(w, why) : 0;
}

static int step_into(struct walk *w, const char *name, struct reason *why)
{
	struct stat st;
	int err;

	if (fstatat(w->dir, name, &st, AT_SYMLINK_NOFOLLOW))
		return fail(w, -errno, why);
	if (!S_ISLNK(st.st_mode))
		return enter(w, openat(w->dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), why);
	if (is_in_procfs(w->dir))
		return enter(w, openat(w->dir, name, O_PATH | O_DIRECTORY | O_CLOEXEC), why);
	err = sure_path__judge(w->dir, &st, w->path, why);
	return err ? err : follow(w, name, why);
}

static int walk(struct walk *w, char name[NAME_MAX + 1], struct reason *why)
{
	bool last;
	int err = begin(w, why), bad = 0;

	while (!err) {
		if (!take_component(w, name, &last, &bad))
			return fail(w, bad ? bad : w->path[0] ? -EISDIR : -ENOENT, why);
		if (last)
			return strcmp(name, ".") && strcmp(name, "..") ? 0 : fail(w, -EISDIR, why);
		err = step_into(w, name, why);
	}
	return err;
}

int sure_path__parent(const char *path, char name[NAME_MAX + 1], struct reason *why)
{
	struct walk w = {.dir = -1, .path = path};
	int err;

	if (strlen(path) >= sizeof(w.rest))
		return fail(&w, -ENAMETOOLONG, why);
	strcpy(w.rest, path);
	err = walk(&w, name, why);
	if (err && w.dir >= 0)
		close(w.dir);
	return err ? err : w.dir;
}

static int judge_dir(const struct stat *st, const char *path, struct reason *why)
{
	if (st->st_uid != geteuid() && st->st_uid != 0)
		return reason__set(why, -EPERM, "%s belongs to another user (uid %u)", path, (unsigned int)st->st_uid);
	if (st->st_mode & (S_IWGRP | S_IWOTH))
		return reason__set(why, -EPERM, "%s: others may write there (mode %04o)", path, st->st_mode & 07777);
	return 0;
}

/* An O_PATH descriptor changes no mode. */
static void take_back(int dir, struct stat *st)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	mode_t mode = st->st_mode & (07777 & ~027);

	if (fd >= 0 && fchmod(fd, mode) == 0)
		st->st_mode = (st->st_mode & (mode_t)S_IFMT) | mode;
	if (fd >= 0)
		close(fd);
}

int sure_path__dir(const char *path, struct stat *ret_st, struct reason *why)
{
	char below[PATH_MAX], name[NAME_MAX + 1];
	int fd, err = 0;

	if (snprintf(below, sizeof(below), "%s/x", path) >= (int)sizeof(below))
		return reason__set(why, -ENAMETOOLONG, "%s: %s", path, strerror(ENAMETOOLONG));
	fd = sure_path__parent(below, name, why);
	if (fd < 0)
		return fd;
	if (fstat(fd, ret_st))
		err = reason__set(why, -errno, "%s: %s", path, strerror(errno));
	if (!err && ret_st->st_uid == geteuid() && (ret_st->st_mode & 027))
		take_back(fd, ret_st);
	err = err ? err : judge_dir(ret_st, path, why);
	if (err)
		close(fd);
	return err ? err : fd;
}
