/* SPDX-License-Identifier: GPL-2.0-only */
/* See kin_link.h. */
#include "kin_link.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <linux/perf_event.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "log.h"

#define EVENTS_MAX 4       /* distinct cookies of one link: there are four kinds of sites */
#define JOIN_PASSES 16     /* looks for threads that began meanwhile */
#define REMOVE_TRIES 50    /* an event is in use for a moment after its last user went */
#define NAME_SIZE 64

/* One definition in tracefs. */
struct event {
	char name[NAME_SIZE]; /* group/name */
	uint64_t cookie;
	uint64_t config;      /* its number for perf_event_open() */
	int carrier_fd, program_fd;
};

struct member {
	pid_t pid;
	int fd;
};

struct kin_link {
	int tracefs_fd;
	struct event events[EVENTS_MAX];
	size_t events_n;
	struct member *members;   /* descriptors, by process */
	size_t members_n, members_room;
};

/* ---- tracefs ---- */

static int open_mounted(const char *path)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct statfs fs;

	if (fd < 0)
		return -errno;
	if (!fstatfs(fd, &fs) && fs.f_type == TRACEFS_MAGIC)
		return fd;
	close(fd);
	return -ENOENT;
}

/* Not attached anywhere: it is gone with its descriptor. */
static int mount_detached(void)
{
	int err, mount = -1, fs = fsopen("tracefs", FSOPEN_CLOEXEC);

	if (fs < 0)
		return -errno;
	if (!fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		mount = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	err = mount < 0 ? -errno : mount;
	close(fs);
	return err;
}

int kin_link__tracefs(void)
{
	int fd = open_mounted("/sys/kernel/tracing");

	if (fd < 0)
		fd = open_mounted("/sys/kernel/debug/tracing");
	return fd < 0 ? mount_detached() : fd;
}

static int command(int tracefs_fd, const char *text)
{
	int fd = openat(tracefs_fd, "uprobe_events", O_WRONLY | O_APPEND | O_CLOEXEC), err = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		err = -errno;
	close(fd);
	return err;
}

static int remove_definition(int tracefs_fd, const char *name)
{
	const struct timespec pause = {.tv_nsec = 10000000};
	char text[NAME_SIZE + 4];
	int err = -EBUSY;

	snprintf(text, sizeof(text), "-:%s", name);
	for (int i = 0; i < REMOVE_TRIES && err == -EBUSY; i++) {
		if (i)
			nanosleep(&pause, NULL);
		err = command(tracefs_fd, text);
	}
	return err;
}

static int read_number(int tracefs_fd, const char *name, uint64_t *ret)
{
	char path[NAME_SIZE + 16], text[32];
	ssize_t len;
	int fd;

	snprintf(path, sizeof(path), "events/%s/id", name);
	fd = openat(tracefs_fd, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	len = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (len <= 0)
		return -EIO;
	text[len] = '\0';
	*ret = strtoull(text, NULL, 10);
	return 0;
}

/* ---- events ---- */

/*
 * PERF_SAMPLE_READ is for its side effect. Tasks whose events are copies of the same ones would else have them exchanged when
 * one is scheduled out for the other (kernel/events/core.c, perf_event_context_sched_out()): the filter goes by the task that
 * an event was made for, so the end of either would take the other's breakpoints away. With inherit it is Linux 6.13's and
 * newer; older kernels refuse the combination, and so never get here with events that are exchanged.
 */
static int perf_event(uint64_t config, pid_t tid, bool inherit)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_TRACEPOINT, .size = sizeof(attr), .config = config,
		.inherit = inherit, .disabled = 1,
		.sample_type = inherit ? PERF_SAMPLE_READ | PERF_SAMPLE_TID : 0,
	};
	long fd = syscall(SYS_perf_event_open, &attr, tid, -1, -1, PERF_FLAG_FD_CLOEXEC);

	return fd < 0 ? -errno : (int)fd;
}

/* A second definition of one name adds its probe to the event. */
static int define(struct kin_link *link, struct event *event, int image_fd, const struct uprobe_sites *sites)
{
	char text[NAME_SIZE + 64];
	int err = 0;

	for (size_t i = 0; !err && i < sites->n; i++) {
		if (sites->cookies[i] != event->cookie)
			continue;
		snprintf(text, sizeof(text), "p:%s /proc/self/fd/%d:0x%" PRIx64, event->name, image_fd, sites->offsets[i]);
		err = command(link->tracefs_fd, text);
	}
	return err ?: read_number(link->tracefs_fd, event->name, &event->config);
}

static int carry_program(struct event *event, const struct bpf_program *program)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .perf_event.bpf_cookie = event->cookie);

	event->carrier_fd = perf_event(event->config, 0, false);
	if (event->carrier_fd < 0)
		return event->carrier_fd;
	event->program_fd = bpf_link_create(bpf_program__fd(program), event->carrier_fd, BPF_PERF_EVENT, &opts);
	return event->program_fd < 0 ? event->program_fd : 0;
}

static struct event *event_of(struct kin_link *link, uint64_t cookie)
{
	for (size_t i = 0; i < link->events_n; i++)
		if (link->events[i].cookie == cookie)
			return &link->events[i];
	return NULL;
}

