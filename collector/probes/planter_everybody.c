/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Everybody who executes a file, whoever they are: those in whom a probe without a PID filter is planted.
 *
 * The kernel reads the instruction of a probe from the file, once, and writes a breakpoint over whatever stands at that place in
 * each process (verify_opcode() in kernel/events/uprobes.c looks only whether it is a breakpoint already). A process that has
 * other code there would execute the file's instruction in the midst of its own, and get the file's first byte at the end. So
 * all of them are compared before, and none is planted in if one differs.
 *
 * All of that is one errand. If it gets stuck at a process, another one goes on behind that: so its state is in memory that they
 * share.
 */
#include "planter_inside.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "collector/base/clock.h"
#include "collector/process/errand.h"
#include "collector/process/procmaps.h"

#define PIDS_MAX 65536

struct search {
	uint64_t ino;
	uint32_t n, at, found_n;
	pid_t differs; /* who stands out, or may: it is set while a process is being compared */
	uint32_t texts_n;
	struct site_text texts[PLANTER_SITES_MAX];
	pid_t pids[PIDS_MAX], found[PIDS_MAX];
};

/* ---- the errand ---- */

static void list_pids(struct search *s)
{
	DIR *dir = opendir("/proc");
	const struct dirent *entry;

	while (dir && s->n < PIDS_MAX && (entry = readdir(dir))) {
		pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10); /* 0: no number */

		if (pid > 0)
			s->pids[s->n++] = pid;
	}
	if (dir)
		closedir(dir);
}

/* What of it lies elsewhere is not reached by a probe. One that has ended or executes something else has nothing to lose. */
static void compare(struct search *s, pid_t pid)
{
	struct site_text_tally tally = {0};
	int err;

	s->differs = pid;
	err = site_texts__compare(s->texts, s->texts_n, pid, s->ino, &tally);
	if ((!err && !tally.changed && !tally.unread) || ((err || tally.unread) && !procmaps__execute(pid, s->ino)))
		s->differs = 0;
}

static struct search *share(int fd)
{
	struct search *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return s == MAP_FAILED ? NULL : s;
}

/* By one who may see them all: /proc may hide others' processes from whom has no rights. */
static int run_search(struct errand_bag *bag)
{
	struct search *s = share(bag->fds[0]);

	if (!s)
		return -ENOMEM;
	if (!s->n)
		list_pids(s);
	while (s->at < s->n && !s->differs) {
		pid_t pid = s->pids[s->at++];

		if (!procmaps__execute(pid, s->ino))
			continue;
		s->found[s->found_n++] = pid;
		if (s->texts_n)
			compare(s, pid);
	}
	munmap(s, sizeof(*s));
	return 0;
}

/* Each errand is about something else: one that is stuck keeps nobody from the next. */
static int search_once(int fd)
{
	static uint64_t number;
	struct errand_bag *bag = errand__pack();
	int err;

	if (!bag)
		return -EAGAIN;
	bag->fds[0] = fd;
	err = errand__run(bag, run_search, errand__about_file(++number), ERRAND_MEMORY_MS);
	errand__unpack(bag);
	return err;
}

static int search(struct search *s, int fd, uint64_t until_ns)
{
	int err;

	do
		err = search_once(fd);
	while (err == -ETIMEDOUT && !s->differs && clock__mono_ns() < until_ns);
	return err;
}

/* ---- for the planter ---- */

static struct search *begin(uint64_t ino, int *ret_fd)
{
	int fd = memfd_create("gilscope-search", MFD_CLOEXEC);
	struct search *s = fd >= 0 && !ftruncate(fd, sizeof(*s)) ? share(fd) : NULL;

	if (s)
		s->ino = ino;
	else if (fd >= 0)
		close(fd);
	*ret_fd = fd;
	return s;
}

static void end(struct search *s, int fd)
{
	munmap(s, sizeof(*s));
	close(fd);
}

size_t everybody__find(uint64_t ino, uint64_t until_ns, pid_t **ret)
{
	int fd;
	struct search *s = begin(ino, &fd);
	size_t n = 0;

	*ret = NULL;
	if (!s)
		return 0;
	search(s, fd, until_ns); /* of one that is stuck nothing can be said, nor of those behind when time is up */
	*ret = calloc(s->found_n ?: 1, sizeof(**ret));
	for (uint32_t i = 0; *ret && i < s->found_n && i < PIDS_MAX; i++)
		(*ret)[n++] = s->found[i];
	end(s, fd);
	return n;
}

int everybody__compare(const struct site_text *texts, size_t n, uint64_t ino, uint64_t until_ns, pid_t *ret_pid)
{
	int fd, err;
	struct search *s;

	if (n > PLANTER_SITES_MAX)
		return -E2BIG;
	s = begin(ino, &fd);
	if (!s)
		return -ENOMEM;
	memcpy(s->texts, texts, n * sizeof(*texts));
	s->texts_n = (uint32_t)n;
	err = search(s, fd, until_ns);
	*ret_pid = s->differs;
	if (s->differs)
		err = -EXDEV;
	end(s, fd);
	return err;
}
