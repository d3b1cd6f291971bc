/* SPDX-License-Identifier: GPL-2.0-only */
/* See kernel_lacks.h. Versions are for the reader alone: backports have a feature without them. */
#include "kernel_lacks.h"

#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#define BTF "/sys/kernel/btf/vmlinux"
#define UPROBES "/sys/bus/event_source/devices/uprobe"

/* Each: 1, it is there; 0, it is not; < 0, it could not be told. */
static int try_helper(enum bpf_prog_type type, int helper)
{
	return libbpf_probe_bpf_helper(type, (enum bpf_func_id)helper, NULL);
}

static int try_btf(void)
{
	return access(BTF, F_OK) == 0;
}

static int try_uprobes(void)
{
	return access(UPROBES, F_OK) == 0;
}

static int try_task_storage(void)
{
	int there = libbpf_probe_bpf_map_type(BPF_MAP_TYPE_TASK_STORAGE, NULL);

	return there == 1 ? try_helper(BPF_PROG_TYPE_KPROBE, BPF_FUNC_task_storage_get) : there;
}

static int try_ring_buffer(void)
{
	return libbpf_probe_bpf_map_type(BPF_MAP_TYPE_RINGBUF, NULL);
}

static int try_cookies(void)
{
	return try_helper(BPF_PROG_TYPE_KPROBE, BPF_FUNC_get_attach_cookie);
}

static int try_loop(void)
{
	return try_helper(BPF_PROG_TYPE_KPROBE, BPF_FUNC_loop);
}

static const struct {
	const char *name;
	int (*try)(void);
} features[] = {
	{"a description of its types (" BTF ", CONFIG_DEBUG_INFO_BTF)", try_btf},
	{"uprobes (" UPROBES ", CONFIG_UPROBE_EVENTS)", try_uprobes},
	{"BPF ring buffers (Linux 5.8 and newer have them)", try_ring_buffer},
	{"BPF task storage in probes (Linux 5.12 and newer have it)", try_task_storage},
	{"attach cookies (Linux 5.15 and newer have them)", try_cookies},
	{"bpf_loop (Linux 5.17 and newer have it)", try_loop},
};

/* Without the rights, nothing of the kind can be told from what is not there. */
static bool can_tell(void)
{
	return libbpf_probe_bpf_map_type(BPF_MAP_TYPE_ARRAY, NULL) == 1 &&
	       libbpf_probe_bpf_prog_type(BPF_PROG_TYPE_KPROBE, NULL) == 1;
}

int kernel_lacks__name(char *buf, size_t size)
{
	libbpf_print_fn_t talk = libbpf_set_print(NULL);
	size_t all = sizeof(features) / sizeof(features[0]), i = can_tell() ? 0 : all;
	size_t len = 0;
	int n = 0;

	buf[0] = '\0';
	for (; i < all && len < size; i++)
		if (features[i].try() == 0) {
			len += (size_t)snprintf(buf + len, size - len, "%s%s", n ? ", " : "", features[i].name);
			n++;
		}
	libbpf_set_print(talk);
	return n;
}
