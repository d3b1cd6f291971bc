/* SPDX-License-Identifier: GPL-2.0-only */
/* See pythons.h. */
#include "pythons.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <glob.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "collector/elf/elffile.h"

/* Minor version of ".../python3.11"; -1 for ".../python3.11-config" and the like. */
static int minor_of(const char *exe)
{
	const char *name = strrchr(exe, '/');
	int minor, used;

	if (!name || sscanf(name, "/python3.%d%n", &minor, &used) != 1 || name[used] != '\0')
		return -1;
	return minor;
}

static bool defines_runtime(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct elf_symbol symbol;
	struct elffile *ef;
	bool found;

	if (fd < 0)
		return false;
	if (elffile__open(fd, &ef, NULL) != 0) {
		close(fd);
		return false;
	}
	found = elffile__dynsym(ef, "_PyRuntime", &symbol) == 0;
	elffile__close(ef);
	close(fd);
	return found;
}

static bool describe(const char *exe, struct python *ret)
{
	char real[PATH_MAX];

	memset(ret, 0, sizeof(*ret));
	ret->minor = minor_of(exe);
	if (ret->minor < 0 || !realpath(exe, real))
		return false;
	snprintf(ret->exe, sizeof(ret->exe), "%s", real);
	snprintf(ret->image, sizeof(ret->image), "%s", real);
	if (defines_runtime(ret->image))
		return true;
	*strrchr(real, '/') = '\0';
	snprintf(ret->image, sizeof(ret->image), "%.*s/../lib/libpython3.%d.so.1.0", PATH_MAX - 64, real, ret->minor);
	if (access(ret->image, R_OK) != 0)
		snprintf(ret->image, sizeof(ret->image), "%.*s/../lib/libpython3.%dm.so.1.0", PATH_MAX - 64, real,
			 ret->minor);
	return access(ret->image, R_OK) == 0;
}

static size_t add(struct python *list, size_t n, size_t max, const char *exe, int min_minor)
{
	struct python found;

	if (n == max || !describe(exe, &found) || found.minor < min_minor)
		return n;
	for (size_t i = 0; i < n; i++)
		if (strcmp(list[i].exe, found.exe) == 0)
			return n;
	list[n] = found;
	return n + 1;
}

size_t pythons__find(struct python *ret, size_t max, int min_minor)
{
	const char *home = getenv("HOME"), *root = getenv("PYENV_ROOT");
	char pyenv[PATH_MAX];
	const char *patterns[] = {"/usr/bin/python3.*", "/usr/local/bin/python3.*", pyenv};
	size_t n = 0;
	glob_t g;

	if (root)
		snprintf(pyenv, sizeof(pyenv), "%s/versions/*/bin/python3.*", root);
	else
		snprintf(pyenv, sizeof(pyenv), "%s/.pyenv/versions/*/bin/python3.*", home ? home : "");
	for (size_t p = 0; p < sizeof(patterns) / sizeof(patterns[0]); p++) {
		if (glob(patterns[p], 0, NULL, &g) == 0)
			for (size_t i = 0; i < g.gl_pathc; i++)
				n = add(ret, n, max, g.gl_pathv[i], min_minor);
		globfree(&g);
	}
	cr_assert_gt(n, 0, "no CPython on this machine");
	return n;
}

size_t pythons__find_some(struct python *ret, size_t max, bool (*fit)(const struct python *python))
{
	static struct python all[PYTHONS_MAX];
	size_t n = pythons__find(all, PYTHONS_MAX, 8), kept = 0;

	for (size_t i = 0; i < n && kept < max; i++)
		if (fit(&all[i]))
			ret[kept++] = all[i];
	return kept;
}

static void run_child(char *const argv[], const char *env, int in, int out)
{
	char copy[PATH_MAX];

	if (dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0)
		_exit(126);
	if (env) {
		snprintf(copy, sizeof(copy), "%s", env);
		putenv(copy);
	}
	execv(argv[0], argv);
	_exit(127);
}

void child__wait_ready(const struct child *c)
{
	char line[8] = "";
	ssize_t got;

	for (size_t len = 0; len < 6; len += (size_t)got) {
		got = read(c->stdout_fd, line + len, 6 - len);
		cr_assert_gt(got, 0, "the child did not come up");
	}
	cr_assert_str_eq(line, "ready\n");
}

void child__start(struct child *ret, char *const argv[], const char *env)
{
	int in[2], out[2];

	cr_assert_eq(pipe2(in, O_CLOEXEC), 0);
	cr_assert_eq(pipe2(out, O_CLOEXEC), 0);
	ret->pid = fork();
	cr_assert_geq(ret->pid, 0);
	if (ret->pid == 0)
		run_child(argv, env, in[0], out[1]);
	close(in[0]);
	close(out[1]);
	ret->stdin_fd = in[1];
	ret->stdout_fd = out[0];
	child__wait_ready(ret);
}

void child__start_python(struct child *ret, const char *exe)
{
	char *const argv[] = {(char *)exe, "-c", "import sys; print('ready', flush=True); sys.stdin.read()", NULL};

	child__start(ret, argv, NULL);
}

void child__stop(struct child *c)
{
	kill(c->pid, SIGKILL);
	waitpid(c->pid, NULL, 0);
	close(c->stdin_fd);
	close(c->stdout_fd);
}

void temp_dir__make(char *buf, size_t size)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(buf, size, "%s/gilscope-test-XXXXXX", tmp ? tmp : "/tmp");
	cr_assert_not_null(mkdtemp(buf));
}

void temp_dir__remove(const char *dir)
{
	must_run("rm -rf '%s'", dir);
}

void must_run(const char *fmt, ...)
{
	char command[4 * PATH_MAX];
	va_list args;
	int status;

	va_start(args, fmt);
	vsnprintf(command, sizeof(command), fmt, args);
	va_end(args);
	status = system(command); /* NOLINT: our own command lines */
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "failed: %s", command);
}

char *must_read(const char *path, size_t *ret_len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	char *bytes;

	cr_assert_geq(fd, 0, "%s", path);
	cr_assert_eq(fstat(fd, &st), 0);
	bytes = malloc((size_t)st.st_size + 1);
	cr_assert_not_null(bytes);
	cr_assert_eq(read(fd, bytes, (size_t)st.st_size), st.st_size);
	bytes[st.st_size] = '\0';
	close(fd);
	*ret_len = (size_t)st.st_size;
	return bytes;
}

void must_write(const char *path, const void *bytes, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);

	cr_assert_geq(fd, 0, "%s", path);
	cr_assert_eq(write(fd, bytes, len), (ssize_t)len);
	close(fd);
}

int memory_file(const void *bytes, size_t len)
{
	int fd = memfd_create("gilscope-test", MFD_CLOEXEC);

	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, bytes, len), (ssize_t)len);
	return fd;
}

void must_compile(const char *path, const char *flags, const char *source)
{
	char input[PATH_MAX];

	snprintf(input, sizeof(input), "%s.src", path);
	must_write(input, source, strlen(source));
	must_run("cc -shared -nostdlib -fPIC -O1 %s -o '%s' -x %s '%s'", flags, path,
		 strstr(flags, "-DASM") ? "assembler-with-cpp" : "c", input);
}
