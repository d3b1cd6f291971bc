/* SPDX-License-Identifier: GPL-2.0-only */
/* Errands: done by another process, which may crash or never come back; and the files that are read by them. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "collector/process/errand.h"
#include "collector/process/procmem.h"
#include "collector/process/theirs.h"

#define PATIENT 5000

static void set_up(void)
{
	cr_assert_eq(errand__prepare(), 0);
}

TestSuite(errand, .init = set_up, .fini = errand__dismiss, .timeout = 60);

/* Runs it with one descriptor, on a number. */
static int run(errand_fn *fn, pid_t about, unsigned int patience_ms, int fd, int *number)
{
	struct errand_bag *bag = errand__pack();
	int err;

	if (!bag)
		return -EAGAIN;
	bag->fds[0] = fd;
	*(int *)bag->room = *number;
	err = errand__run(bag, fn, about, patience_ms);
	if (!err)
		*number = *(int *)bag->room;
	errand__unpack(bag);
	return err;
}

static int tell_pid(struct errand_bag *bag)
{
	*(int *)bag->room = (int)getpid();
	return 0;
}

/* How many descriptors it has beyond the standard ones, its socket and what came along. */
static int count_descriptors(struct errand_bag *bag)
{
	int n = 0;

	for (int fd = 4; fd < 256; fd++)
		n += fd != bag->fds[0] && fcntl(fd, F_GETFD) >= 0;
	*(int *)bag->room = n;
	return 0;
}

Test(errand, is_done_by_another_process_that_has_nothing_of_ours_open)
{
	int fd = memfd_create("ours", 0), pid = 0, n = -1;

	cr_assert_geq(fd, 0);
	cr_assert_eq(run(tell_pid, 1, PATIENT, -1, &pid), 0);
	cr_expect_neq(pid, (int)getpid());
	cr_assert_eq(run(count_descriptors, 1, PATIENT, fd, &n), 0);
	cr_expect_eq(n, 0, "%d", n);
	close(fd);
}

static int crash(struct errand_bag *bag)
{
	(void)bag;
	raise(SIGKILL);
	return 0;
}

Test(errand, that_kills_who_does_it_is_an_error_and_another_does_the_next)
{
	int pid = 0;

	cr_expect_eq(run(crash, 1, PATIENT, -1, &pid), -EIO);
	cr_expect_eq(run(tell_pid, 1, PATIENT, -1, &pid), 0);
}

Test(errand, is_done_though_the_nursery_was_killed)
{
	char command[64];
	int pid = 0;

	cr_assert_eq(run(tell_pid, 1, PATIENT, -1, &pid), 0);
	snprintf(command, sizeof(command), "kill -9 $(ps -o ppid= %d)", pid);
	cr_assert_eq(system(command), 0);
	cr_expect_eq(run(crash, 1, PATIENT, -1, &pid), -EIO);
	cr_expect_eq(run(tell_pid, 1, PATIENT, -1, &pid), 0);
	cr_expect_neq(pid, (int)getpid());
}

/* Waits for a byte that may never come. */
static int wait_for_byte(struct errand_bag *bag)
{
	return read(bag->fds[0], bag->room, 1) == 1 ? 0 : -EPIPE;
}

Test(errand, that_does_not_come_back_is_left_and_its_process_with_it_until_it_does)
{
	int way[2], n = 0, err;

	cr_assert_eq(pipe2(way, O_CLOEXEC), 0);
	cr_expect_eq(run(wait_for_byte, 1, 50, way[0], &n), -ETIMEDOUT);
	cr_expect_eq(run(tell_pid, 1, PATIENT, -1, &n), -ETIMEDOUT, "not tried");
	cr_expect_eq(run(tell_pid, 2, PATIENT, -1, &n), 0, "others are");
	cr_expect_eq(errand__counts().abandoned, 1);
	cr_expect_eq(errand__counts().refused, 1);
	cr_assert_eq(write(way[1], "x", 1), 1);
	do
		err = run(tell_pid, 1, PATIENT, -1, &n);
	while (err == -ETIMEDOUT);
	cr_expect_eq(err, 0, "%d", err);
	close(way[0]);
	close(way[1]);
}

Test(errand, too_many_that_do_not_come_back_are_the_last)
{
	int way[2], n = 0, i = 0, err;

	cr_assert_eq(pipe2(way, O_CLOEXEC), 0);
	do
		err = run(wait_for_byte, errand__about_file((uint64_t)++i), 1, way[0], &n);
	while (err == -ETIMEDOUT && i < 100);
	cr_expect_eq(err, -EAGAIN, "%d", err);
	cr_expect_lt(i, 20);
	close(way[1]); /* they come back, all of them */
	do
		err = run(tell_pid, 1000, PATIENT, -1, &n);
	while (err == -EAGAIN);
	cr_expect_eq(err, 0, "%d", err);
	close(way[0]);
}

