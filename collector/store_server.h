/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The two processes behind the embedded store: the redis-server and the watcher that ends it when its users are gone.
 *
 * Only store.c uses this; it holds the locks. What runs between fork() and exec() is async-signal-safe, since the
 * program may have threads.
 */
#ifndef GILSCOPE_STORE_SERVER_H
#define GILSCOPE_STORE_SERVER_H

#include "store.h"

/*
 * Starts redis-server in a session of its own, so that it survives its starter and Ctrl-C. *ret_pidfd becomes readable
 * when it ends; the caller closes it. 0, -ENOENT (not installed), -errno.
 */
int store_server__start(const struct store_paths *paths, unsigned long long cap, int *ret_pidfd, struct reason *why);

/* Whether something accepts connections on the store's socket: 0, -ECONNREFUSED, -ENOENT, -EACCES, -errno. */
int store_server__probe(const char *socket_path);

/*
 * Ends the server behind the socket in good order, and the hard way after 10 s. 0 (also if none runs), -EPERM, -errno.
 * Async-signal-safe.
 */
int store_server__stop(const char *socket_path);

/*
 * Leaves a process behind that blocks until nobody holds `paths->lock`, then stops the server and ends. It inherits
 * watch_fd, whose lock says that a watcher lives. 0 or -errno.
 */
int store_server__watch(const struct store_paths *paths, const char *start_lock, int watch_fd);

#endif
