/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who may do what in root's store: its group reads, as the server's default user, which takes no password; gilscope itself logs
 * in, with a secret that root alone can read. An ordinary user's store has no users: its directory lets nobody else in.
 */
#ifndef GILSCOPE_STORE_ACCESS_H
#define GILSCOPE_STORE_ACCESS_H

#include <stddef.h>

#include "collector/base/reason.h"
#include "store.h"

struct redis_url;
struct redisContext;

/*
 * Appends to the server's configuration: its users, and the secret, which is made if there is none. Nobody else is let in yet. 0
 * or -errno.
 */
int store_access__configure(int run_dir, char *config, size_t size, struct reason *why);

/* Where the store is and, as far as this user may know, as whom to log in there. */
void store_access__address(const struct store_paths *paths, struct redis_url *ret);

/* A server that has just started has read its data: lets readers in, with the rights that its version knows. 0 or -errno. */
int store_access__let_readers(struct redisContext *c, int timeout_ms, struct reason *why);

#endif
