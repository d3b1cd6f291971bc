/* SPDX-License-Identifier: GPL-2.0-only */
/* See bpf_env.h. */
#include "bpf_env.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>

/* The least that gilscope needs: an array map, and the kernel's types. 0 or -errno. */
static int try_bpf(void)
{
	int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "probe", 4, 4, 1, NULL);

	if (fd < 0)
		return -errno;
	close(fd);
	return access("/sys/kernel/btf/vmlinux", R_OK) ? -errno : 0;
}

void bpf_env__require(void)
{
	const char *required = getenv("REQUIRE_BPF");
	int err = try_bpf();

	if (!err)
		return;
	if (required && required[0] == '1')
		cr_assert_fail("BPF is required and does not work here: %s", strerror(-err));
	cr_skip("BPF does not work here: %s", strerror(-err));
}
