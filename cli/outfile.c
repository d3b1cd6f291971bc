/* SPDX-License-Identifier: GPL-2.0-only */
/* See outfile.h. */
#include "outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "collector/base/sure_path.h"

/* ---- in place ---- */

/* "/dev/stdout" and the like: a descriptor of our own, whatever it leads to. -1: it is none. */
static int own_descriptor(const char *path)
{
	static const char *const folders[] = {"/dev/fd/", "/proc/self/fd/"};
	int fd, end = 0;

	if (strcmp(path, "/dev/stdout") == 0)
		return STDOUT_FILENO;
	if (strcmp(path, "/dev/stderr") == 0)
		return STDERR_FILENO;
	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		size_t len = strlen(folders[i]);

		if (strncmp(path, folders[i], len) == 0 && sscanf(path + len, "%9d%n", &fd, &end) == 1 && fd >= 0 &&
		    !path[len + (size_t)end])
			return fd;
	}
	return -1;
}

/* Opens what is looked at, and so nothing that took its place meanwhile. */
static int open_looked_at(int look)
{
	char self[64];
	int fd;

	snprintf(self, sizeof(self), "/proc/self/fd/%d", look);
	fd = open(self, O_WRONLY | O_CLOEXEC | O_NOCTTY);
	return fd < 0 ? -errno : fd;
}

/* Whether the name leads to a device, a pipe ...; *ret_fd is that, or -errno. Anything else is to be replaced. */
static bool open_special(const struct outfile *f, int *ret_fd)
{
	int look = openat(f->dir, f->name, O_PATH | O_CLOEXEC);
	struct stat st;
	bool special;

	if (look < 0)
		return false;
	special = fstat(look, &st) == 0 && !S_ISREG(st.st_mode);
	if (special)
		*ret_fd = S_ISDIR(st.st_mode) ? -EISDIR : open_looked_at(look);
	close(look);
	return special;
}

/* ---- beside ---- */

/* As readable as fopen() would have made it, or as what it replaces is. */
static void set_mode(const struct outfile *f, int fd)
{
	mode_t mask = umask(0);
	struct stat st;
	bool replaces;

	umask(mask);
	replaces = fstatat(f->dir, f->name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode);
	if (fchmod(fd, replaces ? st.st_mode & 0777 : 0666 & ~mask))
		return; /* private then: no reason to fail */
}

static int open_beside(struct outfile *f)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", f->dir, OUTFILE_BESIDE);
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	strcpy(f->beside, strrchr(path, '/') + 1);
	set_mode(f, fd);
	return fd;
}

static void forget_beside(struct outfile *f, bool remove)
{
	if (!f->beside[0])
		return;
	if (remove)
		unlinkat(f->dir, f->beside, 0);
	close(f->dir);
	f->beside[0] = '\0';
}

static int rename_beside(struct outfile *f)
{
	int err = f->beside[0] && renameat(f->dir, f->beside, f->dir, f->name) ? -errno : 0;

	forget_beside(f, err != 0);
	return err;
}

/* ---- opening ---- */

static int judge_name(const struct outfile *f, struct reason *why)
{
	struct stat st;

	if (fstatat(f->dir, f->name, &st, AT_SYMLINK_NOFOLLOW))
		return 0; /* nothing is there, or opening will say */
	return sure_path__judge(f->dir, &st, f->path, why);
}

/* A descriptor in place or beside, f->dir is closed unless it is beside. */
static int open_in(struct outfile *f, struct reason *why)
{
	int fd = judge_name(f, why);

	if (!fd) {
		if (!open_special(f, &fd))
			fd = open_beside(f);
		if (fd < 0)
			reason__set(why, fd, "%s: %s", f->path, strerror(-fd));
	}
	if (!f->beside[0])
		close(f->dir);
	return fd;
}

static int open_any(struct outfile *f, struct reason *why)
{
	int own = own_descriptor(f->path), fd;

	if (own >= 0) {
		fd = fcntl(own, F_DUPFD_CLOEXEC, 3);
		return fd >= 0 ? fd : reason__set(why, -errno, "%s: %s", f->path, strerror(errno));
	}
	f->dir = sure_path__parent(f->path, f->name, why);
	return f->dir < 0 ? f->dir : open_in(f, why);
}

int outfile__open(struct outfile *f, const char *option, const char *path, struct reason *why)
{
	struct reason detail = {""};
	int fd, err = 0;

	*f = (struct outfile){.option = option, .path = path};
	fd = open_any(f, &detail);
	if (fd < 0)
		return reason__set(why, fd, "%s: %s", option, detail.text);
	f->to = fdopen(fd, "w");
	if (!f->to) {
		err = reason__set(why, -errno, "%s: %s: %s", option, path, strerror(errno));
		close(fd);
		forget_beside(f, true);
	}
	return err;
}

int outfile__open_stream(struct outfile *f, const char *option, const char *path, struct reason *why)
{
	int err = outfile__open(f, option, path, why);

	if (err)
		return err;
	err = rename_beside(f);
	if (err) {
		outfile__drop(f);
		reason__set(why, err, "%s: %s: %s", option, path, strerror(-err));
	}
	return err;
}

/* ---- the end ---- */

int outfile__keep(struct outfile *f, struct reason *why)
{
	bool failed = fflush(f->to) || ferror(f->to);
	int err = failed ? -(errno ?: EIO) : 0;

	if (fclose(f->to) && !err)
		err = -errno;
	f->to = NULL;
	if (err)
		forget_beside(f, true);
	else
		err = rename_beside(f);
	return err ? reason__set(why, err, "%s: %s could not be written: %s", f->option, f->path, strerror(-err)) : 0;
}

void outfile__drop(struct outfile *f)
{
	if (!f->to)
		return;
	fclose(f->to);
	f->to = NULL;
	forget_beside(f, true);
}
