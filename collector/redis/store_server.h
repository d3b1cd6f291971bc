/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the store's hand is at its inside: see store_hand.h. The server is known by its socket (SO_PEERCRED names the process
 * that listens), never by a pid file, which may be stale.
 */
#ifndef GILSCOPE_STORE_SERVER_H
#define GILSCOPE_STORE_SERVER_H

#include "store_hand.h"

/* What the hand has, all of it its own. */
struct store_server {
	int control;             /* a SOCK_SEQPACKET: orders in, answers out; its end is gilscope's */
	int server_dir, data_dir, log;
	int users, start, watch; /* locks, each an open file of its own */
	uid_t uid;
	gid_t gid;
	const char *config;
};

struct store_order {
	enum store_deed deed;
};

struct store_answer {
	int err;
	pid_t number;
	char text[400];
};

/* Becomes the hand: it says whether it could (an answer), obeys until gilscope ends, watches. */
_Noreturn void store_server__main(struct store_server *s);

/* Whether something accepts connections on the store's socket: 0, -ECONNREFUSED, -ENOENT, -EACCES, -errno. */
int store_server__probe(const char *socket_path);

/* Who listens there. 0, -ENOENT, -ECONNREFUSED, -errno. */
int store_server__whose(const char *socket_path, uid_t *ret);

/* Ends the server behind the socket in good order, and the hard way after 10 s. 0 (also if none runs), -EPERM, -errno. */
int store_server__stop(const char *socket_path);

#endif
