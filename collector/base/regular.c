/* SPDX-License-Identifier: GPL-2.0-only */
/* See regular.h. */
#include "regular.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

int regular__look(const char *path)
{
	int look = open(path, O_PATH | O_CLOEXEC);

	return look < 0 ? -errno : look;
}

int regular__look_in(int root, const char *path)
{
	struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
	long look = syscall(SYS_openat2, root, path, &how, sizeof(how));

	return look < 0 ? -errno : (int)look;
}

int regular__reopen(int look)
{
	char self[64];
	int fd;

	snprintf(self, sizeof(self), "/proc/self/fd/%d", look);
	fd = open(self, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}
