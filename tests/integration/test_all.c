/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * attach --all: who is there and who comes is found, who is not meant is left alone, and nothing grows with those that went.
 * A script of a name that nobody else has stands for "mine" on a machine where other tests run.
 */
#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../support/bpf_env.h"
#include "../support/interpreters.h"
#include "../support/json_lines.h"
#include "../support/own_images.h"
#include "../support/pythons.h"
#include "../support/tool.h"

#define AT_ONCE 10
#define WAVES 6

static char dir[128], script[192], name[32];

static void set_up(void)
{
	/* Releases the GIL a little, and stays until its input ends. */
	static const char text[] = "import os, sys, threading\n"
				   "sys.setswitchinterval(1000)\n" /* nobody is forced out */
				   "def work():\n"
				   "    fd = os.open('/dev/zero', os.O_RDONLY)\n"
				   "    for _ in range(500): os.read(fd, 1)\n"
				   "sys.stdin.readline()\n"
				   "thread = threading.Thread(target=work, daemon=True)\n"
				   "thread.start()\nthread.join()\n"
				   "sys.stdin.read()\n";

	bpf_env__require();
	own_image__use_stock();
	temp_dir__make(dir, sizeof(dir));
	snprintf(name, sizeof(name), "mine_%d.py", (int)getpid());
	snprintf(script, sizeof(script), "%s/%s", dir, name);
	must_write(script, text, sizeof(text) - 1);
}

static void tear_down(void)
{
	temp_dir__remove(dir);
}

TestSuite(all, .init = set_up, .fini = tear_down, .timeout = 300);

struct program_of_mine {
	pid_t pid;
	int in;
};

static void begin(struct program_of_mine *p, const char *path)
{
	int fds[2];

	cr_assert_eq(pipe2(fds, O_CLOEXEC), 0);
	p->pid = fork();
	cr_assert_geq(p->pid, 0);
	if (p->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(fds[0], STDIN_FILENO);
		execl("/usr/bin/python3", "python3", path, (char *)NULL);
		_exit(127);
	}
	close(fds[0]);
	p->in = fds[1];
}

static void finish(struct program_of_mine *p)
{
	int status;

	cr_assert_eq(dprintf(p->in, "go\n"), 3);
	close(p->in);
	cr_assert_eq(waitpid(p->pid, &status, 0), p->pid);
	cr_expect_eq(status, 0, "program %d: %#x", (int)p->pid, status);
}

static void await_watched(struct tool *t, pid_t pid)
{
	char said[32];

	snprintf(said, sizeof(said), "(pid %d)", (int)pid);
	tool__await(t, said);
}

/* Files of libraries are kept, once their code has been named (native.h has how many at most): those are no process's. */
static bool is_library(const char *path)
{
	char file[256];
	ssize_t len = readlink(path, file, sizeof(file) - 1);

	file[len > 0 ? len : 0] = '\0';
	return strstr(file, ".so") != NULL;
}

/* Open ones, but for libraries; `list` writes them to standard error. */
static size_t descriptors(pid_t pid, bool list)
{
	char path[64];
	struct dirent *fd;
	size_t n = 0;
	DIR *d;

	if (list)
		must_run("ls -l /proc/%d/fd >&2", (int)pid);
	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	d = opendir(path);
	cr_assert_not_null(d);
	while ((fd = readdir(d))) {
		snprintf(path, sizeof(path), "/proc/%d/fd/%.10s", (int)pid, fd->d_name);
		n += !is_library(path);
	}
	closedir(d);
	return n;
}

/* Acquires of the thread that is not the main one: too short a life for its name to be read. */
static json_int_t acquires_of_thread(const json_t *summary)
{
	const json_t *thread;
	size_t i;

	json_array_foreach(json_object_get(summary, "threads"), i, thread)
		if (json__int(thread, "tid") != json__int(summary, "pid"))
			return json__int(thread, "n");
	return -1;
}

static json_int_t worker_of(const json_t *lines, pid_t pid)
{
	const json_t *line;
	size_t i;

	json_array_foreach(lines, i, line)
		if (strcmp(json_string_value(json_object_get(line, "type")), "summary") == 0 &&
		    json__int(line, "pid") == pid)
			return acquires_of_thread(line);
	return -1;
}

