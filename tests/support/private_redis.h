/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A redis-server of the test's own, on a unix socket in a temporary directory (and on a free loopback port where asked
 * for). It dies with the test. Questions to it go over a plain blocking connection, not through the code under test.
 */
#ifndef GILSCOPE_PRIVATE_REDIS_H
#define GILSCOPE_PRIVATE_REDIS_H

#include <stdbool.h>
#include <sys/types.h>

struct private_redis {
	char dir[64];
	char socket[108];
	char url[128];     /* unix://... */
	int port;          /* 0: no TCP */
	pid_t pid;         /* 0: not running */
	char secret[128];  /* a file with the password of user "gilscope"; "" or missing: questions are the default user's */
};

/* Makes the directory and picks the names; starts nothing. Skips the test where redis-server is missing. */
void private_redis__init(struct private_redis *r, bool tcp);

/* Starts it (again) with further "--option value" words, and waits for PONG unless `wait` is false. */
void private_redis__start(struct private_redis *r, bool wait, const char *const *options);

/* Signals by its PID; kill and stop also reap it. */
void private_redis__kill(struct private_redis *r);
void private_redis__stop(struct private_redis *r); /* SIGTERM: writes what it persists */
void private_redis__pause(struct private_redis *r);
void private_redis__resume(struct private_redis *r);

/* Empties its directory but for the socket: it comes back without data. */
void private_redis__forget_data(struct private_redis *r);

/* Ends it and removes the directory. */
void private_redis__fini(struct private_redis *r);

/*
 * One command, words separated by blanks; the reply as text (integers in decimal, errors as they are, arrays joined by
 * newlines). The text is valid until the next call. Fails the test if there is no answer.
 */
const char *private_redis__ask(struct private_redis *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The same where the server may close the connection instead of an answer: NULL then. */
const char *private_redis__try(struct private_redis *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
long long private_redis__int(struct private_redis *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A loopback port that was free a moment ago. */
int free_port(void);

/* Polls until `holds(arg)`, at most `limit_ms`. Returns what it holds in the end. */
bool eventually(bool (*holds)(void *arg), void *arg, int limit_ms);

#endif