/* A process of that user that does nothing. */
static pid_t start_idler(uid_t uid)
{
	int way[2];
	pid_t pid;
	char byte;

	cr_assert_eq(pipe2(way, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (setresuid(uid, uid, uid) || write(way[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	cr_assert_eq(read(way[0], &byte, 1), 1);
	close(way[0]);
	close(way[1]);
	return pid;
}

#define ENOUGH 20

/* One keeps readers waiting wherever he can: his are looked at no more, everybody else's are. */
Test(errand, that_one_users_processes_keep_back_are_bounded_and_blind_nobody_else)
{
	pid_t his[ENOUGH], other = start_idler(54321);
	int way[2], n = 0, i = 0, err;

	for (int k = 0; k < ENOUGH; k++)
		his[k] = start_idler(12345);
	cr_assert_eq(pipe2(way, O_CLOEXEC), 0); /* which none of them has open */
	do
		err = run(wait_for_byte, his[i++], 1, way[0], &n);
	while (err == -ETIMEDOUT && i < ENOUGH);
	cr_expect_eq(err, -EAGAIN, "%d", err);
	cr_expect_eq(run(tell_pid, his[ENOUGH - 1], PATIENT, -1, &n), -EAGAIN, "not tried");
	cr_expect_eq(run(tell_pid, other, PATIENT, -1, &n), 0, "others are");
	cr_expect_eq(run(tell_pid, getpid(), PATIENT, -1, &n), 0, "root's, too");
	close(way[1]); /* they come back */
	do
		err = run(tell_pid, his[ENOUGH - 1], PATIENT, -1, &n);
	while (err == -EAGAIN);
	cr_expect_eq(err, 0, "%d", err);
	for (int k = 0; k < ENOUGH; k++)
		kill(his[k], SIGKILL);
	kill(other, SIGKILL);
	close(way[0]);
}

static int burn(struct errand_bag *bag)
{
	struct timespec spent;

	do
		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &spent);
	while (!spent.tv_sec);
	*(int *)bag->room = 42;
	return 0;
}

Test(errand, that_computes_has_more_time)
{
	int n = 0;

	cr_expect_eq(run(burn, 1, 900, -1, &n), 0);
	cr_expect_eq(n, 42);
}

Test(errand, of_a_child_is_its_own)
{
	int status, n = 0;
	pid_t pid = fork();

	if (pid == 0)
		_exit(run(tell_pid, 1, PATIENT, -1, &n) || n != (int)getpid());
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_expect_eq(status, 0);
}

/* ---- memory ---- */

Test(errand, reads_memory_in_pieces_of_any_size_and_goes_over_those_that_are_not_there)
{
	static uint8_t data[3][300000], got[3][300000];
	static uint64_t small[600];
	struct procmem_piece pieces[4], many[600];

	for (size_t i = 0; i < sizeof(data); i++)
		((uint8_t *)data)[i] = (uint8_t)(i * 7);
	for (int i = 0; i < 3; i++)
		pieces[i] = (struct procmem_piece){(uintptr_t)data[i], got[i], sizeof(got[i]), false};
	pieces[3] = pieces[2];
	pieces[1].addr = 4096;
	procmem__read_many(getpid(), pieces, 4);
	cr_expect(pieces[0].ok && !pieces[1].ok && pieces[2].ok && pieces[3].ok);
	cr_expect_eq(memcmp(data[0], got[0], sizeof(got[0])) | memcmp(data[2], got[2], sizeof(got[2])), 0);
	for (size_t i = 0; i < 600; i++)
		many[i] = (struct procmem_piece){i % 100 ? (uintptr_t)data[0] + i : 8, &small[i], 8, false};
	procmem__read_many(getpid(), many, 600);
	for (size_t i = 0; i < 600; i++)
		cr_expect(many[i].ok == (i % 100 != 0) && (!many[i].ok || !memcmp(&small[i], data[0] + i, 8)), "%zu", i);
	cr_expect_eq(procmem__read(getpid(), 4096, got[0], 8), -EFAULT);
}

/* ---- files ---- */

static int made_up(char *path, size_t len)
{
	int fd = mkstemp(path);

	cr_assert_geq(fd, 0);
	cr_assert_eq(pwrite(fd, "end", 3, (off_t)len - 3), 3);
	return fd;
}

Test(errand, brings_texts_of_any_length)
{
	static const size_t lengths[] = {3, 70000, 3u << 20};

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		char path[] = "/tmp/gilscope-errand-XXXXXX", *text = NULL;
		int fd = made_up(path, lengths[i]);
		size_t len = 0;

		cr_assert_eq(theirs__slurp(1, path, 4u << 20, &text, &len), 0);
		cr_expect(len == lengths[i] && memcmp(text + len - 3, "end", 3) == 0, "%zu", len);
		free(text);
		cr_expect_eq(theirs__slurp(1, path, 2, &text, &len), -EFBIG);
		close(fd);
		unlink(path);
	}
	cr_expect_eq(theirs__slurp(1, "/nowhere", 100, &(char *){NULL}, &(size_t){0}), -ENOENT);
}

Test(errand, opens_regular_files_alone)
{
	struct stat st;
	int fd = theirs__open(0, "/proc/self/exe", &st);

	cr_assert_geq(fd, 0);
	close(fd);
	cr_expect_eq(theirs__open(0, "/dev/zero", &st), -ENOEXEC);
	cr_expect_eq(theirs__open(0, "/nowhere", &st), -ENOENT);
	cr_expect_eq(theirs__stat(1, "/", &st), 0);
	cr_expect(S_ISDIR(st.st_mode));
}

/* As of one that lies where nobody can be sure of an answer. */
Test(errand, content_of_a_file_that_is_only_named_is_a_copy)
{
	char path[] = "/tmp/gilscope-errand-XXXXXX", end[3];
	int fd = made_up(path, 9u << 20), named = open(path, O_PATH | O_CLOEXEC), content;
	struct statfs fs;
	struct stat st;

	cr_expect(theirs__is_only_named(named) && !theirs__is_only_named(fd));
	content = theirs__content(named);
	cr_assert_geq(content, 0);
	cr_expect(fstatfs(content, &fs) == 0 && fs.f_type == TMPFS_MAGIC && fstat(content, &st) == 0 && st.st_size == 9u << 20);
	cr_expect(pread(content, end, 3, st.st_size - 3) == 3 && memcmp(end, "end", 3) == 0);
	close(content);
	cr_expect_eq(theirs__fstat(named, &st), 0);
	cr_expect_eq(st.st_size, 9u << 20);
	close(named);
	close(fd);
	unlink(path);
}
