/* SPDX-License-Identifier: GPL-2.0-only */
/* See run_dir.h. */
#include "run_dir.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

const char *run_dir__from_env(const char *name)
{
	const char *value = getenv(name);

	return value && value[0] == '/' ? value : NULL;
}

void run_dir__path(char dir[PATH_MAX])
{
	const char *xdg = run_dir__from_env("XDG_RUNTIME_DIR");
	unsigned int uid = (unsigned int)geteuid();
	char usual[64];
	struct stat st;

	if (uid == 0) {
		snprintf(dir, PATH_MAX, "%s", RUN_DIR_SYSTEM);
		return;
	}
	snprintf(usual, sizeof(usual), "/run/user/%u", uid);
	if (!xdg && stat(usual, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == uid)
		xdg = usual;
	if (xdg)
		snprintf(dir, PATH_MAX, "%.4000s/gilscope", xdg);
	else
		snprintf(dir, PATH_MAX, "/tmp/gilscope-%u", uid);
}
