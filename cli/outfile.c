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

static bool is_special(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && !S_ISREG(st.st_mode);
}

/* The file that a link leads to is the one to be replaced, not the link. */
static int name_beside(struct outfile *f)
{
	char *real = realpath(f->path, NULL);
	int len = snprintf(f->beside, sizeof(f->beside), "%s.XXXXXX", real ? real : f->path);

	free(real);
	return len < (int)sizeof(f->beside) ? 0 : -ENAMETOOLONG;
}

/* As readable as fopen() would have made it, or as what it replaces is. */
static void set_mode(const struct outfile *f, int fd)
{
	mode_t mask = umask(0);
	struct stat st;

	umask(mask);
	if (fchmod(fd, stat(f->path, &st) == 0 ? st.st_mode & 0777 : 0666 & ~mask))
		return; /* private then: no reason to fail */
}

static int open_beside(struct outfile *f)
{
	int err = name_beside(f), fd;

	if (err)
		return err;
	fd = mkostemp(f->beside, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	set_mode(f, fd);
	f->to = fdopen(fd, "w");
	if (f->to)
		return 0;
	err = -errno;
	close(fd);
	unlink(f->beside);
	return err;
}

int outfile__open(struct outfile *f, const char *option, const char *path, struct reason *why)
{
	int err = 0;

	*f = (struct outfile){.option = option, .path = path};
	if (!is_special(path))
		err = open_beside(f);
	else if (!(f->to = fopen(path, "we")))
		err = -errno;
	return err ? reason__set(why, err, "%s: %s: %s", option, path, strerror(-err)) : 0;
}

/* What a link pointed to when it was opened. */
static int rename_back(struct outfile *f)
{
	char target[PATH_MAX];
	size_t len = strlen(f->beside) - strlen(".XXXXXX");

	memcpy(target, f->beside, len);
	target[len] = '\0';
	return rename(f->beside, target);
}

int outfile__keep(struct outfile *f, struct reason *why)
{
	bool failed = fflush(f->to) || ferror(f->to);
	int err = failed ? -(errno ?: EIO) : 0;

	if (fclose(f->to) && !err)
		err = -errno;
	f->to = NULL;
	if (!err && f->beside[0] && rename_back(f))
		err = -errno;
	if (err && f->beside[0])
		unlink(f->beside);
	return err ? reason__set(why, err, "%s: %s could not be written: %s", f->option, f->path, strerror(-err)) : 0;
}

void outfile__drop(struct outfile *f)
{
	if (!f->to)
		return;
	fclose(f->to);
	f->to = NULL;
	if (f->beside[0])
		unlink(f->beside);
}
