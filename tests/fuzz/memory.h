/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * In the place of procmem.h's functions (the linker wraps them, see the Makefile): memory that repeats itself from end to end, so
 * that every address but the highest can be read.
 */
#ifndef GILSCOPE_FUZZ_MEMORY_H
#define GILSCOPE_FUZZ_MEMORY_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

#include "collector/cpython/pyver.h"
#include "collector/process/procmem.h"

/* Of every version that there is a table for; what is in memory is read by one of them. */
static const struct {
	uint32_t minor;
	struct pyoffsets offsets;
} layouts[] = {
#ifdef __x86_64__
#include "collector/cpython/pyoffsets.inc"
#else
#include "collector/cpython/pyoffsets_arm64.inc"
#endif
};

#define LAYOUTS (sizeof(layouts) / sizeof(layouts[0]))
#define NOBODY 0x7ffffffe /* no process has this id */

#define MEMORY_READ_MAX (1u << 20)
#define MEMORY_END (1ull << 47)

static struct {
	const uint8_t *bytes;
	size_t size;
	unsigned int period, reads; /* each `period`th reading is another than it was; 0: none */
} memory;

int __wrap_procmem__read(pid_t pid, uint64_t addr, void *buf, size_t len);
int __wrap_procmem__read_u32(pid_t pid, uint64_t addr, uint32_t *ret);
int __wrap_procmem__read_u64(pid_t pid, uint64_t addr, uint64_t *ret);
void __wrap_procmem__read_many(pid_t pid, struct procmem_piece *pieces, size_t n);

static inline void memory__set(const uint8_t *bytes, size_t size, unsigned int period)
{
	memory.bytes = bytes;
	memory.size = size;
	memory.period = period;
	memory.reads = 0;
}

int __wrap_procmem__read(pid_t pid, uint64_t addr, void *buf, size_t len)
{
	uint8_t *to = buf;

	(void)pid;
	if (len == 0 || len > MEMORY_READ_MAX || addr + len < addr)
		return -EINVAL;
	if (addr < 4096 || addr + len > MEMORY_END)
		return -EFAULT;
	for (size_t done = 0, at = addr % memory.size; done < len; at = 0) {
		size_t n = memory.size - at < len - done ? memory.size - at : len - done;

		memcpy(to + done, memory.bytes + at, n);
		done += n;
	}
	if (memory.period && ++memory.reads % memory.period == 0)
		to[memory.reads % len] ^= 0x55;
	return 0;
}

int __wrap_procmem__read_u32(pid_t pid, uint64_t addr, uint32_t *ret)
{
	return __wrap_procmem__read(pid, addr, ret, sizeof(*ret));
}

int __wrap_procmem__read_u64(pid_t pid, uint64_t addr, uint64_t *ret)
{
	return __wrap_procmem__read(pid, addr, ret, sizeof(*ret));
}

void __wrap_procmem__read_many(pid_t pid, struct procmem_piece *pieces, size_t n)
{
	for (size_t i = 0; i < n; i++)
		pieces[i].ok = __wrap_procmem__read(pid, pieces[i].addr, pieces[i].buf, pieces[i].len) == 0;
}

#endif
