/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Bounded, read-only access to another process's memory: process_vm_readv, or /proc/PID/mem where a sandbox refuses that call.
 * Never stops the process. Where errands are away
 * (errand.h), a process that keeps its memory back costs a fifth of a second, once, and nobody more than that.
 */
#ifndef GILSCOPE_PROCMEM_H
#define GILSCOPE_PROCMEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Reads exactly `len` bytes (at most 1 MiB) at `addr`. 0, -EFAULT (unmapped or short), -EPERM, -ESRCH, -EINVAL,
 * -ETIMEDOUT (it is stuck).
 */
int procmem__read(pid_t pid, uint64_t addr, void *buf, size_t len);
int procmem__read_u32(pid_t pid, uint64_t addr, uint32_t *ret);
int procmem__read_u64(pid_t pid, uint64_t addr, uint64_t *ret);

/* One of many places to read at once. */
struct procmem_piece {
	uint64_t addr;
	void *buf;
	size_t len;
	bool ok; /* set by procmem__read_many() */
};

/* Reads what it can of `n` pieces, many per system call; after 64 pieces that cannot be read it gives the rest up. */
void procmem__read_many(pid_t pid, struct procmem_piece *pieces, size_t n);

#endif
