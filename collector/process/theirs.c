/* SPDX-License-Identifier: GPL-2.0-only */
/* See theirs.h. What runs in the reader takes its arguments out of the bag, and its answer goes into it. */
#include "theirs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "collector/base/regular.h"
#include "errand.h"
#include "procmaps.h"

#define COPY_MAX (256ll << 20)
#define PIECE (4u << 20) /* copied in one errand */

/* linux/magic.h has those of file systems in the kernel's tree alone, and not all of them. */
#define XFS_MAGIC 0x58465342
#define ZFS_MAGIC 0x2fc12fc1
#define BCACHEFS_MAGIC 0xca451a4e
#define JFS_MAGIC 0x3153464a

static int64_t hash_of(const char *text)
{
	uint64_t hash = 14695981039346656037u; /* FNV-1a */

	for (; *text; text++)
		hash = (hash ^ (uint8_t)*text) * 1099511628211u;
	return (int64_t)hash;
}

/* ---- what is safe to have open ---- */

static bool is_local(long type)
{
	static const uint32_t local[] = {
		EXT4_SUPER_MAGIC, XFS_MAGIC, BTRFS_SUPER_MAGIC, TMPFS_MAGIC, RAMFS_MAGIC, HUGETLBFS_MAGIC, SQUASHFS_MAGIC,
		EROFS_SUPER_MAGIC_V1, F2FS_SUPER_MAGIC, ISOFS_SUPER_MAGIC, ZFS_MAGIC, BCACHEFS_MAGIC, JFS_MAGIC,
	};

	for (size_t i = 0; i < sizeof(local) / sizeof(local[0]); i++)
		if ((uint32_t)type == local[i])
			return true;
	return false;
}

/* Where that does not answer, gilscope does not run either. */
static bool is_on_our_root(int fd)
{
	struct statx file, root;

	return statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_MNT_ID, &file) == 0 &&
	       statx(AT_FDCWD, "/", AT_STATX_DONT_SYNC, STATX_MNT_ID, &root) == 0 &&
	       file.stx_mask & root.stx_mask & STATX_MNT_ID && file.stx_mnt_id == root.stx_mnt_id;
}

/* Whether what the process has mounted is the work of whoever rules the host: not that of a user in a namespace of its own. */
static bool has_mounts_of_the_host(pid_t pid)
{
	struct stat theirs, ours;
	char path[64];
	int ns, user;
	bool same;

	snprintf(path, sizeof(path), "/proc/%d/ns/mnt", (int)pid);
	ns = pid > 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (ns < 0)
		return false;
	user = ioctl(ns, NS_GET_USERNS);
	same = user >= 0 && fstat(user, &theirs) == 0 && stat("/proc/self/ns/user", &ours) == 0 && theirs.st_ino == ours.st_ino;
	if (user >= 0)
		close(user);
	close(ns);
	return same;
}

/* The layers of an overlay are whoever mounted it to answer for. */
static bool is_safe(int fd, pid_t pid)
{
	struct statfs fs;

	if (fstatfs(fd, &fs))
		return false;
	return is_local((long)fs.f_type) || is_on_our_root(fd) ||
	       ((uint32_t)fs.f_type == OVERLAYFS_SUPER_MAGIC && has_mounts_of_the_host(pid));
}

/* ---- opening ---- */

struct opening {
	pid_t pid;
	bool is_in; /* beneath the directory that comes along */
	char path[2 * PATH_MAX];
	struct stat st;
};

static int look(const struct opening *o, const struct errand_bag *bag)
{
	return o->is_in ? regular__look_in(bag->fds[0], o->path) : regular__look(o->path);
}

static int run_open(struct errand_bag *bag)
{
	struct opening *o = bag->room;
	int fd = look(o, bag), err;

	if (fd < 0)
		return fd;
	bag->fds[0] = fd;
	err = fstat(fd, &o->st) ? -errno : S_ISREG(o->st.st_mode) ? 0 : -ENOEXEC;
	if (!err && is_safe(fd, o->pid)) {
		bag->fds[0] = regular__reopen(fd);
		close(fd);
		return bag->fds[0] < 0 ? bag->fds[0] : 0;
	}
	if (err) {
		close(fd);
		bag->fds[0] = -1;
	}
	return err;
}

