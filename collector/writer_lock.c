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

static int lock_path(const char *id, char path[PATH_MAX])
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	char dir[PATH_MAX - 160];

	if (geteuid() == 0)
		snprintf(dir, sizeof(dir), "/run/gilscope");
	else if (runtime && runtime[0] == '/')
		snprintf(dir, sizeof(dir), "%s/gilscope", runtime);
	else
		snprintf(dir, sizeof(dir), "/tmp/gilscope-%u", (unsigned int)geteuid());
	if (mkdir(dir, 0750) && errno != EEXIST)
		return -errno;
	snprintf(path, PATH_MAX, "%s/%s.lock", dir, id);
	return 0;
}

static int owner_of(int fd)
{
	char text[32] = "";

	if (pread(fd, text, sizeof(text) - 1, 0) <= 0)
		return 0;
	return atoi(text);
}

/* The file may have been removed by its last owner between open and lock: then the lock is worth nothing. */
static int open_locked(const char *path, int *ret_owner)
{
	for (int tries = 0; tries < 10; tries++) {
		int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640);
		struct stat mine, named;

		if (fd < 0)
			return -errno;
		if (flock(fd, LOCK_EX | LOCK_NB)) {
			*ret_owner = owner_of(fd);
			close(fd);
			return -EBUSY;
		}
		if (!fstat(fd, &mine) && !stat(path, &named) && mine.st_ino == named.st_ino)
			return fd;
		close(fd);
	}
	return -EAGAIN;
}

int writer_lock__take(const char *id, int *ret_fd, struct reason *why)
{
	char path[PATH_MAX], text[32];
	int fd, len, owner = 0, err = lock_path(id, path);

	if (err)
		return reason__set(why, err, "can't make the directory for the lock of %s: %s", id, strerror(-err));
	fd = open_locked(path, &owner);
	if (fd == -EBUSY)
		return reason__set(why, -EBUSY, "process %s is already observed by gilscope with PID %d: look at its "
				   "numbers with \"gilscope query\", or attach with --no-store", id, owner);
	if (fd < 0)
		return reason__set(why, fd, "can't lock %s: %s", path, strerror(-fd));
	len = snprintf(text, sizeof(text), "%d\n", (int)getpid());
	if (ftruncate(fd, 0) || pwrite(fd, text, (size_t)len, 0) != len) {
		close(fd);
		return reason__set(why, -EIO, "can't write %s", path);
	}
	*ret_fd = fd;
	return 0;
}

void writer_lock__drop(const char *id, int fd)
{
	char path[PATH_MAX];

	if (fd < 0)
		return;
	if (!lock_path(id, path))
		unlink(path);
	close(fd);
}
