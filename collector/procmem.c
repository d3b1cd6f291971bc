/* SPDX-License-Identifier: GPL-2.0-only */
/* See procmem.h. */
#include "procmem.h"

#include <errno.h>
#include <sys/uio.h>

#define READ_MAX (1u << 20)
#define AT_ONCE 256       /* pieces per system call (IOV_MAX is 1024) */
#define FAULTS_MAX 64

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

/* Reads pieces until one faults; the number read. The kernel stops at the first that it cannot read whole. */
static size_t read_some(pid_t pid, struct procmem_piece *pieces, size_t n)
{
	struct iovec local[AT_ONCE], remote[AT_ONCE];
	size_t done = 0;
	ssize_t got;

	for (size_t i = 0; i < n; i++) {
		local[i] = (struct iovec){.iov_base = pieces[i].buf, .iov_len = pieces[i].len};
		remote[i] = (struct iovec){.iov_base = (void *)(uintptr_t)pieces[i].addr, .iov_len = pieces[i].len};
	}
	got = process_vm_readv(pid, local, n, remote, n, 0);
	while (done < n && got >= (ssize_t)pieces[done].len) {
		got -= (ssize_t)pieces[done].len;
		pieces[done++].ok = true;
	}
	return done;
}

void procmem__read_many(pid_t pid, struct procmem_piece *pieces, size_t n)
{
	int faults = 0;

	for (size_t i = 0; i < n; i++)
		pieces[i].ok = false;
	for (size_t i = 0; i < n && faults < FAULTS_MAX;) {
		size_t want = n - i < AT_ONCE ? n - i : AT_ONCE, done = read_some(pid, pieces + i, want);

		i += done;
		if (done < want) { /* over the one that could not be read */
			i++;
			faults++;
		}
	}
}
