/* SPDX-License-Identifier: GPL-2.0-only */
/* See own_images.h. */
#include "own_images.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pythons.h"

#define DIRECTORIES 64

void own_mounts__enter(void)
{
	static bool entered;

	if (entered)
		return;
	cr_assert_eq(unshare(CLONE_NEWNS), 0, "unshare: %s", strerror(errno));
	cr_assert_eq(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), 0, "mount: %s", strerror(errno));
	entered = true;
}

static bool same_file(const char *a, const char *b)
{
	struct stat x, y;

	return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* The first directory that no other test has now: it is this process's (and its children's) until they end. */
static const char *own_directory(void)
{
	static char dir[PATH_MAX - INTERPRETER_PATH];
	const char *output = getenv("OUTPUT");
	char lock[PATH_MAX];

	cr_assert_not_null(output, "OUTPUT is not set");
	for (int i = 0; !dir[0] && i < DIRECTORIES; i++) {
		int fd;

		must_run("mkdir -p '%s/own-images/%d'", output, i);
		snprintf(lock, sizeof(lock), "%s/own-images/%d/lock", output, i);
		fd = open(lock, O_CREAT | O_RDWR | O_CLOEXEC, 0644);
		cr_assert_geq(fd, 0, "%s: %s", lock, strerror(errno));
		if (flock(fd, LOCK_EX | LOCK_NB))
			close(fd);
		else
			snprintf(dir, sizeof(dir), "%s/own-images/%d", output, i);
	}
	cr_assert(dir[0], "each of %d directories of images is in use", DIRECTORIES);
	return dir;
}

void own_image__use(const struct interpreter *in)
{
	const char *dir = own_directory();
	char copy[PATH_MAX], name[INTERPRETER_PATH];

	snprintf(name, sizeof(name), "%s", in->image);
	for (char *p = name; *p; p++)
		if (*p == '/')
			*p = '_';
	snprintf(copy, sizeof(copy), "%s/%s", dir, name);
	if (same_file(copy, in->image))
		return;
	must_run("cp -pu '%s' '%s'", in->image, copy);
	own_mounts__enter();
	cr_assert_eq(mount(copy, in->image, NULL, MS_BIND, NULL), 0, "%s: %s", in->image, strerror(errno));
}

void own_image__use_stock(void)
{
	struct interpreter stock;

	interpreter__stock(&stock);
	own_image__use(&stock);
}
