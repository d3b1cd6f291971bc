/* SPDX-License-Identifier: GPL-2.0-only */
/* See regular.h. */
#include "regular.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Opens what an O_PATH descriptor stands for, and closes that. */
static int open_looked_at(int look, struct stat *ret_st)
{
	char self[64];
	int fd;

	if (fstat(look, ret_st) != 0 || !S_ISREG(ret_st->st_mode)) {
		close(look);
		return -ENOEXEC;
	}
	snprintf(self, sizeof(self), "/proc/self/fd/%d", look);
	fd = open(self, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		fd = -errno;
	close(look);
	return fd;
}

int regular__open(const char *path, struct stat *ret_st)
{
	int look = open(path, O_PATH | O_CLOEXEC);

	return look < 0 ? -errno : open_looked_at(look, ret_st);
}

int regular__open_in(int root, const char *path, struct stat *ret_st)
{
	struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
	long look = syscall(SYS_openat2, root, path, &how, sizeof(how));

	return look < 0 ? -errno : open_looked_at((int)look, ret_st);
}
