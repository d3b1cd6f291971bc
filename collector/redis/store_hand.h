/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The store's hand: a process of ours that does to the redis-server and its files what has to be done, as the user whom they
 * belong to, without any right. Forked while gilscope still has rights, it lasts as long as gilscope does and, as the store's
 * watcher, until nobody uses the store any more (then it stops the server). Its life is in store_server.c.
 */
#ifndef GILSCOPE_STORE_HAND_H
#define GILSCOPE_STORE_HAND_H

#include <sys/types.h>

#include "collector/base/reason.h"
#include "store_dirs.h"

struct store_hand;

enum store_deed {
	STORE_START,      /* runs redis-server; ret: its PID */
	STORE_STOP,       /* ends the one that listens; 0 also if none does */
	STORE_MOVE_ASIDE, /* renames damaged data; `why` has its new name */
	STORE_CLEAR,      /* removes the data */
};

/* What the server is started with: a configuration, which it reads from its standard input. */
#define STORE_CONFIG_MAX 4096

/*
 * Forks it. `log` is open for appending, what the server says goes there. 0, -EPERM (it can't become that user), -errno with
 * the sentence.
 */
int store_hand__new(const struct store_dirs *dirs, const char *config, int log, struct store_hand **ret, struct reason *why);

/* Any thread may call it, one at a time. 0, -EPIPE (it is gone), -ENOENT (no redis-server), -errno with the sentence. */
int store_hand__do(struct store_hand *hand, enum store_deed deed, pid_t *ret, struct reason *why);

/* Lets go of it. It ends at once, or when nobody uses the store any more. */
void store_hand__free(struct store_hand *hand);

#endif