Test(all, those_there_and_those_to_come_are_found_and_nobody_else)
{
	struct program_of_mine there, stranger, wave[AT_ONCE];
	pid_t seen[WAVES * AT_ONCE + 1];
	size_t n = 0, early = 0, late;
	char words[160], path[200], *out;
	struct tool t;
	json_t *lines;

	snprintf(path, sizeof(path), "%s/other.py", dir);
	must_write(path, "import sys\nsys.stdin.read()\n", 28);
	begin(&there, script);
	begin(&stranger, path);
	snprintf(words, sizeof(words), "attach --all --match %s --no-store --json --mode full -v", name);
	tool__start(&t, words);
	await_watched(&t, there.pid);
	for (int w = 0; w < WAVES; w++) {
		for (int i = 0; i < AT_ONCE; i++)
			begin(&wave[i], script);
		for (int i = 0; i < AT_ONCE; i++)
			await_watched(&t, wave[i].pid);
		for (int i = 0; i < AT_ONCE; i++) {
			seen[n++] = wave[i].pid;
			finish(&wave[i]);
		}
		usleep(1200000); /* they are let go at the end of an interval */
		if (w == 1)
			early = descriptors(t.pid, false);
	}
	/* On a busy machine they go later. What leaks never goes. */
	for (int i = 0; i < 300 && descriptors(t.pid, false) > early + 4; i++)
		usleep(100000);
	late = descriptors(t.pid, false);
	cr_expect_leq(late, early + 4, "%zu descriptors, after two waves %zu", late > early + 4 ? descriptors(t.pid, true) : late,
		      early);
	cr_expect_eq(breakpoints__count(stranger.pid), 0, "a process that was not asked for");
	cr_expect_gt(breakpoints__count(there.pid), 0);
	seen[n++] = there.pid;
	finish(&there);
	usleep(1200000);
	kill(t.pid, SIGINT);
	cr_expect_eq(tool__wait(&t, 60), 0);
	out = tool__stdout(&t);
	lines = json_lines__parse(out);
	free(out);
	/* The acquire with which it begins, and one after each of its calls: the open() and 500 reads. */
	for (size_t i = 0; i < n; i++)
		cr_expect_eq(worker_of(lines, seen[i]), 1 + 1 + 500, "process %d: %lld", (int)seen[i],
			     (long long)worker_of(lines, seen[i]));
	json_decref(lines);
	finish(&stranger);
	tool__clear(&t);
}

Test(all, filters_by_user_leave_out_everybody_else)
{
	struct program_of_mine there;
	char words[160], *err;
	struct tool t;

	begin(&there, script);
	snprintf(words, sizeof(words), "attach --all --user nobody --match %s --no-store --duration 1500ms -v", name);
	cr_expect_eq(tool__run(&t, words), 0);
	err = tool__stderr(&t);
	cr_expect_null(strstr(err, "watching"), "%s", err);
	cr_expect_eq(breakpoints__count(there.pid), 0);
	free(err);
	tool__clear(&t);
	cr_expect_eq(tool__run(&t, "attach --all --user no-such-user --no-store"), 2);
	tool__clear(&t);
	finish(&there);
}

/* The control group of this process, and so of its children: the path in the first hierarchy. */
static void own_cgroup(char *path, size_t size)
{
	char line[4096], *at;
	FILE *f = fopen("/proc/self/cgroup", "re");

	cr_assert(f && fgets(line, sizeof(line), f) && (at = strchr(line, '/')), "no control group");
	snprintf(path, size, "%.*s", (int)strcspn(at, "\n"), at);
	fclose(f);
}

Test(all, filters_by_cgroup_leave_out_everybody_else)
{
	struct program_of_mine there;
	char words[640], group[400], *err;
	struct tool t;

	begin(&there, script);
	snprintf(words, sizeof(words), "attach --all --cgroup /no/such/group --match %s --no-store --duration 1s", name);
	cr_expect_eq(tool__run(&t, words), 0);
	err = tool__stderr(&t);
	cr_expect_null(strstr(err, "watching"), "%s", err);
	free(err);
	tool__clear(&t);
	own_cgroup(group, sizeof(group));
	snprintf(words, sizeof(words), "attach --all --cgroup %s --match %s --no-store --json", group, name);
	tool__start(&t, words);
	await_watched(&t, there.pid);
	cr_expect_gt(breakpoints__count(there.pid), 0);
	kill(t.pid, SIGINT);
	cr_expect_eq(tool__wait(&t, 60), 0);
	tool__clear(&t);
	finish(&there);
}

/* gilscope stands still while a program of a few milliseconds lives: all that can be known of it is that it was there. */
Test(all, programs_too_short_to_be_looked_at_are_counted)
{
	struct program_of_mine there, brief, next;
	char words[160], *err;
	struct tool t;

	begin(&there, script);
	snprintf(words, sizeof(words), "attach --all --match %s --no-store --json --mode full -v", name);
	tool__start(&t, words);
	await_watched(&t, there.pid);
	tool__freeze(&t);
	begin(&brief, script);
	finish(&brief);
	tool__thaw(&t);
	begin(&next, script); /* events come in order: when this one is watched, the other is over */
	await_watched(&t, next.pid);
	finish(&next);
	finish(&there);
	kill(t.pid, SIGINT);
	cr_expect_eq(tool__wait(&t, 60), 0);
	err = tool__stderr(&t);
	cr_expect_not_null(strstr(err, "before they could be looked at: those of them that were Python are in no number"),
			   "%s", err);
	free(err);
	tool__clear(&t);
}
