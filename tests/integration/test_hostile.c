/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A user whose files are made to be work: what lists and looks through all processes goes on to the others. What it costs is the
 * CPU time of gilscope and of its children, so that a busy machine changes nothing.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../support/bpf_env.h"
#include "../support/hostile_elf.h"
#include "../support/interpreters.h"
#include "../support/program.h"
#include "../support/pythons.h"
#include "../support/tool.h"

#define NOBODY 65534
#define IDLE 200
#define INFLATED (360l << 20)

static char dir[64], file[96];
static pid_t idle[IDLE], hostile;

static void become_nobody(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (setgroups(0, NULL) || setresgid(NOBODY, NOBODY, NOBODY) || setresuid(NOBODY, NOBODY, NOBODY))
		_exit(1);
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* the change of user took it away */
}

/* A process of nobody's that maps the file as code, once it does. */
static pid_t map_hostile(void)
{
	int ready[2], fd;
	char byte;
	pid_t pid;

	cr_assert_eq(pipe(ready), 0);
	pid = fork();
	cr_assert_geq(pid, 0);
	if (pid == 0) {
		become_nobody();
		fd = open(file, O_RDONLY);
		if (fd < 0 || mmap(NULL, 1 << 20, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) == MAP_FAILED ||
		    write(ready[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	cr_assert_eq(read(ready[0], &byte, 1), 1, "it does not run");
	close(ready[0]);
	return pid;
}

static void make_file(size_t symbols, size_t names, int sparse)
{
	int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	cr_assert_geq(fd, 0);
	hostile_elf__write(fd, symbols, names, sparse);
	cr_assert_eq(fchown(fd, NOBODY, NOBODY), 0);
	close(fd);
}

static void set_up(void)
{
	bpf_env__require();
	temp_dir__make(dir, sizeof(dir));
	cr_assert_eq(chmod(dir, 0755), 0);
	snprintf(file, sizeof(file), "%s/lib.so", dir);
}

static void end(pid_t pid)
{
	if (pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
}

static void tear_down(void)
{
	for (size_t i = 0; i < IDLE; i++)
		end(idle[i]);
	end(hostile);
	temp_dir__remove(dir);
}

TestSuite(hostile, .init = set_up, .fini = tear_down, .timeout = 120);

static double children_cpu_s(void)
{
	struct rusage usage;

	getrusage(RUSAGE_CHILDREN, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* Until each is what it is to be: half of an exec is looked at longer, and a copy of this program has more to look at. */
static void start_idle(void)
{
	int executed[2];
	char byte;

	cr_assert_eq(pipe2(executed, O_CLOEXEC), 0);
	for (size_t i = 0; i < IDLE; i++) {
		idle[i] = fork();
		if (idle[i] == 0) {
			become_nobody();
			execl("/bin/sleep", "sleep", "300", (char *)NULL);
			_exit(127);
		}
	}
	close(executed[1]);
	cr_assert_eq(read(executed[0], &byte, 1), 0);
	close(executed[0]);
}

/* CPU time of a list of all processes. */
static double list_all(void)
{
	double before = children_cpu_s();
	struct program p;

	program__run(&p, "timeout 60 \"$GILSCOPE\" ls --json");
	cr_expect_eq(p.status, 0, "%s", p.err);
	program__free(&p);
	return children_cpu_s() - before;
}

/* Files of 32 MB whose names have no end, and of 480 MB of symbols. */
static const struct {
	size_t symbols, names;
	int sparse;
} files[] = {{700000, 16 << 20, 0}, {20000000, 4096, 1}};

/* Without limits such a file costs minutes, the list of all others some 50 ms. */
Test(hostile, file_among_two_hundred_processes_costs_less_than_ten_lists_of_them)
{
	start_idle();
	list_all(); /* what is the first time's only */
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		double without = list_all(), with;

		make_file(files[i].symbols, files[i].names, files[i].sparse);
		hostile = map_hostile();
		with = list_all();
		cr_expect_lt(with, 10 * without, "file %zu: %.3f s of CPU, %.3f s without it", i, with, without);
		end(hostile);
	}
	hostile = 0;
}

/* An interpreter of a user's own is looked into by a child, and is an interpreter like any other. */
Test(hostile, interpreter_that_a_user_built_is_listed_as_what_it_is)
{
	struct interpreter stock;
	struct program p;
	char exe[96], pid[32];

	interpreter__stock(&stock);
	snprintf(exe, sizeof(exe), "%s/python3", dir);
	must_run("cp -L '%s' %s && chown %d %s", stock.exe, exe, NOBODY, exe);
	hostile = fork();
	if (hostile == 0) {
		become_nobody();
		execl(exe, exe, "-c", "import time; time.sleep(60)", (char *)NULL);
		_exit(127);
	}
	usleep(500000);
	snprintf(pid, sizeof(pid), "%d", (int)hostile);
	program__run(&p, "\"$GILSCOPE\" ls | grep -w %s", pid);
	cr_expect_not_null(strstr(p.out, "full, light"), "%s", p.out);
	cr_expect_not_null(strstr(p.out, stock.version), "%s", p.out);
	program__free(&p);
}

static long peak_kib(pid_t pid)
{
	char path[64], line[256];
	long kib = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "r");
	cr_assert_not_null(f);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "VmHWM: %ld kB", &kib) == 1)
			break;
	fclose(f);
	cr_assert_gt(kib, 0);
	return kib;
}

static void start_inflated(const char *exe)
{
	int fd = open(exe, O_RDWR | O_CLOEXEC);

	cr_assert_geq(fd, 0);
	hostile_elf__inflate(fd, INFLATED);
	close(fd);
	hostile = fork();
	cr_assert_geq(hostile, 0);
	if (hostile == 0) {
		become_nobody();
		execl(exe, exe, "-c", "import time\nwhile True: time.sleep(0.001)", (char *)NULL);
		_exit(127);
	}
	usleep(500000);
}

/* 360 MB of symbols: they are a child's to read, which may be killed for it, and gilscope stays as small as it is. */
Test(hostile, interpreter_that_a_user_built_is_planned_by_a_child)
{
	struct interpreter stock;
	struct program p;
	char exe[96], words[64];
	struct tool t;

	interpreter__stock(&stock);
	snprintf(exe, sizeof(exe), "%s/python3", dir);
	must_run("cp -L '%s' %s && chown %d %s", stock.exe, exe, NOBODY, exe);
	start_inflated(exe);
	program__run(&p, "\"$GILSCOPE\" doctor %d", (int)hostile);
	cr_expect_not_null(strstr(p.out, "sites found by the method \"call sites\""), "%s%s", p.out, p.err);
	program__free(&p);
	snprintf(words, sizeof(words), "attach --no-store %d", (int)hostile);
	tool__start(&t, words);
	tool__await(&t, "armed");
	cr_expect_lt(peak_kib(t.pid), INFLATED / 2 / 1024);
	kill(t.pid, SIGINT);
	cr_expect_eq(tool__wait(&t, 60), 0);
	tool__clear(&t);
}

/* Whether `pid` descends from this process. */
static bool is_ours(pid_t pid)
{
	while (pid > 1 && pid != getpid()) {
		char path[64], line[512], *at;
		FILE *stat;

		snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
		stat = fopen(path, "re");
		at = stat && fgets(line, sizeof(line), stat) ? strrchr(line, ')') : NULL;
		if (stat)
			fclose(stat);
		pid = at && strlen(at) > 4 ? (pid_t)atoi(at + 4) : 0;
	}
	return pid == getpid();
}

/* Lets everybody open the file, and counts how often one of ours did: another gilscope of this machine may look at it, too. */
static void *watch_opens(void *arg)
{
	int *watch = arg, opened = 0;
	struct fanotify_event_metadata event;

	while (read(*watch, &event, sizeof(event)) == sizeof(event)) {
		struct fanotify_response allow = {.fd = event.fd, .response = FAN_ALLOW};

		opened += is_ours(event.pid);
		if (write(*watch, &allow, sizeof(allow)) != sizeof(allow))
			break;
		close(event.fd);
		if (event.pid == getpid())
			break;
	}
	*watch = opened;
	return NULL;
}

/* How often `command`, or what it starts, opens the file. */
static int count_opens(const char *command, char *said, size_t size)
{
	int watch = fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC, O_RDONLY | O_CLOEXEC), fd = watch;
	struct program p;
	pthread_t thread;

	cr_assert_geq(fd, 0, "fanotify: %s", strerror(errno));
	cr_assert_eq(fanotify_mark(fd, FAN_MARK_ADD, FAN_OPEN_PERM, AT_FDCWD, file), 0, "fanotify: %s", strerror(errno));
	cr_assert_eq(pthread_create(&thread, NULL, watch_opens, &watch), 0);
	program__run(&p, "%s", command);
	snprintf(said, size, "%s", p.err);
	program__free(&p);
	close(open(file, O_RDONLY | O_CLOEXEC)); /* the last one, by ourselves */
	pthread_join(thread, NULL);
	close(fd);
	return watch - 1;
}

#define LOOK "\"$GILSCOPE\" attach --all --no-store --match no-such-program --duration 300ms "

/* The user and the control group are told by /proc alone. */
Test(hostile, file_of_a_user_who_is_not_meant_is_not_even_opened)
{
	char said[1024];

	make_file(1000, 4096, 0);
	hostile = map_hostile();
	cr_expect_eq(count_opens(LOOK "--user root", said, sizeof(said)), 0, "%s", said);
	cr_expect_eq(count_opens(LOOK "--cgroup /no/such", said, sizeof(said)), 0, "%s", said);
	cr_expect_gt(count_opens(LOOK "--user nobody", said, sizeof(said)), 0, "nobody looks at what is meant: %s", said);
}
