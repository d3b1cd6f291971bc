/* SPDX-License-Identifier: GPL-2.0-only */
/* See writer_lock.h. A lock ends with its owner, also by SIGKILL; the file that is left then is taken over. */
#include "writer_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "collector/base/run_dir.h"
#include "collector/base/sure_path.h"

/* Its directory and its name there. A descriptor or -errno. */
static int open_dir(const char *id, char name[NAME_MAX + 1], struct reason *why)
{
	char dir[PATH_MAX];
	struct stat st;

	run_dir__path(dir);
	if (mkdir(dir, 0750) && errno != EEXIST)
		return reason__set(why, -errno, "%s: %s", dir, strerror(errno));
	snprintf(name, NAME_MAX + 1, "%s.lock", id);
	return sure_path__dir(dir, &st, why);
}

static int owner_of(int fd)
{
	char text[32] = "";

	if (pread(fd, text, sizeof(text) - 1, 0) <= 0)
		return 0;
	return atoi(text);
}

/* The file may have been removed by its last owner between open and lock: then the lock is worth nothing. */
static int open_locked(int dir, const char *name, int *ret_owner)
{
	for (int tries = 0; tries < 10; tries++) {
		int fd = openat(dir, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		struct stat mine, named;

		if (fd < 0)
			return -errno;
		if (flock(fd, LOCK_EX | LOCK_NB)) {
			*ret_owner = owner_of(fd);
			close(fd);
			return -EBUSY;
		}
		if (!fstat(fd, &mine) && !fstatat(dir, name, &named, AT_SYMLINK_NOFOLLOW) && mine.st_ino == named.st_ino)
			return fd;
		close(fd);
	}
	return -EAGAIN;
}

static int write_owner(int fd)
{
	char text[32];
	int len = snprintf(text, sizeof(text), "%d\n", (int)getpid());

	/* A lock that an older version left may be open to others. */
	return fchmod(fd, 0600) || ftruncate(fd, 0) || pwrite(fd, text, (size_t)len, 0) != len ? -EIO : 0;
}

int writer_lock__take(const char *id, int *ret_fd, struct reason *why)
{
	struct reason detail = {""};
	char name[NAME_MAX + 1];
	int fd, owner = 0, dir = open_dir(id, name, &detail);

	if (dir < 0)
		return reason__set(why, dir, "no directory for the lock of %s: %s", id, detail.text);
	fd = open_locked(dir, name, &owner);
	close(dir);
	if (fd == -EBUSY)
		return reason__set(why, -EBUSY, "process %s is already observed by gilscope with PID %d: look at its "
				   "numbers with \"gilscope query\", or attach with --no-store", id, owner);
	if (fd < 0)
		return reason__set(why, fd, "can't lock %s: %s", name, strerror(-fd));
	if (write_owner(fd)) {
		close(fd);
		return reason__set(why, -EIO, "can't write %s", name);
	}
	*ret_fd = fd;
	return 0;
}

void writer_lock__drop(const char *id, int fd)
{
	char name[NAME_MAX + 1];
	int dir;

	if (fd < 0)
		return;
	dir = open_dir(id, name, NULL);
	if (dir >= 0) {
		unlinkat(dir, name, 0);
		close(dir);
	}
	close(fd);
}
