/* SPDX-License-Identifier: GPL-2.0-only */
/* See own_images.h. */
#include "own_images.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "pythons.h"

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

void own_image__use(const struct interpreter *in)
{
	const char *output = getenv("OUTPUT");
	char copy[PATH_MAX], name[INTERPRETER_PATH];

	cr_assert_not_null(output, "OUTPUT is not set");
	snprintf(name, sizeof(name), "%s", in->image);
	for (char *p = name; *p; p++)
		if (*p == '/')
			*p = '_';
	snprintf(copy, sizeof(copy), "%s/own-images/%s", output, name);
	if (same_file(copy, in->image))
		return;
	must_run("mkdir -p '%s/own-images' && cp -pu '%s' '%s'", output, in->image, copy);
	own_mounts__enter();
	cr_assert_eq(mount(copy, in->image, NULL, MS_BIND, NULL), 0, "%s: %s", in->image, strerror(errno));
}

void own_image__use_stock(void)
{
	struct interpreter stock;

	interpreter__stock(&stock);
	own_image__use(&stock);
}
