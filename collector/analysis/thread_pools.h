/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Threads that do the same are one to a reader: pools, told by their names, which differ in a number only. Pure.
 */
#ifndef GILSCOPE_THREAD_POOLS_H
#define GILSCOPE_THREAD_POOLS_H

#include <stddef.h>

#define THREAD_POOL_NAME_SIZE 96

/* One pool; a thread with no like is one as well. */
struct thread_pool {
	char name[THREAD_POOL_NAME_SIZE]; /* "api-0..3", "web-* (5 threads)", "worker (8 threads)", "main" */
	size_t n;                         /* its threads */
};

/*
 * The pools of `n` threads with these names: a trailing " (1234)", by which threads of one name are told apart, is no part of it.
 * pool_of[i] is the index of thread i's pool in the array of *ret_n, which is in the order of their first threads; caller frees.
 * NULL: no memory.
 */
struct thread_pool *thread_pools__make(const char *const *names, size_t n, size_t *pool_of, size_t *ret_n);

#endif
