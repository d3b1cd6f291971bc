/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From a PID to its interpreter: labels and maps lines as tables; then real processes, named and deleted and replaced
 * in every way that a file can be; then those that must be refused, each with its sentence.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <pthread.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "collector/elf/elffile.h"
#include "collector/process/procmaps.h"
#include "collector/target/label.h"
#include "collector/target/target.h"
#include "../support/machine.h"
#include "../support/pythons.h"

/* ---- labels ------------------------------------------------------------------------------------------------ */

Test(label, a_program_is_called_by_its_script_or_module)
{
	static const struct {
		char cmdline[96];
		size_t len;
		char label[64];
	} cases[] = {
#define CASE(cmdline, label) {cmdline, sizeof(cmdline), label}
		CASE("python3\0app.py\0--password=secret", "python3 app.py"),
		CASE("/usr/bin/python3.11\0/srv/app/main.py\0x", "python3.11 main.py"),
		CASE("python3\0-m\0http.server\0" "8000", "python3 -m http.server"),
		CASE("python3\0-mhttp.server\0" "8000", "python3 -m http.server"),
		CASE("python3\0-um\0pkg", "python3 -m pkg"),
		CASE("python3\0-c\0import secrets", "python3 -c"),
		CASE("python3\0-Xdev\0-W\0ignore\0-O\0a.py", "python3 a.py"),
		CASE("python3\0-X\0dev\0-Wignore\0a.py", "python3 a.py"),
		CASE("python3\0-uX\0dev\0a.py", "python3 a.py"),
		CASE("python3\0--check-hash-based-pycs\0always\0a.py", "python3 a.py"),
		CASE("python3\0--\0a.py", "python3 a.py"),
		CASE("python3\0-\0secret", "python3"),
		CASE("python3", "python3"),
		CASE("python3\0-m", "python3 -m "),
		CASE("python3\0", "python3"),
		CASE("python3\0-i\0", "python3"),
		CASE("gunicorn: master [app:app]", "gunicorn: master [app:app]"),
		CASE("gunicorn: worker [/srv/a b]\0\0\0\0\0", "gunicorn: worker [/srv/a b]"),
		CASE("gunicorn: worker --password=secret", "gunicorn: worker"),
		CASE("shop: worker [", "shop: worker"),
		CASE("shop: secret [x]", "shop"),
		CASE("uWSGI worker 2", "uWSGI worker 2"),
		CASE("uWSGI worker 2 secret", "uWSGI worker 2"),
		CASE("uWSGI worker secret", "uWSGI worker"),
		CASE("[celeryd: w1@web:MainProcess] -active- (worker -b redis://:secret@db)", "celeryd: w1@web:MainProcess"),
		CASE("[]", "[]"),
		CASE("/usr/bin/shopd --token=secret", "shopd"),
		CASE("(wsgi:shop)      \0-f\0conf", "(wsgi:shop)"),
		CASE("uwsgi --ini /etc/app.ini", "uwsgi"),
		CASE("/usr/bin/uwsgi\0--ini\0/etc/app.ini", "uwsgi app.ini"),
		CASE("uwsgi\0--socket\0:3031\0--module=shop:make('secret')\0-p\0" "2", "uwsgi shop:make"),
		CASE("uwsgi\0--http\0:80\0-w\0shop", "uwsgi shop"),
		CASE("uwsgi-core\0/etc/uwsgi/shop.ini\0--pass\0secret", "uwsgi-core shop.ini"),
		CASE("uwsgi\0--http\0:80\0--ini", "uwsgi"),
		CASE("uwsgi\0--http\0:80\0secret", "uwsgi"),
		CASE("/opt/my app/python3\0a b.py", "python3 a b.py"),
		CASE("/opt/app/", "/opt/app/"),
		CASE("python3\0\x1b[2Jevil\n.py", "python3 ?[2Jevil?.py"),
		{"", 0, "comm"},
		{"\0\0\0", 3, "comm"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char label[128];

		label__from_cmdline(cases[i].cmdline, cases[i].len, "comm", label, sizeof(label));
		cr_expect_str_eq(label, cases[i].label, "case %zu: '%s'", i, label);
	}
}

Test(label, helpers_of_multiprocessing_and_loky_are_known_by_what_they_run)
{
	static const struct {
		char cmdline[120];
		size_t len;
		const char *part; /* NULL: a program of its own */
	} cases[] = {
#define PART(cmdline, part) {cmdline, sizeof(cmdline) - 1, part}
		PART("python3\0-c\0from multiprocessing.spawn import spawn_main; spawn_main(4)\0--multiprocessing-fork",
		     "spawned worker"),
		PART("/usr/bin/python3.13\0-Bcfrom multiprocessing.spawn import spawn_main", "spawned worker"),
		PART("python3\0-B\0-c\0from multiprocessing.forkserver import main; main(3)", "fork server"),
		PART("python3\0-c\0from multiprocessing.resource_tracker import main;main(3)", "resource tracker"),
		PART("python3\0-c\0from multiprocessing.semaphore_tracker import main;main(3)", "resource tracker"),
		PART("python3\0-m\0joblib.externals.loky.backend.popen_loky_posix\0--pipe\0" "15", "loky worker"),
		PART("python3\0-c\0from joblib.externals.loky.backend.resource_tracker import main", "resource tracker"),
		PART("python3\0-c\0import os", NULL),
		PART("python3\0-c\0from", NULL),
		PART("python3\0-c", NULL),
		PART("python3\0-c\0from mymultiprocessing.spawn import x", NULL),
		PART("python3\0-m\0multiprocessing.spawner", NULL),
		PART("python3\0multiprocessing.spawn", NULL),
		PART("sh\0-c\0from multiprocessing.spawn import spawn_main", NULL),
		PART("", NULL),
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *part = label__part(cases[i].cmdline, cases[i].len);

		cr_expect_str_eq(part ?: "none", cases[i].part ?: "none", "case %zu", i);
	}
}

Test(label, long_and_endless_command_lines_are_cut)
{
	static char cmdline[20000];
	char label[128], tiny[8];

	memset(cmdline, 'a', sizeof(cmdline));
	label__from_cmdline(cmdline, sizeof(cmdline), "c", label, sizeof(label));
	cr_expect_eq(strlen(label), sizeof(label) - 1);
	memcpy(cmdline, "python3", 8);
	label__from_cmdline(cmdline, sizeof(cmdline), "c", label, sizeof(label));
	cr_expect_eq(strncmp(label, "python3 aaaa", 12), 0);
	label__from_cmdline(cmdline, sizeof(cmdline), "c", tiny, sizeof(tiny));
	cr_expect_str_eq(tiny, "python3");
	memset(cmdline + 8, 0, sizeof(cmdline) - 8);
	label__from_cmdline(cmdline, sizeof(cmdline), "c", label, sizeof(label));
	cr_expect_str_eq(label, "python3");
}

/* ---- maps lines ---------------------------------------------------------------------------------------------- */

Test(procmaps, a_line_is_taken_apart)
{
	static const struct {
		char line[128];
		struct proc_map map;
		char path[64];
	} cases[] = {
		{"00400000-00452000 r-xp 00001000 08:02 173521      /usr/bin/dbus-daemon\n",
		 {.start = 0x400000, .end = 0x452000, .offset = 0x1000, .ino = 173521, .exec = true},
		 "/usr/bin/dbus-daemon"},
		{"7f0000000000-7f0000001000 rw-p 00000000 00:00 0 \n", {.start = 0x7f0000000000, .end = 0x7f0000001000}, ""},
		{"1-2 ---p 0 fff:fffff 7 [heap]", {.start = 1, .end = 2, .ino = 7}, "[heap]"},
		{"1-2 r-xs ffffffffffffffff 0:0 18446744073709551615 /a b\\012c (deleted)\n",
		 {.start = 1, .end = 2, .offset = UINT64_MAX, .ino = UINT64_MAX, .exec = true}, "/a b\nc (deleted)"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct proc_map map;
		char path[64];

		cr_assert_eq(procmaps__parse(cases[i].line, strlen(cases[i].line), &map), 0, "case %zu", i);
		cr_expect(map.start == cases[i].map.start && map.end == cases[i].map.end &&
				  map.offset == cases[i].map.offset && map.ino == cases[i].map.ino &&
				  map.exec == cases[i].map.exec,
			  "case %zu", i);
		cr_assert_eq(procmaps__path(&map, true, path, sizeof(path)), 0);
		cr_expect_str_eq(path, cases[i].path);
	}
}

Test(procmaps, a_path_that_does_not_fit_is_refused)
{
	const struct proc_map map = {.path = "/a\\012b", .path_len = 7};
	char path[8];

	cr_expect_eq(procmaps__path(&map, false, path, 7), -ENAMETOOLONG);
	cr_assert_eq(procmaps__path(&map, false, path, 8), 0);
	cr_expect_str_eq(path, "/a\\012b");
	cr_expect_eq(procmaps__path(&map, true, path, 4), -ENAMETOOLONG);
	cr_assert_eq(procmaps__path(&map, true, path, 5), 0);
	cr_expect_str_eq(path, "/a\nb");
}

Test(procmaps, malformed_lines_are_refused)
{
	static const char cases[][64] = {
		"", "\n", "x", "1", "1-", "1-2", "1-2 ", "1-2 r-x", "1-2 r-xp", "1-2 r-xp 0", "1-2 r-xp 0 0",
		"1-2 r-xp 0 0:", "1-2 r-xp 0 0:0", "1-2 r-xp 0 0:0 ", "2-1 r-xp 0 0:0 0", "1-1 r-xp 0 0:0 0",
		"-1-2 r-xp 0 0:0 0", "1-2 r-xpp0 0:0 0", "1-10000000000000000 r-xp 0 0:0 0",
		"1-2 r-xp 0 100000000:0 0", "1-2 r-xp 0 0:0 18446744073709551616", "1-2 r-xp 0 0:0 f",
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct proc_map map;

		cr_expect_eq(procmaps__parse(cases[i], strlen(cases[i]), &map), -EINVAL, "'%s'", cases[i]);
	}
}

Test(procmaps, reading_is_bounded)
{
	size_t len;
	char *text;

	cr_expect_eq(procmaps__slurp("/dev/zero", 100000, &text, &len), -EFBIG);
	cr_expect_eq(procmaps__slurp("/nonexistent", 100, &text, &len), -ENOENT);
	cr_expect_eq(procmaps__slurp("/", 100, &text, &len), -EISDIR);
	cr_assert_eq(procmaps__slurp("/proc/self/maps", PROCMAPS_MAX, &text, &len), 0);
	cr_expect_gt(len, 100);
	free(text);
}

/* ---- processes that are taken ---------------------------------------------------------------------------------- */

static struct python first_python(void)
{
	static struct python pythons[PYTHONS_MAX];

	pythons__find(pythons, PYTHONS_MAX, 8);
	return pythons[0];
}

static struct target *must_open(pid_t pid)
{
	struct reason why = {""};
	struct target *t = NULL;

	cr_assert_eq(target__open(pid, &t, &why), 0, "%s", why.text);
	return t;
}

/* The image is the file that defines _PyRuntime, and its bias puts the ELF header where the target has it. */
static void expect_runtime(const struct target *t)
{
	struct elf_symbol runtime;
	struct elffile *ef;

	cr_assert_eq(elffile__open(t->image.fd, &ef, NULL), 0);
	cr_expect_eq(elffile__dynsym(ef, "_PyRuntime", &runtime), 0);
	cr_expect_eq(t->image.bias != 0, elffile__is_relocatable(ef));
	cr_expect_eq(t->image.bias % 4096, 0);
	elffile__close(ef);
}

Test(target, every_python_here_is_found_with_its_image)
{
	static struct python pythons[PYTHONS_MAX];
	size_t n = pythons__find(pythons, PYTHONS_MAX, 8);

	for (size_t i = 0; i < n; i++) {
		char image[PATH_MAX], label[128];
		struct child child;
		struct target *t;

		child__start_python(&child, pythons[i].exe);
		t = must_open(child.pid);
		cr_assert_not_null(realpath(pythons[i].image, image));
		cr_expect_str_eq(t->image.path, image);
		cr_expect_str_eq(t->exe, pythons[i].exe);
		snprintf(label, sizeof(label), "python3.%d -c", pythons[i].minor);
		cr_expect_str_eq(t->label, label);
		cr_expect_eq(t->image.source == IMAGE_EXE, strcmp(t->exe, t->image.path) == 0);
		cr_expect(!t->image.deleted && !t->other_mount_ns && t->uid == getuid() && t->pidns_ino != 0);
		expect_runtime(t);
		target__close(t);
		child__stop(&child);
	}
}

Test(target, an_end_is_noticed_by_pidfd_and_by_comparing)
{
	struct python python = first_python();
	struct child child;
	struct target *t;
	struct pollfd poll_fd;

	child__start_python(&child, python.exe);
	t = must_open(child.pid);
	poll_fd = (struct pollfd){.fd = t->pidfd, .events = POLLIN};
	cr_expect_eq(target__is_same(t), 1);
	cr_expect_eq(poll(&poll_fd, 1, 0), 0);
	child__stop(&child);
	cr_expect_eq(poll(&poll_fd, 1, 0), 1);
	cr_expect_eq(target__is_same(t), 0);
	target__close(t);
}

Test(target, an_exec_makes_it_another_program)
{
	struct python python = first_python();
	char *const argv[] = {python.exe, "-c",
			      "import os, sys; print('ready', flush=True); sys.stdin.readline(); "
			      "os.execv(sys.executable, ['python3', '-c', "
			      "'import sys; print(\"ready\", flush=True); sys.stdin.read()'])",
			      NULL};
	struct child child;
	struct target *t;

	child__start(&child, argv, NULL);
	t = must_open(child.pid);
	cr_expect_eq(target__is_same(t), 1);
	cr_assert_eq(write(child.stdin_fd, "\n", 1), 1);
	child__wait_ready(&child);
	cr_expect_eq(target__is_same(t), 0);
	target__close(t);
	child__stop(&child);
}

/* An interpreter that needs no libpython; skips where there is none. */
static const struct python *python_without_library(void)
{
	static struct python pythons[PYTHONS_MAX];
	size_t n = pythons__find(pythons, PYTHONS_MAX, 8);

	for (size_t i = 0; i < n; i++)
		if (strcmp(pythons[i].exe, pythons[i].image) == 0)
			return &pythons[i];
	cr_skip_test("no interpreter without libpython on this machine");
}

/* A copy of one under a name of the test's. */
static void copy_interpreter(const char *to)
{
	must_run("cp '%s' '%s'", python_without_library()->exe, to);
}

/*
 * One program ends and the next begins every few milliseconds. In between there is neither, for as long as many arguments
 * take to be put in place.
 */
Test(target, nobody_is_seen_in_the_middle_of_an_exec, .timeout = 120)
{
	const char *exe = python_without_library()->exe;
	char *const argv[] = {(char *)exe, "-S", "-c", "import os; print('ready', flush=True); exec(os.environ['AGAIN'])", NULL};
	struct child child;
	int seen = 0;

	child__start(&child, argv,
		     "AGAIN=import os, sys; "
		     "os.execv(sys.executable, [sys.executable, '-S', '-c', os.environ['AGAIN']] + ['x'] * 25000)");
	for (int i = 0; i < 4000 || seen < 100; i++) {
		struct target *t;
		struct reason why;

		if (target__open(child.pid, &t, &why) != 0)
			continue;
		seen++;
		cr_expect_not_null(strstr(t->label, " -c"), "look %d: half of a %s", i, t->label);
		target__close(t);
	}
	child__stop(&child);
}

Test(target, names_may_hold_anything)
{
	static const char names[][40] = {"py\nthon", "python (deleted)", "a b\\012c", "\x1b[31mred", "(R) 1 2 3) S 4"};
	static const char shown[][40] = {"py?thon", "python (deleted)", "a b\\012c", "?[31mred", "(R) 1 2 3) S 4"};
	char dir[PATH_MAX], path[PATH_MAX + 64];

	temp_dir__make(dir, sizeof(dir));
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct child child;
		struct target *t;

		snprintf(path, sizeof(path), "%s/%.39s", dir, names[i]);
		copy_interpreter(path);
		child__start_python(&child, path);
		t = must_open(child.pid);
		cr_expect_eq(strcmp(strrchr(t->image.path, '/') + 1, shown[i]), 0, "'%s'", t->image.path);
		cr_expect_eq(strcmp(strrchr(t->exe, '/') + 1, shown[i]), 0, "'%s'", t->exe);
		cr_expect_not(strchr(t->label, '\n') || strchr(t->label, '\x1b') || strchr(t->comm, '\n'));
		cr_expect_not(t->image.deleted, "'%s'", t->image.path);
		expect_runtime(t);
		target__close(t);
		child__stop(&child);
	}
	temp_dir__remove(dir);
}

Test(target, a_deleted_or_replaced_executable_is_still_itself)
{
	char dir[PATH_MAX], path[PATH_MAX + 64], aside[PATH_MAX + 64];

	temp_dir__make(dir, sizeof(dir));
	snprintf(path, sizeof(path), "%s/python3.11", dir);
	snprintf(aside, sizeof(aside), "%s/other", dir);
	for (int replaced = 0; replaced < 2; replaced++) {
		struct child child;
		struct target *t;

		copy_interpreter(path);
		child__start_python(&child, path);
		cr_assert_eq(unlink(path), 0);
		if (replaced)
			must_write(path, "#!/bin/sh\n", 10);
		t = must_open(child.pid);
		cr_expect(t->image.deleted);
		cr_expect_eq(t->image.source, IMAGE_EXE);
		cr_expect_str_eq(t->image.path, path, "'%s'", t->image.path);
		expect_runtime(t);
		target__close(t);
		child__stop(&child);
		unlink(path);
	}
	temp_dir__remove(dir);
}

static bool has_a_libpython(const struct python *python)
{
	return strcmp(python->exe, python->image) != 0;
}

ParameterizedTestParameters(target, a_deleted_libpython_is_found_through_the_mapping)
{
	static struct python python;

	return cr_make_param_array(struct python, &python, pythons__find_some(&python, 1, has_a_libpython));
}

/* Only map_files leads to a deleted library; without the right to use it, the refusal must not name another file. */
ParameterizedTest(struct python *python, target, a_deleted_libpython_is_found_through_the_mapping)
{
	char dir[PATH_MAX], path[PATH_MAX + 64], env[PATH_MAX + 64];
	struct reason why = {""};
	struct target *t = NULL;
	struct child child;

	temp_dir__make(dir, sizeof(dir));
	snprintf(path, sizeof(path), "%s/libpython3.%d.so.1.0", dir, python->minor);
	snprintf(env, sizeof(env), "LD_LIBRARY_PATH=%s", dir);
	must_run("cp '%s' '%s'", python->image, path);
	child__start(&child,
		     (char *[]){python->exe, "-c", "import sys; print('ready', flush=True); sys.stdin.read()", NULL}, env);
	t = must_open(child.pid);
	cr_expect_str_eq(t->image.path, path);
	cr_expect_not(t->image.deleted);
	target__close(t);
	t = NULL;
	cr_assert_eq(unlink(path), 0);
	if (target__open(child.pid, &t, &why) == 0) {
		cr_expect(t->image.deleted);
		cr_expect_eq(t->image.source, IMAGE_MAP_FILES);
		cr_expect_str_eq(t->image.path, path);
		expect_runtime(t);
	} else {
		cr_expect_neq(getuid(), 0, "%s", why.text);
		cr_expect_null(t);
	}
	target__close(t);
	child__stop(&child);
	temp_dir__remove(dir);
}

Test(target, arguments_of_ten_kilobytes_do_no_harm)
{
	static char argument[10240];
	struct python python = first_python();
	char *const argv[] = {python.exe, "-c", "import sys; print('ready', flush=True); sys.stdin.read()", argument, NULL};
	struct child child;
	struct target *t;

	memset(argument, '\x1b', sizeof(argument) - 1);
	child__start(&child, argv, NULL);
	t = must_open(child.pid);
	cr_expect(strstr(t->label, " -c"));
	target__close(t);
	child__stop(&child);
}

Test(target, opening_leaves_no_descriptor_behind)
{
	struct python python = first_python();
	struct child child;
	int before, after;

	child__start_python(&child, python.exe);
	before = dup(0);
	close(before);
	for (int i = 0; i < 20; i++)
		target__close(must_open(child.pid));
	for (int i = 0; i < 20; i++) {
		struct target *t;

		cr_assert_eq(target__open(getpid(), &t, NULL), -ENOEXEC);
	}
	after = dup(0);
	close(after);
	cr_expect_eq(after, before);
	child__stop(&child);
}

/* ---- processes that are refused -------------------------------------------------------------------------------- */

static void expect_refused(pid_t pid, int err, const char *says)
{
	struct target *t = NULL;
	struct reason why = {""};

	cr_expect_eq(target__open(pid, &t, &why), err, "%s: %s", says, why.text);
	cr_expect_null(t);
	cr_expect(strstr(why.text, says), "'%s' does not say '%s'", why.text, says);
	cr_expect_not(strchr(why.text, '\n'));
}

/* As debuggers and we ourselves do: the file is read, even written to in memory, and none of it runs. */
Test(target, whoever_only_reads_an_interpreters_file_is_no_python)
{
	const char *image = first_python().image;
	int fd = open(image, O_RDONLY | O_CLOEXEC);
	size_t len = (size_t)lseek(fd, 0, SEEK_END);
	char *map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);

	cr_assert(fd >= 0 && map != MAP_FAILED);
	map[0] = map[0];
	expect_refused(getpid(), -ENOEXEC, "is not a CPython process");
	munmap(map, len);
	close(fd);
}