static int open_as_errand(pid_t pid, int root, const char *path, struct stat *ret_st)
{
	struct errand_bag *bag = errand__pack();
	struct opening *o;
	int err, fd = -1;

	if (!bag)
		return -EAGAIN;
	o = bag->room;
	*o = (struct opening){.pid = pid, .is_in = root >= 0};
	bag->fds[0] = root;
	snprintf(o->path, sizeof(o->path), "%s", path);
	err = errand__run(bag, run_open, pid > 0 ? pid : errand__about_file((uint64_t)hash_of(path)), ERRAND_FILE_MS);
	if (!err) {
		fd = bag->fds[0];
		*ret_st = o->st;
	}
	errand__unpack(bag);
	return err ? err : fd;
}

int theirs__open(pid_t pid, const char *path, struct stat *ret_st)
{
	return open_as_errand(pid, -1, path, ret_st);
}

int theirs__open_in(int root, const char *path, struct stat *ret_st)
{
	return open_as_errand(0, root, path, ret_st);
}

/* ---- asking ---- */

static int run_stat(struct errand_bag *bag)
{
	struct opening *o = bag->room;

	return stat(o->path, &o->st) ? -errno : 0;
}

int theirs__stat(pid_t pid, const char *path, struct stat *ret)
{
	struct errand_bag *bag = errand__pack();
	struct opening *o;
	int err;

	if (!bag)
		return -EAGAIN;
	o = bag->room;
	snprintf(o->path, sizeof(o->path), "%s", path);
	err = errand__run(bag, run_stat, pid, ERRAND_FILE_MS);
	if (!err)
		*ret = o->st;
	errand__unpack(bag);
	return err;
}

int theirs__fstat(int fd, struct stat *ret)
{
	return fstatat(fd, "", ret, AT_EMPTY_PATH | AT_STATX_DONT_SYNC) ? -errno : 0;
}

/* ---- /proc ---- */

struct slurping {
	size_t max, len;
	char path[128];
	char text[]; /* as much as fits; more comes in a file of its own */
};

#define TEXT_ROOM (ERRAND_ROOM - sizeof(struct slurping))

static int write_all(int fd, const char *bytes, size_t len)
{
	for (size_t at = 0; at < len;) {
		ssize_t n = write(fd, bytes + at, len - at);

		if (n < 0)
			return -errno;
		at += (size_t)n;
	}
	return 0;
}

static int put_in_file(struct errand_bag *bag, const char *text, size_t len)
{
	int fd = memfd_create("gilscope-proc", MFD_CLOEXEC), err;

	if (fd < 0)
		return -errno;
	err = write_all(fd, text, len);
	if (err)
		close(fd);
	else
		bag->fds[0] = fd;
	return err;
}

static int run_slurp(struct errand_bag *bag)
{
	struct slurping *s = bag->room;
	char *text;
	int err = procmaps__slurp(s->path, s->max, &text, &s->len);

	if (err)
		return err;
	if (s->len <= TEXT_ROOM)
		memcpy(s->text, text, s->len);
	else
		err = put_in_file(bag, text, s->len);
	free(text);
	return err;
}

static int take_text(const struct errand_bag *bag, size_t len, char **ret)
{
	const struct slurping *s = bag->room;

	*ret = malloc(len ?: 1);
	if (!*ret)
		return -ENOMEM;
	if (len <= TEXT_ROOM)
		memcpy(*ret, s->text, len);
	else if (bag->fds[0] < 0 || pread(bag->fds[0], *ret, len, 0) != (ssize_t)len)
		len = SIZE_MAX;
	if (bag->fds[0] >= 0)
		close(bag->fds[0]);
	if (len != SIZE_MAX)
		return 0;
	free(*ret);
	return -EIO;
}

