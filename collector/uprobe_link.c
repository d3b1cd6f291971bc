/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * See uprobe_link.h. libbpf has a call for uprobe_multi from 1.3 on; the system call is the same on every version, and
 * small enough to be made here.
 */
#include "uprobe_link.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bpf/libbpf.h>
#include <linux/bpf.h>

struct uprobe_link {
	int multi_fd;             /* -1: perf links */
	struct bpf_link **links;
	size_t links_n;
};

int uprobe_sites__add(struct uprobe_sites *sites, uint64_t offset, uint64_t cookie)
{
	uint64_t *offsets = reallocarray(sites->offsets, sites->n + 1, sizeof(*offsets));
	uint64_t *cookies;

	if (!offsets)
		return -ENOMEM;
	sites->offsets = offsets;
	cookies = reallocarray(sites->cookies, sites->n + 1, sizeof(*cookies));
	if (!cookies)
		return -ENOMEM;
	sites->cookies = cookies;
	sites->offsets[sites->n] = offset;
	sites->cookies[sites->n] = cookie;
	sites->n++;
	return 0;
}

void uprobe_sites__clear(struct uprobe_sites *sites)
{
	free(sites->offsets);
	free(sites->cookies);
	*sites = (struct uprobe_sites){0};
}

/* union bpf_attr, link_create.uprobe_multi, as Linux 6.6 has it. */
struct multi_attr {
	uint32_t prog_fd, target_fd, attach_type, link_flags;
	uint64_t path, offsets, ref_ctr_offsets, cookies;
	uint32_t cnt, flags, pid, pad;
};

static int open_multi(const struct bpf_program *program, const char *path, pid_t pid,
		      const struct uprobe_sites *sites)
{
	struct multi_attr attr = {
		.prog_fd = (uint32_t)bpf_program__fd(program),
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

static int open_perf(struct uprobe_link *link, const struct bpf_program *program, const char *path, pid_t pid,
		     const struct uprobe_sites *sites)
{
	link->links = calloc(sites->n, sizeof(struct bpf_link *));
	if (!link->links)
		return -ENOMEM;
	for (size_t i = 0; i < sites->n; i++) {
		LIBBPF_OPTS(bpf_uprobe_opts, opts, .bpf_cookie = sites->cookies[i]);

		link->links[i] = bpf_program__attach_uprobe_opts(program, pid == UPROBE_EVERYBODY ? -1 : pid, path,
								 sites->offsets[i], &opts);
		if (!link->links[i])
			return -errno;
		link->links_n++;
	}
	return 0;
}

int uprobe_link__open(const struct bpf_program *program, const struct uprobe_place *place,
		      const struct uprobe_sites *sites, bool multi, struct uprobe_link **ret)
{
	struct uprobe_link *link = calloc(1, sizeof(*link));
	char path[64];
	int err;

	if (!link)
		return -ENOMEM;
	link->multi_fd = -1;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", place->image_fd);
	if (multi) {
		err = open_multi(program, path, place->pid, sites);
		link->multi_fd = err;
		err = err < 0 ? err : 0;
	} else {
		err = open_perf(link, program, path, place->pid, sites);
	}
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
	if (link->multi_fd >= 0)
		close(link->multi_fd);
	for (size_t i = 0; i < link->links_n; i++)
		bpf_link__destroy(link->links[i]);
	free(link->links);
	free(link);
}
