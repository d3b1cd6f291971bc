/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See uprobe_link.h. libbpf has a call for uprobe_multi from 1.3 on; the system call is the same on every version, and
 * small enough to be made here. libbpf's call for a perf link takes a program that it has loaded itself: this process may be
 * another than the one that loads, and has a descriptor alone.
 */
#include "uprobe_link.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bpf/bpf.h>

#define UPROBE_PMU "/sys/bus/event_source/devices/uprobe/type"

struct uprobe_link {
	int *fds; /* of a uprobe_multi link, or of a perf link for each site */
	size_t n;
};

/* One more of them; what was there stays valid where memory runs out. */
static void *one_more(void *array, size_t n, size_t size, int *err)
{
	void *grown = reallocarray(array, n + 1, size);

	if (!grown)
		*err = -ENOMEM;
	return grown ?: array;
}

int uprobe_sites__add(struct uprobe_sites *sites, uint64_t offset, uint64_t cookie, const struct site_text *text)
{
	int err = 0;

	sites->offsets = one_more(sites->offsets, sites->n, sizeof(*sites->offsets), &err);
	sites->cookies = one_more(sites->cookies, sites->n, sizeof(*sites->cookies), &err);
	sites->texts = one_more(sites->texts, sites->n, sizeof(*sites->texts), &err);
	if (err)
		return err;
	sites->offsets[sites->n] = offset;
	sites->cookies[sites->n] = cookie;
	sites->texts[sites->n] = text ? *text : (struct site_text){.len = 0};
	sites->n++;
	return 0;
}

size_t uprobe_sites__texts(const struct uprobe_sites *sites, struct site_text *texts, size_t n, size_t max)
{
	for (size_t i = 0; i < sites->n && n < max; i++)
		if (sites->texts[i].len)
			texts[n++] = sites->texts[i];
	return n;
}

void uprobe_sites__clear(struct uprobe_sites *sites)
{
	free(sites->offsets);
	free(sites->cookies);
	free(sites->texts);
	*sites = (struct uprobe_sites){0};
}

/* union bpf_attr, link_create.uprobe_multi, as Linux 6.6 has it. */
struct multi_attr {
	uint32_t prog_fd, target_fd, attach_type, link_flags;
	uint64_t path, offsets, ref_ctr_offsets, cookies;
	uint32_t cnt, flags, pid, pad;
};

static int create_multi(int program_fd, const char *path, pid_t pid, const struct uprobe_sites *sites)
{
	struct multi_attr attr = {
		.prog_fd = (uint32_t)program_fd,
		.attach_type = UPROBE_MULTI_ATTACH_TYPE,
		.path = (uintptr_t)path,
		.offsets = (uintptr_t)sites->offsets,
		.cookies = (uintptr_t)sites->cookies,
		.cnt = (uint32_t)sites->n,
		.pid = (uint32_t)pid,
	};
	long fd = syscall(SYS_bpf, BPF_LINK_CREATE, &attr, sizeof(attr));

	return fd < 0 ? -errno : (int)fd;
}

/* The shortest program there is. A kernel with uprobe_multi then looks for the file and says that it is none (-EBADF). */
int uprobe_link__try_multi(void)
{
	const struct bpf_insn nothing[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0},
		{.code = BPF_JMP | BPF_EXIT},
	};
	uint64_t offset = 0, cookie = 0;
	struct uprobe_sites site = {.offsets = &offset, .cookies = &cookie, .n = 1};
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .expected_attach_type = UPROBE_MULTI_ATTACH_TYPE);
	int program_fd = bpf_prog_load(BPF_PROG_TYPE_KPROBE, "gil_nothing", "GPL", nothing, 2, &opts), link_fd;

	if (program_fd < 0)
		return program_fd;
	link_fd = create_multi(program_fd, "/", 0, &site);
	close(program_fd);
	if (link_fd >= 0)
		close(link_fd);
	return link_fd >= 0 || link_fd == -EBADF ? 0 : link_fd;
}

static int open_multi(struct uprobe_link *link, int program_fd, const char *path, pid_t pid, const struct uprobe_sites *sites)
{
	int fd = create_multi(program_fd, path, pid, sites);

	if (fd < 0)
		return fd;
	link->fds[link->n++] = fd;
	return 0;
}

/* The kernel numbers its kinds of perf events anew at each boot. */
static int uprobe_type(uint32_t *ret)
{
	FILE *file = fopen(UPROBE_PMU, "re");
	int found = file ? fscanf(file, "%" SCNu32, ret) : 0;

	if (file)
		fclose(file);
	return found == 1 ? 0 : -ENOTSUP;
}

/* The link keeps the event. */
static int link_event(int program_fd, int event_fd, uint64_t cookie)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .perf_event.bpf_cookie = cookie);
	int fd = bpf_link_create(program_fd, event_fd, BPF_PERF_EVENT, &opts), err;

	if (fd < 0 || !ioctl(event_fd, PERF_EVENT_IOC_ENABLE, 0))
		return fd;
	err = -errno;
	close(fd);
	return err;
}

static int open_site(int program_fd, uint32_t type, const char *path, pid_t pid, uint64_t offset, uint64_t cookie)
{
	struct perf_event_attr attr = {
		.type = type, .size = sizeof(attr), .config1 = (uintptr_t)path, .config2 = offset,
	};
	bool everybody = pid == UPROBE_EVERYBODY;
	int event_fd = (int)syscall(SYS_perf_event_open, &attr, everybody ? -1 : pid, everybody ? 0 : -1, -1,
				    PERF_FLAG_FD_CLOEXEC);
	int fd = event_fd < 0 ? -errno : link_event(program_fd, event_fd, cookie);

	if (event_fd >= 0)
		close(event_fd);
	return fd;
}

static int open_perf(struct uprobe_link *link, int program_fd, const char *path, pid_t pid, const struct uprobe_sites *sites)
{
	uint32_t type;
	int err = uprobe_type(&type);

	for (size_t i = 0; !err && i < sites->n; i++) {
		int fd = open_site(program_fd, type, path, pid, sites->offsets[i], sites->cookies[i]);

		if (fd < 0)
			err = fd;
		else
			link->fds[link->n++] = fd;
	}
	return err;
}

int uprobe_link__open(int program_fd, const struct uprobe_place *place, const struct uprobe_sites *sites, bool multi,
		      struct uprobe_link **ret)
{
	struct uprobe_link *link = calloc(1, sizeof(*link));
	char path[64];
	int err;

	if (!link)
		return -ENOMEM;
	link->fds = calloc(sites->n ?: 1, sizeof(*link->fds));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", place->image_fd);
	err = !link->fds ? -ENOMEM : multi ? open_multi(link, program_fd, path, place->pid, sites) :
					     open_perf(link, program_fd, path, place->pid, sites);
	if (err) {
		uprobe_link__close(link);
		return err;
	}
	*ret = link;
	return 0;
}

void uprobe_link__close(struct uprobe_link *link)
{
	if (!link)
		return;
	for (size_t i = 0; i < link->n; i++)
		close(link->fds[i]);
	free(link->fds);
	free(link);
}
