/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Preloaded into a workload, it counts what the interpreter itself does with the GIL: every take and every
 * drop ends in exactly one pthread_cond_signal. That is how the tests check the workloads' own truth; the
 * workloads do not depend on it.
 *
 * Threads are told apart by their ids; SIGNALCOUNT_FILE names a file of one 64-bit counter per id, so that
 * the counts of threads that have ended stay readable. A process that executes another program counts anew.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TIDS (1u << 22) /* the kernel's limit on 64-bit */

static uint64_t *counts;
static int (*real_signal)(pthread_cond_t *cond);

static __attribute__((constructor)) void open_counts(void)
{
	const char *path = getenv("SIGNALCOUNT_FILE");
	int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
	void *map;

	*(void **)&real_signal = dlsym(RTLD_NEXT, "pthread_cond_signal");
	if (fd < 0 || ftruncate(fd, TIDS * sizeof(*counts)) < 0)
		return;
	map = mmap(NULL, TIDS * sizeof(*counts), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (map == MAP_FAILED)
		return;
	counts = map;
	counts[(uint32_t)syscall(SYS_gettid) % TIDS] = 0;
}

int pthread_cond_signal(pthread_cond_t *cond)
{
	if (counts)
		__atomic_fetch_add(&counts[(uint32_t)syscall(SYS_gettid) % TIDS], 1, __ATOMIC_RELAXED);
	return real_signal(cond);
}
