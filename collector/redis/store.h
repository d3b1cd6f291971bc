/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The embedded store: the distribution's redis-server, started by gilscope itself on a unix socket.
 *
 * Started by root it runs as an unprivileged user, without any right (store_dirs.h); root's group reads, gilscope alone
 * writes (store_access.h). Shared: every user holds a shared lock; the first one starts the server, the last one stops
 * it. Readers look in the user's store, then in the system's. Nothing listens on TCP. Capped; survives stale sockets and a
 * torn append-only file.
 */
#ifndef GILSCOPE_STORE_H
#define GILSCOPE_STORE_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#include "collector/base/reason.h"

struct store_paths {
	char run_dir[PATH_MAX];   /* /run/gilscope or $XDG_RUNTIME_DIR/gilscope */
	char data_dir[PATH_MAX];  /* /var/lib/gilscope or $XDG_STATE_HOME/gilscope */
	char socket[108];         /* below the limit of sockaddr_un, else -ENAMETOOLONG */
	char lock[PATH_MAX];
	char log[PATH_MAX];
};

/* The writer's store of this user (root: the system's). GILSCOPE_STORE_DIR overrides both directories. 0 or -errno. */
int store__paths(struct store_paths *ret, struct reason *why);

/* The store a reader should use: the user's if it has data or runs, else the system's. -EACCES if that one is not readable. */
int store__find(struct store_paths *ret, struct reason *why);

struct store;

/*
 * Before rights are given up: what starting the server takes of them. Whoever opens the store afterwards finds it prepared, as
 * often as he likes. 0 or -errno. store__dismiss() undoes it.
 */
int store__prepare(const struct store_paths *paths, struct reason *why);
void store__dismiss(void);

/*
 * Takes a share in the store, starting the server if none runs (which root needs rights for, or store__prepare()); returns when
 * it answers PING. 0, -ENOENT (no redis-server: says how to install it), -ETIMEDOUT, -errno.
 */
int store__open(const struct store_paths *paths, struct store **ret, struct reason *why);

/*
 * Starts the server again if it is gone (killed, out of memory), as store__open() does; at once 0 where it is there or the
 * store is somebody else's. Any thread may call it, one at a time. 0 or -errno.
 */
int store__revive(struct store *store, struct reason *why);

/* Where the open store is and as whom to log in: valid as long as the store is open. */
struct redis_url;
const struct redis_url *store__address(const struct store *store);

/* Cap in bytes that was set (512 MB or 5 % of RAM, whichever is smaller). */
unsigned long long store__cap(const struct store *store);

/* Gives the share back; the last one out stops the server (data is kept in the append-only file). */
void store__close(struct store *store);

/* Empties the data; works with or without a running server. 0 or -errno. */
int store__clear(const struct store_paths *paths, struct reason *why);

#endif