int theirs__slurp(pid_t pid, const char *path, size_t max, char **ret, size_t *ret_len)
{
	struct errand_bag *bag;
	struct slurping *s;
	size_t len;
	int err;

	if (!errand__is_away())
		return procmaps__slurp(path, max, ret, ret_len);
	bag = errand__pack();
	if (!bag)
		return -EAGAIN;
	s = bag->room;
	s->max = max;
	snprintf(s->path, sizeof(s->path), "%s", path);
	err = errand__run(bag, run_slurp, pid, ERRAND_FILE_MS);
	len = err ? 0 : s->len;
	err = err ?: len > max ? -EFBIG : take_text(bag, len, ret);
	if (!err)
		*ret_len = len;
	errand__unpack(bag);
	return err;
}

#define LINE_MAX_READ 4096

int theirs__line(pid_t pid, const char *path, char *line, size_t size)
{
	char *text, *newline;
	size_t len;
	int err = theirs__slurp(pid, path, LINE_MAX_READ, &text, &len);

	line[0] = '\0';
	if (err)
		return err;
	newline = memchr(text, '\n', len);
	len = newline ? (size_t)(newline - text) : len;
	len = len < size ? len : size - 1;
	memcpy(line, text, len);
	line[len] = '\0';
	free(text);
	return 0;
}

/* ---- content ---- */

struct copying {
	int64_t at;
	int64_t copied; /* less than asked for: there is no more */
};

static int run_copy(struct errand_bag *bag)
{
	struct copying *c = bag->room;
	int from = regular__reopen(bag->fds[0]), err = from < 0 ? from : 0;
	char *buf = malloc(PIECE);
	ssize_t n = 0;

	for (c->copied = 0; !err && buf && c->copied < PIECE; c->copied += n) {
		n = pread(from, buf, (size_t)(PIECE - c->copied), c->at + c->copied);
		if (n <= 0)
			break;
		err = pwrite(bag->fds[1], buf, (size_t)n, c->at + c->copied) == n ? 0 : -EIO;
	}
	if (!err && n < 0)
		err = -errno;
	free(buf);
	if (from >= 0)
		close(from);
	return buf ? err : -ENOMEM;
}

static int copy_piece(int from, int to, int64_t at, pid_t about, int64_t *ret_copied)
{
	struct errand_bag *bag = errand__pack();
	struct copying *c;
	int err;

	if (!bag)
		return -EAGAIN;
	c = bag->room;
	*c = (struct copying){.at = at};
	bag->fds[0] = from;
	bag->fds[1] = to;
	err = errand__run(bag, run_copy, about, ERRAND_FILE_MS);
	*ret_copied = err ? 0 : c->copied;
	errand__unpack(bag);
	return err;
}

static int copy(int from, const struct stat *st)
{
	pid_t about = errand__about_file(st->st_ino ^ (uint64_t)st->st_dev << 32);
	int to = memfd_create("gilscope-copy", MFD_CLOEXEC), err = to < 0 ? -errno : 0;
	int64_t copied = PIECE;

	for (int64_t at = 0; !err && copied == PIECE && at < st->st_size; at += PIECE)
		err = at >= COPY_MAX ? -EFBIG : copy_piece(from, to, at, about, &copied);
	if (err && to >= 0)
		close(to);
	return err ?: to;
}

bool theirs__is_only_named(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags >= 0 && flags & O_PATH;
}

bool theirs__is_foreign(int fd)
{
	struct stat st;

	if (theirs__is_only_named(fd) || theirs__fstat(fd, &st))
		return true;
	return (st.st_uid != 0 && st.st_uid != geteuid()) || st.st_mode & S_IWOTH || (st.st_mode & S_IWGRP && st.st_gid != 0);
}

int theirs__content(int fd)
{
	struct stat st;

	if (!theirs__is_only_named(fd)) {
		fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		return fd < 0 ? -errno : fd;
	}
	if (!errand__is_away())
		return regular__reopen(fd);
	return theirs__fstat(fd, &st) ? -errno : st.st_size > COPY_MAX ? -EFBIG : copy(fd, &st);
}