Test(target, who_is_not_there_is_refused)
{
	pid_t gone = fork();

	if (gone == 0)
		_exit(0);
	waitpid(gone, NULL, 0);
	expect_refused(gone, -ESRCH, "there is no process");
	expect_refused(0, -ESRCH, "there is no process 0");
	expect_refused(-5, -ESRCH, "there is no process -5");
	expect_refused(INT32_MAX, -ESRCH, "there is no process 2147483647");
}

Test(target, a_zombie_is_refused)
{
	pid_t child = fork();
	siginfo_t info;

	if (child == 0)
		_exit(0);
	cr_assert_eq(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
	expect_refused(child, -ESRCH, "zombie");
	waitpid(child, NULL, 0);
}

static void *wait_for_end(void *arg)
{
	int *fds = arg;
	pid_t tid = (pid_t)syscall(SYS_gettid);
	char byte;

	if (write(fds[1], &tid, sizeof(tid)) != sizeof(tid))
		return NULL;
	return read(fds[2], &byte, 1) >= 0 ? arg : NULL;
}

/* Who has joined a thread may still find it: its memory's word that it has ended comes before its end in the kernel. */
static void await_end(pid_t tid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/task/%d", (int)tid);
	for (int i = 0; i < 10000 && access(path, F_OK) == 0; i++)
		usleep(1000);
}

Test(target, the_id_of_a_thread_is_refused_with_its_process)
{
	int fds[4]; /* [0] <- [1], [2] <- [3] */
	char says[64], name[64];
	pthread_t thread;
	uint64_t start, stack;
	pid_t tid;

	cr_assert_eq(pipe(fds), 0);
	cr_assert_eq(pipe(fds + 2), 0);
	cr_assert_eq(pthread_create(&thread, NULL, wait_for_end, fds), 0);
	cr_assert_eq(read(fds[0], &tid, sizeof(tid)), (ssize_t)sizeof(tid));
	snprintf(says, sizeof(says), "%d is a thread of process %d", tid, getpid());
	expect_refused(tid, -ESRCH, says);
	cr_expect_eq(target__stat(getpid(), tid, &start, &stack), 0);
	cr_expect_eq(target__thread_comm(getpid(), tid, name, sizeof(name)), 0);
	close(fds[3]);
	pthread_join(thread, NULL);
	await_end(tid);
	cr_expect_eq(target__thread_comm(getpid(), tid, name, sizeof(name)), -ESRCH);
	cr_expect_eq(target__stat(getpid(), tid, &start, &stack), -ESRCH);
}

Test(target, ids_of_another_pid_namespace_are_told_both_ways)
{
	int pipe_fds[2];
	char end;
	pid_t pid;

	cr_expect_eq(target__id_inside(getpid(), getpid()), 0, "it is ours");
	cr_expect_eq(target__id_outside(getpid(), getpid()), 0);
	cr_expect_eq(target__id_inside(1 << 22, 1 << 22), 0);
	cr_assert_eq(pipe(pipe_fds), 0);
	pid = (pid_t)syscall(SYS_clone, CLONE_NEWUSER | CLONE_NEWPID | SIGCHLD, NULL, NULL, NULL, 0);
	cr_assert_geq(pid, 0, "clone: %s", strerror(errno));
	if (pid == 0) {
		close(pipe_fds[1]);
		_exit((int)read(pipe_fds[0], &end, 1));
	}
	cr_expect_eq(target__id_inside(pid, pid), 1);
	cr_expect_eq(target__id_outside(pid, 1), pid);
	cr_expect_eq(target__id_outside(pid, 2), 0);
	close(pipe_fds[1]);
	waitpid(pid, NULL, 0);
}

Test(target, a_kernel_thread_is_refused)
{
	expect_refused(2, -ENOEXEC, "process 2 (kthreadd) is a kernel thread");
}

Test(target, what_is_not_python_is_refused)
{
	expect_refused(getpid(), -ENOEXEC, "is not a CPython process");
}

/* Executables of 2.7 and 3.6 that pyenv has here. */
static size_t find_old_pythons(char (*ret)[PATH_MAX], size_t max)
{
	static const char *const versions[] = {"2.7.*", "3.6.*"};
	const char *home = getenv("HOME"), *root = getenv("PYENV_ROOT");
	char pattern[PATH_MAX];
	size_t n = 0;
	glob_t g;

	for (size_t i = 0; i < 2 && n < max; i++) {
		snprintf(pattern, sizeof(pattern), "%s%s/versions/%s/bin/python", root ? root : home ? home : "",
			 root ? "" : "/.pyenv", versions[i]);
		if (glob(pattern, 0, NULL, &g) == 0)
			snprintf(ret[n++], PATH_MAX, "%s", g.gl_pathv[0]);
		globfree(&g);
	}
	return n;
}

struct old_python {
	char exe[PATH_MAX];
};

ParameterizedTestParameters(target, pythons_before_3_7_are_refused_by_age)
{
	static struct old_python old[2];

	return cr_make_param_array(struct old_python, old, find_old_pythons(&old[0].exe, 2));
}

ParameterizedTest(struct old_python *old, target, pythons_before_3_7_are_refused_by_age)
{
	struct child child;

	child__start(&child, (char *[]){old->exe, "-uc", "import sys; print('ready'); sys.stdin.read()", NULL}, NULL);
	expect_refused(child.pid, -ENOEXEC, "older than 3.7: 3.8 or newer is needed");
	child__stop(&child);
}

Test(target, a_32_bit_program_is_refused)
{
	char dir[PATH_MAX], path[PATH_MAX + 16];
	int told[2], error;
	pid_t pid;

	temp_dir__make(dir, sizeof(dir));
	snprintf(path, sizeof(path), "%s/python32", dir);
	must_write(path, machine__program_32, sizeof(machine__program_32));
	cr_assert_eq(pipe2(told, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		execl(path, path, NULL);
		error = errno;
		_exit(write(told[1], &error, sizeof(error)) != sizeof(error));
	}
	close(told[1]);
	cr_assert_eq(read(told[0], &error, sizeof(error)), 0, "exec: %s", strerror(error)); /* exec has closed it */
	expect_refused(pid, -ENOEXEC, "32-bit");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	temp_dir__remove(dir);
}

/* ---- small readings ---------------------------------------------------------------------------------------------- */

Test(target, a_hostile_thread_name_is_cleaned)
{
	char name[32];

	cr_assert_eq(prctl(PR_SET_NAME, "a\x1b[2J\nb) R 1"), 0);
	cr_assert_eq(target__thread_comm(getpid(), getpid(), name, sizeof(name)), 0);
	cr_expect_str_eq(name, "a?[2J?b) R 1");
	cr_expect_eq(target__stat(getpid(), 0, &(uint64_t){0}, &(uint64_t){0}), 0);
}

Test(target, usage_counts_time_and_memory)
{
	uint64_t cpu = 0, later = 0, rss = 0, more = 0;
	volatile unsigned int work = 0;
	char *block = malloc(32u << 20);

	cr_assert_eq(target__usage(getpid(), &cpu, &rss), 0);
	cr_expect_gt(rss, 100);
	memset(block, 1, 32u << 20);
	for (unsigned int i = 0; i < 20000000; i++)
		work += i;
	cr_assert_eq(target__usage(getpid(), &later, &more), 0);
	cr_expect_gt(later, cpu);
	cr_expect_geq(more, rss + (24u << 10));
	cr_expect_eq(target__usage(INT32_MAX, &cpu, &rss), -ESRCH);
	free(block);
}

struct visits {
	pid_t python, self;
	int python_seen, self_seen, calls, stop_with;
};

static int count_visit(void *arg, pid_t pid, const struct target *t, const char *why_not)
{
	struct visits *v = arg;

	v->calls++;
	cr_expect_eq(t == NULL, why_not != NULL);
	v->python_seen += pid == v->python && t && t->pid == pid;
	v->self_seen += pid == v->self;
	return v->stop_with;
}

Test(target, each_visits_pythons_and_only_those)
{
	struct python python = first_python();
	struct visits v = {.self = getpid()};
	struct child child;

	child__start_python(&child, python.exe);
	v.python = child.pid;
	cr_expect_eq(target__each(NULL, count_visit, &v, NULL), 0);
	cr_expect_eq(v.python_seen, 1);
	cr_expect_eq(v.self_seen, 0);
	v = (struct visits){.python = child.pid, .stop_with = 42};
	cr_expect_eq(target__each(NULL, count_visit, &v, NULL), 42);
	cr_expect_eq(v.calls, 1);
	child__stop(&child);
}
