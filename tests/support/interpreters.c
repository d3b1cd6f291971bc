/* SPDX-License-Identifier: GPL-2.0-only */
/* See interpreters.h. */
#include "interpreters.h"

#include <criterion/criterion.h>
#include <ctype.h>
#include <fcntl.h>
#include <limits.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char who[] =
	"import sys\n"
	"v, maps = sys.version_info, open('/proc/self/maps').read().split('\\n')\n"
	"libs = [m.split(None, 5)[5] for m in maps if '/libpython3' in m]\n"
	"if sys.implementation.name == 'cpython':\n"
	"    print(v[0], v[1], v[2], sys.abiflags or '-', libs[0] if libs else '-', sys.base_prefix)\n";

#define DISTRIBUTION "" /* its name is its own */

/* "Debian 12", from what the distribution says of itself. */
static void name_distribution(char *name, size_t size)
{
	char line[256], id[16] = "distribution", version[12] = "";
	FILE *f = fopen("/etc/os-release", "re");

	while (f && fgets(line, sizeof(line), f)) {
		sscanf(line, "ID=%*[\"]%15[a-zA-Z]", id);
		sscanf(line, "ID=%15[a-zA-Z]", id);
		sscanf(line, "VERSION_ID=%*[\"]%11[0-9.]", version);
		sscanf(line, "VERSION_ID=%11[0-9.]", version);
	}
	if (f)
		fclose(f);
	id[0] = (char)toupper(id[0]);
	snprintf(name, size, "%s%s%s", id, version[0] ? " " : "", version);
}

/* Where interpreters live; "~" is $HOME. */
static const struct {
	const char *pattern, *origin;
} places[] = {
	{"/usr/bin/python3*", DISTRIBUTION},
	{"/usr/local/bin/python3*", "/usr/local"},
	{"/opt/*/bin/python3*", "/opt"},
	{"~/.local/bin/python3*", "~/.local"},
	{"~/.pyenv/versions/*/bin/python3*", "pyenv"},
	{"~/.local/share/uv/python/*/bin/python3*", "uv"},
	{"~/*conda3/bin/python3*", "conda"},
	{"~/*conda3/envs/*/bin/python3*", "conda"},
	{"~/miniforge3/bin/python3*", "conda"},
};

void interpreter__environment(const struct interpreter *in)
{
	setenv("PYTHONDONTWRITEBYTECODE", "1", 1);
	unsetenv("PYTHONPATH");
	if (in->free_threaded && !in->no_gil)
		setenv("PYTHON_GIL", "1", 1);
	else
		unsetenv("PYTHON_GIL");
	if (in->home[0])
		setenv("PYTHONHOME", in->home, 1);
	else
		unsetenv("PYTHONHOME");
	if (in->library_path[0])
		setenv("LD_LIBRARY_PATH", in->library_path, 1);
}

/* Runs `exe -c who`; what it says, or "" if it does not run. */
static void ask(const struct interpreter *in, char *answer, size_t size)
{
	size_t len = 0;
	int fds[2], status;
	ssize_t got;
	pid_t pid;

	cr_assert_eq(pipe2(fds, O_CLOEXEC), 0);
	pid = fork();
	cr_assert_geq(pid, 0);
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);

		dup2(null, STDIN_FILENO);
		dup2(null, STDERR_FILENO);
		dup2(fds[1], STDOUT_FILENO);
		interpreter__environment(in);
		execl(in->exe, in->exe, "-S", "-c", who, (char *)NULL);
		_exit(127);
	}
	close(fds[1]);
	while (len + 1 < size && (got = read(fds[0], answer + len, size - 1 - len)) > 0)
		len += (size_t)got;
	answer[len] = '\0';
	close(fds[0]);
	if (waitpid(pid, &status, 0) != pid || status != 0)
		answer[0] = '\0';
}

/* Fills in what the interpreter says of itself. False: not a CPython 3.8+ that runs. */
static bool describe(struct interpreter *in)
{
	char answer[1024], image[INTERPRETER_PATH], home[INTERPRETER_PATH];
	char flags[8];
	int major, minor, micro;

	ask(in, answer, sizeof(answer));
	if (sscanf(answer, "%d %d %d %7s %255s %255[^\n]", &major, &minor, &micro, flags, image, home) != 6)
		return false;
	if (major != 3 || minor < 8)
		return false;
	in->minor = minor;
	in->free_threaded = strchr(flags, 't') != NULL;
	snprintf(in->version, sizeof(in->version), "%d.%d.%d%s", major, minor, micro, flags[0] == '-' ? "" : flags);
	snprintf(in->image, sizeof(in->image), "%s", strcmp(image, "-") == 0 ? in->exe : image);
	snprintf(in->prefix, sizeof(in->prefix), "%s", home);
	return true;
}

/* "python3", "python3.11", "python3.13t", "python3.11d"; not "python3-config". */
static bool named_like_python(const char *path)
{
	const char *name = strrchr(path, '/');

	return name && name[strlen("/python3") + strspn(name + strlen("/python3"), ".0123456789td")] == '\0';
}

