/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * usage: onefile unlink|memfd LIBPYTHON SCRIPT ARG...
 *
 * What programs made into one file do: unpack libpython, map it, and run a script with it, in a process that is called like the
 * program. The unpacked file lies in a temporary directory and is gone again before Python runs (unlink), or never had a name
 * (memfd).
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

static void fail(const char *what)
{
	fprintf(stderr, "onefile: %s\n", what);
	exit(1);
}

static void copy(const char *from, int to)
{
	int in = open(from, O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (in < 0 || to < 0 || fstat(in, &st))
		fail(from);
	for (off_t done = 0; done < st.st_size;)
		if (sendfile(to, in, &done, (size_t)(st.st_size - done)) <= 0)
			fail("cannot copy");
	close(in);
}

/* Unpacks into $TMPDIR/_MEIxxxxxx/, as such programs do. */
static void *map_unlinked(const char *libpython)
{
	const char *tmp = getenv("TMPDIR");
	char dir[256], path[512];
	void *handle;
	int fd;

	snprintf(dir, sizeof(dir), "%s/_MEIXXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(dir))
		fail(dir);
	snprintf(path, sizeof(path), "%s/%s", dir, strrchr(libpython, '/') + 1);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
	copy(libpython, fd);
	close(fd);
	handle = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
	unlink(path);
	rmdir(dir);
	return handle;
}

static void *map_unnamed(const char *libpython)
{
	int fd = memfd_create("unpacked", MFD_CLOEXEC);
	char path[64];

	copy(libpython, fd);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return dlopen(path, RTLD_NOW | RTLD_GLOBAL);
}

int main(int argc, char **argv)
{
	int (*run)(int argc, char **argv);
	void *handle;

	if (argc < 4)
		fail("usage: onefile unlink|memfd LIBPYTHON SCRIPT ARG...");
	handle = strcmp(argv[1], "memfd") == 0 ? map_unnamed(argv[2]) : map_unlinked(argv[2]);
	if (!handle)
		fail(dlerror());
	*(void **)&run = dlsym(handle, "Py_BytesMain");
	if (!run)
		fail(dlerror());
	argv[2] = argv[0];
	return run(argc - 2, argv + 2);
}