static int add_event(struct kin_link *link, const struct bpf_program *program, int image_fd,
		     const struct uprobe_sites *sites, uint64_t cookie)
{
	static uint32_t counter; /* the planter is one thread */
	struct event *event = &link->events[link->events_n];
	int err;

	if (link->events_n == EVENTS_MAX)
		return -E2BIG;
	*event = (struct event){.cookie = cookie, .carrier_fd = -1, .program_fd = -1};
	snprintf(event->name, sizeof(event->name), "gilscope_%d/p%u", (int)getpid(), counter++);
	/* One that was killed may have had our PID: nothing may be added to what it left. */
	err = remove_definition(link->tracefs_fd, event->name);
	if (err && err != -ENOENT)
		return err;
	link->events_n++;
	err = define(link, event, image_fd, sites);
	return err ?: carry_program(event, program);
}

int kin_link__open(const struct bpf_program *program, int tracefs_fd, int image_fd, const struct uprobe_sites *sites,
		   struct kin_link **ret)
{
	struct kin_link *link = calloc(1, sizeof(*link));
	int err = 0;

	if (!link)
		return -ENOMEM;
	link->tracefs_fd = tracefs_fd;
	for (size_t i = 0; !err && i < sites->n; i++)
		if (!event_of(link, sites->cookies[i]))
			err = add_event(link, program, image_fd, sites, sites->cookies[i]);
	if (err) {
		kin_link__close(link);
		return err;
	}
	*ret = link;
	return 0;
}

/* ---- who has them ---- */

static int add_member(struct kin_link *link, pid_t pid, int fd)
{
	struct member *grown;

	if (link->members_n == link->members_room) {
		size_t room = link->members_room ? 2 * link->members_room : 64;

		grown = reallocarray(link->members, room, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		link->members = grown;
		link->members_room = room;
	}
	link->members[link->members_n++] = (struct member){.pid = pid, .fd = fd};
	return 0;
}

static int join_thread(struct kin_link *link, pid_t pid, pid_t tid)
{
	for (size_t i = 0; i < link->events_n; i++) {
		int err, fd = perf_event(link->events[i].config, tid, true);

		if (fd < 0)
			return fd;
		err = add_member(link, pid, fd);
		if (err) {
			close(fd);
			return err;
		}
	}
	return 0;
}

struct tids {
	pid_t *tid;
	size_t n, room;
};

/* Whether it is new to the list; negative: no memory. */
static int note(struct tids *tids, pid_t tid)
{
	pid_t *grown;

	for (size_t i = 0; i < tids->n; i++)
		if (tids->tid[i] == tid)
			return 0;
	if (tids->n == tids->room) {
		grown = reallocarray(tids->tid, tids->room + 64, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		tids->tid = grown;
		tids->room += 64;
	}
	tids->tid[tids->n++] = tid;
	return 1;
}

/* One look at the threads: how many were new, or -errno. A thread that has just ended is none. */
static int join_new_threads(struct kin_link *link, pid_t pid, struct tids *tids)
{
	struct dirent *entry;
	char path[32];
	int n = 0, err = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	if (!dir)
		return errno == ENOENT ? -ESRCH : -errno;
	while (err >= 0 && (entry = readdir(dir))) {
		pid_t tid = (pid_t)strtol(entry->d_name, NULL, 10);

		err = tid > 0 ? note(tids, tid) : 0;
		if (err <= 0)
			continue;
		err = join_thread(link, pid, tid);
		n += err == 0;
		err = err == -ESRCH ? 0 : err;
	}
	closedir(dir);
	return err < 0 ? err : n;
}

static bool is_member(const struct kin_link *link, pid_t pid)
{
	for (size_t i = 0; i < link->members_n; i++)
		if (link->members[i].pid == pid)
			return true;
	return false;
}

/* Threads that one begins which has not joined yet are not in: look again until a look finds none. */
int kin_link__join(struct kin_link *link, pid_t pid)
{
	struct tids tids = {0};
	int n = 1;

	if (is_member(link, pid))
		return 0;
	for (int pass = 0; n > 0 && pass < JOIN_PASSES; pass++)
		n = join_new_threads(link, pid, &tids);
	if (n == -ESRCH && tids.n)
		n = 0; /* it has ended since */
	if (n >= 0 && !tids.n)
		n = -ESRCH;
	free(tids.tid);
	if (n < 0)
		kin_link__leave(link, pid);
	return n < 0 ? n : 0;
}

void kin_link__leave(struct kin_link *link, pid_t pid)
{
	size_t kept = 0;

	for (size_t i = 0; i < link->members_n; i++) {
		if (link->members[i].pid == pid)
			close(link->members[i].fd);
		else
			link->members[kept++] = link->members[i];
	}
	link->members_n = kept;
}

static void close_event(struct kin_link *link, struct event *event)
{
	int err;

	if (event->program_fd >= 0)
		close(event->program_fd);
	if (event->carrier_fd >= 0)
		close(event->carrier_fd);
	err = remove_definition(link->tracefs_fd, event->name);
	if (err && err != -ENOENT)
		log_debug("trace event %s stays defined, unused: %s", event->name, strerror(-err));
}

void kin_link__close(struct kin_link *link)
{
	if (!link)
		return;
	for (size_t i = 0; i < link->members_n; i++)
		close(link->members[i].fd);
	for (size_t i = 0; i < link->events_n; i++)
		close_event(link, &link->events[i]);
	free(link->members);
	free(link);
}
