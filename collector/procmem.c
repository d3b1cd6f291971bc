/* SPDX-License-Identifier: GPL-2.0-only */
/* See procmem.h. */
#include "procmem.h"

#include <errno.h>
#include <sys/uio.h>

#define READ_MAX (1u << 20)

int procmem__read(pid_t pid, uint64_t addr, void *buf, size_t len)
{
	struct iovec local = {.iov_base = buf, .iov_len = len};
	struct iovec remote = {.iov_base = (void *)(uintptr_t)addr, .iov_len = len};
	ssize_t got;

	if (len == 0 || len > READ_MAX || addr + len < addr)
		return -EINVAL;
	got = process_vm_readv(pid, &local, 1, &remote, 1, 0);
	if (got < 0)
		return -errno;
	return (size_t)got == len ? 0 : -EFAULT;
}

int procmem__read_u32(pid_t pid, uint64_t addr, uint32_t *ret)
{
	return procmem__read(pid, addr, ret, sizeof(*ret));
}

int procmem__read_u64(pid_t pid, uint64_t addr, uint64_t *ret)
{
	return procmem__read(pid, addr, ret, sizeof(*ret));
}
