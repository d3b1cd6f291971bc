/* SPDX-License-Identifier: GPL-2.0-only */
/* A loopback server that misbehaves in one way, in a child process that dies with the test. */
#ifndef GILSCOPE_ODD_SERVER_H
#define GILSCOPE_ODD_SERVER_H

#include <sys/types.h>

enum oddity {
	ODD_SILENT,      /* accepts, reads, never answers */
	ODD_HANGS_UP,    /* accepts and closes */
	ODD_GARBAGE,     /* answers what is not Redis's protocol */
	ODD_TRICKLES,    /* sends one byte every 50 ms of a reply that does not end */
	ODD_HUGE_ARRAY,  /* announces an array of two billion elements */
	ODD_DEEP_ARRAYS, /* arrays in arrays, each announcing many elements */
	ODD_FULL,        /* "max number of clients", then closes */
	ODD_PONG_ONLY,   /* greets well (SETNAME, PING), then falls silent */
	ODD_HUGE_STRINGS, /* an array of half a million strings of 4 MB */
	ODD_ENDLESS_LINE, /* an error whose words do not end */
	ODD_MANY_ELEMENTS, /* arrays in an array, none of them absurd by itself: 32 million elements */
	ODD_FLOODS,      /* replies of 8 kB, as fast as they are taken, that nobody asked for */
	ODD_GREETS = 64, /* with one of these: greets well first */
};

struct odd_server {
	pid_t pid;
	int port;
	char url[64];
};

/*
 * What does not know all of Redis's commands, in front of a server that does: closes the connection at one whose name is in
 * `unknown` (ends with NULL), as nutcracker does, and hands everything else on.
 */
struct private_redis;
void odd_server__start_proxy(struct odd_server *s, const struct private_redis *redis, const char *const *unknown);

/* `oddity`: one of the above. */
void odd_server__start(struct odd_server *s, int oddity);
void odd_server__stop(struct odd_server *s);

#endif