static bool known(const struct interpreter *list, size_t n, const struct stat *st)
{
	struct stat other;

	for (size_t i = 0; i < n; i++)
		if (stat(list[i].exe, &other) == 0 && other.st_dev == st->st_dev && other.st_ino == st->st_ino)
			return true;
	return false;
}

static size_t add(struct interpreter *list, size_t n, size_t max, const char *exe, const char *origin)
{
	struct interpreter in = {0};
	char real[PATH_MAX];
	struct stat st;

	if (n == max || !named_like_python(exe) || !realpath(exe, real) || strlen(real) >= sizeof(in.exe))
		return n;
	if (stat(real, &st) || !S_ISREG(st.st_mode) || access(real, X_OK) || known(list, n, &st))
		return n;
	snprintf(in.exe, sizeof(in.exe), "%s", real);
	if (!describe(&in))
		return n;
	if (strcmp(origin, DISTRIBUTION) == 0)
		name_distribution(in.origin, sizeof(in.origin));
	else
		snprintf(in.origin, sizeof(in.origin), "%s", origin);
	list[n] = in;
	return n + 1;
}

static size_t add_matching(struct interpreter *list, size_t n, size_t max, const char *pattern, const char *origin)
{
	glob_t g;

	if (glob(pattern, GLOB_TILDE_CHECK, NULL, &g) == 0)
		for (size_t i = 0; i < g.gl_pathc; i++)
			n = add(list, n, max, g.gl_pathv[i], origin);
	globfree(&g);
	return n;
}

static size_t add_listed(struct interpreter *list, size_t n, size_t max, const char *names)
{
	char *copy = strdup(names), *rest = copy;

	for (char *name; (name = strsep(&rest, ":"));) {
		char *path = strchr(name, '=');

		if (path)
			*path++ = '\0';
		n = add(list, n, max, path ? path : name, path ? name : "listed");
	}
	free(copy);
	return n;
}

static int by_version(const void *a, const void *b)
{
	const struct interpreter *x = a, *y = b;

	return x->minor != y->minor ? x->minor - y->minor : strcmp(x->version, y->version);
}

size_t interpreters__find(struct interpreter *ret, size_t max)
{
	const char *root = getenv("PYENV_ROOT"), *listed = getenv("GILSCOPE_TEST_PYTHONS");
	char pattern[PATH_MAX];
	size_t n = 0;

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		n = add_matching(ret, n, max, places[i].pattern, places[i].origin);
	if (root) {
		snprintf(pattern, sizeof(pattern), "%s/versions/*/bin/python3*", root);
		n = add_matching(ret, n, max, pattern, "pyenv");
	}
	if (listed)
		n = add_listed(ret, n, max, listed);
	cr_assert_gt(n, 0, "no CPython 3.8 or later on this machine");
	qsort(ret, n, sizeof(*ret), by_version);
	return n;
}

const char *interpreters__built_dir(void)
{
	static char dir[PATH_MAX];
	const char *given = getenv("GILSCOPE_FREE_THREADED"), *output = getenv("GILSCOPE_OUTPUT");

	snprintf(dir, sizeof(dir), "%s%s", given ?: output ?: ".output", given ? "" : "/free-threaded");
	return dir;
}

size_t interpreters__without_gil(struct interpreter *ret, size_t max)
{
	char pattern[PATH_MAX + 32];
	size_t n;

	snprintf(pattern, sizeof(pattern), "%s/*/bin/python3.*t", interpreters__built_dir());
	n = add_matching(ret, 0, max, pattern, "from source");
	for (size_t i = 0; i < n; i++) {
		ret[i].no_gil = true;
		ret[i].stripped = strstr(ret[i].exe, "-stripped/") != NULL;
	}
	return n;
}

void interpreter__stock(struct interpreter *ret)
{
	cr_assert_eq(add(ret, 0, 1, "/usr/bin/python3", DISTRIBUTION), 1, "/usr/bin/python3 is missing or does not run");
}

static void strip_to(const char *from, const char *dir, char *to, size_t size)
{
	int status;
	pid_t pid;

	cr_assert_lt((size_t)snprintf(to, size, "%s%s", dir, strrchr(from, '/')), size);
	pid = fork();
	cr_assert_geq(pid, 0);
	if (pid == 0) {
		execlp("strip", "strip", "--strip-all", "-o", to, from, (char *)NULL);
		_exit(127);
	}
	cr_assert(waitpid(pid, &status, 0) == pid && status == 0, "strip %s failed", from);
}

void interpreter__strip(const struct interpreter *in, const char *dir, struct interpreter *ret)
{
	struct interpreter copy = *in;
	char library[INTERPRETER_PATH];

	snprintf(copy.home, sizeof(copy.home), "%s", in->prefix);
	strip_to(in->exe, dir, copy.exe, sizeof(copy.exe));
	if (strcmp(in->image, in->exe) != 0) {
		strip_to(in->image, dir, library, sizeof(library));
		snprintf(copy.library_path, sizeof(copy.library_path), "%s", dir);
	}
	cr_assert(describe(&copy), "the stripped copy of %s does not run", in->exe);
	cr_assert(strncmp(copy.image, dir, strlen(dir)) == 0, "%s is used, not its stripped copy", copy.image);
	copy.stripped = true;
	*ret = copy;
}
