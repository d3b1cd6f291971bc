/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The store's directories and the user whom its server runs as. Root's server is an unprivileged user's: "gilscope" or "redis"
 * if the system has one of them, else nobody. In a directory that is root's, and that root's group alone may enter,
 *
 *   redis.sock   a link to server/redis.sock: what clients open
 *   server/      the server's user's, where its socket is made
 *   *.lock, redis.log, secret   root's
 *
 * and the data directory belongs to the server's user. What an older gilscope left there as root's is handed over. An ordinary
 * user's store looks the same and is all that user's. Knows no Redis.
 */
#ifndef GILSCOPE_STORE_DIRS_H
#define GILSCOPE_STORE_DIRS_H

#include <stdbool.h>
#include <sys/types.h>

#include "collector/base/reason.h"
#include "store.h"

#define STORE_SERVER_DIR "server"
#define STORE_SOCKET_NAME "redis.sock"
#define STORE_LOCK "lock"
#define STORE_START_LOCK "start.lock"
#define STORE_WATCH_LOCK "watch.lock"

struct store_dirs {
	int run, server, data;   /* descriptors, -1: not open */
	uid_t uid;               /* whom the server runs as */
	gid_t gid;
};

/*
 * Makes what is missing, gives it to whom it should belong, and opens it. What is already in order takes no right. 0, -EPERM
 * (somebody else's), -ENOTDIR, -errno with a sentence; nothing is open then.
 */
int store_dirs__open(const struct store_paths *paths, struct store_dirs *ret, struct reason *why);
void store_dirs__close(struct store_dirs *dirs);

/* Makes redis.sock the link that it should be; what stands there is removed. Nothing may listen there. 0 or -errno. */
int store_dirs__link_socket(const struct store_dirs *dirs);

/*
 * Who listens at the store's socket if it is what it seems: the owner of the socket, which lies in the server's directory of a
 * directory of this user's or of root's. 0 (*ret_uid is that owner), -ENOENT, -EACCES, -EPERM, -EEXIST, -errno with a sentence.
 */
int store_dirs__judge_socket(const struct store_paths *paths, uid_t *ret_uid, struct reason *why);

/* A lock of ours, which nobody else can open, hence not hold either. Descriptor or -errno. */
int store_dirs__lock(const struct store_dirs *dirs, const char *name, struct reason *why);

#endif
